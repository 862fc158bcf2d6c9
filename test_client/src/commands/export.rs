//! `test_client export` and `import`: a log as a file of lines, and such a file into a log.
//!
//! An export is what one node shows at one time, a message a line, as JSON. An import posts lines in batches, each
//! under an idempotency key made of a name and its position in the file: after any failure it can run again, and writes
//! nothing twice. It does not keep the ids and times of the file, because the master assigns its own.

use crate::api::Address;
use crate::api::{Client, Failure, Kind, Message};
use crate::api::{Copies, WriteOptions, parse_key};
use crate::exit::Exit;
use crate::output::{STRONG, Terminal, count};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most messages of a batch, and the most bytes of text, unless one message has more.
const BATCH_MESSAGES_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How long the master waits for missing nodes before it refuses a batch.
const BATCH_WAIT: Duration = Duration::from_secs(30);

/// The status of a key that belongs to another write.
const KEY_OF_ANOTHER: u16 = 422;

/// What to export.
#[derive(Args, Debug)]
pub(crate) struct ExportOptions {
    /// The file; it must not exist
    file: PathBuf,
    /// Address of the node [default: the master]
    url: Option<Address>,
    /// Begin with this id
    #[arg(long, value_name = "ID", default_value_t = 1)]
    from: u64,
}

/// What to import.
#[derive(Args, Debug)]
pub(crate) struct ImportOptions {
    /// The file: a message a line, as JSON, as `export` writes it or as bare strings
    file: PathBuf,
    /// Name of the import in its idempotency keys [default: the name of the file]. Under the same name, nothing is
    /// written twice, and a file that has changed since is refused
    #[arg(long, value_name = "NAME", value_parser = parse_key)]
    name: Option<String>,
    /// How many nodes must have each message, the master included
    #[arg(long = "w", value_name = "COPIES")]
    copies: Option<Copies>,
}

/// Writes what a node shows into a file.
pub(crate) fn export(client: &Client, terminal: &mut Terminal, options: &ExportOptions) -> io::Result<Exit> {
    let (node, file) = (options.url.as_ref().unwrap_or(client.master()), &options.file);
    if file.exists() || file == Path::new("-") {
        return terminal.refuse(&format!("{} exists, or is no file: choose the name of a new file", file.display()));
    }
    let begin = || {
        let health = client.health(node)?.value;
        let expected = health.message_count.min(health.last.saturating_sub(options.from.saturating_sub(1)));
        Ok::<_, Failure>((client.export(node, options.from)?, progress(expected, "exported")))
    };
    let (lines, bar) = match begin() {
        Ok(begun) => begun,
        Err(failure) => return failure.report(terminal),
    };
    let unfinished = PathBuf::from(format!("{}.part", file.display()));
    let saved = save(lines, &unfinished, &bar).and_then(|messages| fs::rename(&unfinished, file).map(|()| messages));
    bar.finish_and_clear();
    let messages = match saved {
        Ok(messages) => messages,
        Err(error) => {
            let _ = fs::remove_file(&unfinished);
            let why = format!("the export was cut off: {error}");
            return Failure::new(Kind::Unreachable, why).report(terminal);
        }
    };
    let what = count(messages, "message", "messages");
    terminal.line(format_args!("{STRONG}{what}{STRONG:#} of {node} written to {}", file.display()))?;
    terminal.document(json!({ "messages": messages, "file": file }).to_string().as_bytes())?;
    Ok(Exit::Success)
}

fn save(lines: impl BufRead, file: &Path, bar: &ProgressBar) -> io::Result<u64> {
    let mut out = BufWriter::new(File::create(file)?);
    let mut messages = 0;
    for line in lines.lines() {
        let line = line?;
        serde_json::from_str::<Message>(&line)?;
        writeln!(out, "{line}")?;
        messages += 1;
        bar.inc(1);
    }
    out.into_inner()?.sync_all()?;
    Ok(messages)
}

/// Appends the messages of a file.
pub(crate) fn import(client: &Client, terminal: &mut Terminal, options: &ImportOptions) -> io::Result<Exit> {
    let file = &options.file;
    if file == Path::new("-") {
        return terminal
            .refuse("an import needs a file, because it reads it twice. For the standard input, use post --lines");
    }
    // Read twice: if anything in the file is wrong, nothing is sent.
    let checked = options.name.clone().map_or_else(|| key_of(file), Ok).and_then(|name| Ok((name, check(file)?)));
    let (name, lines) = match checked {
        Ok(checked) => checked,
        Err(why) => return terminal.refuse(&why),
    };
    let bar = progress(lines, "imported");
    let mut done = 0;
    for batch in Batches::open(file)? {
        let batch = batch.map_err(io::Error::other)?;
        let asked = WriteOptions { copies: options.copies, ..WriteOptions::default() };
        let asked = asked.waiting(BATCH_WAIT).named(&format!("{name}:{}", done + 1));
        if let Err(failure) = client.post_batch(batch.iter().map(String::as_str), &asked) {
            bar.abandon();
            let advice = if failure.status == Some(KEY_OF_ANOTHER) {
                "Another file was imported under this name, or this one has changed since: give it another --name."
            } else {
                "Remove the cause and run it again: a line that is in the log is not written twice."
            };
            terminal.complain(format_args!("the master took {done} of {lines} lines: {failure}\n{advice}"));
            terminal
                .document(json!({ "lines": lines, "imported": done, "failure": failure }).to_string().as_bytes())?;
            return Ok(failure.kind.exit());
        }
        done += batch.len() as u64;
        bar.set_position(done);
    }
    bar.finish_and_clear();
    let what = count(done, "line", "lines");
    terminal.line(format_args!("{STRONG}{what}{STRONG:#} of {} are in the log", file.display()))?;
    terminal.document(json!({ "lines": lines, "imported": done }).to_string().as_bytes())?;
    Ok(Exit::Success)
}

/// The first part of the keys of a file.
fn key_of(file: &Path) -> Result<String, String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    // The number of a line follows.
    parse_key(&name).ok().filter(|name| name.len() <= 100).ok_or_else(|| {
        format!(
            "\"{name}\" cannot be part of an idempotency key; give the import a --name of letters, digits and - . _ ~"
        )
    })
}

/// Counts the lines of a file, each of which must be a message.
fn check(file: &Path) -> Result<u64, String> {
    let batches = Batches::open(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let mut lines = 0;
    for batch in batches {
        lines += batch?.len() as u64;
    }
    if lines == 0 { Err(format!("{} is empty", file.display())) } else { Ok(lines) }
}

/// A line of a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum InputLine {
    Text(String),
    Object { message: String },
}

/// The messages of a file, in batches.
struct Batches {
    lines: io::Lines<BufReader<File>>,
    number: u64,
    /// A message that did not fit into the last batch.
    next: Option<String>,
}

impl Batches {
    fn open(file: &Path) -> io::Result<Batches> {
        Ok(Batches { lines: BufReader::new(File::open(file)?).lines(), number: 0, next: None })
    }

    fn read(&mut self) -> Option<Result<String, String>> {
        let line = self.lines.next()?;
        self.number += 1;
        let read = line.map_err(|error| error.to_string()).and_then(|line| {
            serde_json::from_str(&line).map_err(|error| format!("it is no message in JSON ({error})"))
        });
        Some(match read {
            Ok(InputLine::Text(message) | InputLine::Object { message }) => Ok(message),
            Err(why) => Err(format!("line {}: {why}; nothing was sent", self.number)),
        })
    }
}

impl Iterator for Batches {
    type Item = Result<Vec<String>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch: Vec<String> = self.next.take().into_iter().collect();
        let mut bytes: usize = batch.iter().map(String::len).sum();
        while batch.len() < BATCH_MESSAGES_MAX {
            match self.read() {
                Some(Ok(message)) if batch.is_empty() || bytes + message.len() <= BATCH_BYTES_MAX => {
                    bytes += message.len();
                    batch.push(message);
                }
                Some(Ok(message)) => {
                    self.next = Some(message);
                    break;
                }
                Some(Err(why)) => return Some(Err(why)),
                None => break,
            }
        }
        (!batch.is_empty()).then_some(Ok(batch))
    }
}

/// A bar on a terminal, and nothing elsewhere.
fn progress(length: u64, done: &str) -> ProgressBar {
    let template = format!("{{bar:30.cyan}} {{human_pos}} of {{human_len}} {done}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).expect("the template is a constant");
    ProgressBar::new(length).with_style(style)
}
