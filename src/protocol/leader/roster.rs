//! Who votes: how a leader comes from the voters that there are to those that there should be.
//!
//! A secondary that is in sync becomes a voter. One that is to be removed, or came back without its disk, stops being one.
//! Promotion is turned on once a secondary is in sync, if the master is configured so, and off if it is not. Each is a
//! change of the roster, one at a time: the master's disk has the roster of the change before anything follows it, and
//! calls carry it until each secondary has it. When it is in effect ([`Roster::is_in_effect`]), the roster after the
//! change goes the same way. A change that adds a copy which is lost meanwhile is taken back, and so is one that removes a
//! copy whose node is to stay.

use super::Leader;
use super::membership::Voting;
use super::progress::Progress;
use crate::protocol::{CopyId, MemberId, News, Promotion, Ready, ReplicationState, Roster, RosterChange, Time, Voters};
use std::sync::Arc;

impl Leader {
    /// Asks for the next roster, unless one is being stored.
    pub(super) fn advance_roster(&mut self, ready: &mut Ready) {
        if self.voting.is_storing {
            return;
        }
        if let Some(next) = self.next_roster() {
            self.voting.is_storing = true;
            self.voting.is_renamed = false;
            ready.roster = Some(next);
        }
    }

    /// A roster is durable, and in force from now on.
    pub(super) fn roster_stored(&mut self, now: Time, roster: Roster, ready: &mut Ready) {
        assert!(self.voting.is_storing, "roster {:?} was not asked for", roster.number());
        let begins = roster.is_changing() && !self.members.roster().is_changing();
        // What has its copies is decided without another look at who voted.
        let through = self.decided.max(self.found).max(self.sealed);
        let since = if begins { (self.decided, through) } else { (self.voting.decided, self.voting.through) };
        self.voting = Voting { is_storing: false, decided: since.0, through: since.1, ..self.voting };
        let roster = Arc::new(roster);
        ready.news.push(News::Roster(Arc::clone(&roster)));
        self.members.set_roster(roster);
        self.settle(now, ready);
    }

    /// The secondaries of the start are registered. A voter that is none of them was removed under the master before, as
    /// far as a later roster says where each node is.
    pub(super) fn assembled(&mut self, now: Time, ready: &mut Ready) {
        let roster = Arc::clone(self.members.roster());
        let is_removed = |copy: &CopyId| *copy != roster.master() && self.members.voter(*copy).is_none();
        let removed: Vec<CopyId> = roster.voters().iter().filter(is_removed).collect();
        removed.into_iter().for_each(|copy| self.members.is_gone(copy));
        self.settle(now, ready);
    }

    /// Whether a secondary is to be no voter has changed.
    pub(super) fn demote(&mut self, now: Time, member: MemberId, demoted: bool, ready: &mut Ready) {
        if let Some(progress) = self.members.get_mut(member) {
            progress.demoted = demoted;
        }
        self.settle(now, ready);
    }

    fn next_roster(&self) -> Option<Roster> {
        let roster = self.members.roster();
        if roster.is_changing() {
            return match self.is_in_effect() {
                true => Some(roster.settled()),
                false if self.is_moot() => Some(roster.reverted()),
                false => None,
            };
        }
        self.next_change().or_else(|| self.voting.is_renamed.then(|| roster.renumbered()))
    }

    /// Whether the change that is under way is not wanted any more.
    fn is_moot(&self) -> bool {
        let (roster, wanted) = (self.members.roster(), self.settings.promotion);
        let Some(before) = roster.before() else { return false };
        let (was, is) = (before.promotion(), roster.voters().promotion());
        let is_lost = roster.added().any(|copy| self.leaves(copy));
        let all_leave = roster.removed().all(|copy| self.leaves(copy));
        if was == is { is_lost || !all_leave } else { wanted.is_some_and(|wanted| wanted != is) }
    }

    fn next_change(&self) -> Option<Roster> {
        let roster = self.members.roster();
        let voters = roster.voters();
        match (self.settings.promotion.unwrap_or(voters.promotion()), voters.promotion()) {
            (Promotion::Off, Promotion::Off) => None,
            (Promotion::Off, Promotion::On) => roster.turned(Voters::new(Promotion::Off, [roster.master()])),
            (Promotion::On, Promotion::Off) => {
                let copies: Vec<CopyId> = self.electable().chain([roster.master()]).collect();
                let is_any = copies.len() > 1;
                if is_any { roster.turned(Voters::new(Promotion::On, copies)) } else { None }
            }
            (Promotion::On, Promotion::On) => {
                let newcomer = self.electable().find(|&copy| !voters.contains(copy)).map(RosterChange::Add);
                let leaver = || voters.iter().find(|&copy| self.leaves(copy)).map(RosterChange::Remove);
                roster.changed(newcomer.or_else(leaver)?)
            }
        }
    }

    /// Whether a copy is to vote no more.
    fn leaves(&self, copy: CopyId) -> bool {
        let is_demoted = || self.members.voter(copy).is_some_and(|(_, progress)| progress.demoted);
        self.members.gone().contains(&copy) || is_demoted()
    }

    /// The copies of secondaries that hold the log, and stay.
    fn electable(&self) -> impl Iterator<Item = CopyId> {
        let stays = |progress: &Progress| !progress.demoted && !progress.leaving;
        let is_electable = move |progress: &&Progress| progress.state == ReplicationState::InSync && stays(progress);
        self.members.iter().map(|(_, progress)| progress).filter(is_electable).filter_map(|progress| progress.copy)
    }

    fn is_in_effect(&self) -> bool {
        let (roster, Voting { decided, through, .. }) = (self.members.roster(), self.voting);
        let knows = |copy| self.members.voter(copy).is_some_and(|(_, progress)| progress.roster >= roster.number());
        let holds = |copy| {
            self.members.voter(copy).is_some_and(|(member, progress)| {
                let holds_all = self.members.counted(progress) >= through && progress.known_decided >= decided;
                holds_all && self.refused.are_held_by(member, through)
            })
        };
        roster.is_in_effect(knows, holds)
    }
}
