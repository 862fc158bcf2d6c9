//! Secondaries that come and go: what happens when one stops answering, how it catches up and is back, and how it leaves
//! for good.

use super::Leader;
use super::progress::Progress;
use super::writes::Write;
use crate::protocol::{
    CallFailure, Candidacy, CopyId, Dispatch, Epoch, Id, Incarnation, MemberId, News, Purpose, Ready, Refusal,
    ReplicaStatus, ReplicationState, Time, WriteConcern,
};

/// A secondary is admitted to the rounds when it lacks at most this many entries; its first round carries them.
const ADMISSION_LAG_MAX: u64 = 1_024;

impl Leader {
    pub(super) fn joined(&mut self, now: Time, member: MemberId, copy: Option<CopyId>) {
        copy.into_iter().for_each(|copy| self.members.is_back(copy));
        self.members.insert(member, Progress::joined(now, &self.settings.timing, copy));
    }

    pub(super) fn started(&mut self, now: Time, member: MemberId, incarnation: Incarnation) {
        let timing = self.settings.timing;
        let progress = self.members.get_mut(member).filter(|progress| progress.incarnation != Some(incarnation));
        if let Some(progress) = progress {
            progress.started(now, &timing);
        }
    }

    pub(super) fn reported(
        &mut self,
        now: Time,
        member: MemberId,
        report: Result<ReplicaStatus, CallFailure>,
        ready: &mut Ready,
    ) {
        let timing = self.settings.timing;
        let Some(progress) = self.members.get_mut(member) else { return };
        // The answer to a probe from before the secondary was lost, or began to catch up, does not count.
        if !progress.is_contacted || progress.state == ReplicationState::CatchingUp {
            return;
        }
        progress.is_contacted = false;
        let health = progress.health;
        match &report {
            Ok(_) => progress.answered(),
            Err(_) => progress.missed(now, &timing),
        }
        if progress.health != health {
            ready.news.push(News::Health(member, progress.health));
        }
        let is_in_sync = progress.state == ReplicationState::InSync;
        let is_same = |status: &ReplicaStatus| progress.incarnation == Some(status.incarnation);
        match report {
            Err(failure) => self.not_reported(now, member, failure, ready),
            Ok(status) if is_in_sync && !is_same(&status) => self.lose(now, member, CallFailure::Restarted, ready),
            Ok(status) => match self.may_take_part(&status) {
                Err(refusal) => self.not_reported(now, member, CallFailure::Refused(refusal), ready),
                Ok(()) if is_in_sync => self.is_still_there(now, member),
                Ok(()) => self.welcome(now, member, &status, ready),
            },
        }
        self.answer_awaiting_reports(now, ready);
        self.settle(now, ready);
    }

    /// A secondary cannot take part, or does not answer.
    fn not_reported(&mut self, now: Time, member: MemberId, failure: CallFailure, ready: &mut Ready) {
        let timing = self.settings.timing;
        let Some(progress) = self.members.get_mut(member) else { return };
        if progress.state == ReplicationState::InSync {
            return self.lose(now, member, failure, ready);
        }
        progress.lost(now, &timing);
        match failure {
            CallFailure::Refused(refusal) if refusal.is_overtaken() => self.halt_by(now, member, refusal, ready),
            failure => ready.news.push(News::Unfit(member, failure)),
        }
    }

    /// A secondary in sync has answered the probe of a heartbeat.
    fn is_still_there(&mut self, now: Time, member: MemberId) {
        let timing = self.settings.timing;
        if let Some(progress) = self.members.get_mut(member) {
            progress.succeeded(&timing);
            progress.contact_at = Some(now.plus(timing.heartbeat));
        }
    }

    /// A secondary may take part: it catches up from what it holds. If it is a copy that is registered already, it is that
    /// secondary, which may have moved: it is probed again if it did not answer.
    fn welcome(&mut self, now: Time, member: MemberId, status: &ReplicaStatus, ready: &mut Ready) {
        if let Some(twin) = self.members.twin_of(member, status.copy) {
            self.members.remove(member);
            self.started(now, twin, status.incarnation);
            self.voting.is_renamed |= self.members.roster().allows_promotion();
            self.give_up_unattainable();
            return ready.news.push(News::Merged(member, twin));
        }
        let epoch = if status.log_id == Some(self.log_id) { status.epoch } else { Epoch::NONE };
        let overtaken_from = self.overtaken_from(status).unwrap_or(Id::MAX);
        let matched = status.last.min(overtaken_from.previous()).min(self.last);
        let (session, decided) = (self.members.new_session(), self.decided);
        let Some(progress) = self.members.get_mut(member) else { return };
        let lost = Some(progress.matched).filter(|&acknowledged| status.last < acknowledged);
        let copy_before = progress.copy.filter(|&copy| copy != status.copy);
        progress.reported(session, status, matched, decided, epoch);
        copy_before.into_iter().for_each(|copy| self.members.is_gone(copy));
        self.members.is_back(status.copy);
        self.voting.is_renamed |= self.members.lacks_contact(status.copy);
        self.refused.forget(member);
        ready.news.push(News::CatchingUp { member, matched, lost });
        self.give_up_unattainable();
        self.catch_up(now, member, ready);
    }

    /// Whether a secondary that holds this can take part.
    ///
    /// # Errors
    /// With the reason why not.
    pub fn may_take_part(&self, status: &ReplicaStatus) -> Result<(), Refusal> {
        if status.foreign > 0 {
            return Err(Refusal::Foreign { messages: status.foreign });
        }
        if let Some(id) = status.diverged {
            return Err(Refusal::Diverged { id });
        }
        match status.log_id {
            Some(other) if other != self.log_id && status.last > Id::ZERO => {
                return Err(Refusal::OtherLog { holds: other });
            }
            Some(ours) if ours == self.log_id => {}
            _ => return Ok(()),
        }
        if status.epoch > self.epoch() {
            return Err(Refusal::Fenced { epoch: status.epoch });
        }
        let promised = status.lineage.as_ref().and_then(|lineage| lineage.promised);
        if let Some(Candidacy { epoch, .. }) = promised.filter(|promised| promised.epoch > self.epoch()) {
            return Err(Refusal::Fenced { epoch });
        }
        let (decided, begins) = (status.decided, self.overtaken_from(status).unwrap_or(self.last.next()));
        if self.members.roster().allows_promotion() {
            if status.epoch == self.epoch() && status.master != Some(self.incarnation) {
                return Err(Refusal::Fenced { epoch: status.epoch });
            }
            return if decided >= begins { Err(Refusal::Forked { decided, from: begins }) } else { Ok(()) };
        }
        if status.last > Id::ZERO && self.history.master_of(status.epoch) != status.master {
            return Err(Refusal::OtherMaster { epoch: status.epoch });
        }
        if decided >= begins { Err(Refusal::MasterBehind { decided, begins }) } else { Ok(()) }
    }

    /// The id from which the epochs of this master overtake what a secondary holds. If promotion is on, the secondary may
    /// have followed a master whose epoch is not in this history, because no majority entered it.
    fn overtaken_from(&self, status: &ReplicaStatus) -> Option<Id> {
        let of_this_log = status.lineage.as_ref().filter(|lineage| lineage.log_id == self.log_id);
        match of_this_log.filter(|_| self.members.roster().allows_promotion()) {
            Some(lineage) => self.history.fork(&lineage.history),
            None if status.log_id == Some(self.log_id) => self.history.overtaken_from(status.epoch),
            None => self.history.overtaken_from(Epoch::NONE),
        }
    }

    pub(super) fn catch_up_those_who_wait(&mut self, now: Time, ready: &mut Ready) {
        let waiting = self.members.iter().filter(|(_, progress)| progress.waits_to_catch_up(now));
        let waiting: Vec<MemberId> = waiting.map(|(member, _)| member).collect();
        waiting.into_iter().for_each(|member| self.catch_up(now, member, ready));
    }

    /// Admits a secondary that has what it needs, or sends it more of what it lacks.
    pub(super) fn catch_up(&mut self, now: Time, member: MemberId, ready: &mut Ready) {
        let (timing, shown, durable) = (self.settings.timing, self.shown.decided, self.durable);
        let (catch_up_max, base) = (self.settings.catch_up_max, self.base.id);
        if !self.members.get(member).is_some_and(|progress| progress.waits_to_catch_up(now)) {
            return;
        }
        let may_be_admitted = self.may_be_admitted(member);
        let Some(progress) = self.members.get_mut(member) else { return };
        if may_be_admitted {
            progress.admitted(now, &timing);
            let sent = progress.matched.since(progress.began_at);
            return ready.news.push(News::Admitted { member, sent });
        }
        let after = progress.matched.max(base);
        let through = after.max(durable.min(after.plus(catch_up_max)));
        progress.next = through.next();
        let knows_little = progress.known_decided < shown.min(through);
        let dispatch = self.dispatch(member, Purpose::CatchUp, after, through, None);
        let has_news = |dispatch: &Dispatch| {
            through > after || knows_little || dispatch.roster.is_some() || dispatch.base.is_some()
        };
        if let Some(dispatch) = dispatch.filter(has_news)
            && let Some(progress) = self.members.get_mut(member)
        {
            progress.is_contacted = true;
            ready.calls.push(dispatch);
        }
    }

    /// Whether a secondary has caught up: it has entered this epoch, and holds everything that is decided or was found
    /// at the start, which may have been acknowledged. Of the rest it may lack [`ADMISSION_LAG_MAX`] entries, but none
    /// that could be committed without it: a reader there would miss that. A majority knows where it is, so that it is a
    /// member under a later master, too.
    fn may_be_admitted(&self, member: MemberId) -> bool {
        let Some(progress) = self.members.get(member) else { return false };
        let needs_it =
            |write: &Write| write.wanted.concern != WriteConcern::All || member <= write.wanted.newest_member;
        progress.state == ReplicationState::CatchingUp
            && self.members.is_on_record(progress)
            && progress.epoch == self.epoch()
            && progress.matched >= self.decided.max(self.found)
            && self.last.since(progress.matched) <= ADMISSION_LAG_MAX
            && self.writes.range(progress.matched.next()..).all(|(_, write)| needs_it(write))
    }

    /// A secondary did not acknowledge, or refused: it leaves the rounds, and writes that cannot be met without it are
    /// refused.
    pub(super) fn lose(&mut self, now: Time, member: MemberId, failure: CallFailure, ready: &mut Ready) {
        let timing = self.settings.timing;
        let Some(progress) = self.members.get_mut(member) else { return };
        if progress.state == ReplicationState::Unreachable {
            return;
        }
        let (health, matched) = (progress.health, progress.matched);
        progress.lost(now, &timing);
        if failure == CallFailure::Silent {
            progress.missed(now, &timing);
        }
        if progress.health != health {
            ready.news.push(News::Health(member, progress.health));
        }
        ready.news.push(News::Lost { member, matched, failure: failure.clone() });
        match failure {
            CallFailure::Refused(refusal) if refusal.is_overtaken() => self.halt_by(now, member, refusal, ready),
            _ => self.give_up_unattainable(),
        }
    }

    /// A secondary's refusal shows that this master may not write any more. It refuses nothing that is in flight,
    /// because another master may have committed that.
    fn halt_by(&mut self, now: Time, member: MemberId, refusal: Refusal, ready: &mut Ready) {
        ready.news.push(News::Overtaken(member, refusal));
        self.halt(now, ready);
    }

    /// Makes the removal notice: a call of a new session in which the secondary is not admitted, so that it answers no
    /// reader without asking the master. It stays a member until it has left.
    pub(super) fn leaving(&mut self, member: MemberId, ready: &mut Ready) {
        let session = self.members.new_session();
        let Some(progress) = self.members.get_mut(member) else { return };
        (progress.session, progress.leaving) = (session, true);
        (progress.calls, progress.news_in_flight) = (0, false);
        progress.is_contacted &= progress.state != ReplicationState::CatchingUp;
        let matched = progress.matched;
        ready.calls.extend(self.dispatch(member, Purpose::Removal, matched, matched, None));
    }

    pub(super) fn left(&mut self, now: Time, member: MemberId, ready: &mut Ready) {
        let copy = self.members.remove(member).and_then(|progress| progress.copy);
        copy.into_iter().for_each(|copy| self.members.is_gone(copy));
        self.voting.is_renamed |= self.members.roster().allows_promotion();
        self.refused.forget(member);
        self.give_up_unattainable();
        self.settle(now, ready);
    }
}
