//! The replication protocol, as values that a test can hold.
//!
//! Every write has exactly one outcome: it is committed or refused. The master decides it, the secondaries learn it,
//! and until it is decided no node shows it. This room holds the two halves of that: the [`Leader`] decides on the
//! master, the [`Follower`] learns on a secondary. Neither knows a file, a socket, a thread, a clock, randomness or
//! JSON. Their owners feed them events, with the time, and carry out the effects that they return. Equal inputs give
//! equal outputs, and the model checker, the simulator, the scenarios and the fuzz targets drive the code that ships.
//!
//! | File | What it decides, or is |
//! |---|---|
//! | `leader` | what becomes of a write, from its post to its publication: read this first |
//! | `leader/ready` | the events and effects of a leader: the contract with its owner |
//! | `leader/liveness` | what happens when a secondary stops answering; how one joins, catches up, and leaves |
//! | `leader/scheduler` | when a round begins, and what it carries |
//! | `leader/progress` | what the leader knows of one secondary, and what it does about it next |
//! | `leader/membership` | the secondaries, and how they together meet a write concern |
//! | `leader/writes` | the writes that are open, and which clients wait for them |
//! | `leader/refusals` | which refusals are not decided yet, and who else holds them |
//! | `leader/idempotency` | which write has which key |
//! | `leader/view` | the state of a leader, as its owner reads it |
//! | `follower` | what becomes of a call on a secondary, and what a reader there may see |
//! | `follower/replica` | which calls a secondary accepts, and what it holds and shows then |
//! | `follower/ready` | the events and effects of a follower |
//! | `follower/succession` | promises to candidates, and how a node with enough of them prepares to lead |
//! | `follower/reads`, `follower/released` | readers that wait for the master; the end of the artificial delay |
//! | `call` | what travels between the two |
//! | `roster` | who may vote on a log, and what a vote needs |
//! | `candidacy` | how a node comes to lead: what it asks for, and what it may begin with |
//! | `entry`, `names`, `history`, `concern`, `time`, `watermark` | what they are made of |
//! | `fingerprint` | how two logs are compared |
//!
//! # Restarts
//!
//! A master begins a new [`Epoch`] at every start, before its first entry. What it finds undecided in its log may have
//! been acknowledged, so it is never refused: it is replicated again until it is met. A secondary that meets a later
//! epoch drops the undecided entries that the new epoch's beginning has overtaken. They were never acknowledged,
//! because the master's own disk is part of every write concern. A secondary that holds *decided* entries beyond that
//! point knows that the master lost its disk: it drops nothing and refuses ([`Refusal::MasterBehind`]).
//!
//! Every start of a process is a new [`Incarnation`]. An acknowledgement counts only for the incarnation that the
//! master has verified, so that a secondary that came back without its disk gets no credit for what it once held. Until
//! it is caught up and admitted, no new write counts on it, and it answers no reader without asking the master. What it
//! acknowledges meanwhile does count as a copy.
//!
//! A node is known by the copy of the log that it holds ([`CopyId`]), not by its address: one node that was registered
//! under two addresses is one copy.
//!
//! # Invariants
//!
//! They stand on the types ([`Leader`], [`Follower`]). Cheap ones are asserted after every step; the checker of
//! `tests/world` observes all of them:
//!
//! - on the master `shown ≤ decided ≤ durable ≤ taken ≤ last`, and none of them ever goes back within a process;
//! - a secondary is not known to know more than is decided: `known_decided ≤ decided`;
//! - no entry is both committed and refused, no sealed entry is refused, no secondary learns of a refusal before it is
//!   durable, and no client before a majority holds it;
//! - on a secondary `decided ≤ last`, and what is at or below `decided` never changes.
//!
//! # Caveats
//!
//! - While the master is down nothing can be written, until it is back or another node is promoted; reads go on. No node
//!   comes to lead by itself.
//! - A definite refusal holds as long as the master's disk lives.
//! - With a write concern below *all*, a secondary that has nothing pending shows a consistent prefix, which is not
//!   necessarily the latest one.
//!
//! The shape, events in and effects out, is that of etcd's raft library and of raft-rs (`Ready`, `RawNode`); the
//! progress of a secondary follows their `Progress`. The reads of a secondary with pending entries follow the clean and
//! dirty reads of CRAQ (Terrace and Freedman, USENIX ATC 2009). The high watermark and the epoch table follow
//! Viewstamped Replication Revisited (Liskov and Cowling, 2012).

mod base;
mod call;
mod candidacy;
mod concern;
mod entry;
mod fingerprint;
pub mod follower;
mod history;
mod leader;
mod names;
mod roster;
mod time;
mod watermark;

pub use base::Base;
pub use call::{Acknowledgement, Call, EpochStart, Refusal};
pub use candidacy::{
    Adoption, Beginning, Candidacy, NotPromised, Promise, PromiseRequest, Standing, standing, standing_by_force,
};
pub use concern::WriteConcern;
pub use entry::{Entry, EntryRef, Slot, SlotRef, WritePart};
pub use fingerprint::Fingerprint;
pub use follower::{
    Change, Consistency, Decisions, EnteredEpoch, Follower, FollowerSettings, Found, Lineage, ReplicaStatus,
    ReplicaView, StaleReply,
};
pub use history::{EpochEntry, EpochHistory};
pub use leader::{
    CallFailure, Dispatch, Event, FoundLog, Health, IdempotencyKeys, KeyedWrite, Leader, LeaderSettings, MemberView,
    News, Outcome, Post, Purpose, Ready, Rejection, ReplicationState, Reply, Round, Shortfall, Ticket, Timing,
};
pub use names::{CopyId, Epoch, Id, Incarnation, LogId, MemberId};
pub use roster::{Contact, Promotion, Roster, RosterChange, RosterNumber, Voters};
pub use time::Time;
pub use watermark::Watermark;
