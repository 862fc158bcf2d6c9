//! The ids that were acknowledged: each of them once, and rising on every connection.

use std::collections::BTreeMap;

/// Words of a page: ids come close together, so a page of 4,096 of them costs little and is found quickly.
const PAGE_WORDS: usize = 64;
const PAGE_IDS: u64 = PAGE_WORDS as u64 * 64;

/// Sentences that are kept; the others are like them.
const VIOLATIONS_MAX: usize = 10;

/// A bit for every id.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pages: BTreeMap<u64, Box<[u64; PAGE_WORDS]>>,
    count: u64,
    violations: Vec<String>,
}

impl Ids {
    /// Takes the ids of an acknowledgement, on a connection whose latest id is told and brought up to date.
    pub(super) fn acknowledge(&mut self, first: u64, last: u64, latest: &mut u64) {
        if first <= *latest {
            let before = *latest;
            self.complain(|| format!("id {first} was acknowledged after id {before} on the same connection"));
        }
        *latest = last.max(*latest);
        for id in first..=last {
            if !self.insert(id) {
                self.complain(|| format!("id {id} was acknowledged twice"));
            }
        }
    }

    /// Something else that must not be.
    pub(super) fn complain(&mut self, sentence: impl FnOnce() -> String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(sentence());
        }
    }

    /// Takes in what another thread saw.
    pub(super) fn merge(&mut self, other: Ids) {
        for (number, words) in other.pages {
            let page = self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE_WORDS]));
            let mut twice = Vec::new();
            for (word, (ours, theirs)) in (0u64..).zip(page.iter_mut().zip(words.iter())) {
                let both = *ours & theirs;
                twice.extend((both != 0).then(|| number * PAGE_IDS + word * 64 + u64::from(both.trailing_zeros())));
                *ours |= theirs;
            }
            for id in twice {
                self.complain(|| format!("id {id} was acknowledged twice"));
            }
        }
        self.count += other.count;
        for sentence in other.violations {
            self.complain(|| sentence);
        }
    }

    /// How many were acknowledged.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// What must not be, in sentences.
    pub(super) fn violations(&self) -> &[String] {
        &self.violations
    }

    fn insert(&mut self, id: u64) -> bool {
        self.count += 1;
        let page = self.pages.entry(id / PAGE_IDS).or_insert_with(|| Box::new([0; PAGE_WORDS]));
        let place = id % PAGE_IDS;
        let word = &mut page[usize::try_from(place / 64).expect("a place in a page")];
        let bit = 1 << (place % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_rise() {
        let (mut ids, mut one, mut two) = (Ids::default(), 0, 0);
        ids.acknowledge(1, 1, &mut one);
        ids.acknowledge(4096, 4100, &mut one);
        ids.acknowledge(2, 4, &mut two);
        assert_eq!((ids.count(), ids.violations().len()), (9, 0), "{ids:?}");
        ids.acknowledge(4100, 4101, &mut two);
        ids.acknowledge(3000, 3000, &mut one);
        assert_eq!(
            ids.violations(),
            ["id 4100 was acknowledged twice", "id 3000 was acknowledged after id 4100 on the same connection"]
        );
    }

    #[test]
    fn threads_are_compared() {
        let (mut ids, mut other) = (Ids::default(), Ids::default());
        ids.acknowledge(1, 100, &mut 0);
        other.acknowledge(101, 200, &mut 0);
        ids.merge(other);
        assert_eq!((ids.count(), ids.violations().len()), (200, 0));
        let mut other = Ids::default();
        other.acknowledge(200, 300, &mut 0);
        ids.merge(other);
        assert_eq!(ids.violations(), ["id 200 was acknowledged twice"]);
    }

    #[test]
    fn complaints_are_bounded() {
        let mut ids = Ids::default();
        (0..1000).for_each(|_| ids.acknowledge(1, 1, &mut 0));
        assert_eq!(ids.violations().len(), VIOLATIONS_MAX);
    }
}
