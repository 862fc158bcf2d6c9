//! The running secondary: it owns the replica, and does what the replica says.
//!
//! | File | What it does |
//! |---|---|
//! | [`lifecycle`] | starts a secondary, and stops it |
//! | [`receiving`] | takes replicate calls: examines, stores, publishes, delays, acknowledges |
//! | [`freshness`] | makes sure that a reader sees what was acknowledged, by asking the master where needed |
//! | [`question`], [`released`] | what readers, and calls, share |
//! | [`registration`] | registers this node with its master, again and again |
//! | [`routes`] | which request goes where |
//! | [`settings`] | what it is configured with |
//!
//! There are two locks. The *writer* is held while a call is examined and stored, so that calls are stored one after
//! another; the *replica* is held for steps of the protocol only, so readers never wait for a disk.

mod freshness;
mod lifecycle;
mod question;
mod receiving;
mod registration;
mod released;
mod routes;
mod settings;

pub(crate) use lifecycle::Secondary;
pub(crate) use routes::SecondaryService;
pub(crate) use settings::SecondarySettings;
