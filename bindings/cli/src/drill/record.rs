//! What one drill found, as the versioned JSON object that `--json` prints and `--against` reads.
//!
//! Times end in `_ms`: whole milliseconds since the drill began, or milliseconds with a fraction
//! for latencies.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::drill::args::{BalancerKind, Mode};
use crate::drill::balancer::BalancerCounts;
use crate::drill::client::{ConnectionCounts, Failure};
use crate::drill::diagnosis::Finding;
use crate::drill::probe::Check;
use crate::drill::server::Exit;

/// The schema of [`Record`]; changes when a field changes its meaning or goes.
pub const SCHEMA: &str = "lameduck-drill/2";
/// Width of one interval of the timeline.
pub const INTERVAL_MS: u64 = 100;

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All restarts done, nothing failed, no mistake was seen and nothing had to be killed.
    Passed,
    /// All restarts done, and requests failed or a mistake was seen.
    Failed,
    /// The command could not be started.
    CannotStart,
    /// The command ended before it was ready.
    DiedAtOnce,
    /// The command ran but was not ready within `--start-timeout`.
    NeverReady,
    /// The command is ready but does not answer the paths of the load.
    Unsuitable,
    /// A copy ended without having been asked to.
    Died,
    /// A copy had to be killed: it did not end within `--exit-timeout`. With `--keep-going` the
    /// restarts went on.
    NeverExits,
    /// A limit (`--max-requests`, `--max-time`) ended the drill early.
    CutShort,
    /// Ctrl-C or SIGTERM ended the drill early.
    Interrupted,
}

impl Outcome {
    /// Whether the drill never came to its measurement.
    pub fn is_about_the_command(self) -> bool {
        matches!(self, Self::CannotStart | Self::DiedAtOnce | Self::NeverReady | Self::Unsuitable)
    }

    /// Whether one copy is at fault, whose last output helps.
    pub fn is_about_a_copy(self) -> bool {
        self.is_about_the_command() || matches!(self, Self::Died | Self::NeverExits)
    }
}

/// Everything one drill found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: String,
    /// What tables and pictures call this drill.
    pub label: String,
    /// The command that ran.
    pub command: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The same as one sentence.
    pub sentence: String,
    /// Exit status of the drill.
    pub exit_status: u8,
    /// What was run.
    pub mode: Mode,
    /// The mistakes that were seen, gravest first.
    pub findings: Vec<Finding>,
    /// What the drill did differently from what was asked, as sentences.
    pub notes: Vec<String>,
    /// The conditions of the measurement.
    pub conditions: Conditions,
    /// How long the drill took.
    pub duration_ms: u64,
    /// Requests by result and sort.
    pub requests: Requests,
    /// Failed requests by kind; kinds that did not occur are 0.
    pub failures: BTreeMap<Failure, u64>,
    /// Latency of successful requests.
    pub latency_ms: Latencies,
    /// What clients did with their connections.
    pub connections: ConnectionCounts,
    /// What the built-in balancer did.
    pub balancer: BalancerCounts,
    /// One entry per restart, in order.
    pub restarts: Vec<Restart>,
    /// Failed requests before the first restart.
    pub failed_before_restarts: u64,
    /// One entry per copy.
    pub copies: Vec<Copy>,
    /// Requests over time.
    pub timeline: Timeline,
    /// The first failed requests, at most 50.
    pub first_failures: Vec<FailedRequest>,
    /// Last output of the copy at fault, if the outcome is about one.
    pub last_output: Vec<String>,
}

/// The conditions of the measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conditions {
    /// Restarts asked for.
    pub restarts: u32,
    /// Keep-alive clients.
    pub connections: u32,
    /// Requests per second asked for.
    pub rate: u32,
    /// Copies of the server.
    pub copies: u32,
    /// What stood between clients and copies.
    pub balancer: BalancerKind,
    /// Delay each way between balancer and copies.
    pub delay_ms: f64,
    /// Time between readiness checks.
    pub probe_interval_ms: f64,
    /// Failed checks in a row that take a copy out.
    pub probe_threshold: u32,
    /// Seed of the load.
    pub seed: u64,
    /// How readiness was checked; none when the drill did not come so far.
    pub check: Option<Check>,
}

/// Requests by result and sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Requests with a result: `ok + failed`.
    pub total: u64,
    /// Answered as they must be.
    pub ok: u64,
    /// Everything else.
    pub failed: u64,
    /// Still without a result when the drill was ended early.
    pub unfinished: u64,
    /// GET requests among the total, the slow ones not among them.
    pub get: u64,
    /// POST requests among the total.
    pub post: u64,
    /// Requests of the slow path among the total.
    pub slow: u64,
}

/// Latencies of the two sorts of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// GET and POST.
    pub ordinary: Latency,
    /// The slow path.
    pub slow: Latency,
}

/// Quantiles of successful requests, opening a connection included, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Requests measured.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

/// One restart of one copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// The copy, from 0.
    pub copy: usize,
    /// When SIGTERM was sent.
    pub sigterm_ms: u64,
    /// When the balancer took it out, if it noticed.
    pub out_ms: Option<u64>,
    /// When it was gone.
    pub exited_ms: Option<u64>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Whether it had to be killed.
    pub killed: bool,
    /// When the new process was ready.
    pub ready_ms: Option<u64>,
    /// Requests that failed from this SIGTERM to the next.
    pub failed: u64,
}

impl Restart {
    /// From SIGTERM until it was gone.
    pub fn exit_took_ms(&self) -> Option<u64> {
        self.exited_ms.map(|exited| exited.saturating_sub(self.sigterm_ms))
    }
}

/// One copy of the command.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Copy {
    /// Its port.
    pub port: u16,
    /// What happened to it, in order.
    pub events: Vec<CopyEvent>,
}

/// Something that happened to a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyEvent {
    /// When.
    pub at_ms: u64,
    /// What.
    pub event: Event,
}

/// What can happen to a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Its process was started.
    Started,
    /// It is ready.
    Ready,
    /// SIGTERM was sent.
    Sigterm,
    /// The balancer sends it no new connections any more.
    Out,
    /// The balancer sends it connections again.
    In,
    /// Its process is gone.
    Exited,
    /// It was killed, then it is gone.
    Killed,
}

/// Requests over time, by when their result was known.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timeline {
    /// Width of an interval.
    pub interval_ms: u64,
    /// Successful requests per interval.
    pub ok: Vec<u32>,
    /// Failed requests per interval.
    pub failed: Vec<u32>,
}

/// One failed request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailedRequest {
    /// When the failure was seen.
    pub at_ms: u64,
    /// How long the request had been under way.
    pub after_ms: f64,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// How it failed.
    pub kind: Failure,
    /// The status that came, if it is what was wrong.
    pub status: Option<u16>,
}

/// Reads the result of an earlier drill.
///
/// # Errors
/// A sentence that says what is wrong with the file.
pub fn read(path: &Path) -> Result<Record, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("{name} is not JSON: {error}"))?;
    let schema = value.get("schema").and_then(serde_json::Value::as_str).unwrap_or("none");
    if schema != SCHEMA {
        return Err(format!(
            "{name} is not the result of a drill: its schema is {schema}, not {SCHEMA}"
        ));
    }
    serde_json::from_value(value).map_err(|error| format!("{name} is not a whole result: {error}"))
}

/// The record as JSON, one line per field, with a newline at the end.
pub fn to_json(record: &Record) -> String {
    let mut text = serde_json::to_string_pretty(record).expect("a record has no map with odd keys");
    text.push('\n');
    text
}
