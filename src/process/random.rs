//! Randomness.
//!
//! Each function panics if the system has no randomness to give: without it two logs could be taken for one.

/// Sixty-four random bits.
pub(crate) fn bits_64() -> u64 {
    u64::from_le_bytes(bytes())
}

/// A hundred and twenty-eight random bits.
pub(crate) fn bits_128() -> u128 {
    u128::from_le_bytes(bytes())
}

/// A number below `bound`, for jitter.
pub(crate) fn below(bound: u64) -> u64 {
    bits_64() % bound.max(1)
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has no randomness to give");
    bytes
}
