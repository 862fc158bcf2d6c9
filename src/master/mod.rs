//! The running master: it carries out what its [`Leader`](crate::protocol::Leader) asks for.
//!
//! | File | What it does |
//! |---|---|
//! | [`shared`] | what the threads of a master share |
//! | [`lifecycle`] | starts a master, and stops it |
//! | [`epoch_start`] | begins an epoch on what the disk holds, or leads in one that this node has begun |
//! | [`state`] | what is in memory: the leader, and what it does not know |
//! | [`effects`] | gives events to the leader, and does what it asks for |
//! | [`lines`] | lines for the log, in order |
//! | [`posts`] | takes what clients post |
//! | [`idempotency`] | compares a post that repeats a key with what the store holds |
//! | [`replies`] | answers clients whose writes have their outcome |
//! | [`rounds`] | threads that run rounds: a crossbeam scope, a thread per secondary; and keep time |
//! | [`calls`] | one call to one secondary |
//! | [`replicators`] | a thread per secondary that asks for its state and brings it up to date |
//! | [`member`] | one secondary: where it is, and what it said of itself |
//! | [`members`] | registration and removal of secondaries |
//! | [`retention`] | how much of the log the settings keep |
//! | [`trimming`] | trims the log, by itself and by hand |
//! | [`comparison`] | compares what all replicas hold |
//! | [`confirmation`] | asks the voters whether this master still leads |
//! | [`timeline`] | how long each step of a write took |
//! | [`traces`] | records timelines, and answers `GET /messages/ID/trace` |
//! | [`status`] | the state that `/health` and the page show |
//! | [`readiness`] | whether the master is ready, and whether a node may be stopped |
//! | [`handover`] | what a master knows when it is to hand over |
//! | [`figures`] | `/metrics` |
//! | [`routes`] | which request goes where |
//!
//! There is one lock, around [`state::State`]. It is held for steps of the leader, and never while anything is written,
//! sent, logged or waited for.

mod calls;
mod comparison;
mod confirmation;
mod effects;
mod epoch_start;
mod figures;
mod handover;
mod idempotency;
mod lifecycle;
mod lines;
mod member;
mod members;
mod posts;
mod readiness;
mod replicators;
mod replies;
mod retention;
mod rounds;
mod routes;
mod settings;
mod shared;
mod state;
mod status;
mod timeline;
mod traces;
mod trimming;

pub(crate) use lifecycle::Origin;
pub(crate) use retention::{ForAbsent, Retention};
pub(crate) use routes::MasterService;
pub(crate) use settings::MasterSettings;
pub(crate) use shared::Master;
