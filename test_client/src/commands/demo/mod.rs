//! `test_client demo`: the whole story, told step by step, with every claim checked.
//!
//! A step either goes on, records a violation and goes on, or stops the story because nothing after it would make
//! sense. Whatever happens, the secondary that does not exist is removed again: as long as it is registered, the master
//! refuses every message.

mod report;

use crate::api::Address;
use crate::api::WriteOptions;
use crate::api::{Client, Failure, Kind, Messages};
use crate::cluster;
use crate::commands::post::{bars, milliseconds_since, show_secondaries};
use crate::exit::Exit;
use crate::output::{BAD, DIM, GOOD, NO_TICK, STRONG, Terminal, count, tick, visible};
use crate::scenario::rules::{self, Written};
use crate::scenario::{self, Stop};
use crate::wait::poll_briefly;
use report::{Comparison, RefusedReport, Report, WriteReport};
use serde_json::json;
use std::io;
use std::time::Instant;

/// The secondary that does not exist: its name, and an address where nothing listens. The name is the
/// demonstration's own, so whatever bears it is left over and may be removed.
const ABSENT: &str = "demo-absent";
const ABSENT_URL: &str = "http://127.0.0.1:9";

/// How often removing it is tried before the person is asked to do it.
const REMOVALS_MAX: usize = 3;

/// What is written while everything works.
const TEXTS: [&str; 3] = ["one log", "on every node", "in the same order"];

/// Tells the story and gives the verdict.
pub(crate) fn run(client: &Client, terminal: &mut Terminal, with_failure: bool) -> io::Result<Exit> {
    let mut story = Demonstration {
        client,
        terminal,
        tag: scenario::tag("demo"),
        steps: 0,
        nodes: Vec::new(),
        written: Vec::new(),
        report: Report::default(),
    };
    let stopped = match story.tell(with_failure) {
        Ok(()) => None,
        Err(Stop::Output(error)) => return Err(error),
        Err(Stop::Cluster(exit, sentence)) => Some((exit, sentence)),
    };
    let exit = story.report.settle(stopped);
    story.show_verdict(exit)?;
    story.terminal.document(json!(story.report).to_string().as_bytes())?;
    Ok(exit)
}

struct Demonstration<'a> {
    client: &'a Client,
    terminal: &'a mut Terminal,
    tag: String,
    /// How many steps have been told.
    steps: usize,
    /// The nodes that can be read from here, the master first.
    nodes: Vec<(String, Address)>,
    /// What was confirmed, oldest first.
    written: Vec<Written>,
    report: Report,
}

impl Demonstration<'_> {
    fn tell(&mut self, with_failure: bool) -> Result<(), Stop> {
        self.terminal.line(format_args!("{STRONG}A replicated log, demonstrated{STRONG:#}"))?;
        self.meet_the_nodes()?;
        self.write_while_all_is_well()?;
        self.explain_the_wait()?;
        self.title("The same log on every node")?;
        self.say("Every node is asked for all of its messages, and each must show what the master shows.")?;
        self.compare_the_logs()?;
        if !with_failure {
            self.report.skipped.push("the failure, as asked".to_owned());
            return Ok(());
        }
        self.title("A secondary that does not acknowledge")?;
        if self.provoke_a_failure()? {
            self.title("And everything works again")?;
            scenario::await_writable(self.client, self.terminal)?;
            self.write(&format!("all is well again ({})", self.tag))?;
            self.compare_the_logs()?;
        }
        Ok(())
    }

    // Step: who is there.

    fn meet_the_nodes(&mut self) -> Result<(), Stop> {
        self.title("Who is there")?;
        self.find_the_master()?;
        let writable = scenario::await_writable(self.client, self.terminal);
        let nodes = cluster::survey(self.client);
        cluster::show(self.terminal, &nodes)?;
        self.report.nodes = nodes.iter().map(cluster::document).collect();
        self.report.unread =
            nodes.iter().filter(|node| node.answer.is_err()).map(|node| node.server_id.clone()).collect();
        writable?;
        self.nodes = nodes.into_iter().filter_map(scenario::readable).collect();
        Ok(())
    }

    /// Makes sure that it is one, and that nothing is left over that would block it.
    fn find_the_master(&mut self) -> Result<(), Stop> {
        let health = scenario::find_the_master(self.client)?;
        if health.secondaries.iter().all(|listed| listed.server_id != ABSENT) {
            return Ok(());
        }
        self.terminal
            .line(format_args!("  {ABSENT} is left over from an earlier demonstration; it is removed first."))?;
        self.remove_absent()
    }

    // Step: write.

    fn write_while_all_is_well(&mut self) -> Result<(), Stop> {
        self.title("Three messages, one after the other")?;
        self.say("The master answers when every secondary has acknowledged, and not before.")?;
        for text in TEXTS {
            self.write(&format!("{text} ({})", self.tag))?;
        }
        for wrong in rules::out_of_order(&self.written) {
            self.violation(wrong)?;
        }
        Ok(())
    }

    /// Posts a message that must be committed.
    fn write(&mut self, text: &str) -> Result<(), Stop> {
        self.announce(text)?;
        let secondaries = self.secondaries()?;
        let begun = Instant::now();
        let outcome = self.client.post(text, &WriteOptions::default());
        let waited_ms = milliseconds_since(begun);
        if let Err(failure) = &outcome {
            show_secondaries(self.terminal, failure)?;
        }
        let posted = outcome?.value;
        self.terminal.bars(&bars(&posted.copies, waited_ms))?;
        let holders = count(posted.copies.replicated_to, "secondary", "secondaries");
        self.terminal.mark(true, format_args!("message {}, held by the master and {holders}", posted.message_id))?;
        for wrong in rules::confirmed_too_early(&posted, waited_ms, &secondaries) {
            self.violation(wrong)?;
        }
        self.written.push(Written { id: posted.message_id, text: text.to_owned() });
        self.report.writes.push(WriteReport::new(text, &posted, waited_ms));
        Ok(())
    }

    fn announce(&mut self, text: &str) -> io::Result<()> {
        self.terminal.gap()?;
        self.terminal.line(format_args!("  POST {STRONG}\"{text}\"{STRONG:#}"))
    }

    /// The names of the secondaries at this moment, as the master knows them.
    fn secondaries(&self) -> Result<Vec<String>, Stop> {
        let health = self.client.health(self.client.master())?.value;
        Ok(health.secondaries.into_iter().map(|listed| listed.server_id).collect())
    }

    // Step: what the wait means.

    fn explain_the_wait(&mut self) -> Result<(), Stop> {
        let writes = &self.report.writes;
        let Some((slowest, ms, one_by_one)) = typical_wait(writes) else {
            return Ok(());
        };
        let waited = writes.iter().map(|write| write.waited_ms).sum::<u64>() / writes.len() as u64;
        self.title("What the wait means")?;
        self.say(&format!(
            "On average you waited {waited} ms. The slowest secondary was {}: {ms} ms.",
            visible(&slowest)
        ))?;
        self.say(&format!("Asked one after the other, the secondaries would have taken {one_by_one} ms: the sum."))?;
        self.say("The master asks all of them at once, so the slowest alone decides.")
    }

    // Step: compare.

    /// Reads every node, and checks that all show what the master shows, and that this includes what was written.
    fn compare_the_logs(&mut self) -> Result<(), Stop> {
        let through = self.written.last().map_or(0, |written| written.id);
        let readings = self.read_every_node(through)?;
        self.terminal.gap()?;
        self.show_matrix(&readings)?;
        let Some((_, master)) = readings.first() else {
            return Ok(());
        };
        let mut wrong = rules::lost(master, &self.written);
        for (server_id, shown) in &readings {
            let difference = rules::difference(master, shown, through);
            wrong.extend(difference.iter().map(|difference| format!("{server_id}: {difference}")));
            let messages = rules::count_up_to(shown, through);
            self.report.comparisons.push(Comparison { server_id: server_id.clone(), through, messages, difference });
        }
        if wrong.is_empty() {
            let messages = count(rules::count_up_to(master, through), "message", "messages");
            let finding = match readings.len() {
                1 => format!("the master shows {messages}, and these among them"),
                nodes => format!("{nodes} nodes show the same {messages}, in the same order"),
            };
            self.terminal.mark(true, finding)?;
        }
        for wrong in wrong {
            self.violation(wrong)?;
        }
        Ok(())
    }

    /// What each node shows. A secondary may learn a moment after the client that a message is committed, so it is
    /// asked until it shows what the client knows.
    fn read_every_node(&mut self, through: u64) -> Result<Vec<(String, Messages)>, Stop> {
        let mut readings = Vec::new();
        for (server_id, address) in &self.nodes {
            let read = || self.client.messages(address);
            let reading = poll_briefly(self.client.timeout(), read, |reading| match reading {
                Ok(reply) => rules::reaches(&reply.value, through),
                Err(_) => false,
            });
            let name = visible(server_id);
            readings.push((server_id.clone(), reading.map_err(|failure| scenario::unreadable(&name, &failure))?.value));
        }
        Ok(readings)
    }

    /// Our own messages, and which node shows them. The one that was refused must be shown by none.
    fn show_matrix(&mut self, readings: &[(String, Messages)]) -> io::Result<()> {
        let written = self.written.iter().map(|written| (written.id.to_string(), written.text.clone(), true));
        let refused = self.report.refused.as_ref().map(|refused| ("–".to_owned(), refused.message.clone(), false));
        let rows: Vec<(String, String, bool)> = written.chain(refused).collect();
        let names: Vec<String> = readings.iter().map(|(server_id, _)| visible(server_id)).collect();
        let ids = rows.iter().map(|(id, ..)| id.chars().count()).max().unwrap_or(0).max(2);
        let texts = rows.iter().map(|(_, text, _)| text.chars().count()).max().unwrap_or(0);
        self.terminal.line(format_args!(
            "  {DIM}{:>ids$}  {:<texts$}  {}{DIM:#}",
            "id",
            "message",
            names.join("  ")
        ))?;
        for (id, text, must_show) in rows {
            let columns = readings.iter().zip(&names);
            let cells: Vec<String> = columns
                .map(|((_, shown), name)| cell(rules::shows(shown, &text), must_show, name.chars().count()))
                .collect();
            let cells = cells.join("  ");
            // The spaces of the last column matter only if something follows it.
            let cells = if must_show { cells.trim_end().to_owned() } else { format!("{cells}  {DIM}refused{DIM:#}") };
            self.terminal.line(format_args!("  {id:>ids$}  {text:<texts$}  {cells}"))?;
        }
        Ok(())
    }

    // Step: the failure.

    /// Makes the master wait for a secondary that does not exist. Gives back whether it got that far.
    fn provoke_a_failure(&mut self) -> Result<bool, Stop> {
        self.say(&format!("{ABSENT} is registered at {ABSENT_URL}, where nothing listens."))?;
        let registered = self.client.register(ABSENT_URL, ABSENT);
        if let Err(failure @ Failure { kind: Kind::Refused, .. }) = &registered {
            let why = format!("the failure, because the master registers no secondaries: {failure}");
            self.terminal.line(format_args!("  Left out: {why}"))?;
            self.report.skipped.push(why);
            return Ok(false);
        }
        // From here on it may be registered, even if the answer was lost.
        let told = registered.map_err(Stop::from).and_then(|()| self.write_what_must_be_refused());
        let removed = self.remove_absent();
        told.and(removed).map(|()| true)
    }

    fn write_what_must_be_refused(&mut self) -> Result<(), Stop> {
        let text = format!("this must not appear ({})", self.tag);
        self.announce(&text)?;
        let begun = Instant::now();
        let outcome = self.client.post(&text, &WriteOptions::default());
        let waited_ms = milliseconds_since(begun);
        match outcome {
            Err(failure @ Failure { kind: Kind::Refused, .. }) => self.show_refusal(text, waited_ms, failure),
            Err(failure) => Err(failure.into()),
            Ok(reply) => {
                let id = reply.value.message_id;
                self.violation(format!("message {id} was confirmed although {ABSENT} cannot have acknowledged it"))
            }
        }
    }

    fn show_refusal(&mut self, message: String, waited_ms: u64, failure: Failure) -> Result<(), Stop> {
        let status = failure.status.map_or_else(String::new, |status| format!("{status}: "));
        self.terminal.line(format_args!("    {BAD}{status}{BAD:#}{failure} {DIM}({waited_ms} ms){DIM:#}"))?;
        show_secondaries(self.terminal, &failure)?;
        if failure.message_id.is_none() {
            self.say("The master knew beforehand that not all would acknowledge, so it asked nobody.")?;
        }
        self.terminal.mark(true, "refused, as it must be: a message is on every node or on none")?;
        if failure.secondaries.iter().any(|part| part.server_id == ABSENT && part.acknowledged) {
            self.violation(format!("{ABSENT} is said to have acknowledged, and it does not exist"))?;
        }
        self.report.refused = Some(RefusedReport { message, waited_ms, failure });
        self.check_that_nobody_shows_it()
    }

    fn check_that_nobody_shows_it(&mut self) -> Result<(), Stop> {
        let Some(text) = self.report.refused.as_ref().map(|refused| refused.message.clone()) else {
            return Ok(());
        };
        let readings = self.read_every_node(0)?;
        let observation: Vec<_> = readings.iter().filter(|(_, shown)| rules::shows(shown, &text)).collect();
        if observation.is_empty() {
            let nodes = count(readings.len(), "node was", "nodes were");
            self.terminal.mark(true, format_args!("no node shows it ({nodes} asked)"))?;
        }
        for (server_id, _) in observation {
            self.violation(format!("{server_id} shows the message that was refused"))?;
        }
        Ok(())
    }

    /// Removes the secondary that does not exist. If that is impossible, the person has to: the log is blocked.
    fn remove_absent(&mut self) -> Result<(), Stop> {
        let remove = || match self.client.remove(ABSENT) {
            // It is not there, and that was the wish.
            Err(Failure { status: Some(404), .. }) => Ok(()),
            outcome => outcome,
        };
        let outcome = (1..REMOVALS_MAX).fold(remove(), |outcome, _| outcome.or_else(|_| remove()));
        let Err(failure) = outcome else {
            self.terminal.mark(true, format_args!("{ABSENT} is removed again"))?;
            return Ok(());
        };
        self.report.absent_still_registered = true;
        let url = self.client.removal_url(ABSENT);
        anstream::eprintln!(
            "{BAD}{ABSENT} IS STILL REGISTERED, and until it is removed the master refuses every message.{BAD:#}\n\
             Removing it failed: {failure}\n\
             Please remove it yourself: curl -X DELETE {url}"
        );
        Err(Stop::Cluster(failure.kind.exit(), format!("{ABSENT} could not be removed: {failure}")))
    }

    // The end.

    fn show_verdict(&mut self, exit: Exit) -> io::Result<()> {
        self.terminal.gap()?;
        let report = &self.report;
        for skipped in &report.skipped {
            self.terminal.line(format_args!("{DIM}Left out: {skipped}.{DIM:#}"))?;
        }
        if !report.unread.is_empty() {
            let unread = visible(&report.unread.join(", "));
            self.terminal.line(format_args!("{BAD}Not seen:{BAD:#} {unread} could not be read from here."))?;
        }
        if let Some(stopped) = &report.stopped {
            self.terminal.line(format_args!("{BAD}Stopped:{BAD:#} {stopped}."))?;
        }
        let violations = &report.violations;
        for violation in violations {
            self.terminal.line(format_args!("{BAD}Broken:{BAD:#} {}.", visible(violation)))?;
        }
        match exit {
            Exit::Success => self.terminal.line(format_args!("{GOOD}Everything held.{GOOD:#}")),
            Exit::Broken => {
                let promises = count(violations.len(), "promise was", "promises were");
                self.terminal.line(format_args!("{BAD}{promises} broken.{BAD:#}"))
            }
            _ if report.stopped.is_some() => self.terminal.line("The story was not told to its end."),
            _ => self.terminal.line("What was seen held, but not everything could be seen."),
        }
    }

    fn title(&mut self, title: &str) -> Result<(), Stop> {
        self.terminal.gap()?;
        self.steps += 1;
        Ok(self.terminal.line(format_args!("{STRONG}{}. {title}{STRONG:#}", self.steps))?)
    }

    fn say(&mut self, sentence: &str) -> Result<(), Stop> {
        Ok(self.terminal.line(format_args!("  {sentence}"))?)
    }

    /// Records what must not be, and shows it where it happened.
    fn violation(&mut self, sentence: String) -> Result<(), Stop> {
        self.terminal.mark(false, format_args!("{BAD}{}{BAD:#}", visible(&sentence)))?;
        // A later step may come across the same one.
        if !self.report.violations.contains(&sentence) {
            self.report.violations.push(sentence);
        }
        Ok(())
    }
}

/// The secondary that was slowest most recently, how long the slowest took on average, and how long all of them
/// together did. Nothing if the master does not tell, or there is none.
fn typical_wait(writes: &[WriteReport]) -> Option<(String, u64, u64)> {
    let slowest = writes.last()?.slowest()?.server_id.clone();
    let average = |of_one: fn(&WriteReport) -> u64| writes.iter().map(of_one).sum::<u64>() / writes.len() as u64;
    let longest = average(|write| write.slowest().map_or(0, |ack| ack.ms));
    let sum = average(|write| write.acks.iter().map(|ack| ack.ms).sum());
    Some((slowest, longest, sum))
}

/// A mark in the middle of a column.
fn cell(shown: bool, must_show: bool, width: usize) -> String {
    let mark = match (shown, must_show) {
        (false, false) => format!("{DIM}{NO_TICK}{DIM:#}"),
        (shown, must_show) => tick(shown == must_show),
    };
    let before = width.saturating_sub(1) / 2;
    let after = width.saturating_sub(1) - before;
    format!("{}{mark}{}", " ".repeat(before), " ".repeat(after))
}
