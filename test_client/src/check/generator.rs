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

/// A write that was not answered yet.
struct Open {
    write: Write,
    /// The id of the first message, once it is in the log.
    first: Option<u64>,
    ending: Ending,
    /// An earlier attempt under the same key was not answered.
    is_retry: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Ending {
    Committed,
    Refused,
    UnknownAndThere,
    UnknownAndNot,
}

impl Random {
    /// An index into a list, unless it is empty.
    fn index_in<T>(&mut self, list: &[T]) -> Option<usize> {
        (!list.is_empty()).then(|| self.index(list.len()))
    }
}

/// The cluster, and its clients.
struct Play {
    random: Random,
    now: u64,
    log: Vec<(u64, Text)>,
    next_id: u64,
    /// How much of the log each node shows.
    shown: [usize; NODES],
    everywhere: usize,
    open: Vec<Open>,
    /// Reads, with the entries if they were served.
    reading: Vec<(Read, bool)>,
    sample: Sample,
    written: usize,
}

/// A good history with so many writes and reads.
pub(super) fn good(seed: u64, writes: usize, reads: usize) -> Sample {
    let header = Header::sample(seed, &["master", "secondary-1", "secondary-2"]);
    let sample = Sample { header, writes: Vec::new(), reads: Vec::new(), finals: Vec::new(), not_back: None };
    let mut play = Play {
        random: Random::new(seed),
        now: 0,
        log: Vec::new(),
        next_id: 1,
        shown: [0; NODES],
        everywhere: 0,
        open: Vec::new(),
        reading: Vec::new(),
        sample,
        written: 0,
    };
    let mut read = 0;
    while play.written < writes || read < reads || !play.open.is_empty() || !play.reading.is_empty() {
        play.now += 10;
        match play.random.below(8) {
            0 if play.written < writes => play.begin_write(),
            1 if read < reads => {
                play.begin_read();
                read += 1;
            }
            2 | 3 => play.decide(),
            4 => play.answer_writer(),
            5 => play.serve(),
            6 => play.answer_reader(),
            _ => play.learn(),
        }
    }
    play.sample.finals = (0..NODES).map(|node| Final { node, entries: play.log.clone() }).collect();
    play.sample
}

impl Play {
    fn begin_write(&mut self) {
        let number = self.written;
        self.written += 1;
        let messages = if self.random.one_in(4) { 3 } else { 1 };
        let ending = match self.random.below(6) {
            0..=2 => Ending::Committed,
            3 => Ending::Refused,
            4 => Ending::UnknownAndThere,
            _ => Ending::UnknownAndNot,
        };
        let write = Write {
            client: format!("writer-{}", number % 3),
            call: self.now,
            returned: self.now,
            texts: (0..messages).map(|part| format!("t {number}/{part}").into()).collect(),
            w: self.random.one_of(&[None, Some("all".to_owned()), Some("1".to_owned())]),
            timeout: None,
            key: self.random.one_in(2).then(|| format!("key-{number}")),
            outcome: Outcome::Unknown { gave_up: false, why: "no answer".to_owned() },
        };
        self.open.push(Open { write, first: None, ending, is_retry: false });
    }

    /// The next write in line gets its ids and is in the log; or a refused one leaves a gap.
    fn decide(&mut self) {
        let Some(index) = self.random.index_in(&self.open) else { return };
        let open = &mut self.open[index];
        if open.first.is_some() || open.ending == Ending::UnknownAndNot {
            return;
        }
        open.first = Some(self.next_id);
        for text in &open.write.texts {
            if open.ending != Ending::Refused {
                self.log.push((self.next_id, text.clone()));
            }
            self.next_id += 1;
        }
        self.shown[0] = self.log.len();
    }

    fn answer_writer(&mut self) {
        let Some(index) = self.random.index_in(&self.open) else { return };
        if self.open[index].first.is_none() && self.open[index].ending != Ending::UnknownAndNot {
            return;
        }
        let Open { mut write, first, ending, is_retry } = self.open.swap_remove(index);
        write.returned = self.now;
        match (ending, first) {
            (Ending::Committed, Some(first)) => {
                let is_everywhere = write.w.as_deref() != Some("1") && !is_retry;
                let copies = if is_everywhere { NODES as u64 } else { 1 };
                write.outcome = Outcome::Committed { first, copies, in_time: true, replayed: is_retry };
                if is_everywhere {
                    let last = first + write.texts.len() as u64 - 1;
                    self.everywhere = self.everywhere.max(self.log.partition_point(|(id, _)| *id <= last));
                }
            }
            (Ending::Refused, _) => {
                write.outcome = Outcome::Refused { status: Some(502), why: "refused".to_owned() };
            }
            _ => self.retry(&write, first),
        }
        self.sample.writes.push(write);
    }

    /// A writer with a key asks again: its write is in the log, or it is refused now, and the earlier attempt with it.
    fn retry(&mut self, write: &Write, first: Option<u64>) {
        if write.key.is_some() && self.random.one_in(2) {
            let write = Write { call: self.now + 5, ..write.clone() };
            let ending = if first.is_some() { Ending::Committed } else { Ending::Refused };
            self.open.push(Open { write, first, ending, is_retry: true });
        }
    }

    fn begin_read(&mut self) {
        let read = Read {
            client: "reader".to_owned(),
            call: self.now,
            returned: self.now,
            node: self.random.index(NODES),
            how: self.random.one_of(&ReadMode::ALL),
            from: 1 + self.random.below(self.next_id),
            limit: self.random.one_in(3).then(|| 1 + self.random.below(3)),
            stale: false,
            failed: None,
            entries: Vec::new(),
        };
        self.reading.push((read, false));
    }

    fn serve(&mut self) {
        let Some(index) = self.random.index_in(&self.reading) else { return };
        let (read, is_served) = &mut self.reading[index];
        if *is_served {
            return;
        }
        *is_served = true;
        let shown = &mut self.shown[read.node];
        match read.how {
            ReadMode::Strong => *shown = self.log.len(),
            ReadMode::Usual if self.random.one_in(4) => read.stale = true,
            ReadMode::Usual => *shown = (*shown).max(self.everywhere),
            ReadMode::Prefix | ReadMode::Follow => {}
        }
        let entries = self.log[..*shown].iter().filter(|(id, _)| *id >= read.from);
        read.entries = entries.take(read.limit.map_or(usize::MAX, |limit| limit as usize)).cloned().collect();
    }

    fn answer_reader(&mut self) {
        let Some(index) = self.random.index_in(&self.reading) else { return };
        if self.reading[index].1 {
            let (mut read, _) = self.reading.swap_remove(index);
            read.returned = self.now;
            self.sample.reads.push(read);
        }
    }

    fn learn(&mut self) {
        let node = self.random.index(NODES);
        let ahead = self.log.len() - self.shown[node];
        self.shown[node] += usize::try_from(self.random.below(ahead as u64 + 1)).unwrap();
    }
}
