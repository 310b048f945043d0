//! Background work that shutdown waits for.

use alloc::collections::BTreeMap;
use alloc::string::String;

use crate::event::{JobOutcome, OnDrain};
use crate::id::JobId;
use crate::refusal::Refused;
use crate::time::Time;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) since: Time,
    pub(crate) on_drain: OnDrain,
    /// Its abort signal was fired.
    pub(crate) cancelled: bool,
}

/// The jobs that run, and how those ended that ran during the shutdown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Jobs {
    pub(crate) running: BTreeMap<JobId, Job>,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) aborted: u64,
    pub(crate) forced: u64,
}

impl Jobs {
    pub(crate) fn start(&mut self, id: JobId, job: Job) -> Result<(), Refused> {
        if self.running.contains_key(&id) {
            return Err(Refused::AlreadyKnown);
        }
        self.running.insert(id, job);
        Ok(())
    }

    /// Ends a job; without an outcome it is not counted.
    pub(crate) fn finish(&mut self, id: JobId, outcome: Option<JobOutcome>) -> Result<(), Refused> {
        let job = self.running.remove(&id).ok_or(Refused::UnknownJob)?;
        match outcome {
            Some(JobOutcome::Aborted) if job.on_drain == OnDrain::Cancel => self.cancelled += 1,
            Some(JobOutcome::Aborted) => self.aborted += 1,
            Some(JobOutcome::Completed) => self.completed += 1,
            Some(JobOutcome::Failed) => self.failed += 1,
            None => {}
        }
        Ok(())
    }
}
