//! Hooks: what they are registered with, and how they are run.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use core::any::Any;
use core::fmt;
use core::future::Future;
use core::panic::AssertUnwindSafe;
use core::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

/// A hook that waits for its turn.
pub(super) type Run = Box<dyn FnOnce() -> BoxFuture<'static, Result<(), String>> + Send>;

/// How a hook is registered. A plain name will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookOptions {
    pub(super) name: Cow<'static, str>,
    pub(super) order: i32,
    pub(super) timeout: Option<Duration>,
}

impl HookOptions {
    /// A hook that the report calls `name`, of order 0, limited by its stage's end alone.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), order: 0, timeout: None }
    }

    /// Lower orders of a stage run first, equal ones together.
    #[must_use]
    pub fn order(self, order: i32) -> Self {
        Self { order, ..self }
    }

    /// Its own limit. The future is dropped when that is over, as it is at its stage's end.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }
}

impl<N: Into<Cow<'static, str>>> From<N> for HookOptions {
    fn from(name: N) -> Self {
        Self::new(name)
    }
}

/// What a hook may return: nothing, or a result whose error the report names.
pub trait HookOutcome {
    /// The error, if it failed.
    fn error(self) -> Option<String>;
}

impl HookOutcome for () {
    fn error(self) -> Option<String> {
        None
    }
}

impl<E: fmt::Display> HookOutcome for Result<(), E> {
    fn error(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// A hook that fails when it panics, instead of taking the driver with it.
pub(super) fn guarded<F, R>(hook: impl FnOnce() -> F + Send + 'static) -> Run
where
    F: Future<Output = R> + Send + 'static,
    R: HookOutcome,
{
    // Nothing that the hook held is used after its panic: all of it is dropped.
    Box::new(move || {
        let run = async move { hook().await.error().map_or(Ok(()), Err) };
        AssertUnwindSafe(run)
            .catch_unwind()
            .map(|ended| {
                ended.unwrap_or_else(|panic| Err(format!("panicked: {}", message(&*panic))))
            })
            .boxed()
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
