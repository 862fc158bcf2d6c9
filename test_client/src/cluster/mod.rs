//! The nodes of a cluster: those that a master lists, and a cluster of our own.

mod cleanup;
mod describe;
mod own_nodes;
mod survey;

pub(crate) use cleanup::{Cleanup, Guard};
pub(crate) use describe::{describe_master, document, show};
pub(crate) use own_nodes::OwnCluster;
pub(crate) use survey::{Node, survey};
