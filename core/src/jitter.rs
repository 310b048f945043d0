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

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(1);

    #[test]
    fn moments_lie_within_the_span_in_whole_microseconds() {
        for id in 0..1_000 {
            let moment = within(SPAN, 7, id, 1);
            assert!(moment < SPAN);
            assert_eq!(moment.as_nanos() % 1_000, 0);
        }
        assert_eq!(within(Duration::ZERO, 7, 1, 1), Duration::ZERO);
        assert!(within(Duration::MAX, 7, 1, 1) < Duration::MAX);
    }

    #[test]
    fn every_tenth_of_the_span_gets_its_share_of_connections() {
        let mut tenths = [0_u32; 10];
        for id in 0..10_000 {
            let tenth = within(SPAN, 0, (id << 32) | 1, 3).as_micros() / 100_000;
            tenths[usize::try_from(tenth).expect("below ten")] += 1;
        }
        assert!(tenths.iter().all(|share| (900..1_100).contains(share)), "{tenths:?}");
    }

    #[test]
    fn seed_connection_and_purpose_each_change_the_moment() {
        let moment = within(SPAN, 1, 1, 1);
        assert_eq!(moment, within(SPAN, 1, 1, 1));
        for other in [within(SPAN, 2, 1, 1), within(SPAN, 1, 2, 1), within(SPAN, 1, 1, 2)] {
            assert_ne!(moment, other);
        }
    }
}
