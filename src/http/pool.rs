//! Threads for work that may block.
//!
//! A job runs at once: an idle thread takes it, or a new one is made, up to a limit; beyond that it waits. So a hundred
//! slow clients hold a hundred threads, and the next one still gets its own.

use crate::process::threads::lock;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// How long a thread without work stays, so that bursts do not pay for new ones each time.
const LINGER: Duration = Duration::from_secs(10);

pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    state: Mutex<State>,
    work_came: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    threads_max: usize,
    /// Threads that wait for a job. Jobs that wait already will take some of them.
    idle: usize,
}

impl Pool {
    pub(super) fn new(name: &'static str, threads_max: usize) -> Pool {
        let state = Mutex::new(State { threads_max, ..State::default() });
        let shared = Shared { name, state, work_came: Condvar::new() };
        Pool { shared: Arc::new(shared) }
    }

    /// From now on there may be one thread more: for a job that does not end.
    pub(super) fn widen(&self) {
        lock(&self.shared.state).threads_max += 1;
    }

    /// Takes back one [`Pool::widen`].
    pub(super) fn narrow(&self) {
        lock(&self.shared.state).threads_max -= 1;
    }

    /// Takes a job if a thread is free for it.
    pub(super) fn try_submit(&self, job: Job) -> Result<(), Job> {
        let mut state = lock(&self.shared.state);
        if state.jobs.len() >= state.idle {
            if state.threads >= state.threads_max || !self.grow() {
                return Err(job);
            }
            state.threads += 1;
        }
        state.jobs.push_back(job);
        drop(state);
        self.shared.work_came.notify_one();
        Ok(())
    }

    /// Takes a job. If no thread is free, it waits for the next.
    pub(super) fn submit(&self, job: Job) {
        if let Err(job) = self.try_submit(job) {
            lock(&self.shared.state).jobs.push_back(job);
            self.shared.work_came.notify_one();
        }
    }

    fn grow(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new().name(self.shared.name.to_owned()).spawn(move || shared.work());
        if let Err(error) = &spawned {
            log::warn!("no thread could be started ({error}); requests wait for another one to end");
        }
        spawned.is_ok()
    }
}

impl Shared {
    fn work(&self) {
        while let Some(job) = self.next_job() {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                log::error!("a job of the {} threads panicked", self.name);
            }
        }
    }

    /// Waits for a job; `None` when there was none for [`LINGER`], and this thread is to end.
    fn next_job(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        if state.jobs.is_empty() {
            state.idle += 1;
            let waited = self.work_came.wait_timeout_while(state, LINGER, |state| state.jobs.is_empty());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
        }
        let job = state.jobs.pop_front();
        if job.is_none() {
            state.threads -= 1;
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::mpsc::channel;

    #[test]
    fn every_job_has_a_thread_of_its_own_up_to_the_limit() {
        let pool = Pool::new("test", 8);
        for _ in 0..2 {
            let meeting = Arc::new(Barrier::new(9));
            for _ in 0..8 {
                let meeting = Arc::clone(&meeting);
                pool.submit(Box::new(move || {
                    meeting.wait();
                }));
            }
            assert!(pool.try_submit(Box::new(|| ())).is_err());
            meeting.wait();
        }
    }

    #[test]
    fn a_job_that_does_not_end_takes_no_thread_from_others() {
        let pool = Pool::new("test", 1);
        pool.widen();
        let (end, ended) = channel::<()>();
        let endless = move || {
            let _ = ended.recv();
        };
        assert!(pool.try_submit(Box::new(endless)).is_ok());
        let (sent, received) = channel();
        assert!(pool.try_submit(Box::new(move || sent.send(()).unwrap())).is_ok());
        received.recv().unwrap();
        drop(end);
    }

    #[test]
    fn jobs_beyond_the_limit_wait_and_a_panic_costs_no_thread() {
        let pool = Pool::new("test", 1);
        pool.submit(Box::new(|| panic!("on purpose")));
        let (sent, received) = channel();
        for number in 0..100 {
            let sent = sent.clone();
            pool.submit(Box::new(move || sent.send(number).unwrap()));
        }
        let numbers: Vec<i32> = (0..100).map(|_| received.recv().unwrap()).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }
}
