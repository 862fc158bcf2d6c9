//! The steps of the acceptance.
//!
//! A step goes on after a finding that must not be, unless nothing after it would make sense. Whatever happens in it,
//! the last secondary is brought back, and its fault ended.

use super::absence::{Absence, begin_fault, end_fault};
use super::target::{CATCH_UP_WAIT_MAX, Target, await_in_sync, faults_enabled};
use crate::api::Address;
use crate::api::{Client, Failure, KnownWrite, Messages, Posted, Reply, WriteOutcome};
use crate::api::{Copies, WriteOptions};
use crate::cluster::Cleanup;
use crate::exit::Exit;
use crate::output::{STRONG, count, visible};
use crate::scenario::reporter::Reporter;
use crate::scenario::rules::{self, Written};
use crate::scenario::{self, Stop};
use crate::wait::{milliseconds_since, poll_for};
use serde_json::{Value, json};
use std::ops::Range;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the writer who needs the missing node waits for it.
const WAIT_FOR_MISSING: Duration = Duration::from_secs(60);
/// How long that writer is watched waiting, at least.
const WATCHED_WAIT: Duration = Duration::from_secs(2);
/// How long the others wait for nodes that fail for a short time.
const WAIT_FOR_COPIES: Duration = Duration::from_secs(30);
/// How long a fault lasts at most, in seconds. It ends after one call anyway.
const FAULT_SECONDS: u64 = 30;
/// How long a call is held, so that the next one arrives before it is looked at.
const HOLD_SECONDS: f64 = 1.0;
/// What is answered at once does not take as long as this, even on a slow machine.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How often a later message is given the chance to arrive first.
const EARLY_CALL_TRIES: usize = 3;

const MISSING_NODE: &str = "A message that waits for a missing node holds up no other";
const LOST_ANSWER: &str = "Deduplication: a copy whose acknowledgement was lost";
const SAME_KEY: &str = "Deduplication: a message that is posted twice under one key";
const EARLY_CALL: &str = "Total order: a message that arrives before an earlier one";

/// The way to read a node from an id on.
type Read = fn(&Client, &Address, u64) -> Result<Reply<Messages>, Failure>;

/// What a post comes to.
type Answer = Result<Reply<Posted>, Failure>;

/// Who waits for it.
type Writer = JoinHandle<Answer>;

/// The acceptance, being played.
pub(super) struct Play<'a, 'b> {
    client: Client,
    /// Name and address, the master first. The last one is taken away, and gets the faults.
    nodes: Vec<(String, Address)>,
    absence: Absence,
    reporter: &'a mut Reporter<'b>,
    cleanup: &'a Cleanup,
    tag: String,
}

/// A post whose writer waits for its answer.
struct Waiting {
    text: String,
    message_id: u64,
    begun: Instant,
    writer: Writer,
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

    fn step(&mut self, title: &str, act: fn(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        self.reporter.begin(title)?;
        act(self)?;
        self.reporter.end();
        Ok(())
    }

    /// A step that cannot be played without faults.
    fn step_if(&mut self, faults: bool, title: &str, act: fn(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        if faults {
            return self.step(title, act);
        }
        let why = format!("{} was not started with ENABLE_FAULTS=1", visible(&self.last().0));
        Ok(self.reporter.leave_out(title, &why)?)
    }

    // Step: a message waits for a missing node.

    fn play_missing_node(&mut self) -> Result<(), Stop> {
        let from = self.newest()? + 1;
        let how = self.absence.begin(&self.client, self.cleanup, &self.last().1)?;
        self.reporter.say(&format!("{} is away: {how}.", visible(&self.last().0)))?;
        let told = self.write_while_it_is_away(from);
        let ended = self.absence.end(&self.client, self.cleanup, &self.last().1);
        let (told, how) = (told?, ended?);
        let Some((third, written)) = told else { return Ok(()) };
        self.reporter.say(&format!("{} comes back: {how}.", visible(&self.last().0)))?;
        self.hear_the_third(third)?;
        self.all_show(0..self.nodes.len(), from, &written)
    }

    /// Posts all four messages. Gives back the third, which waits, and what all nodes have to show in the end; nothing
    /// if the acceptance cannot go on.
    fn write_while_it_is_away(&mut self, from: u64) -> Result<Option<(Waiting, Vec<Written>)>, Stop> {
        let Some(first) = self.write("Msg1", &WriteOptions::copies(Copies::Number(1)))? else { return Ok(None) };
        let Some(second) = self.write("Msg2", &WriteOptions::copies(Copies::Number(2)))? else { return Ok(None) };
        let Some(third) = self.write_and_wait("Msg3")? else { return Ok(None) };
        self.none_shows(from, &third.text)?;
        let Some(fourth) = self.write_at_once("Msg4")? else { return Ok(None) };
        let third_written = Written { id: third.message_id, text: third.text.clone() };
        let written = vec![first, second, third_written, fourth];
        self.all_show(0..self.nodes.len() - 1, from, &written)?;
        let left = WATCHED_WAIT.saturating_sub(third.begun.elapsed());
        let answered = poll_for(left, || third.writer.is_finished(), |answered| *answered);
        self.reporter.find(match answered {
            false => Ok(format!("the writer of Msg3 still waits, after {} ms", milliseconds_since(third.begun))),
            true => Err("the writer of Msg3 was answered, although a node that it needs is away".to_owned()),
        })?;
        Ok(Some((third, written)))
    }

    /// Posts a message that every node must have, on a thread of its own, and watches it until the master has it.
    fn write_and_wait(&mut self, name: &str) -> Result<Option<Waiting>, Stop> {
        let nodes = self.nodes.len();
        let key = format!("{}-{name}", self.tag).replace(' ', "-");
        let options = WriteOptions::copies(Copies::Number(nodes as u64)).waiting(WAIT_FOR_MISSING).named(&key);
        let text = self.announce(name, &options)?;
        let begun = Instant::now();
        let (client, posted) = (self.client.clone(), text.clone());
        let writer = thread::spawn(move || client.post(&posted, &options));
        let ask = || (writer.is_finished(), self.client.write(&key).ok());
        let enough = |(answered, known): &(bool, Option<_>)| *answered || known.is_some();
        let (answered, known) = poll_for(CATCH_UP_WAIT_MAX, ask, enough);
        if answered {
            let why = answer_of(writer)?.map_or_else(|failure| failure.error, |reply| reply.status.to_string());
            self.reporter.find(Err(format!("{name} does not wait for the missing node, it was answered: {why}")))?;
            return Ok(None);
        }
        let Some(KnownWrite { outcome, ids, .. }) = known.map(|reply| reply.value) else {
            return Err(Stop::Cluster(Exit::Unknown, format!("the master does not know of {name}")));
        };
        if outcome == WriteOutcome::Committed {
            let why = "it did not wait for the missing node, or another client wrote meanwhile";
            self.reporter.find(Err(format!("{name} is committed already: {why}")))?;
            return Ok(None);
        }
        let message_id = ids.last();
        self.reporter.find(Ok(format!("message {message_id}: it waits")))?;
        Ok(Some(Waiting { text, message_id, begun, writer }))
    }

    /// What may still be refused is shown by none of the nodes that are there.
    fn none_shows(&mut self, from: u64, text: &str) -> Result<(), Stop> {
        let present = self.nodes[..self.nodes.len() - 1].to_vec();
        for (name, address) in &present {
            let shown = self.client.messages(address, from);
            let shown = shown.map_err(|failure| scenario::unreadable(&visible(name), &failure))?;
            if rules::shows(&shown.value, text) {
                self.reporter.find(Err(format!("{name} shows Msg3, which may still be refused")))?;
                return Ok(());
            }
        }
        let names = names_of(&present);
        self.reporter.find(Ok(format!("Msg3 may still be refused, and is not shown by {names}")))?;
        Ok(())
    }

    /// Posts a message that needs the master alone, so that it waits for no secondary.
    fn write_at_once(&mut self, name: &str) -> Result<Option<Written>, Stop> {
        let begun = Instant::now();
        let written = self.write(name, &WriteOptions::copies(Copies::Number(1)))?;
        if written.is_some() && begun.elapsed() > AT_ONCE {
            let ms = milliseconds_since(begun);
            self.reporter.find(Err(format!("{name} was held up: it took {ms} ms")))?;
        }
        Ok(written)
    }

    /// The missing node is back, so the third message gets its copies.
    fn hear_the_third(&mut self, third: Waiting) -> Result<(), Stop> {
        let Waiting { message_id, begun, writer, .. } = third;
        let answer = answer_of(writer)?;
        let ms = milliseconds_since(begun);
        let finding = match answer {
            Ok(Reply { status: 201, value, .. }) if value.message_id == message_id => {
                let held = count(value.copies.replicated_to, "secondary", "secondaries");
                Ok(format!(
                    "the writer of Msg3 got its 201 after {ms} ms: message {message_id}, held by {held} as well"
                ))
            }
            Ok(reply) => {
                let (status, id) = (reply.status, reply.value.message_id);
                Err(format!("the writer of Msg3 was answered {status} with id {id}, instead of 201 with {message_id}"))
            }
            Err(failure) => Err(format!("Msg3 was refused after {ms} ms: {}", failure.error)),
        };
        Ok(self.reporter.find(finding)?)
    }

    // Step: deduplication.

    /// A secondary appends, and then answers with an error: the master sends the message again.
    fn play_lost_answer(&mut self) -> Result<(), Stop> {
        let from = self.newest()? + 1;
        let (name, address) = self.last().clone();
        let fault = json!({ "fail": "after", "calls": 1, "for": FAULT_SECONDS });
        self.reporter.say(&format!("{} appends the next message, and then answers with an error.", visible(&name)))?;
        let written = self.with_fault(&fault, |play| {
            play.write("Msg5", &WriteOptions::copies(Copies::All).waiting(WAIT_FOR_COPIES))
        })?;
        let Some(written) = written else { return Ok(()) };
        let hits = self.client.faults(&address)?.value.hits;
        self.reporter.find(match hits {
            0 => Err(format!("{name} never answered with an error, so nothing was shown")),
            _ => Ok(format!("{name} did answer with an error, after it had appended")),
        })?;
        self.all_show(0..self.nodes.len(), from, &[written])
    }

    /// A client that does not know what became of its message posts it again.
    fn play_same_key(&mut self) -> Result<(), Stop> {
        let from = self.newest()? + 1;
        let key = format!("{}-Msg6", self.tag).replace(' ', "-");
        let options = WriteOptions::copies(Copies::All).waiting(WAIT_FOR_COPIES).named(&key);
        let Some(written) = self.write("Msg6", &options)? else { return Ok(()) };
        let text = self.announce("Msg6", &options)?;
        let again = told(self.client.post(&text, &options))?;
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
        self.all_show(0..self.nodes.len(), from, &[written])
    }

    // Step: total order.

    /// Tries to make a later message arrive first. That is a race, which may be lost.
    fn play_early_call(&mut self) -> Result<(), Stop> {
        let (name, address) = self.last().clone();
        for attempt in 1..=EARLY_CALL_TRIES {
            let before = self.early_calls(&address)?;
            self.write_two_that_cross(attempt)?;
            if self.early_calls(&address)? > before {
                self.reporter.find(Ok(format!("the later message did arrive at {name} before the earlier one")))?;
                return Ok(());
            }
            self.reporter.say("The later message did not arrive first this time.")?;
        }
        Ok(self.reporter.not_shown("A later message never arrived first, so nothing was shown of that.")?)
    }

    fn write_two_that_cross(&mut self, attempt: usize) -> Result<(), Stop> {
        let from = self.newest()? + 1;
        let last = self.nodes.len() - 1;
        let name = self.nodes[last].0.clone();
        self.reporter
            .say(&format!("{} looks at the next message {HOLD_SECONDS} s after it arrived.", visible(&name)))?;
        let hold = json!({ "hold": HOLD_SECONDS, "calls": 1, "for": FAULT_SECONDS });
        let one = WriteOptions::copies(Copies::Number(1));
        let number = if attempt == 1 { String::new() } else { attempt.to_string() };
        let written = self.with_fault(&hold, |play| {
            let Some(earlier) = play.write(&format!("MsgA{number}"), &one)? else { return Ok(None) };
            let Some(later) = play.write(&format!("MsgB{number}"), &one)? else { return Ok(None) };
            let written = vec![earlier, later];
            let (wrong, looks) = play.watch(last, from, &written, Client::prefix)?;
            play.reporter.find(match wrong {
                None => Ok(format!(
                    "{name} was looked at {} until it showed both, and never showed the later one alone",
                    count(looks, "time", "times")
                )),
                Some(wrong) => Err(format!("{name} {wrong}")),
            })?;
            Ok(Some(written))
        })?;
        let Some(written) = written else { return Ok(()) };
        self.all_show(0..self.nodes.len(), from, &written)
    }

    /// How many calls arrived at a secondary before an earlier one, since it was started.
    fn early_calls(&self, node: &Address) -> Result<u64, Stop> {
        Ok(self.client.health(node)?.value.early_calls.unwrap_or(0))
    }

    // What the steps are made of.

    /// The secondary that is taken away, and gets the faults.
    fn last(&self) -> &(String, Address) {
        &self.nodes[self.nodes.len() - 1]
    }

    /// The newest id that the master has given.
    fn newest(&self) -> Result<u64, Stop> {
        Ok(self.client.health(self.client.master())?.value.last)
    }

    /// Says what is posted, and gives back the text: the name with the tag of this run.
    fn announce(&mut self, name: &str, options: &WriteOptions) -> Result<String, Stop> {
        let text = format!("{name} ({})", self.tag);
        let copies = options.copies.map_or_else(String::new, |copies| format!(" w={copies}"));
        let wait = options.wait.map_or_else(String::new, |wait| format!(" timeout={}", wait.as_secs_f64()));
        let key = options.key.as_ref().map_or_else(String::new, |key| format!(" key={key}"));
        self.reporter.say(&format!("POST {STRONG}\"{text}\"{STRONG:#}{copies}{wait}{key}"))?;
        Ok(text)
    }

    /// Posts a message that must be acknowledged with 201. Gives back what was written, or nothing if it was not.
    fn write(&mut self, name: &str, options: &WriteOptions) -> Result<Option<Written>, Stop> {
        let text = self.announce(name, options)?;
        let begun = Instant::now();
        let answer = told(self.client.post(&text, options))?;
        let ms = milliseconds_since(begun);
        let (finding, id) = match answer {
            Ok(Reply { status: 201, replayed: false, value, .. }) => {
                let held = count(value.copies.replicated_to, "secondary", "secondaries");
                let id = value.message_id;
                (Ok(format!("201 after {ms} ms: message {id}, held by {held} as well")), Some(id))
            }
            Ok(reply) if reply.replayed => (Err(format!("{name} was written before, which cannot be")), None),
            Ok(reply) => (Err(format!("{name} was answered with {} instead of 201", reply.status)), None),
            Err(failure) => (Err(format!("{name} was not acknowledged: {}", failure.error)), None),
        };
        self.reporter.find(finding)?;
        Ok(id.map(|id| Written { id, text }))
    }

    /// Does something while the last secondary has a fault, which is ended whatever happens.
    fn with_fault<T>(&mut self, fault: &Value, act: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        let node = self.last().1.clone();
        begin_fault(&self.client, self.cleanup, &node, fault)?;
        let done = act(self);
        end_fault(&self.client, self.cleanup, &node)?;
        done
    }

    /// Every one of these nodes shows these messages of ours, and no others, with the same ids and in this order.
    fn all_show(&mut self, nodes: Range<usize>, from: u64, wanted: &[Written]) -> Result<(), Stop> {
        let names = names_of(&self.nodes[nodes.clone()]);
        let mut wrongs = Vec::new();
        for node in nodes {
            let (wrong, _) = self.watch(node, from, wanted, Client::messages)?;
            wrongs.extend(wrong.map(|wrong| format!("{} {wrong}", self.nodes[node].0)));
        }
        let texts: Vec<&str> = wanted.iter().filter_map(|written| written.text.split(' ').next()).collect();
        let finding = match (&*texts, wrongs.is_empty()) {
            (_, false) => Err(wrongs.join("; ")),
            ([only], true) => Ok(format!("{names}: {only} is there, once")),
            (texts, true) => Ok(format!("{names}: {}, in this order", texts.join(", "))),
        };
        Ok(self.reporter.find(finding)?)
    }

    /// Looks at a node until it shows all of these messages, or something else than their beginning. Gives back what is
    /// wrong, and how often it was looked at.
    fn watch(&self, node: usize, from: u64, wanted: &[Written], read: Read) -> Result<(Option<String>, usize), Stop> {
        let (name, address) = &self.nodes[node];
        let mut looks = 0;
        let look = || {
            looks += 1;
            read(&self.client, address, from).map(|reply| rules::tagged(&reply.value, &self.tag))
        };
        let enough = |shown: &Result<Vec<Written>, Failure>| match shown {
            Ok(shown) => shown == wanted || rules::out_of_sequence(shown, wanted).is_some(),
            // A node that says no will not say yes the next time; one that just came back may not answer yet.
            Err(failure) => failure.status.is_some(),
        };
        let shown = poll_for(CATCH_UP_WAIT_MAX, look, enough);
        let shown = shown.map_err(|failure| scenario::unreadable(&visible(name), &failure))?;
        let too_few = || format!("shows only {} of {} messages of this step", shown.len(), wanted.len());
        let late = (shown.len() < wanted.len()).then(too_few);
        Ok((rules::out_of_sequence(&shown, wanted).or(late), looks))
    }
}

/// An answer of the master, good or bad, is something to judge. Without one, the acceptance cannot go on.
fn told(answer: Answer) -> Result<Answer, Stop> {
    match answer {
        Err(failure) if failure.status.is_none() => Err(failure.into()),
        answer => Ok(answer),
    }
}

/// Waits for the answer to a writer.
fn answer_of(writer: Writer) -> Result<Answer, Stop> {
    let panicked = |_| Stop::Cluster(Exit::Unknown, "the thread of the writer of Msg3 panicked".to_owned());
    told(writer.join().map_err(panicked)?)
}

/// The nodes in a sentence.
fn names_of(nodes: &[(String, Address)]) -> String {
    let names: Vec<&str> = nodes.iter().map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}
