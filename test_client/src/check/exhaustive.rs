//! The checker against an exhaustive search, which is slow and plain: it looks for a run of a correct cluster that
//! explains a history, by trying all of them. On thousands of small histories, most of them changed by chance, both
//! must say the same.
//!
//! The cluster of the search has one log that becomes visible on the master entry by entry, and on other nodes later.
//! It does one thing at a time: the next call or return of the history happens; the master shows one more entry; a node
//! shows one more; a read is served. A history is explained if some order of these leads to its end.

use super::generator::{NODES, Sample, good};
use super::judge::judge;
use crate::history::{Outcome, Read, ReadMode, Text, Write};
use crate::random::Random;
use std::collections::{BTreeMap, HashSet};

const HISTORIES: u64 = 2500;

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    // At the same time, calls come first: only what returned earlier is known to have been over.
    WriteCalled(usize),
    ReadCalled(usize),
    WriteReturned(usize),
    ReadReturned(usize),
}

/// What the search stands at.
#[derive(Clone, Eq, Hash, PartialEq)]
struct SearchState {
    events: usize,
    /// Entries that each node shows; the master's are those of the log.
    shown: [usize; NODES],
    visible: usize,
    /// What was visible when each read was called.
    at_call: Vec<usize>,
    everywhere_at_call: Vec<usize>,
    served: Vec<bool>,
}

struct Search<'a> {
    sample: &'a Sample,
    log: &'a [(u64, Text)],
    events: Vec<Event>,
    /// For each entry of the log, when its write was first called: an index into the events.
    called: Vec<usize>,
    seen: HashSet<SearchState>,
}

/// Whether some run of a correct cluster has this history.
fn is_explainable(sample: &Sample) -> bool {
    let log = sample.log();
    if sample.finals.iter().any(|shown| shown.entries != log) || !log.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return false;
    }
    let texts: HashSet<&str> = log.iter().map(|(_, text)| &**text).collect();
    if texts.len() < log.len() || !answers_fit(sample) {
        return false;
    }
    let mut timed: Vec<(u64, Event)> = Vec::new();
    for (number, write) in sample.writes.iter().enumerate() {
        timed.push((write.call, Event::WriteCalled(number)));
        timed.push((write.returned, Event::WriteReturned(number)));
    }
    for (number, read) in sample.reads.iter().enumerate() {
        timed.push((read.call, Event::ReadCalled(number)));
        timed.push((read.returned, Event::ReadReturned(number)));
    }
    timed.sort_unstable();
    let events: Vec<Event> = timed.into_iter().map(|(_, event)| event).collect();
    let called = |(_, text): &(u64, Text)| {
        events.iter().position(|event| match event {
            Event::WriteCalled(number) => sample.writes[*number].texts.contains(text),
            _ => false,
        })
    };
    let Some(called) = log.iter().map(called).collect() else { return false };
    let reads = sample.reads.len();
    let state = SearchState {
        events: 0,
        shown: [0; NODES],
        visible: 0,
        at_call: vec![0; reads],
        everywhere_at_call: vec![0; reads],
        served: vec![false; reads],
    };
    Search { sample, log, events, called, seen: HashSet::new() }.leads_to_the_end(&state)
}

/// What has nothing to do with time: each write is where its answers say.
fn answers_fit(sample: &Sample) -> bool {
    let mut writes: BTreeMap<&str, Vec<&Write>> = BTreeMap::new();
    for write in &sample.writes {
        writes.entry(&write.texts[0]).or_default().push(write);
    }
    writes.values().all(|attempts| {
        let texts = &attempts[0].texts;
        let place = |text: &Text| sample.log().iter().find(|(_, shown)| shown == text).map(|(id, _)| *id);
        let places: Vec<Option<u64>> = texts.iter().map(place).collect();
        let is_absent = places.iter().all(Option::is_none);
        let is_there = places.windows(2).all(|pair| pair[0].is_some() && pair[1] == pair[0].map(|id| id + 1));
        let is_refused = is_refused(attempts);
        let is_where_they_say = attempts.iter().all(|write| match write.outcome {
            Outcome::Committed { first, .. } => places[0] == Some(first),
            _ => true,
        });
        let is_kept = !is_taken_back(attempts);
        (is_absent || is_there && places[0].is_some() && !is_refused) && is_where_they_say && is_kept
    })
}

fn is_refusal(write: &Write) -> bool {
    matches!(write.outcome, Outcome::Refused { .. })
}

/// No answer says that it is in the log, one says that it is not, and each attempt without an answer was followed by
/// one.
fn is_refused(attempts: &[&Write]) -> bool {
    attempts.iter().any(|write| is_refusal(write))
        && attempts.iter().all(|write| match write.outcome {
            Outcome::Committed { .. } => false,
            Outcome::Refused { .. } => true,
            Outcome::Unknown { gave_up, .. } => {
                !gave_up && attempts.iter().any(|later| is_refusal(later) && later.call > write.returned)
            }
        })
}

/// It was acknowledged first, and refused when it was asked for after that.
fn is_taken_back(attempts: &[&Write]) -> bool {
    let committed = attempts.iter().filter(|write| matches!(write.outcome, Outcome::Committed { .. }));
    let acknowledged = committed.map(|write| write.returned).min();
    attempts.iter().any(|write| is_refusal(write) && acknowledged.is_some_and(|at| write.call > at))
}

impl Search<'_> {
    fn leads_to_the_end(&mut self, state: &SearchState) -> bool {
        if state.events == self.events.len() {
            return true;
        }
        if !self.seen.insert(state.clone()) {
            return false;
        }
        self.next_states(state).iter().any(|next| self.leads_to_the_end(next))
    }

    fn next_states(&self, state: &SearchState) -> Vec<SearchState> {
        let mut next = Vec::new();
        next.extend(self.happen(state));
        if state.visible < self.log.len() && self.called[state.visible] < state.events {
            next.push(SearchState { visible: state.visible + 1, ..state.clone() });
        }
        for node in 0..NODES {
            // How far a node is that is read no more makes no difference.
            let mut reads = self.sample.reads.iter().zip(&state.served);
            let is_read = reads.any(|(read, is_served)| read.node == node && !is_served);
            if is_read && state.shown[node] < state.visible {
                let mut one = state.clone();
                one.shown[node] += 1;
                next.push(one);
            }
        }
        for (number, read) in self.sample.reads.iter().enumerate() {
            let is_called = self.events[..state.events].contains(&Event::ReadCalled(number));
            if is_called && !state.served[number] && self.can_be_served(state, number, read) {
                let mut one = state.clone();
                one.served[number] = true;
                next.push(one);
            }
        }
        next
    }

    /// The next call or return.
    fn happen(&self, state: &SearchState) -> Option<SearchState> {
        let mut next = SearchState { events: state.events + 1, ..state.clone() };
        match self.events[state.events] {
            Event::WriteCalled(_) => {}
            Event::ReadCalled(number) => {
                next.at_call[number] = state.visible;
                next.everywhere_at_call[number] = self.everywhere(state.events);
            }
            Event::WriteReturned(number) => {
                let write = &self.sample.writes[number];
                if let Outcome::Committed { first, .. } = write.outcome {
                    let last = first + write.texts.len() as u64 - 1;
                    if self.log[..state.visible].last().is_none_or(|(id, _)| *id < last) {
                        return None;
                    }
                }
            }
            Event::ReadReturned(number) if !state.served[number] => return None,
            Event::ReadReturned(_) => {}
        }
        Some(next)
    }

    /// How much of the log every node was known to have, when so many events had happened.
    fn everywhere(&self, events: usize) -> usize {
        let returned = self.events[..events].iter().filter_map(|event| match event {
            Event::WriteReturned(number) => Some(&self.sample.writes[*number]),
            _ => None,
        });
        // Answers to later attempts do not count.
        let is_first = |write: &&Write| {
            let attempts = self.sample.writes.iter().filter(|other| other.texts == write.texts);
            attempts.min_by_key(|other| (other.call, other.returned)) == Some(*write)
        };
        let last = returned.filter(is_first).filter_map(|write| match write.outcome {
            Outcome::Committed { first, copies, in_time: true, replayed: false }
                if copies >= NODES as u64 && write.w.as_deref() != Some("1") =>
            {
                Some(first + write.texts.len() as u64 - 1)
            }
            _ => None,
        });
        let last = last.max().unwrap_or(0);
        self.log.iter().filter(|(id, _)| *id <= last).count()
    }

    fn can_be_served(&self, state: &SearchState, number: usize, read: &Read) -> bool {
        let shown = state.shown[read.node];
        let owed = match read.how {
            ReadMode::Strong if !read.stale => state.at_call[number],
            ReadMode::Usual if !read.stale => state.everywhere_at_call[number],
            _ => 0,
        };
        if read.how == ReadMode::Follow {
            return self.slice(read, shown).starts_with(&read.entries);
        }
        self.slice(read, shown) == read.entries && self.slice(read, shown.max(owed)) == read.entries
    }

    fn slice(&self, read: &Read, shown: usize) -> Vec<(u64, Text)> {
        let entries = self.log[..shown].iter().filter(|(id, _)| *id >= read.from);
        entries.take(read.limit.map_or(usize::MAX, |limit| limit as usize)).cloned().collect()
    }
}

/// Changes something, which may or may not break a promise.
fn change(sample: &mut Sample, random: &mut Random) {
    let (writes, reads) = (sample.writes.len(), sample.reads.len());
    let (write, read) = (random.index(writes), random.index(reads));
    let by = 10 * random.below(12) + 5;
    match random.below(12) {
        0 => sample.writes[write].call = sample.writes[write].call.saturating_sub(by),
        1 => sample.writes[write].returned = sample.writes[write].call + by,
        2 => sample.writes[write].returned += by,
        3 => sample.reads[read].call = sample.reads[read].call.saturating_sub(by),
        4 => {
            let read = &mut sample.reads[read];
            read.call += by;
            read.returned = read.returned.max(read.call);
        }
        5 => sample.reads[read].returned = sample.reads[read].call + by,
        6 => drop(sample.reads[read].entries.pop()),
        7 => sample.reads[read].how = random.one_of(&ReadMode::ALL),
        8 => {
            let log = sample.log().to_vec();
            let read = &mut sample.reads[read];
            let last = read.entries.last().map_or(read.from - 1, |(id, _)| *id);
            read.entries.extend(log.into_iter().find(|(id, _)| *id > last));
        }
        9 => {
            let refused = Outcome::Refused { status: Some(502), why: "refused".to_owned() };
            let unknown = Outcome::Unknown { gave_up: true, why: "no answer".to_owned() };
            sample.writes[write].outcome = random.one_of(&[refused, unknown]);
        }
        10 if sample.log().len() > 1 => {
            // Two messages change places, in everything that shows them.
            let at = random.index(sample.log().len() - 1);
            let (one, other) = (sample.log()[at].1.clone(), sample.log()[at + 1].1.clone());
            for (_, text) in sample.showings().flatten() {
                if *text == one {
                    text.clone_from(&other);
                } else if *text == other {
                    text.clone_from(&one);
                }
            }
        }
        _ => {
            let read = &mut sample.reads[read];
            if !read.entries.is_empty() {
                let at = random.index(read.entries.len());
                read.entries.remove(at);
            }
        }
    }
}

#[test]
fn the_checker_says_what_a_search_through_all_runs_says() {
    let (mut explained, mut not) = (0, 0);
    for seed in 0..HISTORIES {
        let mut random = Random::new(seed);
        let (writes, reads) = (1 + random.index(3), 1 + random.index(4));
        let mut sample = good(seed, writes, reads);
        for _ in 0..1 + random.below(4) {
            change(&mut sample, &mut random);
        }
        let verdict = judge(&sample.history());
        let expected = is_explainable(&sample);
        let sentences: Vec<&str> = verdict.violations.kept().iter().map(|violation| &*violation.sentence).collect();
        let lines = || sample.lines().iter().map(|line| format!("{line:?}\n")).collect::<String>();
        assert_eq!(verdict.is_good(), expected, "seed {seed}: {sentences:?}\n{}", lines());
        *(if expected { &mut explained } else { &mut not }) += 1;
    }
    assert!(explained > HISTORIES / 5 && not > HISTORIES / 8, "{explained} explained, {not} not: choose other changes");
}
