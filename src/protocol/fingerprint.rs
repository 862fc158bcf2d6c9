//! A fingerprint of a part of a log: two nodes with equal fingerprints hold the same.

use super::Slot;
use sha2::{Digest, Sha256};
use std::fmt;

/// The end of a hash chain over slots: SHA-256 over the fingerprint before a slot, 32 zero bytes at first, and the
/// slot.
///
/// A slot counts as its id and, for a message, the byte 1, its epoch, its timestamp, the length of its text and the
/// text in UTF-8, the length of its key and the key, 0 and nothing if it has none; for a refused id, the byte 0.
/// Numbers are eight bytes, little-endian.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of slots that follow each other.
    #[must_use]
    pub fn of(slots: &[Slot]) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        slots.iter().for_each(|slot| fingerprint.extend(slot));
        fingerprint
    }

    /// Adds the next slot.
    pub fn extend(&mut self, slot: &Slot) {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(slot.id().get().to_le_bytes());
        match slot {
            Slot::Entry(entry) => {
                hash.update([1]);
                hash.update(entry.epoch.get().to_le_bytes());
                hash.update(entry.timestamp_ms.to_le_bytes());
                for text in [&*entry.message, entry.key.as_deref().unwrap_or_default()] {
                    hash.update((text.len() as u64).to_le_bytes());
                    hash.update(text.as_bytes());
                }
            }
            Slot::Refused(_) => hash.update([0]),
        }
        self.0 = hash.finalize().into();
    }

    /// The SHA-256 of some bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(bytes).into())
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Fingerprint> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Fingerprint(bytes))
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Entry, Epoch, Id, WritePart};
    use std::sync::Arc;

    fn entry(id: u64, message: &str) -> Slot {
        Slot::Entry(Arc::new(Entry {
            id: Id::new(id),
            epoch: Epoch::new(1),
            timestamp_ms: 5,
            message: message.into(),
            key: None,
            part: WritePart::WHOLE,
        }))
    }

    #[test]
    fn whatever_differs_shows() {
        let same = || Fingerprint::of(&[entry(1, "a"), Slot::Refused(Id::new(2)), entry(3, "c")]);
        assert_eq!(same(), same());
        for other in [
            Fingerprint::of(&[entry(1, "b"), Slot::Refused(Id::new(2)), entry(3, "c")]),
            Fingerprint::of(&[entry(1, "a"), entry(2, ""), entry(3, "c")]),
            Fingerprint::of(&[entry(1, "a"), entry(3, "c"), Slot::Refused(Id::new(2))]),
            Fingerprint::of(&[entry(1, "a"), Slot::Refused(Id::new(2))]),
        ] {
            assert_ne!(same(), other);
        }
    }

    /// The expected value comes from `printf` and `sha256sum` on the same bytes.
    #[test]
    fn it_is_the_sha_256_of_the_bytes_described() {
        let known = "98a2dad57b01122caf1ed48d066043cae610cf3e86b49775e772d1efbd6ef886";
        assert_eq!(Fingerprint::of(&[entry(1, "hello")]).to_string(), known);
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        let fingerprint = Fingerprint::of(&[entry(1, "a")]);
        assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Some(fingerprint));
        for wrong in ["", "12", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
    }
}
