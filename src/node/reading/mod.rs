//! Reads, which work in the same way on every node.
//!
//! | File | What it does |
//! |---|---|
//! | [`messages`] | answers `GET /messages` and `GET /messages/ID` |
//! | [`query`] | reads the parameters of a request |
//! | [`snapshot`] | what a reader may see now |
//! | [`page`] | a part of the log as it is now, as a document or as lines |
//! | [`following`] | followers, and readers that wait for a first message |
//! | [`broadcaster`] | the thread that sends them new messages |
//! | [`part`], [`mod@format`] | messages, formatted once for all followers |

mod broadcaster;
mod following;
mod format;
mod messages;
mod page;
mod part;
mod query;
mod snapshot;

pub(crate) use following::FollowLimits;
pub(crate) use messages::{Log, Reading, list, one, whole_log_as_text};
pub(crate) use snapshot::{Extent, Snapshot, not_sure};
