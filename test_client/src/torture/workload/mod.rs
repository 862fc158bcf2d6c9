//! The clients of a run: those that write, those that read, and what is asked of the cluster when everything is over.

pub(super) mod readers;
pub(super) mod recovery;
pub(super) mod writers;
