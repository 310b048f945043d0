//! The report as it is read: `lameduck-report/1`, documented in `core/src/report.rs`. What a
//! report leaves out is nothing, and what a later version adds is passed over.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::screen::plain;

/// The schema that is read.
pub const SCHEMA: &str = "lameduck-report/1";

/// See `Report` of the core.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    /// `done`, or where it stood.
    pub phase: String,
    pub cause: Option<String>,
    pub cause_detail: Option<String>,
    #[serde(default)]
    pub raised_by: Vec<String>,
    #[serde(rename = "took_ms")]
    pub took: Ms,
    #[serde(default)]
    pub exit_code: u8,
    #[serde(default)]
    pub lost: Vec<String>,
    #[serde(default)]
    pub policy: Vec<PolicyLine>,
    #[serde(default)]
    pub timeline: Vec<Mark>,
    #[serde(default)]
    pub connections: Connections,
    #[serde(default)]
    pub requests: Requests,
    #[serde(default)]
    pub hooks: Vec<Hook>,
    #[serde(default)]
    pub jobs: Jobs,
    #[serde(default)]
    pub forced: Vec<Blocker>,
    #[serde(default)]
    pub blocked_at: Vec<BlockedAt>,
    pub blockers: Option<Blockers>,
    #[serde(default)]
    pub open_handles: Vec<String>,
    pub event_loop_blocked_ms: Option<Ms>,
}

/// A time in milliseconds, in the file a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ms(pub Duration);

impl<'de> Deserialize<'de> for Ms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        let refused =
            |_| serde::de::Error::custom("a time is a number of milliseconds, zero or more");
        Duration::try_from_secs_f64(number / 1000.0).map(Self).map_err(refused)
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct PolicyLine {
    pub name: String,
    pub ms: Option<Ms>,
    pub origin: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Mark {
    #[serde(rename = "at_ms")]
    pub at: Ms,
    pub what: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Connections {
    pub adopted: u64,
    pub opened: u64,
    pub forced: u64,
    pub open: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Requests {
    pub adopted: u64,
    pub admitted: u64,
    pub not_processed: u64,
    pub completed: u64,
    pub client_gone: u64,
    pub refused: u64,
    pub ended: u64,
    pub forced: u64,
    pub in_flight: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Hook {
    pub name: String,
    pub stage: String,
    #[serde(default)]
    pub order: i32,
    pub result: String,
    #[serde(rename = "took_ms")]
    pub took: Option<Ms>,
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Jobs {
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub aborted: u64,
    pub forced: u64,
    pub running: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Blockers {
    pub requests: u64,
    pub idle_connections: u64,
    pub jobs: u64,
    pub hooks: u64,
    pub listeners: u64,
    pub oldest: Vec<Blocker>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct BlockedAt {
    pub deadline: String,
    #[serde(rename = "at_ms")]
    pub at: Ms,
    pub blockers: Blockers,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Blocker {
    Hook {
        name: String,
        stage: String,
        age_ms: Ms,
    },
    Job {
        name: String,
        age_ms: Ms,
    },
    Request {
        protocol: String,
        kind: String,
        peer: Option<String>,
        label: Option<String>,
        state: String,
        age_ms: Ms,
    },
}

impl Record {
    /// The last report in a text: the whole of it, a line, or a part of one.
    ///
    /// # Errors
    /// A sentence that says what is there instead.
    pub fn last_in(text: &str) -> Result<Self, String> {
        if let Ok(whole) = serde_json::from_str::<Value>(text) {
            return match within(&whole, 0) {
                Some(report) => Self::of(report),
                None => {
                    Err(format!("it is JSON, but its schema is {}, not {SCHEMA}", schema(&whole)))
                }
            };
        }
        let Some(line) = text.lines().rfind(|line| line.contains(SCHEMA)) else {
            return Err(format!("there is no report in it (a line with \"schema\":\"{SCHEMA}\")"));
        };
        // Before it there may be anything: a time, a level, `lameduck: report`.
        let report = line.match_indices('{').find_map(|(at, _)| {
            let value = serde_json::Deserializer::from_str(&line[at..]).into_iter::<Value>().next();
            within(&value?.ok()?, 0)
        });
        match report {
            Some(report) => Self::of(report),
            None => Err(format!("the line with {SCHEMA} is cut off or no JSON")),
        }
    }

    fn of(mut value: Value) -> Result<Self, String> {
        make_plain(&mut value);
        serde_json::from_value(value).map_err(|error| format!("the report is not whole: {error}"))
    }

    /// When something happened first.
    pub fn at(&self, what: &str) -> Option<Duration> {
        self.timeline.iter().find(|mark| mark.what == what).map(|mark| mark.at.0)
    }
}

/// A report in a value, which a logger may have put into an object or a string of its own.
fn within(value: &Value, depth: usize) -> Option<Value> {
    if depth > 4 {
        return None;
    }
    match value {
        Value::Object(map) if schema(value) == SCHEMA => Some(Value::Object(map.clone())),
        Value::Object(map) => map.values().rev().find_map(|inner| within(inner, depth + 1)),
        Value::Array(items) => items.iter().rev().find_map(|inner| within(inner, depth + 1)),
        Value::String(text) if text.contains(SCHEMA) => {
            let inner = serde_json::from_str(&text[text.find('{')?..]).ok()?;
            within(&inner, depth + 1)
        }
        _ => None,
    }
}

/// Labels and errors are somebody else's text, and go to a terminal.
fn make_plain(value: &mut Value) {
    match value {
        Value::String(text) => *text = plain(text),
        Value::Array(items) => items.iter_mut().for_each(make_plain),
        Value::Object(map) => map.values_mut().for_each(make_plain),
        Value::Bool(_) | Value::Null | Value::Number(_) => {}
    }
}

fn schema(value: &Value) -> &str {
    value.get("schema").and_then(Value::as_str).unwrap_or("none")
}
