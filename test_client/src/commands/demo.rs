//! `test_client demo`: shows what a replicated log does, step by step, and checks every claim.
//!
//! A step goes on after a violation, and stops the demonstration if nothing after it would make sense. The
//! demonstration always tries to remove the secondary that does not exist: as long as it is registered, the master
//! refuses every message.

use super::post::{bars, show_secondaries};
use crate::api::{Ack, Address, Client, Failure, Kind, Messages, WriteOptions};
use crate::cluster;
use crate::exit::Exit;
use crate::output::{BAD, DIM, STRONG, Terminal, count, visible};
use crate::scenario::reporter::Reporter;
use crate::scenario::rules::{self, Written};
use crate::scenario::{self, Stop};
use crate::wait::{milliseconds_since, poll_briefly};
use serde::Serialize;
use serde_json::{Value, json};
use std::io;
use std::time::Instant;

/// For how many seconds a secondary that is made to fail does so at most.
const FAULT_S: u64 = 30;
/// The secondary that does not exist: its name, and an address where nothing listens. No other program uses the name,
/// so a secondary that bears it is left over from an earlier demonstration and may be removed.
const ABSENT: &str = "demo-absent";
const ABSENT_URL: &str = "http://127.0.0.1:9";

/// How often the demonstration tries to remove it before it asks the user to.
const REMOVALS_MAX: usize = 3;

/// The messages of the first step.
const TEXTS: [&str; 3] = ["one log", "on every node", "in the same order"];

const FAILURE: &str = "A secondary that does not acknowledge";

/// Plays the demonstration and gives the verdict.
pub(crate) fn run(client: &Client, terminal: &mut Terminal, with_failure: bool) -> io::Result<Exit> {
    let mut demonstration = Demonstration {
        client,
        reporter: Reporter::new(terminal),
        tag: scenario::tag("demo"),
        nodes: Vec::new(),
        written: Vec::new(),
        report: Report::default(),
    };
    let (stop, stopped) = Stop::reason(demonstration.play(with_failure))?.unzip();
    demonstration.settle(stop, stopped)
}

struct Demonstration<'a> {
    client: &'a Client,
    reporter: Reporter<'a>,
    tag: String,
    /// The nodes that can be read from here, the master first.
    nodes: Vec<(String, Address)>,
    /// The committed messages, oldest first.
    written: Vec<Written>,
    report: Report,
}

/// The document for scripts.
#[derive(Default, Serialize)]
struct Report {
    /// Whether every step was played, and every check held.
    held: bool,
    exit_code: u8,
    violations: Vec<String>,
    /// Why the demonstration ended early.
    stopped: Option<String>,
    /// The parts that were left out, and why.
    skipped: Vec<String>,
    /// Nodes that could not be read from here, so that their logs were not compared.
    unread: Vec<String>,
    /// Whether the secondary that does not exist is still registered, which blocks every write.
    absent_still_registered: bool,
    /// The nodes at the beginning.
    nodes: Vec<Value>,
    /// Every message that was committed.
    writes: Vec<WriteReport>,
    /// Every comparison of a node's log with the master's.
    comparisons: Vec<Value>,
    /// The message that had to be refused.
    refused: Option<Value>,
}

/// A message that was committed.
#[derive(Serialize)]
struct WriteReport {
    message: String,
    message_id: u64,
    /// The time until the answer, as this program measured it.
    waited_ms: u64,
    acks: Vec<Ack>,
}

impl WriteReport {
    /// The acknowledgement that took longest.
    fn slowest(&self) -> Option<&Ack> {
        self.acks.iter().max_by_key(|ack| ack.ms)
    }
}

impl Demonstration<'_> {
    fn play(&mut self, with_failure: bool) -> Result<(), Stop> {
        self.reporter.terminal.line(format_args!("{STRONG}A replicated log, demonstrated{STRONG:#}"))?;
        self.meet_the_nodes()?;
        self.write_while_all_is_well()?;
        self.explain_the_wait()?;
        self.reporter.begin("The same log on every node")?;
        self.reporter.say("The client reads all messages of every node. Each must show what the master shows.")?;
        self.compare_the_logs()?;
        if !with_failure {
            return self.skip("the failure, as asked");
        }
        if self.provoke_a_failure()? {
            self.reporter.begin("Writes succeed again")?;
            scenario::await_writable(self.client, self.reporter.terminal)?;
            self.write(&format!("all is well again ({})", self.tag))?;
            self.compare_the_logs()?;
        }
        Ok(())
    }

    fn skip(&mut self, why: &str) -> Result<(), Stop> {
        self.report.skipped.push(why.to_owned());
        Ok(self.reporter.leave_out(FAILURE, why)?)
    }

    // Step: the nodes.

    fn meet_the_nodes(&mut self) -> Result<(), Stop> {
        self.reporter.begin("The nodes")?;
        let health = scenario::find_the_master(self.client)?;
        if health.secondaries.iter().any(|listed| listed.server_id == ABSENT) {
            self.reporter.say(&format!("{ABSENT} is left over from an earlier demonstration. It is removed first."))?;
            self.remove_absent()?;
        }
        let writable = scenario::await_writable(self.client, self.reporter.terminal);
        let nodes = cluster::survey(self.client);
        cluster::show(self.reporter.terminal, &nodes)?;
        self.report.nodes = nodes.iter().map(cluster::document).collect();
        self.report.unread =
            nodes.iter().filter(|node| node.answer.is_err()).map(|node| node.server_id.clone()).collect();
        writable?;
        self.nodes = nodes.into_iter().filter_map(scenario::readable).collect();
        Ok(())
    }

    // Step: write.

    fn write_while_all_is_well(&mut self) -> Result<(), Stop> {
        self.reporter.begin("Three messages, one after the other")?;
        self.reporter.say("The master answers when every secondary has acknowledged, and not before.")?;
        for text in TEXTS {
            self.write(&format!("{text} ({})", self.tag))?;
        }
        self.violations(rules::out_of_order(&self.written))
    }

    /// Posts a message that must be committed.
    fn write(&mut self, text: &str) -> Result<(), Stop> {
        self.announce(text)?;
        let secondaries = self.client.health(self.client.master())?.value.secondaries;
        let names: Vec<String> = secondaries.into_iter().map(|listed| listed.server_id).collect();
        let begun = Instant::now();
        let outcome = self.client.post(text, &WriteOptions::default());
        let waited_ms = milliseconds_since(begun);
        if let Err(failure) = &outcome {
            show_secondaries(self.reporter.terminal, failure)?;
        }
        let posted = outcome?.value;
        self.reporter.terminal.bars(&bars(&posted.copies, waited_ms))?;
        let (id, holders) = (posted.message_id, count(posted.copies.replicated_to, "secondary", "secondaries"));
        self.reporter.find(Ok(format!("message {id}, held by the master and {holders}")))?;
        self.violations(rules::confirmed_too_early(&posted, waited_ms, &names))?;
        self.written.push(Written { id, text: text.to_owned() });
        let (message, acks) = (text.to_owned(), posted.copies.acks);
        self.report.writes.push(WriteReport { message, message_id: id, waited_ms, acks });
        Ok(())
    }

    fn announce(&mut self, text: &str) -> io::Result<()> {
        self.reporter.terminal.gap()?;
        self.reporter.say(&format!("POST {STRONG}\"{text}\"{STRONG:#}"))
    }

    // Step: what the wait means.

    fn explain_the_wait(&mut self) -> Result<(), Stop> {
        let writes = &self.report.writes;
        let average =
            |of_one: fn(&WriteReport) -> u64| writes.iter().map(of_one).sum::<u64>() / writes.len().max(1) as u64;
        let Some(slowest) = writes.last().and_then(WriteReport::slowest) else { return Ok(()) };
        let (waited, slowest) = (average(|write| write.waited_ms), visible(&slowest.server_id));
        let ms = average(|write| write.slowest().map_or(0, |ack| ack.ms));
        let sum = average(|write| write.acks.iter().map(|ack| ack.ms).sum());
        self.reporter.begin("What the wait means")?;
        for sentence in [
            &format!("On average you waited {waited} ms. The slowest secondary was {slowest}: {ms} ms."),
            &format!("Asked one after the other, the secondaries would have taken {sum} ms: the sum."),
            "The master calls all of them at once, so you wait only for the slowest.",
        ] {
            self.reporter.say(sentence)?;
        }
        Ok(())
    }

    // Step: compare.

    /// Reads every node, and checks that all show what the master shows, and that this includes all written messages.
    fn compare_the_logs(&mut self) -> Result<(), Stop> {
        let through = self.written.last().map_or(0, |written| written.id);
        let readings = self.read_every_node(through)?;
        let Some((_, master)) = readings.first() else { return Ok(()) };
        let mut wrong = rules::lost(master, &self.written);
        for (server_id, shown) in &readings {
            let difference = rules::difference(master, shown, through);
            wrong.extend(difference.iter().map(|difference| format!("{server_id}: {difference}")));
            let messages = rules::count_up_to(shown, through);
            self.report.comparisons.push(json!({
                "server_id": server_id, "through": through, "messages": messages, "difference": difference,
            }));
        }
        if wrong.is_empty() {
            let messages = count(rules::count_up_to(master, through), "message", "messages");
            self.reporter.find(Ok(match readings.len() {
                1 => format!("the master shows {messages}, and these among them"),
                nodes => format!("{nodes} nodes show the same {messages}, in the same order"),
            }))?;
            for Written { id, text } in &self.written {
                self.reporter.say(&format!("  {id:>6}  {text}"))?;
            }
        }
        self.violations(wrong)
    }

    /// The messages of each node. A secondary may learn later than the client that a message is committed, so the
    /// client asks until it shows what the client knows.
    fn read_every_node(&mut self, through: u64) -> Result<Vec<(String, Messages)>, Stop> {
        let mut readings = Vec::new();
        for (server_id, address) in &self.nodes {
            let read = || self.client.messages(address, 1);
            let reading = poll_briefly(self.client.timeout(), read, |reading| {
                reading.as_ref().is_ok_and(|reply| rules::reaches(&reply.value, through))
            });
            let reading = reading.map_err(|failure| scenario::unreadable(&visible(server_id), &failure))?;
            readings.push((server_id.clone(), reading.value));
        }
        Ok(readings)
    }

    // Step: the failure.

    /// Makes the master wait for a secondary that does not exist, or if it registers none, for one that is made to fail.
    /// Returns whether it got that far.
    fn provoke_a_failure(&mut self) -> Result<bool, Stop> {
        let registered = self.client.register(ABSENT_URL, ABSENT);
        if let Err(failure @ Failure { kind: Kind::Refused, .. }) = &registered {
            return self.make_a_secondary_fail(failure);
        }
        self.reporter.begin(FAILURE)?;
        self.reporter.say(&format!("{ABSENT} is registered at {ABSENT_URL}, where nothing listens."))?;
        // From here on it may be registered, even if the answer was lost.
        let refused = registered.map_err(Stop::from).and_then(|()| self.write_what_must_be_refused(ABSENT));
        let removed = self.remove_absent();
        refused.and(removed).map(|()| true)
    }

    fn make_a_secondary_fail(&mut self, not_registered: &Failure) -> Result<bool, Stop> {
        let fault = json!({ "fail": "before", "for": FAULT_S });
        let last = self.nodes.last().filter(|_| self.nodes.len() > 1).cloned();
        let failing = last.filter(|(_, address)| self.client.set_fault(address, &fault).is_ok());
        let Some((server_id, address)) = failing else {
            self.skip(&format!(
                "the failure, because the master registers no secondaries ({not_registered}), and no secondary accepts faults"
            ))?;
            return Ok(false);
        };
        self.reporter.begin(FAILURE)?;
        self.reporter
            .say(&format!("{} answers with an error from now on, and stores nothing.", visible(&server_id)))?;
        let refused = self.write_what_must_be_refused(&server_id);
        match self.client.end_fault(&address) {
            Ok(()) => self.reporter.find(Ok(format!("{} works again", visible(&server_id))))?,
            Err(_) => self.reporter.say(&format!("It works again in {FAULT_S} s at the latest."))?,
        }
        refused.map(|()| true)
    }

    fn write_what_must_be_refused(&mut self, failing: &str) -> Result<(), Stop> {
        let text = format!("this must not appear ({})", self.tag);
        self.announce(&text)?;
        let begun = Instant::now();
        let outcome = self.client.post(&text, &WriteOptions::default());
        let waited_ms = milliseconds_since(begun);
        match outcome {
            Err(failure @ Failure { kind: Kind::Refused, .. }) => {
                self.show_refusal(&text, waited_ms, &failure, failing)
            }
            Err(failure) => Err(failure.into()),
            Ok(reply) => {
                let id = reply.value.message_id;
                self.violations([format!("message {id} was confirmed although {failing} cannot have acknowledged it")])
            }
        }
    }

    fn show_refusal(&mut self, text: &str, waited_ms: u64, failure: &Failure, failing: &str) -> Result<(), Stop> {
        let status = failure.status.map_or_else(String::new, |status| format!("{status}: "));
        self.reporter.say(&format!("  {BAD}{status}{BAD:#}{failure} {DIM}({waited_ms} ms){DIM:#}"))?;
        show_secondaries(self.reporter.terminal, failure)?;
        if failure.message_id.is_none() {
            self.reporter
                .say("The master knew that a secondary is missing, so it refused at once and called no secondary.")?;
        }
        self.reporter.find(Ok("refused, as it must be: a message is on every node or on none".to_owned()))?;
        if failure.secondaries.iter().any(|part| part.server_id == failing && part.acknowledged) {
            self.violations([format!("the master reports an acknowledgement of {failing}, which gave none")])?;
        }
        let mut refused = json!(failure);
        (refused["message"], refused["waited_ms"]) = (text.into(), waited_ms.into());
        self.report.refused = Some(refused);
        let readings = self.read_every_node(0)?;
        let shows = |(server_id, shown): &(String, Messages)| {
            rules::shows(shown, text).then(|| format!("{server_id} shows the message that was refused"))
        };
        let wrong: Vec<String> = readings.iter().filter_map(shows).collect();
        if wrong.is_empty() {
            let nodes = count(readings.len(), "node was", "nodes were");
            self.reporter.find(Ok(format!("no node shows it ({nodes} asked)")))?;
        }
        self.violations(wrong)
    }

    /// Removes the secondary that does not exist. If that fails, the user has to: it blocks all writes.
    fn remove_absent(&mut self) -> Result<(), Stop> {
        let remove = || match self.client.remove(ABSENT) {
            // It is not registered, so nothing is left to remove.
            Err(Failure { status: Some(404), .. }) => Ok(()),
            outcome => outcome,
        };
        let outcome = (1..REMOVALS_MAX).fold(remove(), |outcome, _| outcome.or_else(|_| remove()));
        let Err(failure) = outcome else {
            return Ok(self.reporter.find(Ok(format!("{ABSENT} is removed again")))?);
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

    fn settle(mut self, stop: Option<Exit>, stopped: Option<String>) -> io::Result<Exit> {
        let unread = visible(&self.report.unread.join(", "));
        let incomplete = (!unread.is_empty()).then_some(Exit::Unreachable);
        let exit = self.reporter.exit(stop.or(incomplete));
        let notes = incomplete.map(|_| format!("{BAD}Not seen:{BAD:#} {unread} could not be read from here."));
        self.reporter.show_verdict(exit, stopped.as_deref(), notes.as_slice())?;
        let held = exit == Exit::Success;
        let report =
            Report { held, exit_code: exit.code(), violations: self.reporter.violations(), stopped, ..self.report };
        self.reporter.terminal.document(json!(report).to_string().as_bytes())?;
        Ok(exit)
    }

    fn violations(&mut self, sentences: impl IntoIterator<Item = String>) -> Result<(), Stop> {
        Ok(sentences.into_iter().try_for_each(|sentence| self.reporter.find(Err(sentence)))?)
    }
}
