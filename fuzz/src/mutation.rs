//! Changes a vector as JSON: most single bytes that change in one only break its syntax.

use serde_json::{Map, Number, Value};

/// Makes another vector of this one. `None` when it is no JSON.
pub fn mutate(data: &[u8], seed: u64) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(data).ok()?;
    let mut dice = Dice(seed);
    for _ in 0..=dice.below(3) {
        change(&mut value, &mut dice);
    }
    serde_json::to_vec(&value).ok()
}

/// Puts steps of `other` into `data`, or one of its fields. `None` when one of them is no JSON.
pub fn cross(data: &[u8], other: &[u8], seed: u64) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(data).ok()?;
    let other: Value = serde_json::from_slice(other).ok()?;
    let mut dice = Dice(seed);
    let theirs = other.get("steps").and_then(Value::as_array);
    match (value.get_mut("steps").and_then(Value::as_array_mut), theirs) {
        (Some(steps), Some(theirs)) if !theirs.is_empty() && dice.below(8) > 0 => {
            let from = dice.below(theirs.len());
            let count = 1 + dice.below((theirs.len() - from).min(6));
            let place = dice.below(steps.len() + 1);
            steps.splice(place..place, theirs[from..from + count].iter().cloned());
        }
        _ => {
            let (name, field) = pick(other.as_object()?, &mut dice)?;
            value.as_object_mut()?.insert(name.clone(), field.clone());
        }
    }
    serde_json::to_vec(&value).ok()
}

fn change(value: &mut Value, dice: &mut Dice) {
    let steps = value.get_mut("steps").and_then(Value::as_array_mut);
    if let Some(steps) = steps.filter(|steps| !steps.is_empty())
        && dice.below(3) > 0
    {
        let (one, other) = (dice.below(steps.len()), dice.below(steps.len()));
        match dice.below(8) {
            0 => {
                steps.remove(one);
            }
            1 => steps.swap(one, other),
            2 => steps.insert(one, steps[other].clone()),
            3 => steps.truncate(one + 1),
            // What is expected of a step has nothing to do with how it plays.
            4 => steps.iter_mut().for_each(strip),
            _ => change_within(&mut steps[one], dice),
        }
    } else {
        change_within(value, dice);
    }
}

fn strip(step: &mut Value) {
    if let Value::Object(step) = step {
        step.retain(|name, _| ["at_us", "event", "tick", "run"].contains(&name.as_str()));
    }
}

/// Changes one thing somewhere in `value`, deep ones as likely as shallow ones.
fn change_within(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Object(object) if !object.is_empty() => match dice.below(16) {
            0 => {
                let name = pick(object, dice).map(|(name, _)| name.clone()).unwrap_or_default();
                object.remove(&name);
            }
            1 => {
                object.insert(dice.word().into(), dice.scalar());
            }
            2 => {
                let index = dice.below(object.len());
                if let Some(inner) = object.values_mut().nth(index) {
                    *inner = dice.scalar();
                }
            }
            _ => {
                let index = dice.below(object.len());
                if let Some(inner) = object.values_mut().nth(index) {
                    change_within(inner, dice);
                }
            }
        },
        Value::Array(items) if !items.is_empty() => {
            let index = dice.below(items.len());
            change_within(&mut items[index], dice);
        }
        Value::Number(number) if dice.below(4) > 0 => {
            *number = near(number, dice);
        }
        Value::String(text) => *text = kindred(text, dice).into(),
        Value::Bool(flag) => *flag = !*flag,
        other => *other = dice.scalar(),
    }
}

/// A number beside this one, or a multiple of it: identifiers meet and moments coincide.
fn near(number: &Number, dice: &mut Dice) -> Number {
    let Some(number) = number.as_u64() else {
        return dice.below(3).into();
    };
    match dice.below(6) {
        0 => number.saturating_add(1),
        1 => number.saturating_sub(1),
        2 => number / 2,
        3 => number.saturating_mul(2),
        4 => number.saturating_add(dice.below(10_000_000) as u64),
        _ => dice.below(4) as u64,
    }
    .into()
}

fn kindred(word: &str, dice: &mut Dice) -> &'static str {
    match KINDRED.iter().find(|words| words.contains(&word)) {
        Some(words) if dice.below(8) > 0 => words[dice.below(words.len())],
        _ => dice.word(),
    }
}

fn pick<'a>(object: &'a Map<String, Value>, dice: &mut Dice) -> Option<(&'a String, &'a Value)> {
    object.iter().nth(dice.below(object.len()))
}

/// Words that can stand in each other's place.
const KINDRED: [&[&str]; 6] = [
    &["http1", "http2", "websocket", "tunnel", "other"],
    &["ordinary", "stream", "long_poll", "upload"],
    &["completed", "client_gone", "ended", "refused", "aborted", "failed"],
    &["drain", "close", "flush"],
    &["terminate", "interrupt", "programmatic", "uncaught_exception"],
    &["0", "1", "0.5", "5", "30", "unlimited", "18446744073709551615"],
];

/// What stands where it should not.
#[rustfmt::skip]
const STRAY: [&str; 26] = [
    "", "+1", "18446744073709551616", "0.0000005", "1e3", "two\nlines: [0].x", "about", "at_us",
    "connection", "contradiction", "environment", "escalate", "event", "keep", "LAMEDUCK_GRACE",
    "LAMEDUCK_WINDOW", "LAMEDUCK_X", "policy", "refuse", "request_started", "run", "seed", "steps",
    "tick", "type", "window_ms",
];

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end`, which is not among them.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end.max(1) as u64).expect("below a usize")
    }

    fn word(&mut self) -> &'static str {
        STRAY[self.below(STRAY.len())]
    }

    fn scalar(&mut self) -> Value {
        match self.below(8) {
            0 => Value::Null,
            1 => Value::Bool(self.below(2) == 0),
            2 => Value::from(self.roll() >> self.below(64)),
            3 => Value::from(-1),
            4 => Value::from(self.below(100_000) as f64 / 7.0),
            5 => Value::Array(Vec::new()),
            6 => Value::Object(Map::new()),
            _ => Value::from(self.word()),
        }
    }
}
