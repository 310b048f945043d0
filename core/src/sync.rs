//! The atomics of [`crate::row`], from `core` or, in a model check (`--cfg loom`), from loom,
//! so that the code that ships is the code that is checked.

#[cfg(not(loom))]
pub(crate) mod atomic {
    pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};
}

#[cfg(loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}
