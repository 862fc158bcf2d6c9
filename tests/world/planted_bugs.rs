//! Known bugs of such protocols. Each can be planted into what surrounds the leader and the replicas, where a faulty
//! implementation would have it. The tests require that the checker catches every one.

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
