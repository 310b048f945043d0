//! What both ways of driving take from the system before their thread runs, and why they could not.

use std::ffi::c_int;
use std::time::Duration;
use std::{fmt, io};

use crate::interposer::{self, Interposer, InterposerError};
use crate::wake::Waker;
use crate::watchdog::{self, Watchdog, WatchdogError};

/// Why it was not started. Nothing has changed then.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A signal could not be taken.
    Interposer(InterposerError),
    /// The system gave no thread.
    Resources(io::Error),
    /// The watchdog could not be started.
    Watchdog(WatchdogError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interposer(error) => error.fmt(f),
            Self::Resources(error) => {
                write!(f, "lameduck cannot start its thread ({error}): the server stops without it")
            }
            Self::Watchdog(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Interposer(error) => Some(error),
            Self::Resources(error) => Some(error),
            Self::Watchdog(error) => Some(error),
        }
    }
}

/// What was taken. Dropped, it is given back.
pub(crate) struct Taken {
    pub(crate) waker: Waker,
    /// None when the time is unlimited.
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) claims: Vec<Interposer>,
}

/// Takes those of the signals that the process does not ignore, and has the watchdog look at them in the manner of `options`; their own
/// signals and budget do not count.
pub(crate) fn take(
    signals: &[c_int],
    budget: Option<Duration>,
    options: watchdog::Options,
) -> Result<Taken, StartError> {
    let signals: Vec<c_int> =
        signals.iter().copied().filter(|signal| !interposer::is_ignored(*signal)).collect();
    let waker = Waker::claim().map_err(StartError::Resources)?;
    // In this order: a signal between the two would arm nothing.
    let watchdog = budget
        .map(|budget| {
            let budget_ns = u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX);
            Watchdog::start(watchdog::Options { signals: signals.clone(), budget_ns, ..options })
        })
        .transpose()
        .map_err(StartError::Watchdog)?;
    let claims: Result<Vec<_>, _> =
        signals.iter().map(|signal| Interposer::defer(*signal)).collect();
    Ok(Taken { waker, watchdog, claims: claims.map_err(StartError::Interposer)? })
}
