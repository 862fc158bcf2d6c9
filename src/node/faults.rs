//! Fault injection, for demonstrations and tests: a slow node, one that fails, one whose network is cut.
//!
//! A node injects faults only if it was started with `ENABLE_FAULTS=1`. There is one fault at a time: `PUT /faults`
//! replaces it, `DELETE /faults` ends it, and it ends by itself after its duration. A fault concerns calls between
//! nodes and appends (a replicate call with messages on a secondary, a posted message on the master), and never what
//! clients read.
//!
//! A cut loses traffic as a broken network does: the caller gets no answer until its timeout. Each such call holds a
//! thread here, so it ends with an error after [`SILENCE_MAX`].

use crate::http::{Exchange, Method, Reply};
use crate::peer::Network;
use crate::wire::fault::{ActiveFault, Cut, Fail, Fault, FaultReport};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The longest time for which a cut leaves a caller without an answer.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Why a call through a cut network has failed, for its caller.
const NO_ANSWER: &str = "no answer in time (an injected fault cuts the network)";

/// The faults of one node.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    enabled: bool,
    /// Whether this node leads. It refuses a fault with both `delay` and `calls` then, because its delay concerns rounds,
    /// which `calls` does not count.
    leads: AtomicBool,
    /// There is a fault. Without one, this is all that a call reads, so it takes no lock.
    active: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    fault: Option<Active>,
    /// How many faults there were. It numbers the latest one.
    number: u64,
    /// How often the latest fault had an effect.
    hits: u64,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    fault: Fault,
    until: Instant,
}

impl Faults {
    /// The faults of a node, which injects faults only if `enabled`.
    pub(crate) fn new(enabled: bool) -> Arc<Faults> {
        if enabled {
            log::warn!("PUT /faults can inject faults into this node: ENABLE_FAULTS is set");
        }
        Arc::new(Faults { enabled, ..Faults::default() })
    }

    /// Whether the node leads from now on.
    pub(crate) fn leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Release);
    }

    /// Whether clients can inject faults.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Answers `GET`, `PUT` and `DELETE /faults`.
    pub(crate) fn answer(self: &Arc<Faults>, mut exchange: Exchange) {
        let reply = match exchange.method() {
            Method::Get => Reply::json(200, &self.report()),
            _ if !self.enabled => Reply::problem(403, "this node injects no faults; start it with ENABLE_FAULTS=1"),
            Method::Put => exchange.read_body().and_then(|body| self.set(&body)).unwrap_or_else(|reply| reply),
            _ => {
                self.end(|_| true, "on request");
                Reply::json(200, &self.report())
            }
        };
        exchange.reply(reply);
    }

    fn set(self: &Arc<Faults>, body: &[u8]) -> Result<Reply, Reply> {
        let fault = Fault::from_json(body).map_err(|why| Reply::problem(400, &why))?;
        if self.leads.load(Ordering::Acquire) && fault.calls.is_some() && !fault.delay.is_zero() {
            let why = "on a master, \"delay\" concerns rounds, which \"calls\" does not count; send one of them";
            return Err(Reply::problem(400, why));
        }
        let until = Instant::now() + fault.lasts;
        let number = {
            let mut state = self.lock();
            *state = State { fault: Some(Active { fault, until }), number: state.number + 1, hits: 0 };
            self.active.store(true, Ordering::Release);
            state.number
        };
        self.changed.notify_all();
        log::warn!("injecting a fault: {}", describe(&fault));
        let faults = Arc::clone(self);
        let watched = thread::Builder::new().name("fault".to_owned()).spawn(move || faults.end_in_time(number));
        if let Err(error) = watched {
            self.end(|state| state.number == number, "at once");
            return Err(Reply::problem(503, &format!("cannot start the thread that ends the fault: {error}")));
        }
        Ok(Reply::json(200, &self.report()))
    }

    fn end_in_time(&self, number: u64) {
        let mut state = self.lock();
        loop {
            let until = state.fault.filter(|_| state.number == number).map(|active| active.until);
            let Some(until) = until else { return };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        self.end(|state| state.number == number, "by itself");
    }

    fn end(&self, which: impl Fn(&State) -> bool, how: &str) {
        let mut state = self.lock();
        if which(&state) {
            self.end_now(&mut state, how);
        }
    }

    fn end_now(&self, state: &mut State, how: &str) {
        if state.fault.take().is_some() {
            log::warn!("the fault ended {how}; it had an effect {} times", state.hits);
            self.active.store(false, Ordering::Release);
            self.changed.notify_all();
        }
    }

    /// Sleeps for a duration, but no longer than the current fault lasts. A fault whose last call this is does not cut
    /// the sleep short.
    pub(crate) fn sleep(&self, duration: Duration) {
        if duration.is_zero() {
            return;
        }
        let state = self.lock();
        let (number, was_over) = (state.number, state.fault.is_none());
        let goes_on = |state: &mut State| state.number == number && state.fault.is_none() == was_over;
        drop(self.changed.wait_timeout_while(state, duration, goes_on).unwrap_or_else(PoisonError::into_inner));
    }

    /// What `GET /faults` shows.
    pub(crate) fn report(&self) -> FaultReport {
        let state = self.lock();
        let left = |active: &Active| active.until.saturating_duration_since(Instant::now());
        let active = state.fault.map(|active| ActiveFault::new(&active.fault, left(&active)));
        FaultReport { enabled: self.enabled, active, hits: state.hits }
    }

    /// The current fault, as `/health` shows it.
    pub(crate) fn active(&self) -> Option<ActiveFault> {
        if self.is_active() { self.report().active } else { None }
    }

    /// The current fault, in words.
    pub(crate) fn in_words(&self) -> Option<String> {
        if self.is_active() { self.lock().fault.map(|active| words(&active.fault)) } else { None }
    }

    /// Whether there is a fault.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Counts a call that appends, and gives the fault that applies to it.
    pub(crate) fn meet(&self) -> Option<Fault> {
        if !self.is_active() {
            return None;
        }
        let mut state = self.lock();
        let active = state.fault.as_mut()?;
        let met = active.fault;
        active.fault.calls = active.fault.calls.map(|calls| calls - 1);
        let was_last = active.fault.calls == Some(0);
        state.hits += 1;
        if was_last {
            self.end_now(&mut state, "after its last call");
        }
        Some(met)
    }

    /// How long the node delays its own copy.
    pub(crate) fn delay(&self) -> Duration {
        if !self.is_active() {
            return Duration::ZERO;
        }
        self.lock().fault.map_or(Duration::ZERO, |active| active.fault.delay)
    }

    /// Answers a call of another node. If the call or its answer is lost, the caller gets an error once the cut ends,
    /// after [`SILENCE_MAX`] at the latest.
    pub(crate) fn answer_node(&self, mut exchange: Exchange, answer: impl FnOnce(&mut Exchange) -> Reply) {
        let answered = self.pass(Cut::is_deaf, SILENCE_MAX).and_then(|()| {
            let reply = answer(&mut exchange);
            self.pass(Cut::is_mute, SILENCE_MAX).map(|()| reply)
        });
        exchange.reply(answered.unwrap_or_else(|()| lost()));
    }

    /// Fails if traffic is lost, after `silence` or at the end of the cut.
    fn pass(&self, is_lost: impl Fn(Cut) -> bool, silence: Duration) -> Result<(), ()> {
        if !self.is_active() {
            return Ok(());
        }
        let loses = |state: &mut State| state.fault.and_then(|active| active.fault.cut).is_some_and(&is_lost);
        let mut state = self.lock();
        if !loses(&mut state) {
            return Ok(());
        }
        state.hits += 1;
        let waited = self.changed.wait_timeout_while(state, silence, loses);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Err(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is lost, or whose answer is lost, fails after the caller's timeout or at the end of the cut.
impl Network for Faults {
    fn carry_call(&self, timeout: Duration) -> Result<(), String> {
        self.pass(Cut::is_mute, timeout).map_err(|()| NO_ANSWER.to_owned())
    }

    fn carry_answer(&self, timeout: Duration) -> Result<(), String> {
        self.pass(Cut::is_deaf, timeout).map_err(|()| NO_ANSWER.to_owned())
    }
}

fn lost() -> Reply {
    Reply::no_answer(503, "this call was lost by an injected fault")
}

/// The answer to a call that a fault refuses before anything is appended.
pub(crate) fn failed_before() -> Reply {
    Reply::overloaded("nothing was appended, because of an injected fault")
}

fn describe(fault: &Fault) -> String {
    let calls = fault.calls.map_or_else(String::new, |calls| format!(", or {calls} calls"));
    format!("{}; for {} s{calls}", words(fault), fault.lasts.as_secs_f64())
}

fn words(fault: &Fault) -> String {
    let mut words = Vec::new();
    let seconds = |duration: Duration| duration.as_secs_f64();
    if !fault.hold.is_zero() {
        words.push(format!("calls that append are held for {} s", seconds(fault.hold)));
    }
    if !fault.delay.is_zero() {
        words.push(format!("acknowledgements are delayed by {} s", seconds(fault.delay)));
    }
    match fault.fail {
        Some(Fail::Before) => words.push("appends are refused".to_owned()),
        Some(Fail::After) => words.push("appends are done and answered with an error".to_owned()),
        None => {}
    }
    match fault.cut {
        Some(Cut::In) => words.push("what other nodes send is lost".to_owned()),
        Some(Cut::Out) => words.push("what this node sends to others is lost".to_owned()),
        Some(Cut::Both) => words.push("the network to other nodes is cut".to_owned()),
        None => {}
    }
    words.join(", ")
}
