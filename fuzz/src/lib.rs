//! What the fuzzer throws bytes at, and what must hold whatever they are.
//!
//! | Target | The bytes are | What must hold |
//! |---|---|---|
//! | [`http`] | what a client sends to a node | well-formed replies; nothing appended without one that says so; the node goes on |
//! | [`posted`] | a body of `POST /messages` | what is accepted is what JSON says it is, in every dialect |
//! | [`replicate`] | a body of `POST /replicate` | it survives the wire; a secondary that gets it keeps its promises |
//! | [`calls`] | choices of calls and restarts | the same, for a whole life of a secondary |
//! | [`follower`] | choices of calls and faults that overlap | one effect at a time; every call and reader gets one reply, which is true |
//! | [`leader`] | choices of what happens to a leader | what it asks for can be done; every client gets one answer, which is true |
//! | [`directory`] | damage to the files of a data directory | it is read as it was written, or refused with a sentence |
//! | [`backup`] | a backup | it is restored as it says, or refused with a sentence |
//!
//! Each target is a function that panics when something does not hold. `fuzz_targets` hands it to libFuzzer, and
//! `tests/fuzzed.rs` includes this file to call it for every kept input, on any toolchain: so this is compiled twice, and
//! may use only what both packages depend on.

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
