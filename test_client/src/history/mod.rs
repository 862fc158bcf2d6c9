//! The requests of the clients of a cluster and the answers to them, as a file that can be judged again.
//!
//! A history is lines of JSON. Each is an object with one field, which says what the line is:
//!
//! - `header`, the first line: the version of this format, the seed, the tag that all texts of the run begin with, the
//!   names of the nodes (the master first; other lines mean a node by its place in this list, from 0), the first id
//!   that is looked at, and whether only this run wrote.
//! - `write`: one attempt to append one message or a batch, written down when it returned. Attempts with the same `key`
//!   are attempts at the same write. `outcome` is one of
//!   - `committed`: the id of the first message, the copies that the reply counts (the master's included), whether they
//!     were as many as asked for (201) or not in time (202), and whether the reply is that of an earlier attempt;
//!   - `refused`: not appended, and the status that said so, or none if nothing was ever sent;
//!   - `unknown`: there was no definite answer. `gave_up` means that the client stopped waiting, so that its request may
//!     still be on its way to the master.
//! - `read`: one answer of one node: what was asked for (`how`: the consistency, or `follow` for an entry that a
//!   follower received; `from` an id, at most `limit` messages), whether the node said that it may be stale, and the
//!   entries that it showed as pairs of id and text. `failed` says why there was no answer.
//! - `fault`: what was done to which nodes, and how often it is known to have met something.
//! - `final`: the whole log of a node when everything was over.
//! - `end`, the last line: why the cluster did not come back, if it did not, and how many lines there are. A history
//!   without it, or with another number of lines, is cut off.
//!
//! Times are microseconds of one monotonic clock, from the beginning of the run: what returned at a lower time than
//! something else was called was over before that began.

mod format;
mod read;
mod recorder;

#[cfg(test)]
pub(crate) use format::End;
pub(crate) use format::{Fault, Final, Header, Line, Micros, Outcome, Read, ReadMode, Text, VERSION, Write};
#[cfg(test)]
pub(crate) use read::parse;
pub(crate) use read::{History, read};
pub(crate) use recorder::Recorder;
