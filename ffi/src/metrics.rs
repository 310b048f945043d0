//! What a server's operators watch.

use std::ffi::c_char;

use lameduck_host::ledger::Totals;

use crate::enums::lameduck_phase;
use crate::hold::HOLDS;
use crate::input::Output;
use crate::machine::MACHINES;
use crate::server::{SERVERS, find, lameduck_server};
use crate::status::{Failure, guard, lameduck_status, lameduck_status::*};
use crate::text;

/// What a server counts.
#[repr(C)]
pub struct lameduck_metrics {
    /// Open connections.
    connections: u64,
    /// Requests in flight on them.
    in_flight: u64,
    /// Connections whose count was once wrong: an end without a begin, more than 65535 at once. A fault of the server's.
    faults: u64,
    /// Of the requests that were in flight at the request to stop or came since: answered.
    completed: u64,
    /// The peer went away first.
    client_gone: u64,
    /// Answered 503 on arrival.
    refused: u64,
    /// A long-lived exchange that got notice and its protocol's end.
    ended: u64,
    /// Cut at the drain deadline.
    forced: u64,
    /// Arrived behind the response that announced the close; not processed.
    not_processed: u64,
    /// Nanoseconds since the request to stop; 0 while serving.
    draining_ns: u64,
    /// Where it stands.
    phase: lameduck_phase,
    /// Whether it wants new traffic.
    ready: bool,
}

/// Counts for a metrics page, at a cost that grows with the connections. While others count it is of no single moment.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_server_metrics(
    server: *const lameduck_server,
    metrics: *mut lameduck_metrics,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (find(server)?, Output::new(metrics, "metrics")?);
        let hosted = &found.object.hosted;
        let (report, Totals { connections, in_flight, faults }) =
            (hosted.report()?, hosted.totals());
        let requests = &report.requests;
        let metrics = lameduck_metrics {
            connections,
            in_flight,
            faults,
            completed: requests.completed,
            client_gone: requests.client_gone,
            refused: requests.refused,
            ended: requests.ended,
            forced: requests.forced,
            not_processed: requests.not_processed,
            draining_ns: u64::try_from(report.took_ms.0.as_nanos()).unwrap_or(u64::MAX),
            phase: hosted.phase().into(),
            ready: hosted.ready(),
        };
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(metrics) };
        Ok(())
    })
}

/// Writes what shutdown waits for as JSON, one line, into `buffer` (see lameduck_report): counts, and the oldest 10 by name.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_blockers(
    server: *const lameduck_server,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> lameduck_status {
    guard(|| {
        let blockers = find(server)?.object.hosted.blockers(NAMED)?;
        let json = serde_json::to_string(&blockers).map_err(|error| {
            Failure::new(LAMEDUCK_PANIC, format!("blockers that are no JSON: {error}"))
        })?;
        // SAFETY: the caller's pointers are as the header says.
        unsafe { text::hand_out(&json, buffer, capacity, length) }
    })
}

const NAMED: usize = 10;

/// How many objects have not been freed: machines, servers and holds. For tests of whoever must not leak.
///
/// LAMEDUCK_NULL_POINTER.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_objects(objects: *mut usize) -> lameduck_status {
    guard(|| {
        let place = Output::new(objects, "objects")?;
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(MACHINES.len() + SERVERS.len() + HOLDS.len()) };
        Ok(())
    })
}
