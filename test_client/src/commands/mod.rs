//! The subcommands that ask, show and post: one file for each.

pub(crate) mod demo;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod health;
pub(crate) mod leading;
pub(crate) mod post;
pub(crate) mod status;
pub(crate) mod tail;
pub(crate) mod trace;
pub(crate) mod trim;
pub(crate) mod write;
