//! Monotonic time as the machine sees it.

use core::fmt;
use core::num::NonZeroU64;
use core::time::Duration;

/// A moment: nanoseconds of a monotonic clock since an origin that the driver chose.
///
/// A platform's own instant cannot cross C, Node or Python, so the machine takes
/// this instead. Arithmetic saturates, at 584 years.
// One more than the nanoseconds: a million connections hold several `Option<Time>` each,
// which so take 8 bytes instead of 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(NonZeroU64);

impl Time {
    /// The moment `nanos` nanoseconds after the driver's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the driver's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.as_nanos().saturating_sub(earlier.as_nanos()))
    }

    pub(crate) const fn nanos_since(self, earlier: Self) -> u64 {
        self.as_nanos().saturating_sub(earlier.as_nanos())
    }

    pub(crate) const fn plus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    pub(crate) fn plus(self, span: Duration) -> Self {
        self.plus_nanos(nanos(span))
    }

    pub(crate) fn minus(self, span: Duration) -> Self {
        self.minus_nanos(nanos(span))
    }

    pub(crate) const fn minus_nanos(self, nanos: u64) -> Self {
        Self::from_nanos(self.as_nanos().saturating_sub(nanos))
    }
}

impl Default for Time {
    /// The driver's origin.
    fn default() -> Self {
        Self::from_nanos(0)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Time").field(&self.as_nanos()).finish()
    }
}

pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_exact_and_saturate_at_the_last() {
        for nanos in [0, 1, 1 << 53, u64::MAX - 1] {
            assert_eq!(Time::from_nanos(nanos).as_nanos(), nanos);
        }
        let last = Time::from_nanos(u64::MAX);
        assert_eq!(last, Time::from_nanos(u64::MAX - 1));
        assert_eq!(last.plus(Duration::MAX), last);
        assert_eq!(last.minus(Duration::MAX), Time::default());
        assert_eq!(Time::default().since(last), Duration::ZERO);
        assert_eq!(size_of::<Option<Time>>(), 8);
    }
}
