//! The clients of a run: those that write, those that read, and what is asked of the cluster when everything is over.

pub(crate) mod readers;
pub(crate) mod recovery;
mod run;
pub(crate) mod writers;

pub(crate) use run::Run;
