//! Background work.

use core::fmt;
use core::future::poll_fn;

use super::shared::Shared;
use super::signal::{Signal, Wait};
use crate::event::{Event, JobOutcome};
use crate::id::JobId;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering};

#[derive(Default)]
pub(super) struct Job {
    cancelled: AtomicBool,
    pub(super) signal: Signal,
}

impl Job {
    pub(super) fn cancel(&self) {
        // Release: who sees it sees what led to it.
        self.cancelled.store(true, Ordering::Release);
    }
}

/// A piece of background work, which shutdown waits for until the drain deadline. Dropping it says that it
/// did its work; in a panic, that it failed.
#[must_use = "a job that is dropped counts as completed"]
pub struct JobGuard {
    shared: Arc<Shared>,
    id: JobId,
    job: Arc<Job>,
    outcome: JobOutcome,
}

impl JobGuard {
    pub(super) fn new(shared: Arc<Shared>, id: JobId, job: Arc<Job>) -> Self {
        Self { shared, id, job, outcome: JobOutcome::Completed }
    }

    /// Whether its abort signal has fired: the drain deadline is near.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.job.cancelled.load(Ordering::Acquire)
    }

    /// Resolves when its abort signal fires. Roll back and say [`aborted`](Self::aborted).
    pub async fn cancelled(&self) {
        let mut wait = Wait::new(&self.shared.due);
        let fired = || self.is_cancelled().then_some(());
        poll_fn(|context| wait.poll(&self.job.signal, context, fired)).await;
    }

    /// It stopped because its abort signal fired. The report counts it as lost.
    pub fn aborted(mut self) {
        self.outcome = JobOutcome::Aborted;
    }

    /// It failed on its own. The report counts it, but not as lost by the shutdown.
    pub fn failed(mut self) {
        self.outcome = JobOutcome::Failed;
    }
}

impl Drop for JobGuard {
    fn drop(&mut self) {
        let outcome = if std::thread::panicking() { JobOutcome::Failed } else { self.outcome };
        let forgotten = self.shared.with(|core| core.jobs.remove(&self.id));
        drop(forgotten);
        // Refused when it was forced before, and has its verdict.
        let _ = self.shared.tell(Event::JobFinished { job: self.id, outcome });
    }
}

impl fmt::Debug for JobGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobGuard")
            .field("id", &self.id)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
