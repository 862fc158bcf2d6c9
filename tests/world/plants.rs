//! Known bugs of this family of protocols. Each can be planted into the duties around the protocol, where an
//! implementation would have it; a witness that does not catch one of them is blind.

/// A bug.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Plant {
    /// A secondary acknowledges a call before its disk has it.
    AcknowledgedBeforeDurable,
    /// The master counts its own copy before its disk has it.
    MasterNotCounted,
    /// A master that starts goes on in the epoch, and under the name, of its last start.
    NoNewEpoch,
    /// A refusal is answered, and told, before the master's disk has it.
    RefusalNotDurable,
    /// A secondary shows what it holds, whatever its fate.
    PendingShown,
    /// A secondary that starts again keeps its name, so that acknowledgements of its lost disk count.
    SameIncarnation,
    /// A master that starts drops what it finds undecided.
    PresumedAbort,
    /// A secondary enters an epoch before it has dropped what that overtook, and is killed in between.
    EnteredBeforeDropped,
    /// A secondary answers readers alone although nobody has told it that it takes part again.
    ReadsBeforeAdmission,
}

impl Plant {
    pub(crate) const ALL: [Plant; 9] = [
        Plant::AcknowledgedBeforeDurable,
        Plant::MasterNotCounted,
        Plant::NoNewEpoch,
        Plant::RefusalNotDurable,
        Plant::PendingShown,
        Plant::SameIncarnation,
        Plant::PresumedAbort,
        Plant::EnteredBeforeDropped,
        Plant::ReadsBeforeAdmission,
    ];
}
