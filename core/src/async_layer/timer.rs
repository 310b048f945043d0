//! The clock, which the user brings.

use futures::future::BoxFuture;

use crate::time::Time;

/// A monotonic clock and how to wait for it.
pub trait Timer: Send + Sync + 'static {
    /// The time now. Any origin will do; `lameduck_host::clock::now_ns` has the watchdog's.
    fn now(&self) -> Time;

    /// Resolves at `at` or later; at once when that is past. Resolving early costs a poll and
    /// nothing else.
    fn sleep_until(&self, at: Time) -> BoxFuture<'static, ()>;
}
