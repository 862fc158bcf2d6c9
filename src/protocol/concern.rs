//! How many copies a write needs.

use std::fmt;

/// How many nodes must hold an entry durably. The master's own disk is always one of them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum WriteConcern {
    /// The master and every registered secondary: the default, and the promise that any node can be lost.
    All,
    /// The master and half of the other voters, rounded up: every later master finds it (see
    /// [`Roster`](crate::protocol::Roster)). Who the voters are is asked when the write is settled.
    Majority,
    /// This many nodes, the master included; at least 1.
    Copies(usize),
}

impl fmt::Display for WriteConcern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteConcern::All => formatter.write_str("all"),
            WriteConcern::Majority => formatter.write_str("majority"),
            WriteConcern::Copies(copies) => copies.fmt(formatter),
        }
    }
}
