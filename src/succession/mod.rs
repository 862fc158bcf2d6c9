//! Which node leads: a node that leads or follows, and comes from one to the other.
//!
//! A node begins as its program and its data directory say. If promotion is off, it stays what it is. If it is on, every
//! node begins as a secondary, and one leads once enough voters have promised it an epoch: the node that led last asks for
//! that by itself when it starts, any other one when an operator promotes it, or when its master hands over. A master
//! that promises another node an epoch, or learns of a later one, becomes a secondary first. `src/protocol/candidacy.rs`
//! explains the rules; this module carries them out.
//!
//! | File | What it does |
//! |---|---|
//! | [`roles`] | the role of a node: what it starts with, and the two ways to another one |
//! | [`candidate`] | asks for promises, copies the best log, begins an epoch |
//! | [`survey`] | asks the other nodes what they hold |
//! | [`switchover`] | hands over to a secondary while posts wait |
//! | [`rejoin`] | puts aside what a node that was cut off has shown alone |
//! | [`supervision`] | notices by itself that this node has to follow, or to lead again |
//! | [`routes`] | passes requests to the role, and answers those about who leads |
//! | [`settings`] | what a node is configured with, whichever its role |

mod candidate;
mod rejoin;
mod roles;
mod routes;
mod settings;
mod supervision;
mod survey;
mod switchover;

pub(crate) use roles::{Program, Roles};
pub(crate) use routes::RoleService;
pub(crate) use settings::NodeSettings;
