//! Replays `tests/vectors/*.json`: the same scenario gives the same decisions in every
//! language. `LAMEDUCK_BLESS=1` rewrites what the machine decides; read the difference.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lameduck::{Cause, Protocol};
use serde_json::Value;

use support::scenario::{Scenario, render};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors")
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("the folder of vectors is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

#[test]
fn every_vector_replays_byte_for_byte() {
    let bless = std::env::var_os("LAMEDUCK_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in files() {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (scenario, expected) =
            Scenario::parse(&name, &text).unwrap_or_else(|malformed| panic!("{malformed}"));
        let played = scenario.play().unwrap_or_else(|malformed| panic!("{malformed}"));
        if bless {
            std::fs::write(&path, render(&played)).expect("writable");
        } else if let Some(difference) = difference(&name, &expected, &played) {
            wrong.push(difference);
        } else if render(&played) != text {
            wrong.push(format!("{name}: is not laid out as LAMEDUCK_BLESS=1 lays it out"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn difference(name: &str, expected: &Value, played: &Value) -> Option<String> {
    if expected == played {
        return None;
    }
    let steps = |value: &Value| value["steps"].as_array().cloned().unwrap_or_default();
    let (wanted, got) = (steps(expected), steps(played));
    for (index, (wanted, got)) in wanted.iter().zip(&got).enumerate() {
        if wanted != got {
            return Some(format!("{name}: steps[{index}]\n  expected {wanted}\n  played   {got}"));
        }
    }
    for part in ["report", "contradiction", "steps"] {
        if expected[part] != played[part] {
            let (wanted, got) = (&expected[part], &played[part]);
            return Some(format!("{name}: {part}\n  expected {wanted}\n  played   {got}"));
        }
    }
    Some(format!("{name}: origin_ns is written out in full by LAMEDUCK_BLESS=1"))
}

/// Every string under one of these names, in all vectors.
fn seen(name: &str) -> BTreeSet<String> {
    fn collect(value: &Value, name: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    if key == name
                        && let Value::String(text) = value
                    {
                        into.insert(text.clone());
                    }
                    collect(value, name, into);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, name, into)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    for path in files() {
        let text = std::fs::read_to_string(path).expect("readable");
        collect(&serde_json::from_str(&text).expect("is JSON"), name, &mut found);
    }
    found
}

fn assert_all_seen(name: &str, all: &[&str]) {
    let seen = seen(name);
    let missing: Vec<&&str> = all.iter().filter(|word| !seen.contains(**word)).collect();
    assert!(missing.is_empty(), "no vector shows {name} {missing:?}");
}

#[test]
fn together_they_show_every_word_of_the_machine() {
    assert!(files().len() >= 30, "{} vectors", files().len());
    assert_all_seen(
        "type",
        &[
            "abandon_hook",
            "abort_requests",
            "announce_close",
            "cancel_job",
            "close_idle",
            "close_listener",
            "close_long_lived",
            "connection_adopted",
            "connection_busy",
            "connection_closed",
            "connection_described",
            "connection_opened",
            "connection_upgraded",
            "deadline_changed",
            "escalate",
            "exit",
            "fence_listener",
            "force_connection",
            "hook_finished",
            "hook_registered",
            "job_finished",
            "job_started",
            "listener_closed",
            "listener_failed",
            "listener_opened",
            "notify_long_lived",
            "phase_changed",
            "refuse_request",
            "request_described",
            "request_finished",
            "request_flushed",
            "request_headers_sent",
            "request_started",
            "run_hook",
            "set_readiness",
            "shutdown",
        ],
    );
    assert_all_seen(
        "refused",
        &[
            "already_known",
            "allowance_spent",
            "closing",
            "done",
            "draining",
            "forced",
            "headers_already_sent",
            "not_idle",
            "not_in_flight",
            "not_running",
            "serving",
            "too_many",
            "unknown_connection",
            "unknown_hook",
            "unknown_job",
            "unknown_listener",
            "unknown_request",
        ],
    );
    assert_all_seen(
        "why",
        &[
            "progress",
            "connection",
            "hook_timeout",
            "window_end",
            "settle_end",
            "abort_lead",
            "drain_deadline",
            "close_stage_end",
            "flush_stage_end",
        ],
    );
    assert_all_seen("cause", &Cause::ALL.map(Cause::name));
    assert_all_seen("protocol", &Protocol::ALL.map(Protocol::name));
    assert_all_seen("kind", &["ordinary", "stream", "long_poll", "upload"]);
    assert_all_seen("stage", &["drain", "close", "flush"]);
    assert_all_seen("phase", &["serving", "draining", "closing", "done"]);
}

#[test]
fn a_run_replays_as_the_ticks_that_it_stands_for() {
    // The last wake is long before the moment until which it runs.
    let text = r#"{ "about": "x", "policy": { "grace_ms": "unlimited" }, "steps": [
        { "at_us": 0, "event": { "type": "shutdown", "cause": "terminate", "ever_accepted": true } },
        { "at_us": 0, "event": { "type": "job_started", "job": 1, "name": "x" } },
        { "at_us": 30000000, "run": true }
    ] }"#;
    let play = |text: &str| {
        let (scenario, _) = Scenario::parse("run.json", text).expect("is well-formed");
        render(&scenario.play().expect("plays"))
    };
    let blessed = play(text);
    assert!(blessed.contains(r#"{ "at_us": 5000000, "tick": true, "#), "{blessed}");
    assert_eq!(play(&blessed), blessed);
}
