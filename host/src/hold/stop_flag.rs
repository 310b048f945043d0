//! How a parent tells its workers to stop when it uses no signal: a POSIX semaphore that is zero until then.
//!
//! It is looked at and never waited for: whoever takes it down, even for a moment, hides it from its owner.

use std::ffi::c_int;
use std::time::Duration;

/// How often it is looked at while serving.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The semaphore. Python's `multiprocessing.Event` has one.
#[derive(Clone, Copy, Debug)]
pub struct StopFlag(*mut libc::sem_t);

// SAFETY: semaphores are made to be shared, and `new` asks that this one lives long enough.
unsafe impl Send for StopFlag {}

impl StopFlag {
    /// # Safety
    /// `semaphore` points to a semaphore that was initialised, and lives as long as the hold and as every copy of this.
    #[must_use]
    pub const unsafe fn new(semaphore: *mut libc::sem_t) -> Self {
        Self(semaphore)
    }

    /// Whether it is above zero.
    #[must_use]
    pub fn is_set(&self) -> bool {
        let mut value: c_int = 0;
        // SAFETY: `new` asks for a semaphore that lives; the other pointer is to a writable int.
        unsafe { libc::sem_getvalue(self.0, &raw mut value) == 0 && value > 0 }
    }
}
