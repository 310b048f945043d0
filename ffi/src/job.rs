//! Jobs of a server: work beside the requests, which a shutdown waits for.

use std::ffi::c_char;

use lameduck::JobId;

use crate::enums::{RawJobOutcome, RawJobSource, RawOnDrain};
use crate::input::Output;
use crate::server::{find, lameduck_server};
use crate::status::{Failure, guard, lameduck_status, lameduck_status::*};
use crate::text;

fn id(job: u64) -> Result<JobId, Failure> {
    u32::try_from(job)
        .map(JobId)
        .map_err(|_| Failure::new(LAMEDUCK_UNKNOWN_JOB, format!("no job has the handle {job}")))
}

/// Work beside the requests begins; a shutdown waits for it until the drain deadline. `name` is what the report calls it; copied.
/// Writes the job's handle, which is never 0 and never used again.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_FULL, LAMEDUCK_DRAINING (only what a
/// request began is taken now), LAMEDUCK_CLOSING, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_job_begin(
    server: *mut lameduck_server,
    name: *const c_char,
    source: RawJobSource,
    on_drain: RawOnDrain,
    job: *mut u64,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (find(server)?, Output::new(job, "job")?);
        // SAFETY: the caller's string is as the header says.
        let name = unsafe { text::string(name, "name")? };
        let begun = found.object.hosted.job_begun(name, source.parse()?, on_drain.parse()?)?;
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(begun.0.into()) };
        Ok(())
    })
}

/// It has ended.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_UNKNOWN_JOB, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_job_end(
    server: *mut lameduck_server,
    job: u64,
    outcome: RawJobOutcome,
) -> lameduck_status {
    guard(|| {
        let (found, outcome) = (find(server)?, outcome.parse()?);
        Ok(found.object.hosted.job_ended(id(job)?, outcome)?)
    })
}

/// Whether it should give up. False for a job that has ended.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_JOB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_job_cancelled(
    server: *const lameduck_server,
    job: u64,
    cancelled: *mut bool,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (find(server)?, Output::new(cancelled, "cancelled")?);
        let now = found.object.hosted.job_cancelled(id(job)?);
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(now) };
        Ok(())
    })
}
