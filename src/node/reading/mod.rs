//! What readers get: the same on every node.
//!
//! | File | What it does |
//! |---|---|
//! | [`messages`] | answers `GET /messages` and `GET /messages/ID` |
//! | [`query`] | what is asked for |
//! | [`snapshot`] | what may be shown to a reader who comes now |
//! | [`page`] | a part of the log as it is now, as a document or as lines |
//! | [`following`] | what comes later: followers, and readers who wait a while |
//! | [`broadcaster`] | the thread that brings it to them |
//! | [`part`], [`mod@format`] | what it brings: messages, written once for all followers |

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
pub(crate) use snapshot::{Snapshot, not_sure};
