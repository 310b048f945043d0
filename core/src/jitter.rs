//! Seeded moments: the same seed gives the same spread in every language.

use core::time::Duration;

use crate::time::nanos;

/// A moment in `0..span` for connection `id`, in whole microseconds, uniform over
/// connections. `salt` keeps the spreads of different purposes apart.
pub(crate) fn within(span: Duration, seed: u64, id: u64, salt: u64) -> Duration {
    let mixed = splitmix(seed ^ splitmix(id ^ splitmix(salt)));
    let micros = nanos(span) / 1_000;
    let share = (u128::from(mixed) * u128::from(micros)) >> 64;
    Duration::from_micros(u64::try_from(share).unwrap_or(u64::MAX))
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
const fn splitmix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
