//! How the programs end, beside well.

/// The node stopped because something failed.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The configuration, the port or the data directory cannot be used; nothing was started.
pub(crate) const EXIT_USAGE: u8 = 2;
