//! What the operator reads: versioned JSON, schema `lameduck-report/1`.
//!
//! All of it is the machine's, but for what only a driver can know: `cause_detail`, `open_handles`
//! and `event_loop_blocked_ms`. The machine leaves those out.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

use crate::blocker::{Blocker, Blockers};
pub use crate::millis::Millis;

/// The schema's name; the number rises when a field changes its meaning or goes.
pub const SCHEMA: &str = "lameduck-report/1";

/// Why a shutdown happened, how it went, and what was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// `done`, or where it stood when this provisional report was made.
    pub phase: &'static str,
    /// Why it stopped: the first cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// What the driver knows of the cause: the signal's name, the error's first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause_detail: Option<String>,
    /// Later causes that raised the severity.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub raised_by: Vec<&'static str>,
    /// From the request to stop until now, or until Done.
    pub took_ms: Millis,
    /// 0 when nothing was lost.
    pub exit_code: u8,
    /// Why the code is not 0, as sentences.
    pub lost: Vec<String>,
    /// Every time of the policy and who decided it.
    pub policy: Vec<PolicyLine>,
    /// What happened when, since the request to stop.
    pub timeline: Vec<Mark>,
    /// Listeners.
    pub listeners: ListenerCounts,
    /// Connections.
    pub connections: ConnectionCounts,
    /// Requests and their verdicts.
    pub requests: RequestCounts,
    /// Every hook.
    pub hooks: Vec<HookLine>,
    /// Jobs.
    pub jobs: JobCounts,
    /// What was cut at the drain deadline, oldest first.
    pub forced: Vec<Blocker>,
    /// What still held shutdown up at each deadline that passed.
    pub blocked_at: Vec<BlockedAt>,
    /// What holds it up now; only while it is not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blockers: Option<Blockers>,
    /// What else was open in the process at the drain deadline, as sentences for people: the
    /// connection that a request waits for, a child process, timers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open_handles: Vec<String>,
    /// For how long nothing was heard from the event loop when the watchdog ended the process,
    /// in milliseconds; only if that was too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_loop_blocked_ms: Option<u64>,
}

/// One time of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyLine {
    /// Its name.
    pub name: &'static str,
    /// Its value; absent when unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<Millis>,
    /// `code`, `default` or `environment`.
    pub origin: &'static str,
}

/// One moment of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Since the request to stop.
    pub at_ms: Millis,
    /// What happened.
    pub what: &'static str,
}

/// Listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerCounts {
    /// Not closed.
    pub open: u64,
    /// Failed, while serving or since.
    pub failed: u64,
    /// What the operating system said to the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// Connections after the hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionCounts {
    /// Open at the hand-over.
    pub adopted: u64,
    /// Accepted since.
    pub opened: u64,
    /// Cut with requests in flight.
    pub forced: u64,
    /// Still known.
    pub open: u64,
}

/// Requests after the hand-over. `adopted + admitted` is the sum of the verdicts and
/// `in_flight`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestCounts {
    /// In flight at the hand-over.
    pub adopted: u64,
    /// Admitted since.
    pub admitted: u64,
    /// Arrived after the response that announced; not handed to the application
    /// (RFC 9112 §9.6).
    pub not_processed: u64,
    /// Verdict: answered.
    pub completed: u64,
    /// Verdict: the peer went away first.
    pub client_gone: u64,
    /// Verdict: answered 503 on arrival.
    pub refused: u64,
    /// Verdict: a long-lived exchange that got notice and its protocol's end.
    pub ended: u64,
    /// Verdict: cut at the drain deadline.
    pub forced: u64,
    /// No verdict yet.
    pub in_flight: u64,
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookLine {
    /// Its name.
    pub name: String,
    /// `drain`, `close` or `flush`.
    pub stage: &'static str,
    /// Its order.
    pub order: i32,
    /// `ok`, `failed`, `timed_out`, `not_run`, `running` or `waiting`.
    pub result: &'static str,
    /// How long it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<Millis>,
    /// What it failed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Jobs that ran at the request to stop or began since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobCounts {
    /// Did their work.
    pub completed: u64,
    /// Threw.
    pub failed: u64,
    /// Stopped when draining began, as they were meant to.
    pub cancelled: u64,
    /// Stopped because their abort signal fired near the drain deadline.
    pub aborted: u64,
    /// Still running at the drain deadline.
    pub forced: u64,
    /// Still running.
    pub running: u64,
}

/// What held shutdown up when a deadline passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockedAt {
    /// Which deadline.
    pub deadline: &'static str,
    /// Since the request to stop.
    pub at_ms: Millis,
    /// What it was.
    pub blockers: Blockers,
}

impl Report {
    /// The report as JSON, one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report holds only strings and numbers")
    }
}
