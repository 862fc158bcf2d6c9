//! A history from its file, whole and without contradictions in itself, or a sentence that says what is wrong with it.

use super::format::{End, Fault, Final, Header, Line, Outcome, Read, Text, VERSION, Write};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

/// A history in memory. Everything has the number of its line, from 1.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) header: Header,
    pub(crate) writes: Vec<(usize, Write)>,
    pub(crate) reads: Vec<(usize, Read)>,
    pub(crate) faults: Vec<(usize, Fault)>,
    pub(crate) finals: Vec<(usize, Final)>,
    pub(crate) end: End,
}

/// Reads a file. The error is a sentence.
pub(crate) fn read(path: &Path) -> Result<History, String> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| format!("{shown} cannot be opened: {error}"))?;
    parse(BufReader::new(file)).map_err(|why| format!("{shown} is no whole history: {why}"))
}

/// Reads lines.
pub(crate) fn parse(lines: impl BufRead) -> Result<History, String> {
    let mut lines = lines.lines().enumerate().map(|(index, line)| (index + 1, line));
    let (mut reader, mut last) = (begin(lines.next())?, 1);
    for (number, line) in lines {
        let at = |why: String| format!("line {number}: {why}");
        let line = line.map_err(|error| at(format!("it cannot be read: {error}")))?;
        if reader.end.is_some() {
            return Err(at("it comes after the last line; this file was changed or put together".to_owned()));
        }
        let line = serde_json::from_str(&line).map_err(|error| at(misunderstood(&error)))?;
        reader.take(number, line).map_err(at)?;
        last = number;
    }
    reader.finish(last)
}

fn begin(first: Option<(usize, std::io::Result<String>)>) -> Result<Reader, String> {
    let (_, line) = first.ok_or("it is empty")?;
    let line = line.map_err(|error| match error.kind() {
        ErrorKind::InvalidData => "it is no text; if it is compressed, unpack it first".to_owned(),
        _ => format!("it cannot be read: {error}"),
    })?;
    match serde_json::from_str::<Line>(&line) {
        Ok(Line::Header(header)) if header.version != VERSION => {
            Err(format!("its version is {}; this program reads version {VERSION}", header.version))
        }
        Ok(Line::Header(header)) if header.nodes.is_empty() => Err("its header names no node".to_owned()),
        Ok(Line::Header(header)) => Ok(Reader::new(header)),
        _ => Err("its first line is no header; it was not written by `test_client torture`".to_owned()),
    }
}

/// Why a line is none of a history.
fn misunderstood(error: &serde_json::Error) -> String {
    let column = error.column();
    if error.is_eof() {
        return format!("it ends in the middle, after {column} bytes; the file was cut off there");
    }
    let said = error.to_string();
    let why = said.split(" at line ").next().unwrap_or_default();
    format!("it is no line of a history: {why} (column {column}); the file was damaged or changed")
}

/// What was read so far.
struct Reader {
    /// Its end is not known before `end` is.
    history: History,
    end: Option<End>,
    /// All texts, each once.
    texts: HashSet<Text>,
    /// The line that wrote a text first, and its key.
    written: HashMap<Text, (usize, Option<String>)>,
    /// The texts of a key.
    keys: HashMap<String, Vec<Text>>,
}

impl Reader {
    fn new(header: Header) -> Reader {
        let (writes, reads, faults, finals) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let end = End { at: 0, not_back: None, lines: 0 };
        let history = History { header, writes, reads, faults, finals, end };
        Reader { history, end: None, texts: HashSet::new(), written: HashMap::new(), keys: HashMap::new() }
    }

    fn take(&mut self, number: usize, line: Line) -> Result<(), String> {
        match line {
            Line::Header(_) => return Err("a second header; this file was put together from others".to_owned()),
            Line::Write(mut write) => {
                self.check_write(number, &mut write)?;
                self.history.writes.push((number, write));
            }
            Line::Read(mut read) => {
                self.node(read.node)?;
                in_time(read.call, read.returned)?;
                read.entries.iter_mut().for_each(|(_, text)| self.share(text));
                self.history.reads.push((number, read));
            }
            Line::Fault(fault) => {
                fault.nodes.iter().try_for_each(|node| self.node(*node))?;
                in_time(fault.begin, fault.end)?;
                self.history.faults.push((number, fault));
            }
            Line::Final(mut shown) => {
                self.node(shown.node)?;
                if self.history.finals.iter().any(|(_, earlier)| earlier.node == shown.node) {
                    return Err("a second final log of one node".to_owned());
                }
                shown.entries.iter_mut().for_each(|(_, text)| self.share(text));
                self.history.finals.push((number, shown));
            }
            Line::End(end) => self.end = Some(end),
        }
        Ok(())
    }

    fn node(&self, node: usize) -> Result<(), String> {
        if node < self.history.header.nodes.len() { Ok(()) } else { Err(format!("there is no node {node}")) }
    }

    /// Makes a text share its memory with those that are equal.
    fn share(&mut self, text: &mut Text) {
        match self.texts.get(text) {
            Some(known) => text.clone_from(known),
            None => drop(self.texts.insert(text.clone())),
        }
    }

    /// One text is written once, by one write; attempts at that have one key.
    fn check_write(&mut self, number: usize, write: &mut Write) -> Result<(), String> {
        in_time(write.call, write.returned)?;
        write.texts.iter_mut().for_each(|text| self.share(text));
        let Write { texts, key, outcome, .. } = write;
        if texts.is_empty() {
            return Err("a write of nothing".to_owned());
        }
        if let Outcome::Committed { first, .. } = outcome
            && first.checked_add(texts.len() as u64).is_none()
        {
            return Err(format!("{first} is no id"));
        }
        for text in &*texts {
            let (line, earlier) = self.written.entry(text.clone()).or_insert_with(|| (number, key.clone()));
            if *line != number && (key.is_none() || earlier != key) {
                return Err(format!("line {line} wrote the same text, and it is not the same write"));
            }
        }
        if let Some(key) = &key
            && self.keys.entry(key.clone()).or_insert_with(|| texts.clone()) != texts
        {
            return Err(format!("the key {key} was used for other texts"));
        }
        Ok(())
    }

    fn finish(mut self, last: usize) -> Result<History, String> {
        let Some(end) = self.end else {
            return Err(format!("it ends after line {last} without its last line, so it was cut off"));
        };
        if end.lines != last {
            return Err(format!("it has {last} lines and had {}", end.lines));
        }
        self.history.end = end;
        let History { header, finals, end, .. } = &self.history;
        let is_missing = |node: &usize| !finals.iter().any(|(_, shown)| shown.node == *node);
        match (0..header.nodes.len()).find(is_missing) {
            Some(node) if end.not_back.is_none() => Err(format!(
                "it lacks the log of {} in the end, and does not say why; this file was changed",
                header.nodes[node]
            )),
            _ => Ok(self.history),
        }
    }
}

fn in_time(begin: u64, end: u64) -> Result<(), String> {
    if begin <= end { Ok(()) } else { Err(format!("it ended at {end} before it began at {begin}")) }
}
