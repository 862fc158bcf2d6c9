//! Small types instead of bare integers: what each number means, and what it may be compared with.

use std::fmt;

/// Position of an entry in the log, from 1. [`Id::ZERO`] is the position before the first entry.
///
/// The master gives ids and never reuses one within an epoch. A refused entry leaves a gap.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Id(u64);

impl Id {
    /// The position before the first entry: "nothing yet".
    pub const ZERO: Id = Id(0);
    /// The position after every entry: "to the end".
    pub const MAX: Id = Id(u64::MAX);

    /// The id with this number; 0 is [`Id::ZERO`].
    #[must_use]
    pub const fn new(number: u64) -> Id {
        Id(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The id that follows.
    #[must_use]
    pub const fn next(self) -> Id {
        Id(self.0.saturating_add(1))
    }

    /// The id before, or [`Id::ZERO`].
    #[must_use]
    pub const fn previous(self) -> Id {
        Id(self.0.saturating_sub(1))
    }

    /// The id `count` places further.
    #[must_use]
    pub const fn plus(self, count: u64) -> Id {
        Id(self.0.saturating_add(count))
    }

    /// How many ids lie after `earlier`, up to this one; 0 if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Id) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The ids after `self` up to and including `through`, in order.
    pub fn until(self, through: Id) -> impl DoubleEndedIterator<Item = Id> {
        (self.0.saturating_add(1)..=through.0).map(Id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The number of an epoch: the time from one start of a master to the next. [`Epoch::NONE`] comes before the first.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Epoch(u64);

impl Epoch {
    /// Before the first epoch: the epoch of a node that has never followed a master.
    pub const NONE: Epoch = Epoch(0);

    /// The epoch with this number.
    #[must_use]
    pub const fn new(number: u64) -> Epoch {
        Epoch(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The epoch that follows.
    #[must_use]
    pub const fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }

    /// An epoch for a master that begins it without promises: candidates, who begin the next one each time, do not come to
    /// the same number.
    #[must_use]
    pub const fn without_promises(self) -> Epoch {
        Epoch(self.0 + (1 << 32))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Random name of one log, made when a master starts on an empty store, so that two clusters never mix.
/// Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LogId(u128);

impl LogId {
    /// The log named by these 128 random bits.
    #[must_use]
    pub const fn new(bits: u128) -> LogId {
        LogId(bits)
    }

    /// Its 128 bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// Reads the form that [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<LogId> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(LogId)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// One start of a process: a random number that changes whenever a node starts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The incarnation with this random number.
    #[must_use]
    pub const fn new(number: u64) -> Incarnation {
        Incarnation(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// Random name of one copy of a log, made with its data directory and shown as 16 hexadecimal digits. The master knows
/// a node by its copy, under every address. A lost disk comes back as another copy.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CopyId(u64);

impl CopyId {
    /// The copy named by these 64 random bits.
    #[must_use]
    pub const fn new(bits: u64) -> CopyId {
        CopyId(bits)
    }

    /// Its 64 bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Reads the form that [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<CopyId> {
        let is_ours = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_ours).map(CopyId)
    }
}

impl fmt::Display for CopyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// A secondary of a leader, numbered in the order of registration. The owner of the leader keeps its address and name.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MemberId(u32);

impl MemberId {
    /// The member with this number.
    #[must_use]
    pub const fn new(number: u32) -> MemberId {
        MemberId(number)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s{}", self.0)
    }
}
