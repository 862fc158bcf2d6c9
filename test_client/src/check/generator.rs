//! Histories for tests: of a small cluster that keeps its promises, played by chance from a seed.

use crate::history::{End, Fault, Final, Header, History, Line, Outcome, Read, ReadMode, Text, Write, parse};
use crate::random::Random;

pub(super) const NODES: usize = 3;

/// A history that can still be changed.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) header: Header,
    pub(super) writes: Vec<Write>,
    pub(super) reads: Vec<Read>,
    pub(super) finals: Vec<Final>,
    pub(super) not_back: Option<String>,
}

impl Sample {
    /// The lines of its file.
    pub(super) fn lines(&self) -> Vec<Line> {
        let fault = Fault {
            class: "kill".to_owned(),
            what: "no node".to_owned(),
            nodes: vec![0],
            begin: 1,
            end: 2,
            hits: Some(1),
        };
        let mut lines = vec![Line::Header(self.header.clone()), Line::Fault(fault)];
        lines.extend(self.writes.iter().cloned().map(Line::Write));
        lines.extend(self.reads.iter().cloned().map(Line::Read));
        lines.extend(self.finals.iter().cloned().map(Line::Final));
        let end = End { at: 1_000_000, not_back: self.not_back.clone(), lines: lines.len() + 1 };
        lines.push(Line::End(end));
        lines
    }

    /// As it is read from its file.
    pub(super) fn history(&self) -> History {
        let lines: Vec<String> = self.lines().iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        parse(lines.join("\n").as_bytes()).unwrap()
    }

    /// Everything that shows entries.
    pub(super) fn showings(&mut self) -> impl Iterator<Item = &mut Vec<(u64, Text)>> {
        let reads = self.reads.iter_mut().map(|read| &mut read.entries);
        reads.chain(self.finals.iter_mut().map(|shown| &mut shown.entries))
    }

    /// The log in the end.
    pub(super) fn log(&self) -> &[(u64, Text)] {
        &self.finals[0].entries
    }
}

/// How far the moments of one operation may be apart, as a number of operations: so many overlap.
const SPREAD: u64 = 9;

/// The cluster.
struct Cluster {
    random: Random,
    log: Vec<(u64, Text)>,
    next_id: u64,
    /// How much of the log each node shows.
    shown: [usize; NODES],
    /// When every node was first known to have how much of the log.
    everywhere: Vec<(u64, usize)>,
    sample: Sample,
}

/// A good history with so many writes and reads.
///
/// Each operation is called, takes effect and returns at three moments, which are mixed with those of other operations.
pub(super) fn good(seed: u64, writes: usize, reads: usize) -> Sample {
    let mut random = Random::new(seed);
    let mut moments: Vec<(u64, usize)> =
        (0..3 * (writes + reads)).map(|number| (number as u64 + random.below(SPREAD), number / 3)).collect();
    moments.sort_unstable();
    let mut times = vec![Vec::new(); writes + reads];
    for (at, (_, operation)) in (10..).step_by(10).zip(moments) {
        times[operation].push(at);
    }
    times.sort_unstable_by_key(|times| times[1]);
    let header = Header::sample(seed, &["master", "secondary-1", "secondary-2"]);
    let sample = Sample { header, writes: Vec::new(), reads: Vec::new(), finals: Vec::new(), not_back: None };
    let mut cluster =
        Cluster { random, log: Vec::new(), next_id: 1, shown: [0; NODES], everywhere: Vec::new(), sample };
    let (mut written, mut read) = (0, 0);
    for times in times {
        if cluster.random.index(writes - written + reads - read) < writes - written {
            cluster.write(written, times[0], times[2]);
            written += 1;
        } else {
            cluster.read(times[0], times[2]);
            read += 1;
        }
    }
    let Cluster { log, mut sample, .. } = cluster;
    sample.finals = (0..NODES).map(|node| Final { node, entries: log.clone() }).collect();
    sample
}

impl Cluster {
    fn write(&mut self, number: usize, call: u64, returned: u64) {
        let messages = if self.random.one_in(4) { 3 } else { 1 };
        let w = self.random.one_of(&[None, Some("all".to_owned()), Some("1".to_owned())]);
        let copies = if w.as_deref() == Some("1") { 1 } else { NODES as u64 };
        let first = self.next_id;
        let (outcome, is_there) = match self.random.below(6) {
            0..=2 => (Outcome::Committed { first, copies, in_time: true, replayed: false }, true),
            3 => (refused(), false),
            // Nothing says whether it is there.
            there => (Outcome::Unknown { gave_up: false, why: "no answer".to_owned() }, there == 4),
        };
        let texts: Vec<Text> = (0..messages).map(|part| format!("t {number}/{part}").into()).collect();
        if is_there {
            self.log.extend((first..).zip(texts.clone()));
            self.shown[0] = self.log.len();
        }
        // What is refused leaves a gap.
        self.next_id += messages;
        if matches!(outcome, Outcome::Committed { copies, .. } if copies == NODES as u64) {
            self.everywhere.push((returned, self.log.len()));
        }
        let client = format!("writer-{}", number % 3);
        let key = self.random.one_in(2).then(|| format!("key-{number}"));
        let write = Write { client, call, returned, texts, w, timeout: None, key, outcome };
        // A writer with a key asks again: its write is in the log, or it is refused now, and the earlier attempt with it.
        if matches!(write.outcome, Outcome::Unknown { .. }) && write.key.is_some() {
            let committed = Outcome::Committed { first, copies: NODES as u64, in_time: true, replayed: true };
            let outcome = if is_there { committed } else { refused() };
            let again = Write { call: returned + 3, returned: returned + 7, outcome, ..write.clone() };
            self.sample.writes.push(again);
        }
        self.sample.writes.push(write);
    }

    fn read(&mut self, call: u64, returned: u64) {
        let (node, how) = (self.random.index(NODES), self.random.one_of(&ReadMode::ALL));
        let from = 1 + self.random.below(self.next_id);
        let limit = self.random.one_in(3).then(|| 1 + self.random.below(3));
        let stale = how == ReadMode::Usual && self.random.one_in(4);
        let ahead = self.log.len() - self.shown[node];
        let learned = self.shown[node] + self.random.index(ahead + 1);
        let known = self.everywhere.iter().filter(|(at, _)| *at < call).map(|(_, length)| *length).max();
        let shown = match how {
            ReadMode::Strong => self.log.len(),
            ReadMode::Usual if !stale => learned.max(known.unwrap_or(0)),
            _ => learned,
        };
        self.shown[node] = shown;
        let entries = self.log[..shown].iter().filter(|(id, _)| *id >= from);
        let entries = entries.take(limit.map_or(usize::MAX, |limit| limit as usize)).cloned().collect();
        let client = "reader".to_owned();
        let read = Read { client, call, returned, node, how, from, limit, stale, failed: None, entries };
        self.sample.reads.push(read);
    }
}

fn refused() -> Outcome {
    Outcome::Refused { status: Some(502), why: "refused".to_owned() }
}
