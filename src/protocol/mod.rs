//! The replication protocol, as values that a test can hold.
//!
//! Every message has exactly one fate. The master decides it, everyone else learns it, and until it is decided
//! nobody sees it. This room holds the two halves of that sentence: the [`Ledger`] decides on the master, the
//! [`Replica`] learns on a secondary. Neither knows a file, a socket, a thread, a clock or JSON; whoever owns one
//! feeds it events and carries out the effects that it returns. Equal inputs give equal outputs.
//!
//! # The life of an entry
//!
//! 1. **Appended.** The master gives the message the next [`Id`] and opens it in its ledger ([`Ledger::append`]).
//!    An id is never given twice: an entry that is refused leaves a gap. Several messages may be one *write*, with ids
//!    that follow each other and one fate: what is said here of an entry holds for them together.
//! 2. **Sent.** A *round* carries it to every secondary that is in sync, in parallel, while the master makes its own
//!    copy durable. A round is one [`Call`] per secondary; [`Ledger::dispatch`] says what each of them must get.
//! 3. **Durable.** Each node reports the id up to which it holds *everything* durably: [`Ledger::stored`] for the
//!    master, [`Ledger::acknowledged`] for a secondary. Acknowledgements are cumulative.
//! 4. **Met.** Its [`WriteConcern`] is satisfied: enough nodes hold it, the master always among them.
//! 5. **Committed.** A met entry is committed, and *seals* every earlier one that is not being refused: those are
//!    committed as well and can no longer be refused, though their own writers may still wait for more copies.
//! 6. **Or refused.** An entry whose concern can no longer be met, and that is not sealed, is refused. The ledger asks
//!    for the refusal to be made durable ([`Effects::refuse`]), and only when it is ([`Ledger::refusal_stored`]) does
//!    anybody hear of it.
//! 7. **Decided.** [`Ledger::decided`] is the high watermark: every id up to it has its fate, durably. Exactly the
//!    committed entries up to it are visible, on every node. A writer gets its 201 when its entry is met *and* decided,
//!    so whoever reads after a 201 sees the message.
//! 8. **Told.** Each call carries the high watermark and the refusals that the secondary has not acknowledged yet. A
//!    secondary with pending entries asks for their fate before it answers a reader.
//!
//! Appended is not durable; durable is not decided; decided is not told.
//!
//! # Restarts
//!
//! A master begins a new [`Epoch`] at every start, before its first entry. What it finds undecided in its log may have
//! been acknowledged, so it is never refused: it is replicated again until it is met. A secondary that meets a later
//! epoch drops the undecided entries that the new epoch's beginning has overtaken; they were never acknowledged, because
//! the master's own disk is part of every write concern. A secondary that holds *decided* entries beyond that point
//! knows that the master lost its disk: it drops nothing and refuses ([`Refusal::MasterBehind`]).
//!
//! Every start of a process is a new [`Incarnation`]. An acknowledgement counts only for the incarnation that the
//! master has verified, so that a secondary that came back without its disk is not credited with what it once held.
//! Until it is caught up ([`Ledger::admit`]) no new write counts on it, and it
//! answers no reader by itself; what it acknowledges meanwhile does count as a copy.
//!
//! # Invariants
//!
//! They stand on the types ([`Ledger`], [`Replica`]) and are asserted after every step:
//!
//! - `told ≤ decided ≤ durable on the master ≤ appended`, and none of them ever goes back within a process;
//! - no entry is both committed and refused, no sealed entry is refused, no refusal is told before it is durable;
//! - on a secondary `decided ≤ last`, and what is at or below `decided` never changes.
//!
//! # Caveats
//!
//! - The master is one fixed node. While it is down nothing can be written; reads go on.
//! - A definite refusal holds as long as the master's disk lives.
//! - With a write concern below *all*, a secondary that has nothing pending shows a consistent prefix, which is not
//!   necessarily the latest one.
//!
//! The reads of a secondary with pending entries follow the clean and dirty reads of CRAQ (Terrace and Freedman,
//! USENIX ATC 2009); the high watermark and the epoch table follow Viewstamped Replication Revisited (Liskov and
//! Cowling, 2012).

mod call;
mod concern;
mod entry;
mod fingerprint;
mod history;
mod keys;
mod ledger;
mod names;
mod replica;
mod writes;

pub use call::{Acknowledgement, Call, Opening, Refusal};
pub use concern::WriteConcern;
pub use entry::{Entry, EntryRef, Slot, SlotRef};
pub use fingerprint::Fingerprint;
pub use history::{EpochHistory, Reign};
pub use keys::{KeyedWrite, Keys};
pub use ledger::{Dispatch, Effects, FoundLog, Ledger, MemberView, Outcome, Shortfall, Standing};
pub use names::{Epoch, Id, Incarnation, LogId, MemberId};
pub use replica::{Accepted, Change, Entrance, Fate, Found, Holdings, Learned, Replica, ReplicaView, Stray};
pub use writes::Patience;
