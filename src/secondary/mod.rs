//! The running secondary: it owns the [`Follower`](crate::protocol::Follower), and does what the follower asks for.
//!
//! | File | What it does |
//! |---|---|
//! | [`lifecycle`] | starts a secondary, and stops it |
//! | [`state`] | what its threads share, under one lock |
//! | [`effects`] | gives events to the follower, and carries out what it asks for |
//! | [`receiving`] | takes replicate calls, and answers them |
//! | [`freshness`] | answers readers, and asks the master for them |
//! | [`trimming`] | trims the log up to the base that the master has told |
//! | [`registration`] | registers this node with its master, and renews that |
//! | [`routes`] | which request goes where |
//! | [`settings`] | what it is configured with |
//!
//! The one lock is held for steps of the follower only, and never over I/O, so readers never wait for a disk.

mod effects;
mod forwarding;
mod freshness;
mod lifecycle;
mod receiving;
mod registration;
mod routes;
mod settings;
mod state;
mod trimming;

pub(crate) use lifecycle::Secondary;
pub(crate) use routes::SecondaryService;
pub(crate) use settings::SecondarySettings;
