//! Reads bytes as choices.

/// Reads choices out of bytes. After the last byte every choice is the first one.
pub(super) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices(bytes)
    }

    pub(super) fn are_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// A number below a bound, which is small.
    pub(super) fn below(&mut self, bound: u8) -> u64 {
        u64::from(self.byte() % bound)
    }

    /// True once in so many times. The byte 0 means false.
    pub(super) fn one_in(&mut self, times: u8) -> bool {
        self.byte() % times == times - 1
    }

    /// Up to so many bytes.
    pub(super) fn bytes(&mut self, number: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(number.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Any number.
    pub(super) fn number(&mut self) -> u64 {
        self.bytes(8).iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }
}
