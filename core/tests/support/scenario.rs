//! One vector: a policy, timed events, and what the machine says to them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use lameduck::{
    Event, Machine, NewRequests, Phase, Policy, Readiness, Refused, Settings, Time, environment,
};
use serde_json::{Map, Value, json};

use super::fields::{Fields, Malformed, Place};
use super::words;

/// A wake more often than this within one `run` is a loop.
const MOST_TICKS: usize = 10_000;

/// What a file says, before its expectations are looked at.
pub struct Scenario {
    place: Place,
    about: String,
    origin: Time,
    policy: Option<Value>,
    environment: Option<Value>,
    resolved: Result<Policy, String>,
    steps: Vec<(Time, Step)>,
}

enum Step {
    Event(Value, Event),
    Tick,
    /// Only when blessing: all the ticks that lead to this moment.
    Run,
}

impl Scenario {
    /// Reads a vector.
    pub fn parse(file: &str, text: &str) -> Result<(Self, Value), Malformed> {
        let place = Place::file(file);
        let value: Value = serde_json::from_str(text)
            .map_err(|error| place.wrong(&format!("is not JSON: {error}")))?;
        let top = Fields::of(place.clone(), &value)?;
        let known =
            ["about", "origin_ns", "policy", "environment", "contradiction", "steps", "report"];
        top.only(&known)?;
        let about = top.text("about")?.to_string();
        let origin = top.maybe("origin_ns", Fields::decimal)?.unwrap_or(0);
        let origin = Time::from_nanos(origin);
        let resolved = policy(&top)?;
        let (policy, environment) = (top.raw("policy").cloned(), top.raw("environment").cloned());
        let steps = if top.maybe("contradiction", Fields::text)?.is_some() {
            for name in ["steps", "report"] {
                if top.raw(name).is_some() {
                    return Err(top.wrong(name, "must not stand beside a contradiction"));
                }
            }
            Vec::new()
        } else {
            steps(&top, origin)?
        };
        top.maybe("report", Fields::object)?;
        Ok((Self { place, about, origin, policy, environment, resolved, steps }, value))
    }

    /// Plays it and returns the vector as the machine makes it.
    pub fn play(&self) -> Result<Value, Malformed> {
        let mut vector = Map::new();
        vector.insert("about".into(), json!(self.about));
        vector.insert("origin_ns".into(), json!(self.origin.as_nanos().to_string()));
        let given = [("policy", &self.policy), ("environment", &self.environment)];
        for (name, value) in given {
            vector.extend(value.clone().map(|value| (name.to_string(), value)));
        }
        match &self.resolved {
            Err(sentence) => {
                vector.insert("contradiction".into(), json!(sentence));
            }
            Ok(policy) => {
                let mut played = Played {
                    machine: Machine::new(policy.clone()),
                    origin: self.origin,
                    last: self.origin,
                    latest: self.origin,
                    steps: Vec::new(),
                };
                let steps = self.place.field("steps");
                for (index, (at, step)) in self.steps.iter().enumerate() {
                    played.step(*at, step).map_err(|rule| steps.item(index).wrong(&rule))?;
                }
                let report = played.machine.report(played.last).to_json();
                let report = serde_json::from_str(&report).expect("the report is JSON");
                vector.insert("steps".into(), Value::Array(played.steps));
                vector.insert("report".into(), report);
            }
        }
        Ok(Value::Object(vector))
    }
}

/// A machine and what it said so far.
struct Played {
    machine: Machine,
    origin: Time,
    /// When the last step was, and the latest of them.
    last: Time,
    latest: Time,
    steps: Vec<Value>,
}

impl Played {
    fn step(&mut self, at: Time, step: &Step) -> Result<(), String> {
        match step {
            Step::Event(given, event) => {
                let refused = self.machine.handle(event.clone(), at).err();
                self.outcome(at, ("event", given.clone()), refused)
            }
            Step::Tick => self.tick(at),
            Step::Run => {
                for _ in 0..MOST_TICKS {
                    let Some((wake, _)) = self.machine.next_wake().filter(|(wake, _)| *wake <= at)
                    else {
                        return Ok(());
                    };
                    self.tick(self.latest.max(wake))?;
                }
                Err("the machine wakes without end".into())
            }
        }
    }

    fn tick(&mut self, at: Time) -> Result<(), String> {
        self.machine.tick(at);
        self.outcome(at, ("tick", json!(true)), None)
    }

    /// Writes down what the machine says to what was given at `at`.
    fn outcome(
        &mut self,
        at: Time,
        (what, given): (&str, Value),
        refused: Option<Refused>,
    ) -> Result<(), String> {
        let machine = &mut self.machine;
        let effects: Vec<Value> =
            std::iter::from_fn(|| machine.poll_effect()).map(words::effect).collect();
        let wake = match machine.next_wake() {
            Some((at, why)) => json!({ "at_us": micros(self.origin, at)?, "why": why.name() }),
            None => Value::Null,
        };
        let mut step = Map::new();
        step.insert("at_us".into(), json!(micros(self.origin, at)?));
        step.insert(what.into(), given);
        step.extend(refused.map(|refused| ("refused".into(), json!(refused.name()))));
        step.insert("effects".into(), Value::Array(effects));
        step.insert("wake".into(), wake);
        step.insert("phase".into(), json!(machine.phase().name()));
        self.steps.push(Value::Object(step));
        self.last = at;
        self.latest = self.latest.max(at);
        Ok(())
    }
}

/// A moment as vectors write it: exact in every language.
fn micros(origin: Time, at: Time) -> Result<u64, String> {
    let nanos = at.since(origin).as_nanos();
    let micros = u64::try_from(nanos / 1_000).expect("a time has 64 bits");
    if !nanos.is_multiple_of(1_000) {
        Err(format!("leads to a wake {nanos} ns after the origin, which is no whole microsecond"))
    } else if micros >> 52 != 0 {
        Err(format!("leads to a wake {micros} µs after the origin, which is not below 2^52"))
    } else {
        Ok(micros)
    }
}

fn policy(top: &Fields<'_>) -> Result<Result<Policy, String>, Malformed> {
    let empty = json!({});
    let fields = Fields::of(top.place("policy"), top.raw("policy").unwrap_or(&empty))?;
    fields.only(&[
        "grace_ms",
        "window_ms",
        "margin_ms",
        "reserve_ms",
        "settle_ms",
        "quiet_ms",
        "abort_lead_ms",
        "window_idle_ms",
        "new_requests",
        "readiness",
        "seed",
        "interactive",
        "development",
    ])?;
    let new_requests = [("refuse", NewRequests::Refuse), ("serve", NewRequests::Serve)];
    let readiness = [("fail", Readiness::Fail), ("keep", Readiness::Keep)];
    let code = Settings {
        grace: fields.maybe("grace_ms", Fields::grace)?,
        margin: fields.maybe("margin_ms", Fields::millis)?,
        reserve: fields.maybe("reserve_ms", Fields::millis)?,
        window: fields.maybe("window_ms", Fields::millis)?,
        settle: fields.maybe("settle_ms", Fields::millis)?,
        quiet: fields.maybe("quiet_ms", Fields::millis)?,
        abort_lead: fields.maybe("abort_lead_ms", Fields::millis)?,
        window_idle: fields.maybe("window_idle_ms", Fields::millis)?,
        new_requests: fields.maybe("new_requests", |f, name| f.one_of(name, &new_requests))?,
        readiness: fields.maybe("readiness", |f, name| f.one_of(name, &readiness))?,
        seed: fields.maybe("seed", Fields::decimal)?,
        interactive: fields.maybe("interactive", Fields::flag)?.unwrap_or(false),
        development: fields.maybe("development", Fields::flag)?.unwrap_or(false),
    };
    let environment = variables(top)?;
    Ok(environment::settings(|name| environment.get(name).cloned())
        .and_then(|environment| Policy::resolve(&code, &environment))
        .map_err(|contradiction| contradiction.to_string()))
}

/// The variables of the file: strings. One of ours that nobody asks for is misspelt; of others an
/// environment is full.
fn variables(top: &Fields<'_>) -> Result<BTreeMap<String, String>, Malformed> {
    let asked = RefCell::new(BTreeSet::new());
    let nothing = environment::settings(|name| {
        asked.borrow_mut().insert(name.to_string());
        None
    });
    assert!(nothing.is_ok(), "no variable is none too many");
    let asked = asked.into_inner();
    let known: Vec<&str> = asked.iter().map(String::as_str).collect();
    let Some(fields) = top.maybe("environment", Fields::object)? else {
        return Ok(BTreeMap::new());
    };
    let misspelt = |name: &&str| name.starts_with("LAMEDUCK_") && !known.contains(name);
    if let Some(name) = fields.names().find(misspelt) {
        let rule = format!("no such variable; known are {}", known.join(", "));
        return Err(fields.wrong(name, &rule));
    }
    fields.names().map(|name| Ok((name.to_string(), fields.text(name)?.to_string()))).collect()
}

fn steps(top: &Fields<'_>, origin: Time) -> Result<Vec<(Time, Step)>, Malformed> {
    let place = top.place("steps");
    let rows = top.array("steps")?.iter().enumerate();
    rows.map(|(index, row)| step(&Fields::of(place.item(index), row)?, origin)).collect()
}

fn step(fields: &Fields<'_>, origin: Time) -> Result<(Time, Step), Malformed> {
    fields.only(&["at_us", "event", "tick", "run", "refused", "effects", "wake", "phase"])?;
    let at = fields.moment("at_us", origin)?;
    let step = match ["event", "tick", "run"].map(|name| fields.raw(name)) {
        [Some(event), None, None] => {
            Step::Event(event.clone(), words::event(&fields.object("event")?, origin)?)
        }
        [None, Some(Value::Bool(true)), None] => Step::Tick,
        [None, None, Some(Value::Bool(true))] => Step::Run,
        _ => return Err(fields.wrong_as_a_whole("must have either an event or \"tick\": true")),
    };
    expectations(fields)?;
    Ok((at, step))
}

/// Only their shapes: what they say is compared with what the machine says.
fn expectations(fields: &Fields<'_>) -> Result<(), Malformed> {
    if fields.maybe("refused", Fields::text)?.is_some() && fields.raw("event").is_none() {
        return Err(fields.wrong("refused", "stands beside an event only"));
    }
    fields.maybe("effects", Fields::array)?;
    if fields.raw("wake").is_some_and(|wake| !wake.is_null()) {
        let wake = fields.object("wake")?;
        wake.only(&["at_us", "why"])?;
        wake.whole("at_us")?;
        wake.text("why")?;
    }
    fields.maybe("phase", |f, name| f.one_of(name, &Phase::ALL.map(|phase| (phase.name(), ()))))?;
    Ok(())
}

/// The vector as the files hold it: a line a step, names in a fixed order.
pub fn render(vector: &Value) -> String {
    let mut text = String::from("{\n");
    let mut lines = Vec::new();
    for name in ["about", "origin_ns", "policy", "environment", "contradiction", "steps", "report"]
    {
        let Some(value) = vector.get(name) else {
            continue;
        };
        let value = match (name, value) {
            ("steps", Value::Array(steps)) if !steps.is_empty() => {
                let steps: Vec<String> =
                    steps.iter().map(|step| format!("    {}", line(step))).collect();
                format!("[\n{}\n  ]", steps.join(",\n"))
            }
            ("report", value) => {
                let pretty = serde_json::to_string_pretty(value).expect("is JSON");
                pretty.replace('\n', "\n  ")
            }
            (_, value) => line(value),
        };
        lines.push(format!("  \"{name}\": {value}"));
    }
    writeln!(text, "{}\n}}", lines.join(",\n")).expect("a String takes all");
    text
}

/// Compact JSON with what names a thing first.
fn line(value: &Value) -> String {
    const FIRST: [&str; 6] = ["at_us", "type", "event", "tick", "refused", "effects"];
    match value {
        Value::Object(object) => {
            let first = FIRST.iter().filter_map(|name| object.get_key_value(*name));
            let rest = object.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
            let members: Vec<String> = first
                .chain(rest)
                .map(|(name, value)| format!("{}: {}", json!(name), line(value)))
                .collect();
            if members.is_empty() { "{}".into() } else { format!("{{ {} }}", members.join(", ")) }
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(line).collect();
            format!("[{}]", items.join(", "))
        }
        _ => value.to_string(),
    }
}
