//! One thread of load: it drives all its connections with one selector, and measures them.
//!
//! The run has three parts: the warm-up, whose answers are checked and not counted, the measured time, and the drain
//! ([`DRAIN_MAX`]), in which the thread sends nothing and answers still arrive. An answer belongs to the second in
//! which it is complete.

use super::connection::{Connection, Failure, Progress};
use super::ids::AcknowledgedIds;
use super::meter::{Interval, Meter};
use super::options::Options;
use super::request::{Page, Post};
use super::schedule::Schedule;
use super::stats::{RequestOutcome, Stats};
use crate::api::{Address, Credentials, Ids};
use mio::{Events, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Deserialize;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// The longest sleep: after this, a thread notices Ctrl-C and timeouts.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// How long answers may still arrive at the end.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// The pause of a client whose request failed without an answer.
const PAUSE: Duration = Duration::from_millis(100);

/// The size of one read, and the number of events taken at a time.
const BUFFER_BYTES: usize = 64 * 1024;
const EVENTS: usize = 256;

/// How much of an answer to a post is kept. It names every secondary: this has room for hundreds.
const POST_BODY_KEPT_MAX: usize = 64 * 1024;

/// How much of a page is kept: it may explain a failure.
const PAGE_BODY_KEPT_MAX: usize = 1024;

/// A node, and the address at which it was reached.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) address: Address,
    pub(super) socket: SocketAddr,
}

/// The values that all threads share.
pub(super) struct Plan {
    pub(super) options: Options,
    pub(super) master: Node,
    /// The nodes that readers ask.
    pub(super) read_from: Vec<Node>,
    /// The timeout of an answer.
    pub(super) timeout: Duration,
    pub(super) token: Option<Credentials>,
    /// Distinguishes the messages of this run from others.
    pub(super) tag: String,
    /// The newest id that is known.
    pub(super) newest: AtomicU64,
    /// Whether Ctrl-C was pressed.
    pub(super) stop: Arc<AtomicBool>,
}

/// The results that are complete when a thread ends.
#[derive(Debug, Default)]
pub(super) struct Rest {
    pub(super) ids: AcknowledgedIds,
    /// Requests without an answer, and the age of the oldest.
    pub(super) unanswered: u64,
    pub(super) oldest: Duration,
    /// Posts that were due at the end of the measured time, and had no connection.
    pub(super) queued: u64,
}

/// A writer or a reader, which sends a request and waits for the answer.
struct Client {
    connection: Connection,
    role: Role,
    /// When its latency begins to count.
    since: Duration,
    /// When the request began.
    begun: Duration,
}

enum Role {
    /// Holds the newest id that was acknowledged to it.
    Writer {
        post: Post,
        newest: u64,
    },
    Reader {
        page: Page,
    },
}

impl Client {
    fn new(connection: Connection, role: Role) -> Client {
        Client { connection, role, since: Duration::ZERO, begun: Duration::ZERO }
    }

    fn is_writer(&self) -> bool {
        matches!(self.role, Role::Writer { .. })
    }
}

impl Role {
    fn request(&self) -> &[u8] {
        match self {
            Role::Writer { post, .. } => post.bytes(),
            Role::Reader { page } => page.bytes(),
        }
    }
}

/// One thread of load.
pub(super) struct Load<'a> {
    plan: &'a Plan,
    /// The origin of all times.
    begun: Instant,
    poll: Poll,
    clients: Vec<Client>,
    schedule: Schedule,
    /// Writers without a request.
    free: VecDeque<usize>,
    /// Clients that pause, and until when, the earliest first.
    paused: VecDeque<(Duration, usize)>,
    /// Number of the next message.
    next_message: u64,
    ends: Duration,
    /// When to look for overdue answers again.
    next_look: Duration,
    meter: Meter,
    rest: Rest,
    report: Sender<Interval>,
}

impl<'a> Load<'a> {
    /// The share of the clients that one thread drives.
    pub(super) fn new(plan: &'a Plan, thread: u64, report: Sender<Interval>) -> io::Result<Load<'a>> {
        let options = &plan.options;
        let ours = |number: &u64| number % options.threads == thread;
        let post = Post::new(&plan.master.address, options, &plan.tag, plan.token.as_ref());
        let mut clients = Vec::new();
        for _ in (0..options.writers).filter(ours) {
            let connection = Connection::new(plan.master.socket, Token(clients.len()), POST_BODY_KEPT_MAX);
            clients.push(Client::new(connection, Role::Writer { post: post.clone(), newest: 0 }));
        }
        let writers = clients.len();
        for number in (0..options.readers).filter(ours) {
            let node = &plan.read_from[usize::try_from(number).unwrap_or_default() % plan.read_from.len()];
            let page = Page::new(&node.address, options.page, number, plan.token.as_ref());
            let connection = Connection::new(node.socket, Token(clients.len()), PAGE_BODY_KEPT_MAX);
            clients.push(Client::new(connection, Role::Reader { page }));
        }
        let schedule = match options.posts_per_second() {
            Some(rate) if writers > 0 => Schedule::fixed(rate, thread, options.threads.min(options.writers)),
            _ => Schedule::Free,
        };
        Ok(Load {
            plan,
            begun: Instant::now(),
            poll: Poll::new()?,
            clients,
            schedule,
            free: (0..writers).collect(),
            paused: VecDeque::new(),
            next_message: thread * u64::from(options.batch),
            ends: Duration::from_secs(options.warm_up + options.seconds),
            next_look: Duration::ZERO,
            meter: Meter::start(thread, Duration::ZERO),
            rest: Rest::default(),
            report,
        })
    }

    /// Runs from this time, which all threads share, to the end.
    pub(super) fn play(mut self, begun: Instant) -> io::Result<Rest> {
        self.begun = begun;
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; BUFFER_BYTES];
        self.meter = Meter::start(self.meter.thread, self.now());
        for index in 0..self.clients.len() {
            if !self.clients[index].is_writer() {
                self.ask(index, self.now());
            }
        }
        while !self.is_over() {
            self.give_up_the_overdue();
            self.wake_the_paused();
            self.send_what_is_due();
            self.sleep(&mut events)?;
            self.proceed(&events, &mut buffer);
        }
        self.end(&mut events, &mut buffer)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Reports the seconds that are over. Returns whether the measured time is.
    fn is_over(&mut self) -> bool {
        let now = self.now();
        if self.plan.stop.load(Ordering::Relaxed) {
            self.ends = self.ends.min(now);
        }
        self.report_seconds(now);
        now >= self.ends
    }

    fn report_seconds(&mut self, now: Duration) {
        while now.min(self.ends) >= self.meter.next_second() {
            let interval = self.meter.turn(self.meter.next_second(), now);
            // The receiver is gone only after an error, which it reports.
            let _ = self.report.send(interval);
        }
    }

    /// Gives every free writer a post, as far as posts are due.
    fn send_what_is_due(&mut self) {
        while let Some(&index) = self.free.front() {
            let Some(since) = self.schedule.take(self.now()) else { return };
            self.free.pop_front();
            self.ask(index, since);
        }
    }

    /// Sends the next request of a client, whose latency counts from `since`.
    fn ask(&mut self, index: usize, since: Duration) {
        let options = &self.plan.options;
        let client = &mut self.clients[index];
        client.since = since;
        client.begun = self.begun.elapsed();
        match &mut client.role {
            Role::Writer { post, .. } => {
                post.number(self.next_message);
                self.next_message += u64::from(options.batch) * options.threads;
            }
            Role::Reader { page } => page.choose(self.plan.newest.load(Ordering::Relaxed)),
        }
        let progress = client.connection.begin(client.role.request(), self.poll.registry());
        self.take(index, progress);
    }

    /// Lets a client send its next request.
    fn next(&mut self, index: usize) {
        let now = self.now();
        if now >= self.ends {
            return;
        }
        if self.clients[index].is_writer() {
            self.free.push_back(index);
            self.send_what_is_due();
        } else {
            self.ask(index, now);
        }
    }

    /// Counts a request without an answer, and lets its client pause.
    fn fail(&mut self, index: usize, outcome: RequestOutcome, why: String) {
        self.stats(index).fail(outcome, || why);
        self.paused.push_back((self.now() + PAUSE, index));
    }

    fn wake_the_paused(&mut self) {
        while let Some((until, index)) = self.paused.front().copied()
            && until <= self.now()
        {
            self.paused.pop_front();
            self.next(index);
        }
    }

    fn proceed(&mut self, events: &Events, buffer: &mut [u8]) {
        for event in events {
            let Token(index) = event.token();
            let client = &mut self.clients[index];
            let progress = client.connection.proceed(event, client.role.request(), buffer);
            self.take(index, progress);
        }
    }

    fn take(&mut self, index: usize, progress: Progress) {
        match progress {
            Progress::Pending => {}
            Progress::Answered => {
                self.count_answer(index);
                self.next(index);
            }
            Progress::Failed(Failure::NotConnected(why)) => self.fail(index, RequestOutcome::NotConnected, why),
            Progress::Failed(Failure::Broken(why)) => self.fail(index, RequestOutcome::Broken, why),
        }
    }

    fn stats(&mut self, index: usize) -> &mut Stats {
        let stats = &mut self.meter.stats;
        if self.clients[index].is_writer() { &mut stats.writes } else { &mut stats.reads }
    }

    fn count_answer(&mut self, index: usize) {
        let now = self.now();
        self.report_seconds(now);
        let client = &mut self.clients[index];
        let answer = client.connection.answer();
        let (status, bytes) = (answer.status(), answer.body_bytes());
        let latency = now.saturating_sub(client.since);
        let (stats, done) = match &mut client.role {
            Role::Writer { newest, .. } => {
                let batch = u64::from(self.plan.options.batch);
                if RequestOutcome::Status(status).is_success() {
                    match acknowledged(answer.body(), batch) {
                        Ok((first, last)) => {
                            self.rest.ids.acknowledge(first, last, newest);
                            self.plan.newest.fetch_max(last, Ordering::Relaxed);
                        }
                        Err(why) => self.rest.ids.complain(|| format!("a {status} came {why}")),
                    }
                }
                (&mut self.meter.stats.writes, batch)
            }
            Role::Reader { .. } => (&mut self.meter.stats.reads, 1),
        };
        if RequestOutcome::Status(status).is_success() {
            stats.succeed(status, done, bytes, latency);
        } else {
            stats.fail(RequestOutcome::Status(status), || explanation(answer.body()));
        }
    }

    fn give_up_the_overdue(&mut self) {
        let now = self.now();
        if now < self.next_look {
            return;
        }
        self.next_look = now + SLEEP_MAX;
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            if client.connection.is_busy() && now.saturating_sub(client.begun) > self.plan.timeout {
                client.connection.close();
                self.fail(
                    index,
                    RequestOutcome::TimedOut,
                    format!("no answer within {} s", self.plan.timeout.as_secs()),
                );
            }
        }
    }

    fn sleep(&mut self, events: &mut Events) -> io::Result<()> {
        let now = self.now();
        let paused = self.paused.front().map(|(until, _)| *until);
        let due = self.schedule.due().filter(|_| !self.free.is_empty());
        let wake = [Some(now + SLEEP_MAX), Some(self.meter.next_second()), paused, due].into_iter().flatten().min();
        let wait = wake.unwrap_or_default().saturating_sub(now);
        self.meter.sleep(now);
        // The selector counts in milliseconds, which is too coarse for a schedule.
        let slept = if due.is_some() && !wait.is_zero() {
            sleep_precisely(&self.poll, wait).and_then(|()| self.poll(events, Duration::ZERO))
        } else {
            self.poll(events, wait)
        };
        self.meter.wake(self.now());
        slept
    }

    fn poll(&mut self, events: &mut Events, wait: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            polled => polled,
        }
    }

    /// Reports the part of the last second that was measured, waits for late answers, and returns the rest.
    fn end(mut self, events: &mut Events, buffer: &mut [u8]) -> io::Result<Rest> {
        self.rest.queued = self.schedule.queued(self.ends);
        self.schedule = Schedule::Free;
        if self.ends > self.meter.second_began {
            let interval = self.meter.turn(self.ends, self.now());
            let _ = self.report.send(interval);
        }
        let drained = self.now() + DRAIN_MAX;
        while self.now() < drained && self.clients.iter().any(|client| client.connection.is_busy()) {
            self.poll(events, SLEEP_MAX)?;
            self.proceed(events, buffer);
        }
        let now = self.now();
        for client in self.clients.iter().filter(|client| client.connection.is_busy()) {
            self.rest.unanswered += 1;
            self.rest.oldest = self.rest.oldest.max(now.saturating_sub(client.since));
        }
        Ok(self.rest)
    }
}

/// Waits for an event, or for a time that is precise to about a microsecond.
fn sleep_precisely(poll: &Poll, wait: Duration) -> io::Result<()> {
    let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: i64::from(wait.subsec_nanos()) };
    match rustix::event::poll(&mut [PollFd::new(poll.registry(), PollFlags::IN)], Some(&wait)) {
        Err(rustix::io::Errno::INTR) => Ok(()),
        slept => Ok(slept.map(drop)?),
    }
}

/// The ids in the acknowledgement of a post of so many messages, or what is wrong with it.
fn acknowledged(body: &[u8], batch: u64) -> Result<(u64, u64), String> {
    #[derive(Deserialize)]
    struct Acknowledgement {
        message_id: Option<u64>,
        message_ids: Option<Ids>,
    }
    let answer: Acknowledgement =
        serde_json::from_slice(body).map_err(|error| format!("with unexpected JSON ({error})"))?;
    let ids = answer.message_ids.map(|ids| (ids.first, ids.last));
    let (first, last) = ids.or(answer.message_id.map(|id| (id, id))).ok_or("without a message id")?;
    if first == 0 || last.checked_sub(first).is_none_or(|more| more != batch - 1) {
        return Err(format!("with ids from {first} to {last} for {batch} messages"));
    }
    Ok((first, last))
}

/// The sentence of an error.
fn explanation(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        error: String,
    }
    let problem = serde_json::from_slice(body).map(|Problem { error }| error);
    problem.unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_name_as_many_ids_as_there_are_messages() {
        let ids = |body: &str, batch| acknowledged(body.as_bytes(), batch);
        assert_eq!(ids(r#"{"status":"success","message_id":7,"acks":[{"ms":1}]}"#, 1), Ok((7, 7)));
        assert_eq!(ids(r#"{"message_ids":{"first":5,"last":9},"count":5}"#, 5), Ok((5, 9)));
        for (wrong, batch) in [
            (r#"{"message_ids":{"first":5,"last":9}}"#, 4),
            (r#"{"message_ids":{"first":9,"last":5}}"#, 5),
            (r#"{"message_id":0}"#, 1),
            (r#"{"messages":["text"]}"#, 1),
            ("created", 1),
        ] {
            assert!(ids(wrong, batch).is_err(), "{wrong}");
        }
        assert_eq!(explanation(br#"{"error":"read-only","outcome":"not_appended"}"#), "read-only");
        assert_eq!(explanation(b"Bad Gateway"), "Bad Gateway");
    }
}
