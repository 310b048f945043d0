//! Background work.

use alloc::borrow::Cow;
use core::fmt;
use core::future::poll_fn;

use super::shared::Shared;
use super::signal::{Signal, Wait};
use crate::event::{Event, JobOutcome, JobSource, OnDrain};
use crate::id::JobId;
use crate::refusal::Refused;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering};

/// How a job is begun. A plain name will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobOptions {
    name: Cow<'static, str>,
    on_drain: OnDrain,
}

impl JobOptions {
    /// A job that the report calls `name` and that shutdown waits for.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), on_drain: OnDrain::Wait }
    }

    /// What draining means to it.
    #[must_use]
    pub fn on_drain(self, on_drain: OnDrain) -> Self {
        Self { on_drain, ..self }
    }
}

impl<N: Into<Cow<'static, str>>> From<N> for JobOptions {
    fn from(name: N) -> Self {
        Self::new(name)
    }
}

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
    pub(super) fn begin(
        shared: &Arc<Shared>,
        options: JobOptions,
        source: JobSource,
    ) -> Result<Self, Refused> {
        let JobOptions { name, on_drain } = options;
        let (name, now, job) = (name.into_owned(), shared.timer.now(), Arc::new(Job::default()));
        let id = shared.with(|core| {
            let id = JobId(core.next_id());
            core.machine.handle(Event::JobStarted { job: id, name, source, on_drain }, now)?;
            core.jobs.insert(id, Arc::clone(&job));
            Ok(id)
        })?;
        Ok(Self { shared: Arc::clone(shared), id, job, outcome: JobOutcome::Completed })
    }

    /// Whether its abort signal has fired: the drain deadline is near, or it is one that yields to the drain.
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

    /// It stopped because its abort signal fired. The report counts it as lost, unless it is one that yields to the
    /// drain.
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
