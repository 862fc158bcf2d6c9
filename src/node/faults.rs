//! Faults on demand, for demonstrations and tests: a slow node, one that fails, one whose network is cut.
//!
//! A node shows faults only if it was started with `ENABLE_FAULTS=1`. There is one fault at a time; `PUT /faults` replaces
//! it, `DELETE /faults` ends it, and it always ends by itself. What people ask for and read is never touched; only what
//! nodes say to each other, and what appends: a replicate call that brings messages on a secondary, a posted message on
//! the master.
//!
//! A cut loses traffic as a broken network does: nobody gets an answer, and whoever calls waits until his timeout ends.
//! Here that is a thread, so a silence ends with an error after [`SILENCE_MAX`].

use crate::http::{Exchange, Method, Reply};
use crate::peer::Network;
use crate::wire::fault::{ActiveFault, Cut, Fail, Fault, FaultReport};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a caller is left without an answer, if he waits so long.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What a caller learns whose call or answer was lost.
const NO_ANSWER: &str = "no answer in time (the network is cut: somebody asked for that fault)";

/// The faults of one node.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    enabled: bool,
    /// Of a master: its delay concerns its own copies, which nobody counts.
    is_master: bool,
    /// There is a fault: all that is asked while there is none.
    active: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    fault: Option<Active>,
    /// Faults so far; the latest has this number.
    number: u64,
    /// How often the latest did something.
    hits: u64,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    fault: Fault,
    until: Instant,
}

impl Faults {
    /// Of a master or a secondary that shows faults when it is asked to, or never does.
    pub(crate) fn new(enabled: bool, is_master: bool) -> Arc<Faults> {
        if enabled {
            log::warn!("faults can be asked for with PUT /faults: ENABLE_FAULTS is set");
        }
        Arc::new(Faults { enabled, is_master, ..Faults::default() })
    }

    /// Whether faults can be asked for.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Answers `GET`, `PUT` and `DELETE /faults`.
    pub(crate) fn answer(self: &Arc<Faults>, mut exchange: Exchange) {
        let reply = match exchange.method() {
            Method::Get => Reply::json(200, &self.report()),
            _ if !self.enabled => Reply::problem(403, "this node shows no faults; start it with ENABLE_FAULTS=1"),
            Method::Put => exchange.read_body().and_then(|body| self.set(&body)).unwrap_or_else(|reply| reply),
            _ => {
                self.end(|_| true, "as asked");
                Reply::json(200, &self.report())
            }
        };
        exchange.reply(reply);
    }

    fn set(self: &Arc<Faults>, body: &[u8]) -> Result<Reply, Reply> {
        let fault = Fault::from_json(body).map_err(|why| Reply::problem(400, &why))?;
        if self.is_master && fault.calls.is_some() && !fault.delay.is_zero() {
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
        log::warn!("a fault was asked for: {}", describe(&fault));
        let faults = Arc::clone(self);
        let watched = thread::Builder::new().name("fault".to_owned()).spawn(move || faults.end_in_time(number));
        if let Err(error) = watched {
            self.end(|state| state.number == number, "at once");
            return Err(Reply::problem(503, &format!("no thread could be started that ends the fault: {error}")));
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
            log::warn!("the fault ended {how}; it did something {} times", state.hits);
            self.active.store(false, Ordering::Release);
            self.changed.notify_all();
        }
    }

    /// Waits so long, but no longer than the fault lasts that it is for. One that ended with this call lasts for it.
    pub(crate) fn sleep(&self, duration: Duration) {
        if duration.is_zero() {
            return;
        }
        let state = self.lock();
        let (number, was_over) = (state.number, state.fault.is_none());
        let goes_on = |state: &mut State| state.number == number && state.fault.is_none() == was_over;
        drop(self.changed.wait_timeout_while(state, duration, goes_on).unwrap_or_else(PoisonError::into_inner));
    }

    /// What this node says of its faults.
    pub(crate) fn report(&self) -> FaultReport {
        let state = self.lock();
        let left = |active: &Active| active.until.saturating_duration_since(Instant::now());
        let active = state.fault.map(|active| ActiveFault::new(&active.fault, left(&active)));
        FaultReport { enabled: self.enabled, active, hits: state.hits }
    }

    /// What `/health` shows: the fault, while there is one.
    pub(crate) fn active(&self) -> Option<ActiveFault> {
        if self.is_active() { self.report().active } else { None }
    }

    /// The fault that there is now, in words.
    pub(crate) fn in_words(&self) -> Option<String> {
        if self.is_active() { self.lock().fault.map(|active| words(&active.fault)) } else { None }
    }

    /// Whether there is a fault now.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// A call that appends has come: what it meets.
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
            self.end_now(&mut state, "after the calls it was for");
        }
        Some(met)
    }

    /// How long the node waits before its own copy counts.
    pub(crate) fn delay(&self) -> Duration {
        if !self.is_active() {
            return Duration::ZERO;
        }
        self.lock().fault.map_or(Duration::ZERO, |active| active.fault.delay)
    }

    /// Answers a call of another node. If the call or its answer is lost, whoever still listens after a silence is told so.
    pub(crate) fn answer_node(&self, mut exchange: Exchange, answer: impl FnOnce(&mut Exchange) -> Reply) {
        let answered = self.pass(Cut::is_deaf, SILENCE_MAX).and_then(|()| {
            let reply = answer(&mut exchange);
            self.pass(Cut::is_mute, SILENCE_MAX).map(|()| reply)
        });
        exchange.reply(answered.unwrap_or_else(|()| lost()));
    }

    /// Whether traffic passes; if it is lost, waits before it says so.
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

/// If a call or its answer is lost, that lasts until the timeout of the caller ends, or the cut.
impl Network for Faults {
    fn carry_call(&self, timeout: Duration) -> Result<(), String> {
        self.pass(Cut::is_mute, timeout).map_err(|()| NO_ANSWER.to_owned())
    }

    fn carry_answer(&self, timeout: Duration) -> Result<(), String> {
        self.pass(Cut::is_deaf, timeout).map_err(|()| NO_ANSWER.to_owned())
    }
}

fn lost() -> Reply {
    Reply::no_answer(503, "this call was lost: somebody asked this node for that fault")
}

/// The answer to a call that a fault lets fail without having done anything.
pub(crate) fn failed_before() -> Reply {
    Reply::overloaded("nothing was appended: somebody asked this node for that fault")
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
