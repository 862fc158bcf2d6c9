//! What travels between master and secondary, and what each side may conclude from it.

use super::{Base, Entry, Epoch, EpochHistory, Id, Incarnation, LogId, Roster};
use std::fmt;
use std::sync::Arc;

/// Master to secondary: entries, refusals and the high watermark. The master makes it in a round, during catch-up, or
/// without entries to tell the high watermark.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Call {
    /// The log that the master serves. A secondary that holds another log refuses.
    pub log_id: LogId,
    /// The master's epoch. A secondary that has seen a later one refuses.
    pub epoch: Epoch,
    /// The start of the master's process. A secondary accepts one master per epoch.
    pub master: Incarnation,
    /// Where the epochs that the secondary missed began. Present until the master knows that it has entered `epoch`.
    pub epoch_start: Option<EpochStart>,
    /// Every epoch of this log so far. Present together with `epoch_start`.
    pub history: Option<EpochHistory>,
    /// The roster. Present until the master knows that the secondary has it durably.
    pub roster: Option<Roster>,
    /// What was trimmed of the master's log. Present until the master knows that the secondary has decided as much and
    /// knows of it.
    pub base: Option<Base>,
    /// The id before the first one that this call covers. The secondary must hold everything up to it.
    pub after: Id,
    /// The last id that this call covers: each id in between is an entry or is refused.
    pub through: Id,
    /// The entries, in order.
    pub entries: Vec<Arc<Entry>>,
    /// Entries that the secondary reported as refused and the master holds, in order. Present together with
    /// `epoch_start`. No majority knows those refusals, and the master's epoch began without them.
    pub restored: Vec<Arc<Entry>>,
    /// Refused ids, in order: durable on the master. May lie outside of `after..=through`.
    pub refused: Vec<Id>,
    /// The master's high watermark, or the end of the call if that comes first. Every refusal up to it that the
    /// secondary may not know yet is in `refused`.
    pub decided: Id,
    /// The replication session in which the master made the call. A new one begins with each report of the secondary,
    /// and with its removal notice. A call may arrive after one of a later session.
    pub session: u64,
    /// Whether the secondary takes part in the rounds in this session. Until it knows that it does, it may lack
    /// acknowledged messages, so it answers no reader without asking the master.
    pub admitted: bool,
}

/// The beginning of an epoch, as a secondary learns it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EpochStart {
    /// The epoch that the secondary reported, on which the next field is based.
    pub since: Epoch,
    /// Where the first epoch after it began. Undecided entries from here on were never acknowledged and are dropped.
    pub overtaken_from: Id,
}

/// Secondary to master: everything up to `durable` is on its disk (in memory, for a store that keeps nothing).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Acknowledgement {
    /// The start of the secondary's process: an acknowledgement of an earlier one does not count.
    pub incarnation: Incarnation,
    /// Every id up to this one is held durably, as an entry or as a refusal.
    pub durable: Id,
    /// The high watermark that the secondary knows now.
    pub decided: Id,
    /// The latest session that it knows.
    pub session: u64,
    /// Whether it knows that it takes part in the rounds in that session.
    pub admitted: bool,
}

/// Secondary to master: the call was not accepted, and nothing of it was kept.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Refusal {
    /// An earlier call is missing. The master sends again from `holds`.
    Gap {
        /// The id up to which the secondary holds everything.
        holds: Id,
    },
    /// The call is of another log.
    OtherLog {
        /// The log that the secondary holds.
        holds: LogId,
    },
    /// The secondary follows a later epoch, or another master in the same one: the caller must take no more writes.
    Fenced {
        /// The epoch that it follows.
        epoch: Epoch,
    },
    /// The secondary followed another master in an epoch that the caller's history has too, or that the caller does not
    /// know: two masters went on from copies of one log. Nothing is dropped.
    OtherMaster {
        /// The latest epoch that the secondary knows.
        epoch: Epoch,
    },
    /// The epoch start of the call is not based on the epoch of this secondary. The master asks for its state and sends
    /// the epoch start again.
    EpochStartMismatch {
        /// The latest epoch that the secondary knows.
        epoch: Epoch,
    },
    /// The secondary holds decided entries that the master has overtaken: the master lost its disk. Nothing is dropped.
    MasterBehind {
        /// The secondary's high watermark.
        decided: Id,
        /// Where the master's new epoch begins.
        begins: Id,
    },
    /// The secondary holds decided entries where the caller's epochs have others: it was cut off while another master
    /// led. Nothing is dropped, and the caller goes on without it.
    Forked {
        /// The secondary's high watermark.
        decided: Id,
        /// The id from which the two logs differ.
        from: Id,
    },
    /// The secondary holds another content under an id. It refuses every call until an operator has compared the two.
    Diverged {
        /// The id.
        id: Id,
    },
    /// The secondary holds messages of a foreign master: one that does not speak this protocol.
    Foreign {
        /// How many messages.
        messages: u64,
    },
    /// The call contradicts itself; a sentence says how.
    Malformed(String),
}

impl Refusal {
    /// Whether the refusal shows that another master may write, or that this one lost decided messages: then this
    /// master must take no more writes.
    #[must_use]
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Refusal::Fenced { .. } | Refusal::MasterBehind { .. } | Refusal::OtherMaster { .. })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Gap { holds } => write!(formatter, "holds the log only up to id {holds}"),
            Refusal::OtherLog { holds } => write!(
                formatter,
                "belongs to another log, {holds}. If this master lost its disk, stop it and make its log anew from that \
                 secondary with \"master restore\"; if not, give the secondary its own master"
            ),
            Refusal::Fenced { epoch } => {
                write!(
                    formatter,
                    "serves another master, in epoch {epoch}. If promotion is on, this node follows that one; otherwise stop \
                     one of the two, or restore this one from that secondary if it goes on from an older copy of its log"
                )
            }
            Refusal::OtherMaster { epoch } => write!(
                formatter,
                "followed another master of this log in epoch {epoch}, so this one goes on from an older copy of it, or \
                 another node was promoted meanwhile: restore this master from that secondary, or let the secondary discard \
                 its copy if its messages may be given up"
            ),
            Refusal::EpochStartMismatch { epoch } => write!(formatter, "is still in epoch {epoch}"),
            Refusal::MasterBehind { decided, begins } => write!(
                formatter,
                "holds decided messages up to id {decided}, but this master begins at id {begins}: the master has lost \
                 its log; restore it from this secondary or from a backup, or start the secondary with an empty data \
                 directory if its messages may be given up"
            ),
            Refusal::Forked { decided, from } => write!(
                formatter,
                "has decided messages up to id {decided}, which differ from this master's log from id {from} on; it takes no \
                 part until an operator lets it put them aside with POST /rejoin (test_client rejoin --put-aside)"
            ),
            Refusal::Diverged { id } => write!(
                formatter,
                "holds another message under id {id} and takes no more part; compare the two and start it again with an \
                 empty data directory"
            ),
            Refusal::Foreign { messages } => write!(
                formatter,
                "holds {messages} messages of another master; start it with an empty data directory to let it join"
            ),
            Refusal::Malformed(why) => write!(formatter, "got a call that contradicts itself: {why}"),
        }
    }
}
