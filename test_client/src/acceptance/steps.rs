//! The steps of the acceptance.
//!
//! A violation ends its step if nothing after it would make sense, and the next step follows. Every step brings the
//! last secondary back, and ends its fault, also after an error.

use super::absence::{Absence, begin_fault, end_fault};
use super::target::{CATCH_UP_WAIT_MAX, Target, await_in_sync, faults_enabled};
use crate::api::{Address, Client, Copies, Failure, KnownWrite, Messages, Posted, Reply, WriteOptions, WriteOutcome};
use crate::cluster::Cleanup;
use crate::exit::Exit;
use crate::output::{STRONG, count, visible};
use crate::scenario::reporter::Reporter;
use crate::scenario::rules::{self, Written};
use crate::scenario::{self, Stop};
use crate::wait::{milliseconds_since, poll_for};
use serde_json::{Value, json};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the writer that needs the missing node waits for it.
const WAIT_FOR_MISSING: Duration = Duration::from_secs(60);
/// The minimum time for which the step watches that writer wait.
const WATCHED_WAIT: Duration = Duration::from_secs(2);
/// How long the other writers wait for nodes that fail for a short time.
const WAIT_FOR_COPIES: Duration = Duration::from_secs(30);
/// The longest time of a fault, in seconds. It usually ends after one call.
const FAULT_SECONDS: u64 = 30;
/// How long a node holds a call, so that the next one arrives before the node reads it.
const HOLD_SECONDS: f64 = 1.0;
/// A reply that waits for no node comes sooner than this, even on a slow machine.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How many times the step tries to let a later message arrive first.
const EARLY_CALL_TRIES: usize = 3;

const MISSING_NODE: &str = "A message that waits for a missing node holds up no other";
const LOST_ANSWER: &str = "Deduplication: a copy whose acknowledgement was lost";
const SAME_KEY: &str = "Deduplication: a message that is posted twice under one key";
const EARLY_CALL: &str = "Total order: a message that arrives before an earlier one";

/// The way to read a node from an id on.
type Read = fn(&Client, &Address, u64) -> Result<Reply<Messages>, Failure>;

type Answer = Result<Reply<Posted>, Failure>;

/// Why a step ends early.
enum Break {
    /// After a reported violation the rest of the step makes no sense.
    Step,
    /// The rest of the acceptance makes no sense either.
    Acceptance(Stop),
}

impl<T: Into<Stop>> From<T> for Break {
    fn from(stop: T) -> Break {
        Break::Acceptance(stop.into())
    }
}

/// The state of the acceptance.
pub(super) struct Play<'a, 'b> {
    client: Client,
    /// Name and address, the master first. The steps take the last one away, and give it the faults.
    nodes: Vec<(String, Address)>,
    absence: Absence,
    reporter: &'a mut Reporter<'b>,
    cleanup: &'a Cleanup,
    tag: String,
}

/// A post whose writer waits for its reply.
struct Waiting {
    written: Written,
    begun: Instant,
    writer: JoinHandle<Answer>,
}

impl<'a, 'b> Play<'a, 'b> {
    pub(super) fn new(target: Target, reporter: &'a mut Reporter<'b>, cleanup: &'a Cleanup) -> Play<'a, 'b> {
        let Target { client, nodes, absence } = target;
        Play { client, nodes, absence, reporter, cleanup, tag: scenario::tag("acceptance") }
    }

    /// Plays every step that can be played on this cluster.
    pub(super) fn play(mut self) -> Result<(), Stop> {
        self.step(MISSING_NODE, Self::play_missing_node)?;
        await_in_sync(&self.client, self.nodes.len() - 1)?;
        let faults = faults_enabled(&self.client, &self.last().1)?;
        self.step_if(faults, LOST_ANSWER, Self::play_lost_answer)?;
        self.step(SAME_KEY, Self::play_same_key)?;
        self.step_if(faults, EARLY_CALL, Self::play_early_call)
    }

    fn step(&mut self, title: &str, act: fn(&mut Self) -> Result<(), Break>) -> Result<(), Stop> {
        self.reporter.begin(title)?;
        if let Err(Break::Acceptance(stop)) = act(self) {
            return Err(stop);
        }
        self.reporter.end();
        Ok(())
    }

    /// Plays a step that needs faults, or leaves it out.
    fn step_if(&mut self, faults: bool, title: &str, act: fn(&mut Self) -> Result<(), Break>) -> Result<(), Stop> {
        if faults {
            return self.step(title, act);
        }
        let why = format!("{} was not started with ENABLE_FAULTS=1", visible(&self.last().0));
        Ok(self.reporter.leave_out(title, &why)?)
    }

    // Step: a message waits for a missing node.

    fn play_missing_node(&mut self) -> Result<(), Break> {
        let from = self.newest()? + 1;
        let (name, address) = self.last().clone();
        let how = self.absence.begin(&self.client, self.cleanup, &address)?;
        self.reporter.say(&format!("{} is away: {how}.", visible(&name)))?;
        let posted = self.write_while_it_is_away(from);
        let ended = self.absence.end(&self.client, self.cleanup, &address);
        let ((third, written), how) = (posted?, ended?);
        self.reporter.say(&format!("{} comes back: {how}.", visible(&name)))?;
        self.await_third(third)?;
        self.all_show(self.nodes.len(), from, &written)
    }

    /// Posts all four messages. Returns the third, which waits, and what all nodes have to show in the end.
    fn write_while_it_is_away(&mut self, from: u64) -> Result<(Waiting, Vec<Written>), Break> {
        let one = WriteOptions::copies(Copies::Number(1));
        let present = self.nodes.len() - 1;
        let first = self.write("Msg1", &one)?;
        let second = self.write("Msg2", &WriteOptions::copies(Copies::Number(2)))?;
        let third = self.write_and_wait("Msg3")?;
        self.none_shows(present, from, &third.written.text)?;
        let begun = Instant::now();
        let fourth = self.write("Msg4", &one)?;
        if begun.elapsed() > AT_ONCE {
            self.reporter.find(Err(format!("Msg4 was held up: it took {} ms", milliseconds_since(begun))))?;
        }
        let written = vec![first, second, third.written.clone(), fourth];
        self.all_show(present, from, &written)?;
        let left = WATCHED_WAIT.saturating_sub(third.begun.elapsed());
        let answered = poll_for(left, || third.writer.is_finished(), |answered| *answered);
        self.reporter.find(match answered {
            false => Ok(format!("the writer of Msg3 still waits, after {} ms", milliseconds_since(third.begun))),
            true => Err("the writer of Msg3 was answered, although a node that it needs is away".to_owned()),
        })?;
        Ok((third, written))
    }

    /// Posts a message that every node must have, on a thread of its own, and watches it until the master has it.
    fn write_and_wait(&mut self, name: &str) -> Result<Waiting, Break> {
        let key = self.key(name);
        let copies = Copies::Number(self.nodes.len() as u64);
        let options = WriteOptions::copies(copies).waiting(WAIT_FOR_MISSING).named(&key);
        let text = self.announce(name, &options)?;
        let begun = Instant::now();
        let (client, posted) = (self.client.clone(), text.clone());
        let writer = thread::spawn(move || client.post(&posted, &options));
        let ask = || (writer.is_finished(), self.client.write(&key).ok());
        let enough = |(answered, known): &(bool, Option<_>)| *answered || known.is_some();
        let (answered, known) = poll_for(CATCH_UP_WAIT_MAX, ask, enough);
        if answered {
            let why = answer_of(writer)?.map_or_else(|failure| failure.error, |reply| reply.status.to_string());
            return self.broken(format!("{name} does not wait for the missing node, it was answered: {why}"));
        }
        let Some(KnownWrite { outcome, ids, .. }) = known.map(|reply| reply.value) else {
            return Err(Stop::Cluster(Exit::Unknown, format!("the master does not know of {name}")).into());
        };
        if outcome == WriteOutcome::Committed {
            let why = "it did not wait for the missing node, or another client wrote meanwhile";
            return self.broken(format!("{name} is committed already: {why}"));
        }
        let id = ids.last();
        self.reporter.find(Ok(format!("message {id}: it waits")))?;
        Ok(Waiting { written: Written { id, text }, begun, writer })
    }

    /// Checks that none of the nodes that run shows a message that may still be refused.
    fn none_shows(&mut self, present: usize, from: u64, text: &str) -> Result<(), Break> {
        for (name, address) in &self.nodes[..present] {
            let shown = self.client.messages(address, from);
            let shown = shown.map_err(|failure| scenario::unreadable(&visible(name), &failure))?;
            if rules::shows(&shown.value, text) {
                return Ok(self.reporter.find(Err(format!("{name} shows Msg3, which may still be refused")))?);
            }
        }
        let names = names_of(&self.nodes[..present]);
        Ok(self.reporter.find(Ok(format!("Msg3 may still be refused, and is not shown by {names}")))?)
    }

    /// Checks that the third message gets its copies now that the missing node is back.
    fn await_third(&mut self, third: Waiting) -> Result<(), Break> {
        let Waiting { written: Written { id, .. }, begun, writer } = third;
        let answer = answer_of(writer)?;
        let ms = milliseconds_since(begun);
        Ok(self.reporter.find(match answer {
            Ok(Reply { status: 201, value, .. }) if value.message_id == id => {
                let held = count(value.copies.replicated_to, "secondary", "secondaries");
                Ok(format!("the writer of Msg3 got its 201 after {ms} ms: message {id}, held by {held} as well"))
            }
            Ok(Reply { status, value, .. }) => Err(format!(
                "the writer of Msg3 was answered {status} with id {}, instead of 201 with {id}",
                value.message_id
            )),
            Err(failure) => Err(format!("Msg3 was refused after {ms} ms: {}", failure.error)),
        })?)
    }

    // Step: deduplication.

    /// A secondary appends, and then replies with an error: the master sends the message again.
    fn play_lost_answer(&mut self) -> Result<(), Break> {
        let from = self.newest()? + 1;
        let (name, address) = self.last().clone();
        let fault = json!({ "fail": "after", "calls": 1, "for": FAULT_SECONDS });
        self.reporter.say(&format!("{} appends the next message, and then answers with an error.", visible(&name)))?;
        let options = WriteOptions::copies(Copies::All).waiting(WAIT_FOR_COPIES);
        let written = self.with_fault(&fault, |play| play.write("Msg5", &options))?;
        let hits = self.client.faults(&address)?.value.hits;
        self.reporter.find(match hits {
            0 => Err(format!("{name} never answered with an error, so this step tested nothing")),
            _ => Ok(format!("{name} did answer with an error, after it had appended")),
        })?;
        self.all_show(self.nodes.len(), from, &[written])
    }

    /// A client that does not know the outcome of its message posts it again.
    fn play_same_key(&mut self) -> Result<(), Break> {
        let from = self.newest()? + 1;
        let options = WriteOptions::copies(Copies::All).waiting(WAIT_FOR_COPIES).named(&self.key("Msg6"));
        let written = self.write("Msg6", &options)?;
        let text = self.announce("Msg6", &options)?;
        let again = answered(self.client.post(&text, &options))?;
        self.reporter.find(match again {
            Ok(reply) if reply.replayed && reply.value.message_id == written.id => {
                Ok(format!("{}: message {} again, and the answer says so", reply.status, written.id))
            }
            Ok(reply) if reply.replayed => {
                Err(format!("it was answered as message {}, not as message {}", reply.value.message_id, written.id))
            }
            Ok(reply) => Err(format!("it was written again, as message {}", reply.value.message_id)),
            Err(failure) => Err(format!("it was refused: {}", failure.error)),
        })?;
        self.all_show(self.nodes.len(), from, &[written])
    }

    // Step: total order.

    /// Tries to make a later message arrive first. That is a race, which may be lost.
    fn play_early_call(&mut self) -> Result<(), Break> {
        let (name, address) = self.last().clone();
        let early_calls = |client: &Client| client.health(&address).map(|reply| reply.value.early_calls.unwrap_or(0));
        for attempt in 1..=EARLY_CALL_TRIES {
            let before = early_calls(&self.client)?;
            self.write_two_that_cross(attempt)?;
            if early_calls(&self.client)? > before {
                let finding = format!("the later message did arrive at {name} before the earlier one");
                return Ok(self.reporter.find(Ok(finding))?);
            }
            self.reporter.say("The later message did not arrive first this time.")?;
        }
        Ok(self.reporter.not_shown("A later message never arrived first, so this step tested nothing.")?)
    }

    fn write_two_that_cross(&mut self, attempt: usize) -> Result<(), Break> {
        let from = self.newest()? + 1;
        let (last, name) = (self.nodes.len() - 1, self.last().0.clone());
        self.reporter.say(&format!("{} reads the next message {HOLD_SECONDS} s after it arrived.", visible(&name)))?;
        let hold = json!({ "hold": HOLD_SECONDS, "calls": 1, "for": FAULT_SECONDS });
        let one = WriteOptions::copies(Copies::Number(1));
        let number = if attempt == 1 { String::new() } else { attempt.to_string() };
        let written = self.with_fault(&hold, |play| {
            let written =
                vec![play.write(&format!("MsgA{number}"), &one)?, play.write(&format!("MsgB{number}"), &one)?];
            let (wrong, reads) = play.watch(last, from, &written, Client::prefix)?;
            let reads = count(reads, "time", "times");
            play.reporter.find(match wrong {
                None => {
                    Ok(format!("{name} was read {reads} until it showed both, and never showed the later one alone"))
                }
                Some(wrong) => Err(format!("{name} {wrong}")),
            })?;
            Ok(written)
        })?;
        self.all_show(self.nodes.len(), from, &written)
    }

    // Parts of the steps.

    /// The secondary that the steps take away, and that gets the faults.
    fn last(&self) -> &(String, Address) {
        &self.nodes[self.nodes.len() - 1]
    }

    /// The newest id that the master has assigned.
    fn newest(&self) -> Result<u64, Failure> {
        Ok(self.client.health(self.client.master())?.value.last)
    }

    /// The idempotency key of a message of this run.
    fn key(&self, name: &str) -> String {
        format!("{}-{name}", self.tag).replace(' ', "-")
    }

    /// Reports a violation that ends the step.
    fn broken<T>(&mut self, sentence: String) -> Result<T, Break> {
        self.reporter.find(Err(sentence))?;
        Err(Break::Step)
    }

    /// Prints a post, and returns its text: the name with the tag of this run.
    fn announce(&mut self, name: &str, options: &WriteOptions) -> Result<String, Break> {
        let text = format!("{name} ({})", self.tag);
        let copies = options.copies.map_or_else(String::new, |copies| format!(" w={copies}"));
        let wait = options.wait.map_or_else(String::new, |wait| format!(" timeout={}", wait.as_secs_f64()));
        let key = options.key.as_ref().map_or_else(String::new, |key| format!(" key={key}"));
        self.reporter.say(&format!("POST {STRONG}\"{text}\"{STRONG:#}{copies}{wait}{key}"))?;
        Ok(text)
    }

    /// Posts a message that must be acknowledged with 201.
    fn write(&mut self, name: &str, options: &WriteOptions) -> Result<Written, Break> {
        let text = self.announce(name, options)?;
        let begun = Instant::now();
        let answer = answered(self.client.post(&text, options))?;
        let ms = milliseconds_since(begun);
        match answer {
            Ok(Reply { status: 201, replayed: false, value, .. }) => {
                let (id, held) = (value.message_id, count(value.copies.replicated_to, "secondary", "secondaries"));
                self.reporter.find(Ok(format!("201 after {ms} ms: message {id}, held by {held} as well")))?;
                Ok(Written { id, text })
            }
            Ok(reply) if reply.replayed => {
                self.broken(format!("the master took {name} for a repeat, although it is new"))
            }
            Ok(reply) => self.broken(format!("{name} was answered with {} instead of 201", reply.status)),
            Err(failure) => self.broken(format!("{name} was not acknowledged: {}", failure.error)),
        }
    }

    /// Runs `act` while the last secondary has a fault. The fault ends also after an error.
    fn with_fault<T>(&mut self, fault: &Value, act: impl FnOnce(&mut Self) -> Result<T, Break>) -> Result<T, Break> {
        let node = self.last().1.clone();
        begin_fault(&self.client, self.cleanup, &node, fault)?;
        let done = act(self);
        end_fault(&self.client, self.cleanup, &node)?;
        done
    }

    /// Checks that the first so many nodes show these messages of ours, and no others, in this order.
    fn all_show(&mut self, nodes: usize, from: u64, wanted: &[Written]) -> Result<(), Break> {
        let names = names_of(&self.nodes[..nodes]);
        let mut wrongs = Vec::new();
        for node in 0..nodes {
            let (wrong, _) = self.watch(node, from, wanted, Client::messages)?;
            wrongs.extend(wrong.map(|wrong| format!("{} {wrong}", self.nodes[node].0)));
        }
        let texts: Vec<&str> = wanted.iter().filter_map(|written| written.text.split(' ').next()).collect();
        Ok(self.reporter.find(match (&*texts, wrongs.is_empty()) {
            (_, false) => Err(wrongs.join("; ")),
            ([only], true) => Ok(format!("{names}: {only} is there, once")),
            (texts, true) => Ok(format!("{names}: {}, in this order", texts.join(", "))),
        })?)
    }

    /// Reads a node until it shows all of these messages, or something else than their beginning. Returns what is
    /// wrong, and how often it read.
    fn watch(&self, node: usize, from: u64, wanted: &[Written], read: Read) -> Result<(Option<String>, usize), Stop> {
        let (name, address) = &self.nodes[node];
        let mut reads = 0;
        let look = || {
            reads += 1;
            read(&self.client, address, from).map(|reply| rules::tagged(&reply.value, &self.tag))
        };
        let enough = |shown: &Result<Vec<Written>, Failure>| match shown {
            Ok(shown) => shown == wanted || rules::out_of_sequence(shown, wanted).is_some(),
            // A node that refuses will not show more the next time. One that has just come back may not answer yet.
            Err(failure) => failure.status.is_some(),
        };
        let shown = poll_for(CATCH_UP_WAIT_MAX, look, enough);
        let shown = shown.map_err(|failure| scenario::unreadable(&visible(name), &failure))?;
        let too_few = || format!("shows only {} of {} messages of this step", shown.len(), wanted.len());
        let late = (shown.len() < wanted.len()).then(too_few);
        Ok((rules::out_of_sequence(&shown, wanted).or(late), reads))
    }
}

/// Passes on any answer of the master. Without one, the acceptance stops.
fn answered(answer: Answer) -> Result<Answer, Stop> {
    match answer {
        Err(failure) if failure.status.is_none() => Err(failure.into()),
        answer => Ok(answer),
    }
}

/// Waits for the answer to a writer.
fn answer_of(writer: JoinHandle<Answer>) -> Result<Answer, Stop> {
    let panicked = |_| Stop::Cluster(Exit::Unknown, "the thread of the writer of Msg3 panicked".to_owned());
    answered(writer.join().map_err(panicked)?)
}

/// The nodes in a sentence.
fn names_of(nodes: &[(String, Address)]) -> String {
    let names: Vec<&str> = nodes.iter().map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}
