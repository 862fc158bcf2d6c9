//! Known bugs of this family of protocols. Each can be planted into what surrounds the leader and the replicas, where an
//! implementation would have it; a checker that does not catch one of them is blind.

/// A bug.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum PlantedBug {
    /// A secondary acknowledges a call before its disk has it.
    AcknowledgedBeforeDurable,
    /// The master counts its own copy before its disk has it.
    MasterNotCounted,
    /// A master that starts goes on in the epoch, and under the name, of its last start.
    NoNewEpoch,
    /// A refusal is answered, and told, before the master's disk has it.
    RefusalNotDurable,
    /// A master shows what is decided, and answers, before that is noted.
    ShownBeforeNoted,
    /// A secondary shows what it holds, whatever its fate.
    PendingShown,
    /// A secondary that starts again keeps its name, so that acknowledgements of its lost disk count.
    SameIncarnation,
    /// A master that starts drops what it finds undecided.
    PresumedAbort,
    /// A secondary enters an epoch before it has dropped what that overtook, and is killed in between.
    EnteredBeforeDropped,
    /// A secondary answers readers alone although no call has told it that it takes part again.
    ReadsBeforeAdmission,
    /// A round calls one secondary, and what that acknowledges is credited to all others.
    CreditedToOthers,
    /// The calls that bring a secondary up to date do not name the refusals of what it holds already.
    HeldRefusalsNotTold,
    /// A secondary is registered, and its operator told so, before the leader knows of it.
    RegisteredBeforeJoined,
    /// A client is answered before readers are shown its message.
    AnsweredBeforeShown,
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
}
