//! The clock that every time in this crate is read from.

/// A point in time: nanoseconds since an origin that is fixed while the system runs. 0 never occurs.
pub type MonotonicNs = u64;

/// The current time of `CLOCK_MONOTONIC`: never runs back, is not stepped with the wall clock, and
/// on Linux stands still while the system is suspended. Async-signal-safe on Unix.
///
/// On Linux this is the clock of Node's `process.hrtime` and Python's `time.monotonic_ns`, with the
/// same origin, so those readings may be compared with this one. On macOS they use another clock: there
/// a binding must ask this function.
#[cfg(unix)]
#[must_use]
pub fn now_ns() -> MonotonicNs {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that only this call writes to.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    debug_assert_eq!(failed, 0, "POSIX systems that lack CLOCK_MONOTONIC are not supported");
    (time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64).max(1)
}

/// The current time of the system's monotonic clock, counted from the first call in this process.
#[cfg(not(unix))]
#[must_use]
pub fn now_ns() -> MonotonicNs {
    use std::{sync::OnceLock, time::Instant};
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::now_ns;

    #[test]
    fn it_never_runs_back() {
        let readings: Vec<_> = (0..10_000).map(|_| now_ns()).collect();
        assert!(readings[0] > 0);
        assert!(readings.is_sorted());
    }
}
