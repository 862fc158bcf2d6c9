//! How a node comes to lead: what it asks for, and what it may begin with.
//!
//! A coordinator or an operator chooses which node tries to lead; the voters decide whether it may write. The candidate
//! takes an epoch later than all that it knows of, promises it to itself, and asks the other voters. A voter promises an
//! epoch once, durably before it answers, and takes no call of an earlier one from then on. A master that is asked stops
//! first: it appends, refuses and answers nothing any more. A [`Promise`] says what its voter holds. When enough voters
//! have promised ([`Roster::is_promise_quorum`]), the candidate's log becomes the *best log* among theirs
//! ([`Adoption`]), and its epoch begins behind that. Both happen only while its own promise still names it.
//!
//! - **The best log** is grounded in the latest epoch, and of those the longest: a node may have entered a late epoch, or
//!   hold many entries, and lack what was acknowledged all the same.
//! - **Refusals** are taken over from voters whose logs are grounded in the same epoch as the best one. A refusal of an
//!   earlier epoch may have been overtaken by an entry with the same id.
//! - **Forked.** A candidate that has shown entries where the best log has others does not lead: it was cut off while a
//!   later epoch began, and an operator has to look at it.

use super::{Base, CopyId, Epoch, EpochHistory, Id, Incarnation, LogId, Roster, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A node that wants to lead in an epoch.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Candidacy {
    /// The epoch.
    pub epoch: Epoch,
    /// Its copy of the log.
    pub copy: CopyId,
    /// The incarnation in which it is going to lead.
    pub master: Incarnation,
}

/// A candidate's question to a voter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PromiseRequest {
    /// The log.
    pub log_id: LogId,
    /// Who asks, and for which epoch.
    pub candidacy: Candidacy,
    /// The candidate's high watermark: it has to learn of every refusal after that.
    pub after: Id,
}

/// Why a node does not promise an epoch, or why a candidate does not go on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NotPromised {
    /// The node holds another log, or none.
    OtherLog(Option<LogId>),
    /// The node has promised another candidate this epoch or a later one.
    Promised(Candidacy),
    /// The node has entered this epoch or a later one.
    Entered(Epoch),
    /// What the node holds is not what its master sent: an operator has to look at it.
    Diverged(Id),
}

impl fmt::Display for NotPromised {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotPromised::OtherLog(Some(holds)) => write!(formatter, "belongs to another log, {holds}"),
            NotPromised::OtherLog(None) => formatter.write_str("belongs to no log yet"),
            NotPromised::Promised(Candidacy { epoch, copy, .. }) => {
                write!(formatter, "has promised epoch {epoch} to the node that holds copy {copy}")
            }
            NotPromised::Entered(epoch) => write!(formatter, "is in epoch {epoch} already"),
            NotPromised::Diverged(id) => write!(formatter, "holds another message under id {id} than its master sent"),
        }
    }
}

/// What a voter holds when it promises an epoch.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Promise {
    /// The epochs that it has entered or begun.
    pub history: EpochHistory,
    /// What was trimmed of its log.
    pub base: Base,
    /// The id up to which it holds everything.
    pub last: Id,
    /// Its high watermark.
    pub decided: Id,
    /// The refused ids that it holds after [`PromiseRequest::after`].
    pub refused: BTreeSet<Id>,
    /// The latest roster that it knows.
    pub roster: Roster,
}

/// What a candidate may do with the promises that it has.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Standing {
    /// It has too few.
    TooFew,
    /// It is no voter.
    NoVoter,
    /// From this id on, its own log differs from the best one, although it has shown more.
    Forked(Id),
    /// It may begin its epoch.
    Leads(Beginning),
}

/// What an epoch begins with.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Beginning {
    /// The voter with the best log.
    pub best: CopyId,
    /// The end of that log: the epoch begins with the id after it.
    pub last: Id,
    /// Where the candidate's log is to begin, if a voter has trimmed more than the candidate has decided: the refusals of
    /// what the candidate lacks are gone.
    pub base: Option<Base>,
    /// The ids up to the end that are refused, in the best log or by another voter.
    pub refused: BTreeSet<Id>,
    /// The voters, and those before a change that is still under way.
    pub roster: Roster,
}

impl Beginning {
    /// Whether the candidate's own log is what the epoch is to begin with, and nothing has to be copied.
    #[must_use]
    pub fn is_held_by(&self, candidate: CopyId) -> bool {
        self.best == candidate && self.base.is_none()
    }

    /// The id after which the candidate needs the slots of the best log, given its own high watermark.
    #[must_use]
    pub fn adopts_after(&self, decided: Id) -> Id {
        self.base.map_or(decided, |base| base.id)
    }

    /// The best log as the candidate is to hold it, given what its holder has after
    /// [`adopts_after`](Beginning::adopts_after). What
    /// other voters know as refused is refused from the first moment on: the candidate may not get to begin, and must not
    /// have lost a refusal by then that it had, or have won a message.
    #[must_use]
    pub fn adoption(&self, candidacy: Candidacy, holder: &Promise, slots: Vec<Slot>) -> Adoption {
        let as_decided = |slot: Slot| if self.refused.contains(&slot.id()) { Slot::Refused(slot.id()) } else { slot };
        let slots = slots.into_iter().map(as_decided).collect();
        Adoption { candidacy, history: holder.history.clone(), roster: self.roster.clone(), base: self.base, slots }
    }

    /// The same with no other voters than those who have promised. The candidate must not store that roster before it begins.
    #[must_use]
    pub fn by_force(self, has_promised: impl Fn(CopyId) -> bool) -> Beginning {
        Beginning { roster: self.roster.reduced_to(has_promised), ..self }
    }

    /// Makes the outcome of every write one: of a write that is refused in part, the rest is refused as well, and so is a
    /// last write whose end is missing. That was never acknowledged, because a copy counts up to the end of a write.
    /// `slots` are those of the best log after the candidate's high watermark.
    pub fn make_writes_whole(&mut self, slots: &[Slot]) {
        let refused_there = slots.iter().filter(|slot| matches!(slot, Slot::Refused(_))).map(Slot::id);
        let known: BTreeSet<Id> = self.refused.iter().copied().chain(refused_there).collect();
        for slot in slots {
            let Slot::Entry(entry) = slot else { continue };
            let (first, last) = entry.part.write(entry.id);
            if last > self.last || known.range(first..=last).next().is_some() {
                self.refused.insert(entry.id);
            }
        }
    }
}

/// How a candidate's log becomes the best one: all of that after the candidate's high watermark, because the candidate
/// enters the epochs of the best log, and must hold no refusal then that those do not know. Only what they overtook is
/// dropped: a candidate whose process ends here must not lack what it has acknowledged.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Adoption {
    /// Who copies.
    pub candidacy: Candidacy,
    /// The epochs of the best log.
    pub history: EpochHistory,
    /// The latest roster that the promises know.
    pub roster: Roster,
    /// Where the log is to begin, if the candidate has decided less.
    pub base: Option<Base>,
    /// Its slots, in order, from the one after the base or the candidate's high watermark.
    pub slots: Vec<Slot>,
}

/// What a candidate may do with these promises, its own among them.
///
/// # Panics
/// If its own is missing.
#[must_use]
pub fn standing(candidate: CopyId, promises: &BTreeMap<CopyId, Promise>) -> Standing {
    let roster = latest_roster(promises);
    if !roster.may_lead(candidate) {
        return Standing::NoVoter;
    }
    if !roster.is_promise_quorum(|copy| promises.contains_key(&copy)) {
        return Standing::TooFew;
    }
    stands_with(candidate, promises, roster)
}

/// What a candidate may do with these promises, however few, if an operator forces it because the other voters are lost.
/// It begins with [`Beginning::by_force`] then. What only the lost ones hold is lost, as an acknowledged message with fewer
/// copies than all or the refusal of one; and if they live and go on, there are two logs. No rule prevents that: it is the
/// operator who says that they are lost.
///
/// # Panics
/// If its own is missing.
#[must_use]
pub fn standing_by_force(candidate: CopyId, promises: &BTreeMap<CopyId, Promise>) -> Standing {
    let roster = latest_roster(promises);
    if !roster.may_lead(candidate) {
        return Standing::NoVoter;
    }
    stands_with(candidate, promises, roster)
}

/// The latest roster that any of these promises knows.
fn latest_roster(promises: &BTreeMap<CopyId, Promise>) -> &Roster {
    let rosters = promises.values().map(|promise| &promise.roster);
    rosters.max_by_key(|roster| roster.number()).expect("a candidate has promised itself")
}

/// What a candidate begins with that has promises enough.
fn stands_with(candidate: CopyId, promises: &BTreeMap<CopyId, Promise>, roster: &Roster) -> Standing {
    let own = &promises[&candidate];
    let grounded = |promise: &Promise| promise.history.grounded(promise.last);
    let of_voters = || promises.iter().filter(|(copy, _)| roster.is_voter(**copy));
    // Of equal logs the candidate's own is the best: it need not be copied.
    let rank = |(copy, promise): &(&CopyId, &Promise)| (grounded(promise), promise.last, **copy == candidate);
    let (&best, holder) = of_voters().max_by_key(rank).unwrap_or((&candidate, own));
    if let Some(fork) = own.history.fork(&holder.history)
        && fork <= own.decided
    {
        return Standing::Forked(fork);
    }
    let as_late = of_voters().filter(|(_, promise)| grounded(promise) == grounded(holder));
    let bases = of_voters().map(|(_, promise)| promise.base);
    let base = bases.filter(|base| base.id > own.decided && base.id <= holder.last).max_by_key(|base| base.id);
    let refused = as_late.flat_map(|(_, promise)| &promise.refused).filter(|id| **id <= holder.last).copied().collect();
    Standing::Leads(Beginning { best, last: holder.last, base, refused, roster: roster.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Entry, EpochEntry, Promotion, RosterChange, RosterNumber, Voters, WritePart};
    use std::sync::Arc;

    const M: CopyId = CopyId::new(0);
    const S1: CopyId = CopyId::new(1);
    const S2: CopyId = CopyId::new(2);

    /// The roster of three nodes in an epoch of this master.
    fn roster(epoch: u64, master: CopyId) -> Roster {
        let number = RosterNumber { epoch: Epoch::new(epoch), sequence: 0 };
        Roster::new(number, master, Voters::new(Promotion::On, [M, S1, S2]))
    }

    /// A promise of a node that has entered epochs, each with its number, first id and master, and holds a log.
    fn promise(epochs: &[(u64, u64, CopyId)], last: u64, decided: u64, refused: &[u64]) -> Promise {
        let entry = |&(epoch, start, master): &(u64, u64, CopyId)| EpochEntry {
            epoch: Epoch::new(epoch),
            start: Id::new(start),
            master: Incarnation::new(100 * epoch + master.bits()),
        };
        let (epoch, _, master) = epochs[epochs.len() - 1];
        Promise {
            history: EpochHistory::new(epochs.iter().map(entry).collect()).unwrap(),
            base: Base::default(),
            last: Id::new(last),
            decided: Id::new(decided),
            refused: refused.iter().copied().map(Id::new).collect(),
            roster: roster(epoch, master),
        }
    }

    fn of<const N: usize>(candidate: CopyId, promises: [(CopyId, Promise); N]) -> Standing {
        standing(candidate, &promises.into())
    }

    fn leads(standing: Standing) -> (CopyId, Id, Vec<u64>) {
        let Standing::Leads(Beginning { best, last, refused, .. }) = standing else { panic!("{standing:?}") };
        (best, last, refused.into_iter().map(Id::get).collect())
    }

    #[test]
    fn two_of_three_are_needed_and_a_lone_master_is_not_enough() {
        let known = || promise(&[(1, 1, M)], 3, 3, &[]);
        assert_eq!(of(S1, [(S1, known())]), Standing::TooFew);
        assert_eq!(of(M, [(M, known())]), Standing::TooFew);
        assert_eq!(leads(of(S1, [(S1, known()), (S2, known())])), (S1, Id::new(3), vec![]), "no log need be copied");
    }

    /// 8 is acknowledged on the master and S2. S1 has entered the master's next epoch, and lacks what that began with.
    #[test]
    fn who_entered_the_latest_epoch_does_not_have_the_best_log_for_that() {
        let entered_early = promise(&[(1, 1, M), (2, 9, M)], 3, 3, &[]);
        let holds_more = promise(&[(1, 1, M)], 8, 7, &[]);
        assert_eq!(leads(of(S1, [(S1, entered_early), (S2, holds_more)])), (S2, Id::new(8), vec![]));
    }

    /// S1 led from 5 on. The master, cut off, had taken more that no other node acknowledged.
    #[test]
    fn who_holds_the_most_does_not_have_the_best_log_for_that() {
        let overtaken = promise(&[(1, 1, M)], 9, 4, &[]);
        let later = promise(&[(1, 1, M), (2, 5, S1)], 6, 6, &[]);
        assert_eq!(leads(of(S2, [(M, overtaken), (S2, later)])), (S2, Id::new(6), vec![]));
    }

    #[test]
    fn a_write_has_one_outcome() {
        let entry = |(id, index, of)| {
            let (id, epoch) = (Id::new(id), Epoch::new(1));
            Slot::Entry(Arc::new(Entry {
                id,
                epoch,
                timestamp_ms: 0,
                message: "a".into(),
                key: None,
                part: WritePart { index, of },
            }))
        };
        let refused = |slots: &[(u64, u32, u32)], refused: &[u64], last| {
            let slots: Vec<Slot> = slots.iter().copied().map(entry).collect();
            let refused = refused.iter().copied().map(Id::new).collect();
            let mut beginning = Beginning { best: M, last: Id::new(last), base: None, refused, roster: roster(1, M) };
            beginning.make_writes_whole(&slots);
            beginning.refused.into_iter().map(Id::get).collect::<Vec<u64>>()
        };
        let alone = (4, 0, 1);
        assert!(refused(&[alone, (5, 0, 2), (6, 1, 2)], &[], 6).is_empty());
        assert_eq!(refused(&[alone, (5, 0, 3), (6, 1, 3)], &[], 6), [5, 6], "its end is missing");
        assert_eq!(refused(&[(4, 0, 3), (5, 1, 3), (6, 2, 3), (7, 0, 1)], &[4, 5], 7), [4, 5, 6], "a part is refused");
        assert_eq!(refused(&[(5, 1, 2), (6, 0, 1)], &[4], 6), [4, 5], "its first message is refused");
        assert_eq!(refused(&[alone, (6, 0, 1)], &[5], 6), [5]);
    }

    /// S1 led from id 1 on, with S2. The isolated master refused its own id 1 meanwhile.
    #[test]
    fn a_refusal_of_an_overtaken_epoch_is_not_taken_over() {
        let overtaken = promise(&[(1, 1, M)], 1, 0, &[1]);
        let later = promise(&[(1, 1, M), (2, 1, S1)], 1, 0, &[]);
        assert_eq!(leads(of(S2, [(M, overtaken), (S2, later)])), (S2, Id::new(1), vec![]));
    }

    #[test]
    fn a_refusal_that_one_voter_knows_is_kept() {
        let knows = promise(&[(1, 1, M)], 7, 5, &[6]);
        let does_not = promise(&[(1, 1, M)], 8, 5, &[]);
        assert_eq!(leads(of(S1, [(S1, knows), (S2, does_not)])), (S2, Id::new(8), vec![6]));
    }

    /// The master acknowledged 3 with one copy while it was cut off, and S1 led from 3 on.
    #[test]
    fn who_has_shown_what_was_overtaken_does_not_lead() {
        let cut_off = promise(&[(1, 1, M)], 3, 3, &[]);
        let later = promise(&[(1, 1, M), (2, 3, S1)], 4, 4, &[]);
        assert_eq!(of(M, [(M, cut_off), (S1, later.clone())]), Standing::Forked(Id::new(3)));
        let had_not_shown = promise(&[(1, 1, M)], 3, 2, &[]);
        assert_eq!(leads(of(M, [(M, had_not_shown), (S1, later)])).0, S1);
    }

    /// The master and S2 are lost. What S1 holds goes on, with S1 as the only voter.
    #[test]
    fn who_is_left_leads_by_force_and_votes_alone() {
        let known = promise(&[(1, 1, M)], 3, 2, &[]);
        let forced = |promises: &BTreeMap<_, _>| standing_by_force(S1, promises);
        let Standing::Leads(beginning) = forced(&[(S1, known.clone())].into()) else { panic!("it is a voter") };
        assert_eq!((beginning.best, beginning.last), (S1, Id::new(3)));
        let beginning = beginning.by_force(|copy| copy == S1);
        assert_eq!(beginning.roster.voters().iter().collect::<Vec<_>>(), [S1]);
        let alone = beginning.roster.led_by(S1, Epoch::new(9));
        assert!(alone.is_majority(|_| false) && alone.is_promise_quorum(|copy| copy == S1));
        let removed = Promise { roster: known.roster.changed(RosterChange::Remove(S1)).unwrap().settled(), ..known };
        assert_eq!(forced(&[(S1, removed)].into()), Standing::NoVoter);
    }

    /// S2 was removed and does not know it.
    #[test]
    fn who_was_removed_does_not_lead_once_another_voter_knows_it() {
        let untold = promise(&[(1, 1, M)], 3, 3, &[]);
        let removed = untold.roster.changed(RosterChange::Remove(S2)).unwrap().settled();
        let told = Promise { roster: removed, ..untold.clone() };
        assert_eq!(of(S2, [(S1, told.clone()), (S2, untold.clone())]), Standing::NoVoter);
        assert_eq!(leads(of(S1, [(S1, told), (S2, untold)])).0, S1);
    }
}
