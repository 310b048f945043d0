//! What threads share, from the standard library or, in a model check (`--cfg loom`), from loom, so that
//! the code that ships is the code that is checked.

#[cfg(not(loom))]
pub(crate) mod atomic {
    #[cfg(feature = "async")]
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8};
    pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};
}

#[cfg(loom)]
pub(crate) mod atomic {
    #[cfg(feature = "async")]
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8};
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

#[cfg(all(feature = "async", not(loom)))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

#[cfg(all(feature = "async", loom))]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};

#[cfg(all(feature = "async", not(loom)))]
pub(crate) use futures::task::AtomicWaker;

/// Loom does not see into the one of `futures`, so it would not try what comes between it and the rest.
#[cfg(all(feature = "async", loom))]
#[derive(Default)]
pub(crate) struct AtomicWaker(Mutex<Option<core::task::Waker>>);

#[cfg(all(feature = "async", loom))]
impl AtomicWaker {
    pub(crate) fn register(&self, waker: &core::task::Waker) {
        *lock(&self.0) = Some(waker.clone());
    }

    pub(crate) fn wake(&self) {
        let waker = lock(&self.0).take();
        waker.into_iter().for_each(core::task::Waker::wake);
    }
}

/// Locks. No user code runs under a lock of this crate, so what a panic elsewhere left behind is whole.
#[cfg(feature = "async")]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
