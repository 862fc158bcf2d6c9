//! The targets of the fuzzer, and what must hold for every input.
//!
//! | Target | The bytes are | What must hold |
//! |---|---|---|
//! | [`http`] | the requests of a client | well-formed replies; no append without a reply; the node goes on |
//! | [`posted`] | a body of `POST /messages` | an accepted body means what JSON says, in every dialect |
//! | [`replicate`] | a body of `POST /replicate` | it survives the wire; a secondary that gets it keeps its promises |
//! | [`calls`] | a choice of calls and restarts | the same, for a whole sequence of events |
//! | [`follower`] | a choice of calls and faults | one effect at a time; each call and reader gets one true reply |
//! | [`leader`] | a choice of events for a leader | its effects are possible; every client gets one true reply |
//! | [`directory`] | damage to a data directory | the store reads it as it was written, or refuses it with an error |
//! | [`backup`] | a backup | it is restored exactly, or refused with an error |
//!
//! Each target is a function that panics when something does not hold. `fuzz_targets` passes it to libFuzzer.
//! `tests/fuzzed.rs` includes this file to call it for every kept input, on any toolchain: so this is compiled twice,
//! and may use only what both packages depend on.

#![allow(unreachable_pub, reason = "public for libFuzzer, private in tests/fuzzed.rs")]

pub mod backup;
pub mod calls;
mod choices;
pub mod directory;
pub mod follower;
pub mod http;
pub mod leader;
mod node;
pub mod posted;
pub mod replicate;
