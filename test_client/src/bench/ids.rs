//! The ids that the master acknowledged: each of them once, and rising on every connection.

/// How many violations of each kind are kept: the others are like them.
const VIOLATIONS_MAX: usize = 10;

/// First and last id of every acknowledgement: 16 bytes for each post.
#[derive(Debug, Default)]
pub(super) struct AcknowledgedIds {
    ranges: Vec<(u64, u64)>,
    violations: Vec<String>,
}

impl AcknowledgedIds {
    /// Takes the ids of one acknowledgement, and updates the newest id of its connection.
    pub(super) fn acknowledge(&mut self, first: u64, last: u64, newest: &mut u64) {
        if first <= *newest {
            let before = *newest;
            self.complain(|| format!("id {first} was acknowledged after id {before} on the same connection"));
        }
        *newest = last.max(*newest);
        self.ranges.push((first, last));
    }

    /// Keeps a violation.
    pub(super) fn complain(&mut self, sentence: impl FnOnce() -> String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(sentence());
        }
    }

    /// Adds the ids and violations of another thread.
    pub(super) fn merge(&mut self, other: AcknowledgedIds) {
        self.ranges.extend(other.ranges);
        other.violations.into_iter().for_each(|sentence| self.complain(|| sentence));
    }

    /// Looks for ids that were acknowledged twice, once all of them are known.
    pub(super) fn find_duplicates(&mut self) {
        self.ranges.sort_unstable();
        let twice = self.ranges.windows(2).filter(|pair| pair[1].0 <= pair[0].1).map(|pair| pair[1].0);
        let sentence = |id| format!("id {id} was acknowledged twice");
        self.violations.extend(twice.map(sentence).take(VIOLATIONS_MAX));
    }

    /// How many ids were acknowledged.
    pub(super) fn count(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn violations(&self) -> &[String] {
        &self.violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_rise() {
        let (mut ids, mut other, mut one, mut two) = (AcknowledgedIds::default(), AcknowledgedIds::default(), 0, 0);
        ids.acknowledge(1, 1, &mut one);
        ids.acknowledge(4096, 4100, &mut one);
        other.acknowledge(2, 4, &mut two);
        ids.merge(other);
        ids.find_duplicates();
        assert_eq!((ids.count(), ids.violations().len()), (9, 0), "{ids:?}");
        let mut other = AcknowledgedIds::default();
        other.acknowledge(4100, 4101, &mut two);
        other.acknowledge(3000, 3000, &mut two);
        ids.merge(other);
        ids.find_duplicates();
        assert_eq!(
            ids.violations(),
            ["id 3000 was acknowledged after id 4101 on the same connection", "id 4100 was acknowledged twice"]
        );
        (0..1000).for_each(|_| ids.acknowledge(1, 1, &mut two));
        ids.find_duplicates();
        assert!(ids.violations().len() <= 2 * VIOLATIONS_MAX + 2, "{ids:?}");
    }
}
