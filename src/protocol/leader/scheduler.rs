//! When a round begins, and what it carries.
//!
//! A round takes all writes that wait, so that clients share it. Normally the next one begins when the last one is
//! over. Four rules limit how long clients wait for each other, and share rounds where they can. A round without writes, which
//! only tells the high watermark, begins in `Leader::round_due`:
//!
//! - *Batch hint.* When several clients have just been answered, they are likely to write again at once. The next round
//!   waits for them as long as the next one comes within [`Timing::batch_pause`], up to twice the time of the last round
//!   or [`Timing::batch_wait`]: otherwise they fall into two halves that wait for each other's rounds, and each round
//!   costs a good part of what it carries. After [`MISSED_BATCHES_MAX`] rounds for which too many did not come, the
//!   scheduler stops waiting. A single client waits for no other, and a refusal that has to be stored for none.
//! - *Side by side.* When the oldest waiting write has waited [`Timing::round_wait`], doubled for each round in flight
//!   beyond the first, another round begins beside them. So a write that comes while many rounds are in flight waits
//!   for a fraction of the delay of a slow secondary at most.
//! - *Settled.* A round whose writes are all settled holds up no other, even if a call of it has not returned. A write
//!   counts as open, decided or not, as long as a writer waits for it.
//! - *Few copies.* A write that needs fewer copies than all begins a round as soon as the master's own disk is free.

use crate::protocol::{Id, Time};
use std::collections::VecDeque;
use std::time::Duration;

/// Rounds in flight at most. With doubled waits the last of them begins seconds after the first.
const ROUNDS_MAX: usize = 12;
/// For how many rounds in a row more than an eighth of the expected clients must not come before the scheduler stops
/// waiting for them.
const MISSED_BATCHES_MAX: u32 = 3;
/// In how many rounds the scheduler then waits once, to see whether they come again.
const HINT_AGAIN: u32 = 16;
/// Messages of one round, and bytes of their text, unless a single write has more.
const ROUND_MESSAGES_MAX: usize = 4_096;
const ROUND_BYTES_MAX: usize = 1 << 20;

/// How long the leader waits before it does something.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Timing {
    /// How often the leader asks a secondary that takes part for its state.
    pub heartbeat: Duration,
    /// How long a round waits for the next of the clients that have just been answered,
    pub batch_pause: Duration,
    /// and for all of them at most, however long the last round took.
    pub batch_wait: Duration,
    /// How long a write waits for the round in flight before it gets one of its own.
    pub round_wait: Duration,
    /// How long the high watermark waits for a round to carry it before an empty call does.
    pub watermark_wait: Duration,
    /// How long the leader leaves a secondary alone after a failure, doubled after each failure in a row.
    pub backoff_min: Duration,
    /// The maximum of that time.
    pub backoff_max: Duration,
}

impl Timing {
    /// What a running master uses, with the configured heartbeat.
    #[must_use]
    pub const fn new(heartbeat: Duration) -> Timing {
        Timing {
            heartbeat,
            batch_pause: Duration::from_millis(1),
            batch_wait: Duration::from_millis(8),
            round_wait: Duration::from_millis(4),
            watermark_wait: Duration::from_millis(5),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
        }
    }
}

/// A write that waits for a round.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Queued {
    /// The ids of its first and last message.
    pub(super) first: Id,
    pub(super) last: Id,
    pub(super) bytes: usize,
    pub(super) since: Time,
    /// It needs fewer copies than all.
    pub(super) below_all: bool,
}

/// A round that is not over. The last id that it carries identifies it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Round {
    after: Id,
    through: Id,
    /// Its calls that have not returned.
    calls: usize,
}

/// Clients that have just been answered.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct BatchHint {
    /// How many writes there will be when all of them have come back.
    writes: usize,
    /// The round waits until then, unless another write comes,
    until: Time,
    /// and no longer than this.
    latest: Time,
}

/// The queue of writes, and the rounds in flight.
///
/// Invariants: the queue is in the order of ids and without gaps, and begins after the last id that a round carries.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Scheduler {
    timing: Timing,
    queue: VecDeque<Queued>,
    /// How many of the queued writes need fewer copies than all.
    queued_below_all: usize,
    /// A queued write is being refused: that has to be stored, so a round takes the queue at once.
    flush_now: bool,
    rounds: Vec<Round>,
    hint: Option<BatchHint>,
    /// When the latest round began.
    began: Time,
    /// How many times in a row too many of the expected clients did not come.
    missed_batches: u32,
}

impl Scheduler {
    pub(super) fn new(timing: Timing) -> Scheduler {
        let (queue, rounds) = (VecDeque::new(), Vec::new());
        Scheduler {
            timing,
            queue,
            queued_below_all: 0,
            flush_now: false,
            rounds,
            hint: None,
            began: Time::ZERO,
            missed_batches: 0,
        }
    }

    pub(super) fn queue(&mut self, write: Queued) {
        self.queued_below_all += usize::from(write.below_all);
        if let Some(hint) = &mut self.hint {
            hint.until = write.since.plus(self.timing.batch_pause).min(hint.latest);
        }
        self.queue.push_back(write);
    }

    /// Writes are being refused: those among them that wait for a round have to be stored first.
    pub(super) fn flush(&mut self, refused: &[Id]) {
        let Some(front) = self.queue.front() else { return };
        self.flush_now |= refused.iter().any(|&id| id >= front.first);
    }

    /// Takes no more writes into rounds.
    pub(super) fn clear(&mut self) {
        *self = Scheduler::new(self.timing);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many rounds hold up others.
    pub(super) fn in_flight(&self) -> usize {
        self.rounds.len()
    }

    /// When the next round is due; `None` if no write waits, or as long as too many rounds are in flight.
    /// `disk_is_free` says whether the master's own disk has taken everything that rounds carry.
    pub(super) fn due(&self, disk_is_free: bool) -> Option<Time> {
        let oldest = self.queue.front()?;
        match self.rounds.len() {
            0 if self.flush_now => Some(oldest.since),
            0 => match &self.hint {
                Some(hint) if self.queue.len() < hint.writes => Some(oldest.since.max(hint.until)),
                _ => Some(oldest.since),
            },
            _ if (self.flush_now || self.queued_below_all > 0) && disk_is_free => Some(oldest.since),
            ROUNDS_MAX.. => None,
            rounds => Some(oldest.since.plus(self.timing.round_wait * (1 << (rounds - 1)))),
        }
    }

    /// Begins a round: takes what fits into it, but divides no write. Gives the range of its ids: after the one, up to
    /// the other.
    pub(super) fn take(&mut self, now: Time) -> Option<(Id, Id)> {
        let after = self.queue.front()?.first.previous();
        if !self.timing.batch_wait.is_zero() {
            self.began = now;
        }
        self.learn_from_hint();
        let (mut through, mut bytes) = (after, 0);
        while let Some(write) = self.queue.front() {
            bytes += write.bytes;
            let is_full = write.last.since(after) > ROUND_MESSAGES_MAX as u64 || bytes > ROUND_BYTES_MAX;
            if is_full && through > after {
                break;
            }
            through = write.last;
            self.queued_below_all -= usize::from(write.below_all);
            self.queue.pop_front();
        }
        self.flush_now &= !self.queue.is_empty();
        self.rounds.push(Round { after, through, calls: 0 });
        Some((after, through))
    }

    /// A call of the round that ends with an id is made.
    pub(super) fn call_made(&mut self, through: Id) {
        if let Some(round) = self.rounds.iter_mut().find(|round| round.through == through) {
            round.calls += 1;
        }
    }

    /// A call of the round that ends with an id has returned.
    pub(super) fn call_ended(&mut self, through: Id, durable: Id) {
        if let Some(round) = self.rounds.iter_mut().find(|round| round.through == through) {
            round.calls = round.calls.saturating_sub(1);
        }
        self.end_rounds(durable, |_, _| true);
    }

    /// Ends the rounds that are over: all calls have returned and the master's own disk has the messages, or all their
    /// writes are decided.
    pub(super) fn end_rounds(&mut self, durable: Id, is_open: impl Fn(Id, Id) -> bool) {
        self.rounds.retain(|round| (round.calls > 0 || round.through > durable) && is_open(round.after, round.through));
    }

    /// Clients are being answered: those among them that write again do so soon, and may share the next round.
    pub(super) fn expect_writers(&mut self, now: Time, answered: usize) {
        if self.timing.batch_wait.is_zero() {
            return;
        }
        let writes = self.queue.len() + answered;
        let is_worth_it = self.missed_batches < MISSED_BATCHES_MAX || self.missed_batches.is_multiple_of(HINT_AGAIN);
        let longest = self.timing.batch_wait.min(now.since(self.began) * 2);
        let [until, latest] =
            [self.timing.batch_pause.min(longest), longest].map(|wait| if is_worth_it { now.plus(wait) } else { now });
        self.hint = (writes > 1).then_some(BatchHint { writes, until, latest });
    }

    /// A round begins: learns whether the expected clients came.
    fn learn_from_hint(&mut self) {
        let Some(hint) = self.hint.take() else { return };
        let most_came = self.queue.len() * 8 >= hint.writes * 7;
        self.missed_batches = if most_came { 0 } else { self.missed_batches.wrapping_add(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::new(Duration::from_millis(ms))
    }

    fn queued(id: u64, since_ms: u64) -> Queued {
        Queued { first: Id::new(id), last: Id::new(id), bytes: 1, since: at(since_ms), below_all: false }
    }

    fn scheduler() -> Scheduler {
        Scheduler::new(Timing::new(Duration::from_secs(1)))
    }

    fn range(after: u64, through: u64) -> Option<(Id, Id)> {
        Some((Id::new(after), Id::new(through)))
    }

    #[test]
    fn a_lone_write_waits_for_no_other_and_the_next_ones_wait_longer_and_longer() {
        let mut scheduler = scheduler();
        scheduler.queue(queued(1, 0));
        assert_eq!(scheduler.due(true), Some(at(0)));
        assert_eq!(scheduler.take(at(0)), range(0, 1));
        for (id, wait) in [(2, 4), (3, 8), (4, 16)] {
            scheduler.queue(queued(id, 10));
            assert_eq!(scheduler.due(false), Some(at(10 + wait)), "write {id}");
            assert_eq!(scheduler.take(at(0)), range(id - 1, id));
        }
        for id in 5..=ROUNDS_MAX as u64 {
            scheduler.queue(queued(id, 10));
            scheduler.take(at(0));
        }
        scheduler.queue(queued(13, 10));
        assert_eq!(scheduler.due(true), None, "as many rounds as may be");
    }

    #[test]
    fn writes_share_a_round_and_a_round_has_an_end() {
        let mut scheduler = scheduler();
        (1..=5_000).for_each(|id| scheduler.queue(queued(id, 0)));
        assert_eq!(scheduler.take(at(0)), range(0, 4_096));
        assert_eq!(scheduler.take(at(0)), range(4_096, 5_000));
        let large = Queued { first: Id::new(5_001), last: Id::new(12_000), bytes: 9 << 20, ..queued(1, 0) };
        scheduler.queue(large);
        scheduler.queue(queued(12_001, 0));
        assert_eq!(scheduler.take(at(0)), range(5_000, 12_000), "a write is never divided");
    }

    #[test]
    fn a_write_for_few_copies_waits_only_for_the_disk() {
        let mut scheduler = scheduler();
        scheduler.queue(queued(1, 0));
        scheduler.take(at(0));
        scheduler.queue(Queued { below_all: true, ..queued(2, 7) });
        assert_eq!(scheduler.due(false), Some(at(11)));
        assert_eq!(scheduler.due(true), Some(at(7)));
    }

    #[test]
    fn a_write_that_is_refused_before_its_round_is_stored_soon() {
        let mut scheduler = scheduler();
        scheduler.queue(queued(1, 0));
        scheduler.take(at(0));
        scheduler.queue(queued(2, 7));
        scheduler.flush(&[Id::new(1)]);
        assert_eq!(scheduler.due(true), Some(at(11)), "the refused write is in a round already");
        scheduler.flush(&[Id::new(2)]);
        assert_eq!(scheduler.due(true), Some(at(7)));
        scheduler.take(at(0));
        scheduler.queue(queued(3, 20));
        assert_eq!(scheduler.due(true), Some(at(28)), "only once");
    }

    #[test]
    fn a_round_waits_for_writers_who_were_just_answered_until_that_proves_vain() {
        let mut scheduler = scheduler();
        let mut waits = 0;
        for number in 1..=20 {
            scheduler.expect_writers(at(100 * number), 4);
            scheduler.queue(queued(number, 100 * number));
            waits += u32::from(scheduler.due(true) > Some(at(100 * number)));
            scheduler.take(at(100 * number));
            scheduler.end_rounds(Id::MAX, |_, _| false);
        }
        assert_eq!(waits, 4, "three times, and once to see whether they come again");
        scheduler.expect_writers(at(5_000), 2);
        (0..2).for_each(|number| scheduler.queue(queued(30 + number, 5_000)));
        assert_eq!(scheduler.due(true), Some(at(5_000)), "all have come");
    }

    #[test]
    fn a_round_waits_for_writers_as_long_as_they_keep_coming() {
        let mut scheduler = scheduler();
        scheduler.expect_writers(at(100), 20);
        for (id, since, due) in [(1, 100, 101), (2, 101, 102), (3, 105, 106), (4, 107, 108), (5, 108, 108)] {
            scheduler.queue(queued(id, since));
            assert_eq!(scheduler.due(true), Some(at(due)), "write {id}");
        }
    }

    #[test]
    fn the_wait_for_writers_is_bounded_by_the_last_round_and_a_refusal_ends_it() {
        let mut scheduler = scheduler();
        scheduler.queue(queued(1, 50));
        scheduler.take(at(100));
        scheduler.end_rounds(Id::MAX, |_, _| false);
        scheduler.expect_writers(at(101), 20);
        for (id, since, due) in [(2, 101, 102), (3, 102, 103), (4, 102, 103)] {
            scheduler.queue(queued(id, since));
            assert_eq!(scheduler.due(true), Some(at(due)), "write {id}");
        }
        scheduler.flush(&[Id::new(3)]);
        assert_eq!(scheduler.due(true), Some(at(101)));
    }

    #[test]
    fn a_round_is_over_when_its_calls_have_returned_or_its_writes_are_decided() {
        let mut scheduler = scheduler();
        scheduler.queue(queued(1, 0));
        scheduler.take(at(0));
        scheduler.call_made(Id::new(1));
        scheduler.call_made(Id::new(1));
        scheduler.call_ended(Id::new(1), Id::new(1));
        assert_eq!(scheduler.in_flight(), 1, "one call is under way");
        scheduler.call_ended(Id::new(1), Id::ZERO);
        assert_eq!(scheduler.in_flight(), 1, "the master's own copy is not stored");
        scheduler.end_rounds(Id::new(1), |_, _| true);
        assert_eq!(scheduler.in_flight(), 0);
        scheduler.queue(queued(2, 0));
        scheduler.take(at(0));
        scheduler.call_made(Id::new(2));
        scheduler.end_rounds(Id::new(1), |_, _| false);
        assert_eq!(scheduler.in_flight(), 0, "all is decided");
    }
}
