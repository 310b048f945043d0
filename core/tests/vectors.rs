//! Replays `tests/vectors/*.json`: the same scenario gives the same decisions in every
//! language. `LAMEDUCK_BLESS=1` rewrites what the machine decides; read the difference.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lameduck::{Cause, Phase, Protocol, RequestKind, table};
use serde_json::{Value, json};

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

/// Every string at this place, in all vectors. Lists are looked through; `type=shutdown` goes on
/// only in an object whose `type` is `shutdown`.
fn seen(place: &[&str]) -> BTreeSet<String> {
    fn collect(value: &Value, place: &[&str], into: &mut BTreeSet<String>) {
        match (value, place) {
            (Value::Array(items), _) => items.iter().for_each(|item| collect(item, place, into)),
            (Value::String(text), []) => {
                into.insert(text.clone());
            }
            (Value::Object(object), [name, rest @ ..]) => match name.split_once('=') {
                Some((name, wanted)) if object.get(name) == Some(&json!(wanted)) => {
                    collect(value, rest, into);
                }
                Some(_) => {}
                None => object.get(*name).into_iter().for_each(|value| collect(value, rest, into)),
            },
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    for path in files() {
        let text = std::fs::read_to_string(path).expect("readable");
        collect(&serde_json::from_str(&text).expect("is JSON"), place, &mut found);
    }
    found
}

/// These words and no others stand at these places.
#[track_caller]
fn assert_shown(places: &[&[&str]], all: &[&str]) {
    let seen: BTreeSet<String> = places.iter().flat_map(|place| seen(place)).collect();
    let all: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
    let missing: Vec<&String> = all.difference(&seen).collect();
    let unknown: Vec<&String> = seen.difference(&all).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "{places:?}: {missing:?}, {unknown:?}");
}

/// A hundred scenarios that stop, and what makes them different from each other.
#[test]
fn there_are_at_least_a_hundred_different_ones() {
    let mut scenarios = BTreeSet::new();
    let mut abouts = BTreeSet::new();
    for path in files() {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let words = name.trim_end_matches(".json");
        let kebab = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        assert!(words.chars().all(|letter| kebab(letter) || letter == '-'), "{name}: is no name");
        let text = std::fs::read_to_string(&path).expect("readable");
        let vector: Value = serde_json::from_str(&text).expect("is JSON");
        let about = vector["about"].as_str().expect("checked by the replay").to_string();
        assert!(about.ends_with('.'), "{name}: about is a sentence");
        assert!(abouts.insert(about), "{name}: another vector says the same of itself");
        let given = |step: &Value| json!([step["at_us"], step["event"], step["tick"]]);
        let steps = vector["steps"].as_array().map(|steps| steps.iter().map(given).collect());
        let steps: Value = steps.unwrap_or_default();
        let scenario = json!([vector["policy"], vector["environment"], steps]).to_string();
        assert!(scenarios.insert(scenario), "{name}: another vector plays the same");
    }
    assert!(scenarios.len() >= 100, "{} vectors", scenarios.len());
}

#[test]
fn together_they_show_every_event_and_refusal() {
    let events = [
        "connection_adopted",
        "connection_busy",
        "connection_closed",
        "connection_described",
        "connection_opened",
        "connection_upgraded",
        "deadline_changed",
        "escalate",
        "hook_finished",
        "hook_registered",
        "job_finished",
        "job_started",
        "listener_closed",
        "listener_failed",
        "listener_opened",
        "request_described",
        "request_finished",
        "request_flushed",
        "request_headers_sent",
        "request_started",
        "shutdown",
    ];
    assert_eq!(events.len(), table::TABLE.len());
    assert_shown(&[&["steps", "event", "type"]], &events);
    assert_shown(&[&["steps", "event", "cause"]], &Cause::ALL.map(Cause::name));
    let protocols: [&[&str]; 3] = [
        &["steps", "event", "type=connection_adopted", "protocol"],
        &["steps", "event", "type=connection_opened", "protocol"],
        &["steps", "event", "type=connection_upgraded", "protocol"],
    ];
    assert_shown(&protocols, &Protocol::ALL.map(Protocol::name));
    for event in ["type=request_described", "type=request_started"] {
        let kinds = RequestKind::ALL.map(RequestKind::name);
        assert_shown(&[&["steps", "event", event, "kind"]], &kinds);
    }
    assert_shown(&[&["steps", "event", "stage"]], &["drain", "close", "flush"]);
    let outcome = |event| ["steps", "event", event, "outcome"];
    let requests = ["client_gone", "completed", "ended", "refused"];
    assert_shown(&[&outcome("type=request_finished")], &requests);
    assert_shown(&[&outcome("type=job_finished")], &["aborted", "completed", "failed"]);
    let started = |field| ["steps", "event", "type=job_started", field];
    assert_shown(&[&started("source")], &["background", "request"]);
    assert_shown(&[&started("on_drain")], &["cancel", "wait"]);
    assert_shown(
        &[&["steps", "refused"]],
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
}

#[test]
fn together_they_show_every_effect_and_wake() {
    assert_shown(
        &[&["steps", "effects", "type"]],
        &[
            "abandon_hook",
            "abort_requests",
            "announce_close",
            "cancel_job",
            "close_idle",
            "close_listener",
            "close_long_lived",
            "exit",
            "fence_listener",
            "force_connection",
            "notify_long_lived",
            "phase_changed",
            "refuse_request",
            "refuse_streams",
            "run_hook",
            "set_readiness",
        ],
    );
    assert_shown(
        &[&["steps", "wake", "why"]],
        &[
            "progress",
            "connection",
            "hook_timeout",
            "window_idle",
            "window_end",
            "settle_end",
            "abort_lead",
            "drain_deadline",
            "close_stage_end",
            "flush_stage_end",
        ],
    );
    assert_shown(&[&["steps", "phase"]], &Phase::ALL.map(Phase::name));
}

#[test]
fn together_they_show_every_word_of_the_report() {
    let results = ["failed", "not_run", "ok", "running", "timed_out", "waiting"];
    assert_shown(&[&["report", "hooks", "result"]], &results);
    let blockers = |name| -> [Vec<&str>; 3] {
        [
            vec!["report", "blockers", "oldest", name],
            vec!["report", "blocked_at", "blockers", "oldest", name],
            vec!["report", "forced", name],
        ]
    };
    for place in blockers("state") {
        assert_shown(&[&place], &["response begun", "response not flushed", "unanswered"]);
    }
    let [now, at_a_deadline, forced] = blockers("what");
    assert_shown(&[&now, &at_a_deadline], &["hook", "job", "request"]);
    assert_shown(&[&forced], &["job", "request"]);
    assert_shown(&[&["report", "blocked_at", "deadline"]], &["close", "drain", "flush"]);
    assert_shown(&[&["report", "policy", "origin"]], &["code", "default", "environment"]);
    assert_shown(&[&["report", "phase"]], &Phase::ALL.map(Phase::name));
}

#[test]
fn a_run_replays_as_the_ticks_that_it_stands_for() {
    // The last wake is long before the moment until which it runs.
    let text = r#"{ "about": "x", "policy": { "grace_ms": "unlimited" }, "steps": [
        { "at_us": 0, "event": { "type": "shutdown", "cause": "terminate", "ever_accepted": true } },
        { "at_us": 0, "event": { "type": "job_started", "job": 1, "name": "x", "source": "request", "on_drain": "wait" } },
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
