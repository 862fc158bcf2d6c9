//! Readers that a secondary cannot answer without its master, and the question that it asks the master for them.
//!
//! One question is in flight at a time. It serves the readers that came before it was sent, but none that came later: a
//! later reader may have seen a 201 that the master gave after its answer.

use crate::protocol::{Id, Ticket, Time};

/// What a reader waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Awaits {
    /// The next question.
    Question,
    /// The answer to the question in flight.
    Answer,
    /// This node to show everything up to this id.
    Shown(Id),
}

/// A reader that waits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Reader {
    ticket: Ticket,
    awaits: Awaits,
    until: Time,
}

/// Readers that wait, in the order in which they came.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Reads {
    readers: Vec<Reader>,
    is_asking: bool,
}

impl Reads {
    /// Adds a reader, which waits no longer than `until`.
    pub(super) fn wait(&mut self, ticket: Ticket, until: Time) {
        self.readers.push(Reader { ticket, awaits: Awaits::Question, until });
    }

    /// Whether the follower has to ask the master now. If so, the question is in flight from now on.
    pub(super) fn ask(&mut self) -> bool {
        let is_wanted = self.readers.iter().any(|reader| reader.awaits == Awaits::Question);
        if self.is_asking || !is_wanted {
            return false;
        }
        self.is_asking = true;
        let waiting = self.readers.iter_mut().filter(|reader| reader.awaits == Awaits::Question);
        waiting.for_each(|reader| reader.awaits = Awaits::Answer);
        true
    }

    /// The question is over: everything up to `decided` is decided, or the master is not sure. Gives the readers that
    /// learn nothing from it.
    pub(super) fn answered(&mut self, decided: Option<Id>) -> Vec<Ticket> {
        self.is_asking = false;
        let is_served = |reader: &Reader| reader.awaits == Awaits::Answer;
        match decided {
            None => self.take(is_served),
            Some(decided) => {
                self.readers
                    .iter_mut()
                    .filter(|reader| is_served(reader))
                    .for_each(|reader| reader.awaits = Awaits::Shown(decided));
                Vec::new()
            }
        }
    }

    /// This node shows everything up to `decided`. Gives the readers that waited for that.
    pub(super) fn shown(&mut self, decided: Id) -> Vec<Ticket> {
        self.take(|reader| matches!(reader.awaits, Awaits::Shown(id) if id <= decided))
    }

    /// Gives the readers that wait no longer.
    pub(super) fn expired(&mut self, now: Time) -> Vec<Ticket> {
        self.take(|reader| reader.until <= now)
    }

    /// When the next reader stops waiting.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.readers.iter().map(|reader| reader.until).min()
    }

    fn take(&mut self, is_taken: impl Fn(&Reader) -> bool) -> Vec<Ticket> {
        self.readers.extract_if(.., |reader| is_taken(reader)).map(|reader| reader.ticket).collect()
    }
}
