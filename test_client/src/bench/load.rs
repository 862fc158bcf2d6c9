//! One thread of load: it drives all its connections with one selector, and measures them.
//!
//! The run has three parts: the warm-up, whose answers are looked at and not counted; the measured time; and a moment
//! in which nothing is sent any more and answers still come in. An answer belongs to the second in which it is complete.

use super::connection::{Connection, Failure, Progress};
use super::ids::Ids;
use super::options::Options;
use super::request::{Page, Post};
use super::schedule::Schedule;
use super::tally::{Outcome, Side, Tally};
use crate::api::Address;
use crate::api::Credentials;
use crate::api::Ids as Batch;
use mio::{Events, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Longest sleep: so late Ctrl-C and time-outs are noticed.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// How long answers may still come in at the end.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Pause of a connection that could not be made.
const PAUSE: Duration = Duration::from_millis(100);

/// So much is read at a time, and so many connections are looked after.
const BUFFER_BYTES: usize = 64 * 1024;
const EVENTS: usize = 256;

/// So much of an answer to a post is kept. It names every secondary, so this is room for hundreds.
const BODY_KEPT_MAX: usize = 64 * 1024;

const SECOND: Duration = Duration::from_secs(1);

/// A node, and where it was reached.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) address: Address,
    pub(super) socket: SocketAddr,
}

/// What all threads know.
pub(super) struct Run {
    pub(super) options: Options,
    pub(super) master: Node,
    /// Whom readers ask.
    pub(super) read_from: Vec<Node>,
    /// How long an answer may take.
    pub(super) timeout: Duration,
    /// What the nodes want to see.
    pub(super) token: Option<Credentials>,
    /// Tells this run's messages from those of others.
    pub(super) tag: String,
    /// The newest id that is known.
    pub(super) newest: AtomicU64,
    /// The person has seen enough.
    pub(super) stop: std::sync::Arc<AtomicBool>,
}

/// One second of one thread, or what there is of it.
pub(super) struct Interval {
    /// Seconds since the beginning of the warm-up.
    pub(super) number: u64,
    pub(super) length: Duration,
    pub(super) thread: u64,
    pub(super) tally: Tally,
    /// Time on a core.
    pub(super) cpu: Duration,
    /// Time not spent waiting for the nodes.
    pub(super) busy: Duration,
    /// Time in which it could have gone on, and all cores were taken.
    pub(super) without_core: Duration,
}

/// What is known when a thread ends.
#[derive(Debug, Default)]
pub(super) struct Rest {
    pub(super) ids: Ids,
    /// Posts that were never answered, and how old the oldest was.
    pub(super) unanswered: u64,
    pub(super) oldest: Duration,
    /// Posts that were due at the end of the measured time, and had no connection.
    pub(super) in_line: u64,
}

/// Somebody who asks, and waits for the answer.
struct Client {
    connection: Connection,
    role: Role,
    /// Latency counts from here.
    since: Duration,
    /// When the request was begun.
    begun: Duration,
}

enum Role {
    Writer { post: Post, latest: u64 },
    Reader { page: Page },
}

impl Role {
    fn request(&self) -> &[u8] {
        match self {
            Role::Writer { post, .. } => post.bytes(),
            Role::Reader { page } => page.bytes(),
        }
    }
}

/// The thread.
pub(super) struct Load<'a> {
    run: &'a Run,
    /// All times are counted from here.
    begun: Instant,
    thread: u64,
    poll: Poll,
    clients: Vec<Client>,
    schedule: Schedule,
    /// Writers that have nothing to do.
    free: VecDeque<usize>,
    /// Clients that pause, and until when: the earliest comes first.
    paused: VecDeque<(Duration, usize)>,
    /// Number of the next message.
    next_message: u64,
    ends: Duration,
    /// When to look for overdue answers again.
    next_look: Duration,
    measuring: Stopwatch,
    rest: Rest,
    report: Sender<Interval>,
}

impl<'a> Load<'a> {
    /// The share that one thread has of the clients.
    pub(super) fn new(run: &'a Run, thread: u64, report: Sender<Interval>) -> io::Result<Load<'a>> {
        let options = &run.options;
        let poll = Poll::new()?;
        let ours = |number: &u64| number % options.threads == thread;
        let post = Post::new(&run.master.address, options, &run.tag, run.token.as_ref());
        let mut clients = Vec::new();
        for _ in (0..options.writers).filter(ours) {
            let post = post.clone();
            let connection = Connection::new(run.master.socket, Token(clients.len()), BODY_KEPT_MAX);
            clients.push(Client {
                connection,
                role: Role::Writer { post, latest: 0 },
                since: Duration::ZERO,
                begun: Duration::ZERO,
            });
        }
        let writers = clients.len();
        for number in (0..options.readers).filter(ours) {
            let node = &run.read_from[usize::try_from(number).unwrap_or_default() % run.read_from.len()];
            let page = Page::new(&node.address, options.page, number, run.token.as_ref());
            let connection = Connection::new(node.socket, Token(clients.len()), EXPLAINED_BYTES_MAX);
            clients.push(Client {
                connection,
                role: Role::Reader { page },
                since: Duration::ZERO,
                begun: Duration::ZERO,
            });
        }
        let schedule = match options.posts_per_second() {
            Some(rate) if writers > 0 => Schedule::fixed(rate, thread, options.threads.min(options.writers)),
            _ => Schedule::Free,
        };
        Ok(Load {
            run,
            begun: Instant::now(),
            thread,
            poll,
            clients,
            schedule,
            free: (0..writers).collect(),
            paused: VecDeque::new(),
            next_message: thread * options.batch as u64,
            ends: Duration::from_secs(options.warm_up + options.seconds),
            next_look: Duration::ZERO,
            measuring: Stopwatch::start(thread, Duration::ZERO),
            rest: Rest::default(),
            report,
        })
    }

    /// Runs from this time, which all threads have in common, to the end.
    pub(super) fn play(mut self, begun: Instant) -> io::Result<Rest> {
        self.begun = begun;
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; BUFFER_BYTES];
        self.measuring = Stopwatch::start(self.thread, self.now());
        for index in 0..self.clients.len() {
            if matches!(self.clients[index].role, Role::Reader { .. }) {
                self.ask(index, self.now());
            }
        }
        while !self.is_over() {
            self.give_up_the_overdue();
            self.wake_the_paused();
            self.hand_out();
            self.sleep(&mut events)?;
            for event in &events {
                self.proceed(event, &mut buffer);
            }
        }
        self.end(&mut events, &mut buffer)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Reports the seconds that are over. Whether the measured time is.
    fn is_over(&mut self) -> bool {
        let now = self.now();
        if self.run.stop.load(Ordering::Relaxed) {
            self.ends = self.ends.min(now);
        }
        self.turn_the_seconds(now);
        now >= self.ends
    }

    fn turn_the_seconds(&mut self, now: Duration) {
        while now.min(self.ends) >= self.measuring.next_second() {
            let interval = self.measuring.turn(self.measuring.next_second(), now);
            // Whoever listened is gone only after an error, which it tells.
            let _ = self.report.send(interval);
        }
    }

    // Sending.

    /// Gives every free writer a post, as far as posts are due.
    fn hand_out(&mut self) {
        while let Some(&index) = self.free.front() {
            let Some(since) = self.schedule.take(self.now()) else { return };
            self.free.pop_front();
            self.ask(index, since);
        }
    }

    /// Sends the next request of a client, whose latency counts from this time.
    fn ask(&mut self, index: usize, since: Duration) {
        let options = &self.run.options;
        let client = &mut self.clients[index];
        client.since = since;
        client.begun = self.begun.elapsed();
        match &mut client.role {
            Role::Writer { post, .. } => {
                post.number(self.next_message);
                self.next_message += options.batch as u64 * options.threads;
            }
            Role::Reader { page } => page.choose(self.run.newest.load(Ordering::Relaxed)),
        }
        let progress = client.connection.begin(client.role.request(), self.poll.registry());
        self.look_at(index, progress);
    }

    /// Lets a client go on, or pause after a failure.
    fn next(&mut self, index: usize, failed: bool) {
        let now = self.now();
        if failed {
            self.paused.push_back((now + PAUSE, index));
        } else if now < self.ends {
            match self.clients[index].role {
                Role::Reader { .. } => self.ask(index, now),
                Role::Writer { .. } => {
                    self.free.push_back(index);
                    self.hand_out();
                }
            }
        }
    }

    fn wake_the_paused(&mut self) {
        while self.paused.front().is_some_and(|(until, _)| *until <= self.now()) {
            let (_, index) = self.paused.pop_front().expect("it was looked at");
            self.next(index, false);
        }
    }

    // Receiving.

    fn proceed(&mut self, event: &mio::event::Event, buffer: &mut [u8]) {
        let Token(index) = event.token();
        let client = &mut self.clients[index];
        let progress = client.connection.proceed(event, client.role.request(), buffer);
        self.look_at(index, progress);
    }

    fn look_at(&mut self, index: usize, progress: Progress) {
        match progress {
            Progress::Pending => {}
            Progress::Answered => {
                self.count_answer(index);
                self.next(index, false);
            }
            Progress::Failed(failure) => {
                let (outcome, why) = match failure {
                    Failure::NotConnected(why) => (Outcome::NotConnected, why),
                    Failure::Broken(why) => (Outcome::Broken, why),
                };
                self.side(index).fail(outcome, || why);
                self.next(index, true);
            }
        }
    }

    fn side(&mut self, index: usize) -> &mut Side {
        match self.clients[index].role {
            Role::Writer { .. } => &mut self.measuring.tally.writes,
            Role::Reader { .. } => &mut self.measuring.tally.reads,
        }
    }

    fn count_answer(&mut self, index: usize) {
        let now = self.now();
        self.turn_the_seconds(now);
        let client = &mut self.clients[index];
        let answer = client.connection.answer();
        let latency = now.saturating_sub(client.since);
        let (status, bytes) = (answer.status(), answer.body_bytes());
        let tally = &mut self.measuring.tally;
        let is_success = Outcome::Status(status).is_success();
        match &mut client.role {
            Role::Writer { latest, .. } if is_success => {
                let batch = self.run.options.batch as u64;
                match acknowledged(answer.body(), batch) {
                    Ok((first, last)) => {
                        self.rest.ids.acknowledge(first, last, latest);
                        self.run.newest.fetch_max(last, Ordering::Relaxed);
                    }
                    Err(why) => self.rest.ids.complain(|| format!("{status} was answered {why}")),
                }
                tally.writes.succeed(status, batch, bytes, latency);
            }
            Role::Reader { .. } if is_success => tally.reads.succeed(status, 1, bytes, latency),
            Role::Writer { .. } => tally.writes.fail(Outcome::Status(status), || explanation(answer.body())),
            Role::Reader { .. } => tally.reads.fail(Outcome::Status(status), || explanation(answer.body())),
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
            if client.connection.is_busy() && now.saturating_sub(client.begun) > self.run.timeout {
                client.connection.give_up();
                let why = format!("no answer within {} s", self.run.timeout.as_secs());
                self.side(index).fail(Outcome::TimedOut, || why);
                self.next(index, true);
            }
        }
    }

    // Sleeping.

    fn sleep(&mut self, events: &mut Events) -> io::Result<()> {
        let now = self.now();
        let paused = self.paused.front().map(|(until, _)| *until);
        let due = self.schedule.due().filter(|_| !self.free.is_empty());
        let wake = [Some(now + SLEEP_MAX), Some(self.measuring.next_second()), paused, due].into_iter().flatten().min();
        let wait = wake.unwrap_or_default().saturating_sub(now);
        self.measuring.sleep(now);
        // The selector counts in milliseconds, which is too coarse for a schedule.
        let slept = if due.is_some() && !wait.is_zero() {
            sleep_precisely(&self.poll, wait).and_then(|()| self.poll.poll(events, Some(Duration::ZERO)))
        } else {
            self.poll.poll(events, Some(wait))
        };
        self.measuring.wake(self.now());
        match slept {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            slept => slept,
        }
    }

    // The end.

    /// Reports what there is of the last second, waits a moment for answers that are still to come, and tells the rest.
    fn end(mut self, events: &mut Events, buffer: &mut [u8]) -> io::Result<Rest> {
        self.rest.in_line = self.schedule.in_line(self.ends);
        self.schedule = Schedule::Free;
        if self.ends > self.measuring.second_began {
            let interval = self.measuring.turn(self.ends, self.now());
            let _ = self.report.send(interval);
        }
        let drained = self.now() + DRAIN_MAX;
        while self.now() < drained && self.clients.iter().any(|client| client.connection.is_busy()) {
            match self.poll.poll(events, Some(SLEEP_MAX)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                polled => polled?,
            }
            for event in &*events {
                self.proceed(event, buffer);
            }
        }
        let now = self.now();
        for client in self.clients.iter().filter(|client| client.connection.is_busy()) {
            self.rest.unanswered += 1;
            self.rest.oldest = self.rest.oldest.max(now.saturating_sub(client.since));
        }
        Ok(self.rest)
    }
}

/// Waits for an event, or for so long, to the microsecond or so.
fn sleep_precisely(poll: &Poll, wait: Duration) -> io::Result<()> {
    let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: i64::from(wait.subsec_nanos()) };
    rustix::event::poll(&mut [PollFd::new(poll.registry(), PollFlags::IN)], Some(&wait))?;
    Ok(())
}

/// The part of an acknowledgement that is checked.
#[derive(Deserialize)]
struct Acknowledgement {
    message_id: Option<u64>,
    message_ids: Option<Batch>,
}

/// The ids that a post of so many messages was given.
fn acknowledged(body: &[u8], batch: u64) -> Result<(u64, u64), String> {
    let answer: Acknowledgement =
        serde_json::from_slice(body).map_err(|error| format!("with unexpected JSON ({error})"))?;
    let ids = answer.message_ids.map(|ids| (ids.first, ids.last));
    let (first, last) =
        ids.or(answer.message_id.map(|id| (id, id))).ok_or_else(|| "without a message id".to_owned())?;
    if first == 0 || last.checked_sub(first).is_none_or(|more| more != batch - 1) {
        return Err(format!("with ids from {first} to {last} for {batch} messages"));
    }
    Ok((first, last))
}

/// So much of a page's answer is kept, in case that it explains a failure.
const EXPLAINED_BYTES_MAX: usize = 1024;

/// What an error says, as nodes tell it.
fn explanation(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        error: String,
    }
    let problem = serde_json::from_slice(body).map(|Problem { error }| error);
    problem.unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned())
}

/// The second that is being measured.
struct Stopwatch {
    thread: u64,
    number: u64,
    second_began: Duration,
    tally: Tally,
    busy: Duration,
    woke: Duration,
    cpu_before: Duration,
    without_core_before: Duration,
}

impl Stopwatch {
    fn start(thread: u64, now: Duration) -> Stopwatch {
        Stopwatch {
            thread,
            number: 0,
            second_began: Duration::ZERO,
            tally: Tally::new(),
            busy: Duration::ZERO,
            woke: now,
            cpu_before: own_cpu(),
            without_core_before: without_core(),
        }
    }

    fn next_second(&self) -> Duration {
        SECOND * u32::try_from(self.number + 1).unwrap_or(u32::MAX)
    }

    fn sleep(&mut self, now: Duration) {
        self.busy += now.saturating_sub(self.woke);
        self.woke = now;
    }

    fn wake(&mut self, now: Duration) {
        self.woke = now;
    }

    /// Ends a second, or a part of one, at its end, which was noticed now.
    fn turn(&mut self, end: Duration, now: Duration) -> Interval {
        self.sleep(now);
        let (cpu, without_core) = (own_cpu(), without_core());
        let interval = Interval {
            number: self.number,
            length: end.saturating_sub(self.second_began),
            thread: self.thread,
            tally: mem::replace(&mut self.tally, Tally::new()),
            cpu: cpu.saturating_sub(self.cpu_before),
            busy: mem::take(&mut self.busy),
            without_core: without_core.saturating_sub(self.without_core_before),
        };
        self.number += 1;
        self.second_began = end;
        self.cpu_before = cpu;
        self.without_core_before = without_core;
        interval
    }
}

/// How long this thread was on a core.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// How long this thread waited for a core. Linux tells; elsewhere it is not known, and zero.
fn without_core() -> Duration {
    let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split_ascii_whitespace().nth(1).and_then(|ns| ns.parse().ok()).map_or(Duration::ZERO, Duration::from_nanos)
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
    }

    #[test]
    fn a_failure_explains_itself() {
        assert_eq!(explanation(br#"{"error":"read-only","outcome":"not_appended"}"#), "read-only");
        assert_eq!(explanation(b"Bad Gateway"), "Bad Gateway");
    }
}
