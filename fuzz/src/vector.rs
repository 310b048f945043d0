//! Any text as a vector: a sentence that says file, field and rule, or a scenario that plays,
//! and that plays the same once it is written down.

use serde_json::Value;

use crate::scenario::{Scenario, render};

const FILE: &str = "any.json";

/// More requests than this take long and show nothing more.
const MOST_IN_FLIGHT: u64 = 1_000;

/// Reads a vector, plays it, writes it down and plays that.
pub fn vector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let given: Option<Value> = serde_json::from_str(text).ok();
    let (scenario, given) = match Scenario::parse(FILE, text) {
        Ok(read) => read,
        Err(sentence) => return says_where(&sentence, given.as_ref()),
    };
    if in_flight(&given) > MOST_IN_FLIGHT {
        return;
    }
    let played = match scenario.play() {
        Ok(played) => played,
        Err(sentence) => {
            assert!(sentence.contains("]: leads to a wake "), "{sentence}");
            return says_where(&sentence, Some(&given));
        }
    };
    keeps_what_was_given(&given, &played);
    let written = render(&played);
    let (again, read) = Scenario::parse(FILE, &written).unwrap_or_else(|malformed| {
        panic!("what was written is malformed: {malformed}\n{written}")
    });
    assert_eq!(read, played, "it reads as another vector than was written");
    let replayed = again.play().expect("it played before");
    assert_eq!(render(&replayed), written, "it replays with another end");
}

/// All the requests that are handed over.
fn in_flight(vector: &Value) -> u64 {
    let steps = vector.get("steps").and_then(Value::as_array).into_iter().flatten();
    steps.filter_map(|step| step.get("event")?.get("in_flight")?.as_u64()).sum()
}

/// One line: the file, a place that is there, and a rule.
fn says_where(sentence: &str, given: Option<&Value>) {
    assert!(!sentence.contains(char::is_control), "more than one line: {sentence:?}");
    let said = sentence.strip_prefix("any.json: ").expect(sentence);
    let Some(given) = given else {
        assert!(said.starts_with("is not JSON: ") && said.contains(" at line "), "{sentence}");
        return;
    };
    if said == "must be an object" {
        assert!(!given.is_object(), "{sentence}");
        return;
    }
    let unknown = [": no such field; known are ", ": no such variable; known are "];
    let unknown = unknown.iter().find_map(|rule| said.split_once(rule));
    let (place, rule) = unknown.or_else(|| said.split_once(": ")).expect(sentence);
    assert!(!place.is_empty() && !rule.is_empty(), "{sentence}");
    let last_is_there = unknown.is_none() && rule != "is missing";
    match place.split_once('"') {
        // A quoted name can hold what stands between names: look for what is around it.
        Some((around, _)) => assert!(is_there(given, around.trim_end_matches('.'), true)),
        None => assert!(is_there(given, place, last_is_there), "{sentence}\nin {given}"),
    }
}

/// Whether the place is in the vector, or at least what it would be a part of.
fn is_there(vector: &Value, place: &str, last_too: bool) -> bool {
    if place.is_empty() {
        return true;
    }
    let mut at = vector;
    let pointer = place.replace('[', ".").replace(']', "");
    for name in pointer.split('.') {
        let inner = match at {
            Value::Array(items) => name.parse().ok().and_then(|index: usize| items.get(index)),
            Value::Object(object) => object.get(name),
            _ => return false,
        };
        match inner {
            Some(inner) => at = inner,
            None => return !last_too,
        }
    }
    true
}

/// What people write is in the file as it was, and every event in its order.
fn keeps_what_was_given(given: &Value, played: &Value) {
    for name in ["about", "policy", "environment"] {
        assert_eq!(given.get(name), played.get(name), "{name} changed");
    }
    if played.get("contradiction").is_some() {
        return;
    }
    let events = |vector: &Value| -> Vec<Value> {
        let steps = vector["steps"].as_array().into_iter().flatten();
        steps.filter_map(|step| step.get("event").cloned()).collect()
    };
    assert_eq!(events(given), events(played), "the events changed");
}
