//! What the host does for the face: signals and the watchdog, fences, the last look.

use std::sync::Arc;
use std::time::Duration;

use lameduck::{Cause, Machine, Report, Time};
use lameduck_host::fence::{self, Survivors, stop_arrivals};
use lameduck_host::interposer::Interposer;
use lameduck_host::ledger::Ledger;
use lameduck_host::report_file::ReportFile;
use lameduck_host::supervisor::Surroundings;
use lameduck_host::watchdog::{Options, Watchdog};
use lameduck_host::{clock, last_look, room, terminal};
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

use crate::convert;

/// The interposers of the watched signals, and the watchdog that they arm.
pub(crate) struct Watch {
    watchdog: Watchdog,
    interposers: Vec<Interposer>,
}

impl Watch {
    /// Call after Node has its own handlers for the signals.
    pub(crate) fn start(
        signals: &[i32],
        budget: Duration,
        ledger: Arc<Ledger>,
        report_file: Option<Arc<ReportFile>>,
    ) -> napi::Result<Self> {
        // In this order: a signal between the two would arm nothing.
        let watchdog = Watchdog::start(Options {
            signals: signals.to_vec(),
            budget_ns: u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX),
            ledger: Some(ledger),
            report_file,
            ..Options::default()
        })
        .map_err(|error| convert::invalid(error.to_string()))?;
        let interposers = signals
            .iter()
            .map(|signal| {
                Interposer::chain(*signal).map_err(|error| convert::invalid(error.to_string()))
            })
            .collect::<napi::Result<Vec<_>>>()?;
        Ok(Self { watchdog, interposers })
    }

    pub(crate) fn heartbeat(&self) {
        self.watchdog.heartbeat();
    }

    /// A report that is too long leaves the previous one standing.
    pub(crate) fn render(&self, report: Report) {
        let _ = self.watchdog.render_report(report);
    }

    /// What the watchdog says when the event loop is blocked before anybody can handle the signal.
    pub(crate) fn render_serving(&self, report: &Report) {
        let _ = self.watchdog.render_serving(report);
    }

    pub(crate) fn arm(&self, deadline: Time) {
        self.watchdog.arm(deadline.as_nanos());
    }

    pub(crate) fn first_arrival(&self) -> Option<u64> {
        self.interposers.iter().filter_map(Interposer::first_arrival).min()
    }
}

/// Who supervises this process, and what is wrong between it and the policy.
#[napi(object)]
pub struct JsSurroundings {
    /// For the start line.
    pub line: String,
    /// Whether anybody is known to supervise it.
    pub supervised: bool,
    /// Sentences for the log.
    pub warnings: Vec<String>,
}

pub(crate) fn surroundings(machine: &Machine) -> JsSurroundings {
    let here = Surroundings::here();
    JsSurroundings {
        line: here.describe(),
        supervised: !here.supervisors.is_empty(),
        warnings: here.warnings(machine.policy()),
    }
}

/// Stops new arrivals at a listening socket, unless it is `shared` with others that go on accepting
/// from it. Returns the way that is taken, for the log.
#[napi]
pub fn stop_accepting(descriptor: i32, shared: bool) -> String {
    let survivors = if shared { Survivors::SameSocket } else { Survivors::None };
    match stop_arrivals(descriptor, survivors) {
        Ok(way) => way.to_string(),
        Err(error) => format!("not fenced: {error}"),
    }
}

/// Connections that the kernel has completed and nobody has accepted; `null` where that
/// cannot be known.
#[napi]
pub fn pending(descriptor: i32) -> Option<u32> {
    fence::pending(descriptor).ok()
}

/// Unread bytes in a socket's receive buffer; 0 for what is no socket any more.
#[napi]
pub fn unread(descriptor: i32) -> u32 {
    last_look::unread(descriptor).map_or(0, |bytes| u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// Whether a socket takes a few bytes whole and at once.
#[napi]
pub fn has_room(descriptor: i32) -> bool {
    room::has_room(descriptor)
}

/// Whether standard input is a terminal.
#[napi]
pub fn stdin_is_terminal() -> bool {
    terminal::stdin_is_terminal()
}

/// The clock of every `now`.
#[napi]
pub fn now() -> BigInt {
    BigInt::from(clock::now_ns())
}

/// What a shutdown can be called.
#[napi]
pub fn causes() -> Vec<&'static str> {
    Cause::ALL.map(Cause::name).to_vec()
}
