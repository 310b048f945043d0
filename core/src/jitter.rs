//! Seeded moments: the same seed gives the same spread in every language.

pub(crate) const ANNOUNCE_SALT: u64 = 1;
pub(crate) const END_SALT: u64 = 2;
pub(crate) const SPREAD_SALT: u64 = 3;

/// How long after the request to stop responses to `peer` begin to announce that its connection closes, spread over the `span` of
/// the first half of the window; all in nanoseconds. For drivers whose machine knows requests but no connections: each peer
/// has its moment, however many of its requests come.
pub fn announcement(span: u64, seed: u64, peer: u64) -> u64 {
    within(span, seed, peer, ANNOUNCE_SALT)
}

/// A moment in `0..span` for connection `id`, uniform over connections. `salt` keeps the
/// spreads of different purposes apart. Both are nanoseconds; the moment is a whole
/// microsecond.
pub(crate) fn within(span: u64, seed: u64, id: u64, salt: u64) -> u64 {
    let mixed = splitmix(seed ^ splitmix(id ^ splitmix(salt)));
    let share = (u128::from(mixed) * u128::from(span / 1_000)) >> 64;
    share as u64 * 1_000 // a share of a u64
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

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn moments_lie_within_the_span_in_whole_microseconds() {
        for id in 0..1_000 {
            let moment = within(SECOND, 7, id, 1);
            assert!(moment < SECOND);
            assert_eq!(moment % 1_000, 0);
        }
        assert_eq!(within(0, 7, 1, 1), 0);
        assert!(within(u64::MAX, 7, 1, 1) < u64::MAX);
    }

    #[test]
    fn every_tenth_of_the_span_gets_its_share_of_connections() {
        let mut tenths = [0_u32; 10];
        for id in 0..10_000 {
            let tenth = within(SECOND, 0, (id << 32) | 1, 3) / (SECOND / 10);
            tenths[usize::try_from(tenth).expect("below ten")] += 1;
        }
        assert!(tenths.iter().all(|share| (900..1_100).contains(share)), "{tenths:?}");
    }

    #[test]
    fn seed_connection_and_purpose_each_change_the_moment() {
        let moment = within(SECOND, 1, 1, 1);
        assert_eq!(moment, within(SECOND, 1, 1, 1));
        for other in [within(SECOND, 2, 1, 1), within(SECOND, 1, 2, 1), within(SECOND, 1, 1, 2)] {
            assert_ne!(moment, other);
        }
    }
}
