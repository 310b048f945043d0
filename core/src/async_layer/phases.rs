//! Waiting for phases.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures::Stream;

use super::shared::Shared;
use super::signal::Wait;
use crate::phase::Phase;
use crate::report::Report;
use crate::sync::Arc;

/// The phases from the current one on; none is left out. Ends after Done, or when the driver is gone.
#[must_use = "streams do nothing unless polled"]
pub struct Phases {
    shared: Arc<Shared>,
    next: Option<Phase>,
    wait: Wait,
}

/// Resolves when a phase has begun. See [`Shutdown::draining`](super::Shutdown::draining).
#[must_use = "futures do nothing unless polled"]
pub struct Reached {
    shared: Arc<Shared>,
    phase: Phase,
    wait: Wait,
}

/// Resolves with the report. See [`Shutdown::done`](super::Shutdown::done).
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Done(Reached);

impl Phases {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let wait = Wait::new(&shared.due);
        Self { next: Some(shared.phase()), shared, wait }
    }
}

impl Stream for Phases {
    type Item = Phase;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Phase>> {
        let Self { shared, next, wait } = self.get_mut();
        let Some(phase) = *next else {
            return Poll::Ready(None);
        };
        wait.poll(&shared.phases, context, || {
            if shared.phase() >= phase {
                *next = Phase::ALL.into_iter().find(|later| *later > phase);
                Some(Some(phase))
            } else if shared.is_abandoned() {
                *next = None;
                Some(None)
            } else {
                None
            }
        })
    }
}

impl Reached {
    pub(super) fn new(shared: Arc<Shared>, phase: Phase) -> Self {
        let wait = Wait::new(&shared.due);
        Self { shared, phase, wait }
    }
}

impl Future for Reached {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { shared, phase, wait } = self.get_mut();
        let reached = || (shared.phase() >= *phase || shared.is_abandoned()).then_some(());
        wait.poll(&shared.phases, context, reached)
    }
}

impl Done {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Reached::new(shared, Phase::Done))
    }
}

impl Future for Done {
    type Output = Report;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Report> {
        Pin::new(&mut self.0).poll(context).map(|()| self.0.shared.report())
    }
}

impl fmt::Debug for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Phases").field("next", &self.next).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reached").field("phase", &self.phase).finish_non_exhaustive()
    }
}
