//! Known bugs of such protocols. Each can be planted into what surrounds the leader and the replicas, where a faulty
//! implementation would have it. The tests require that the checker catches every one.

use super::disk::Slate;
use replicated_log::protocol::{CopyId, Epoch, Promise, Roster};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum PlantedBug {
    /// A secondary acknowledges a call before its disk has it.
    AcknowledgedBeforeDurable,
    /// The master counts its own copy before its disk has it.
    MasterNotCounted,
    /// A master that starts goes on in the epoch, and with the incarnation, of its last start.
    NoNewEpoch,
    /// The master answers with a refusal, and passes it on, before its disk has it.
    RefusalNotDurable,
    /// The master shows what is decided, and answers, before its disk has noted that.
    ShownBeforeNoted,
    /// A secondary shows what it holds, decided or not.
    PendingShown,
    /// A secondary that starts again keeps its incarnation, so that acknowledgements of its lost disk count.
    SameIncarnation,
    /// A master that starts drops what it finds undecided.
    PresumedAbort,
    /// A secondary enters an epoch before it has dropped what that overtook, and is killed in between.
    EnteredBeforeDropped,
    /// A secondary answers readers alone before a call has admitted it again.
    ReadsBeforeAdmission,
    /// A round calls one secondary, and credits its acknowledgement to all others.
    CreditedToOthers,
    /// The calls that bring a secondary up to date do not name the refusals of what it holds already.
    HeldRefusalsNotTold,
    /// The master answers that a secondary is registered before the leader has added it.
    RegisteredBeforeJoined,
    /// The master answers a client before it shows the message to readers.
    AnsweredBeforeShown,
    /// A voter answers with a promise that its disk does not have.
    PromiseNotDurable,
    /// A master that has promised a later epoch goes on leading.
    LeadsOnAfterPromise,
    /// A candidate copies the log of the voter that has entered the latest epoch.
    BestLogByEpoch,
    /// A candidate copies the longest log.
    BestLogByLength,
    /// A candidate begins without the refusals that only other voters know.
    RefusalsOfOthersIgnored,
    /// Half of the voters are a promise quorum, also with the last master among them.
    HalfIsEnough,
    /// What a secondary reports counts as its copy, before it has entered the epoch.
    ReportCounts,
    /// A refusal is answered and decided as soon as the master's disk has it.
    RefusalNotSafe,
    /// The last master leads again when it starts, without asking.
    RestartWithoutPromises,
    /// A secondary takes only epochs after its own for ones that overtake what it holds.
    ForkByNumber,
    /// A secondary that enters an epoch drops everything undecided.
    CutToDecided,
    /// A secondary that enters an epoch keeps the refusals that the epoch began without.
    StaleRefusalKept,
    /// A secondary that enters an epoch drops everything from the first such refusal on.
    CutAtStaleRefusal,
    /// A secondary enters an epoch before it has stored the refusals that the epoch began with, and is killed in between.
    EnteredBeforeRefused,
    /// A candidate begins with a last write whose end is missing.
    CutWriteKept,
    /// A candidate that copies the best log gives up refusals which the holder of that log does not know.
    RefusalLostByCopying,
    /// A voter is added without a time in which both sets of voters are needed.
    NewcomerVotesAtOnce,
    /// A voter is removed without such a time.
    RemovedAtOnce,
    /// A candidate that knows of a change asks only the voters after it.
    OneRosterAsked,
    /// A master goes on before its roster is durable.
    RosterNotDurable,
    /// A node that comes back without its disk is taken for the copy that it held.
    CopyIgnored,
    /// A master trims what secondaries in sync have not decided.
    TrimsWhatOthersLack,
    /// A master trims what is not archived.
    TrimsUnarchived,
    /// A node that trims its log keeps only the id.
    BaseForgotten,
    /// A candidate takes no notice of what other voters have trimmed.
    BaseOfVoterIgnored,
    /// A call that a lagging secondary gets does not say what is trimmed.
    BaseNotTold,
}

impl PlantedBug {
    pub(crate) const ALL: [PlantedBug; 14] = [
        PlantedBug::AcknowledgedBeforeDurable,
        PlantedBug::MasterNotCounted,
        PlantedBug::NoNewEpoch,
        PlantedBug::RefusalNotDurable,
        PlantedBug::ShownBeforeNoted,
        PlantedBug::PendingShown,
        PlantedBug::SameIncarnation,
        PlantedBug::PresumedAbort,
        PlantedBug::EnteredBeforeDropped,
        PlantedBug::ReadsBeforeAdmission,
        PlantedBug::CreditedToOthers,
        PlantedBug::HeldRefusalsNotTold,
        PlantedBug::RegisteredBeforeJoined,
        PlantedBug::AnsweredBeforeShown,
    ];

    /// Those of clusters in which nodes may be promoted.
    pub(crate) const OF_SUCCESSION: [PlantedBug; 16] = [
        PlantedBug::PromiseNotDurable,
        PlantedBug::LeadsOnAfterPromise,
        PlantedBug::BestLogByEpoch,
        PlantedBug::BestLogByLength,
        PlantedBug::RefusalsOfOthersIgnored,
        PlantedBug::HalfIsEnough,
        PlantedBug::ReportCounts,
        PlantedBug::RefusalNotSafe,
        PlantedBug::RestartWithoutPromises,
        PlantedBug::ForkByNumber,
        PlantedBug::CutToDecided,
        PlantedBug::StaleRefusalKept,
        PlantedBug::CutAtStaleRefusal,
        PlantedBug::EnteredBeforeRefused,
        PlantedBug::CutWriteKept,
        PlantedBug::RefusalLostByCopying,
    ];

    /// Those of clusters whose voters change.
    pub(crate) const OF_CHANGES: [PlantedBug; 5] = [
        PlantedBug::NewcomerVotesAtOnce,
        PlantedBug::RemovedAtOnce,
        PlantedBug::OneRosterAsked,
        PlantedBug::RosterNotDurable,
        PlantedBug::CopyIgnored,
    ];

    /// Those of logs that are trimmed, without [`BaseOfVoterIgnored`](PlantedBug::BaseOfVoterIgnored): no seed has drawn what
    /// shows that one, and `tests/interleavings.rs` plays it.
    pub(crate) const OF_TRIMMING: [PlantedBug; 4] = [
        PlantedBug::TrimsWhatOthersLack,
        PlantedBug::TrimsUnarchived,
        PlantedBug::BaseForgotten,
        PlantedBug::BaseNotTold,
    ];

    /// The roster that a master with this bug stores for another one.
    pub(super) fn stored(self, roster: Roster) -> Roster {
        let adds = roster.added().next().is_some();
        match self {
            PlantedBug::NewcomerVotesAtOnce if adds => roster.changing_from(None),
            PlantedBug::RemovedAtOnce if !adds => roster.changing_from(None),
            _ => roster,
        }
    }

    /// The copy for which a node with this bug passes.
    pub(super) fn passes_for(self, copy: CopyId) -> CopyId {
        if self == PlantedBug::CopyIgnored { CopyId::new(copy.bits() % Slate::COPIES) } else { copy }
    }

    /// The promises as a candidate with this bug judges them.
    pub(super) fn distort(self, mut promises: BTreeMap<CopyId, Promise>) -> BTreeMap<CopyId, Promise> {
        if self == PlantedBug::HalfIsEnough {
            let no_copy = CopyId::new(u64::MAX);
            for Promise { roster, .. } in promises.values_mut() {
                let contacts = roster.contacts().clone();
                *roster = Roster::new(roster.number(), no_copy, roster.voters().clone()).with_contacts(contacts);
            }
        }
        if self == PlantedBug::OneRosterAsked {
            promises.values_mut().for_each(|promise| promise.roster = promise.roster.clone().changing_from(None));
        }
        promises
    }

    /// The voter whose log a candidate with this bug takes for the best one.
    pub(super) fn best_log(self, promises: &BTreeMap<CopyId, Promise>) -> Option<CopyId> {
        let rank = |promise: &Promise| match self {
            PlantedBug::BestLogByEpoch => Some((promise.history.latest(), promise.last)),
            PlantedBug::BestLogByLength => Some((Epoch::NONE, promise.last)),
            _ => None,
        };
        promises.iter().filter_map(|(&copy, promise)| Some((rank(promise)?, copy))).max().map(|(_, copy)| copy)
    }
}
