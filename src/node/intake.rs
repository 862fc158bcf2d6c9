//! Where posts wait while this node hands over, and where they go that met a role which is over.
//!
//! A post that has begun when the intake pauses is taken by the leader first. A later one is kept, with its body and
//! without a thread. When the intake goes on, it is posted again, to the role that the node has then.

use crate::http::{Exchange, Reply};
use crate::process::threads::lock;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError};

/// The most posts that wait. Their bodies are within the budget for bodies.
const HELD_MAX: usize = 4_096;

/// The posts of a node.
pub(crate) struct Intake {
    /// Read while the leader takes a post, and written during a pause.
    taking: RwLock<()>,
    /// The posts that wait, during a pause.
    held: Mutex<Option<Vec<Exchange>>>,
    post_again: PostAgain,
}

/// Posts messages again, without blocking.
type PostAgain = Box<dyn Fn(Vec<Exchange>) + Send + Sync>;

/// The end of a pause, however it ends.
struct Pause<'a>(&'a Intake);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        (self.0.post_again)(self.0.release());
    }
}

impl Intake {
    /// An intake that gives posts which this node could not take to `post_again`, which does not block.
    pub(crate) fn new(post_again: impl Fn(Vec<Exchange>) + Send + Sync + 'static) -> Intake {
        Intake { taking: RwLock::new(()), held: Mutex::new(None), post_again: Box::new(post_again) }
    }

    /// Lets the leader take a post, unless there is a pause.
    pub(crate) fn enter(&self) -> Option<RwLockReadGuard<'_, ()>> {
        match self.taking.try_read() {
            Ok(taking) => Some(taking),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes a post back that its role could not take, because there is a pause, or because the node has another role now.
    pub(crate) fn give_back(&self, exchange: Exchange) {
        let mut held = lock(&self.held);
        let is_paused = held.is_some();
        if let Some(held) = held.as_mut().filter(|held| held.len() < HELD_MAX) {
            return held.push(exchange);
        }
        drop(held);
        if is_paused {
            exchange.reply(Reply::overloaded(&format!(
                "the message was not appended: this node hands over to another one, and {HELD_MAX} posts wait for that; try \
                 again in a second"
            )));
        } else {
            (self.post_again)(vec![exchange]);
        }
    }

    /// Ends a pause for those posts that wait: gives them to the caller, and keeps no others.
    pub(crate) fn release(&self) -> Vec<Exchange> {
        lock(&self.held).take().unwrap_or_default()
    }

    /// Runs this while no post is taken, and posts those again that came meanwhile.
    pub(crate) fn pause<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        *lock(&self.held) = Some(Vec::new());
        let _pause = Pause(self);
        let _taking = self.taking.write().unwrap_or_else(PoisonError::into_inner);
        meanwhile()
    }
}
