//! Positions in a log, as clients keep them: in `Last-Event-ID`, `from`, `next` and entity tags.
//!
//! A position is `ID.EPOCH.LOG`, with the log in hexadecimal, such as `7.2.9f86d081884c7d659a2feaa0c55ad015`, or a bare
//! `ID`. The epoch is that of the last message that the client has seen: the one that the position names, or for `from`
//! and `next`, the one before. It is 0 where that is not known. Of two copies of a log that went different ways, at most
//! one has a message of this id and epoch.

use crate::protocol::{Epoch, Id, LogId};
use std::fmt;

/// A position that a client sends or gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// The id.
    pub id: Id,
    /// The epoch and the log, if it names them.
    pub of: Option<(Epoch, LogId)>,
}

impl Position {
    /// Reads a position.
    #[must_use]
    pub fn parse(text: &str) -> Option<Position> {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let mut parts = text.split('.');
        let id = Id::new(number(parts.next()?)?);
        let of = match (parts.next(), parts.next(), parts.next()) {
            (None, ..) => None,
            (Some(epoch), Some(log), None) => Some((Epoch::new(number(epoch)?), LogId::parse(log)?)),
            _ => return None,
        };
        Some(Position { id, of })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            None => self.id.fmt(formatter),
            Some((epoch, log_id)) => write!(formatter, "{}.{epoch}.{log_id}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let of = Some((Epoch::new(2), LogId::new(0x9f86)));
        for position in [Position { id: Id::new(7), of }, Position { id: Id::MAX, of: None }] {
            assert_eq!(Position::parse(&position.to_string()), Some(position));
        }
        for wrong in
            ["", "x", "+1", "1.", "1.2", "1.2.9f", "1.x.00000000000000000000000000009f86", "18446744073709551616"]
        {
            assert_eq!(Position::parse(wrong), None, "{wrong}");
        }
    }
}
