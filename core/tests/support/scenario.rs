//! One vector: a policy, timed events, and what the machine says to them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use lameduck::{
    Event, Grace, Machine, NewRequests, Policy, Readiness, Refused, Settings, Time, environment,
};
use serde_json::{Map, Value, json};

use super::fields::{Fields, Malformed};
use super::words;

/// A wake more often than this within one `run` is a loop.
const MOST_TICKS: usize = 10_000;

/// What a file says, before its expectations are looked at.
pub struct Scenario {
    about: String,
    origin: Time,
    policy: Option<Value>,
    environment: Option<Value>,
    resolved: Result<Policy, String>,
    steps: Vec<(u64, Step)>,
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
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("{file}: is not JSON: {error}"))?;
        let top = Fields::of(file, &value)?;
        let known =
            ["about", "origin_ns", "policy", "environment", "contradiction", "steps", "report"];
        top.only(&known)?;
        let about = top.text("about")?.to_string();
        let origin = top.maybe("origin_ns", Fields::decimal)?.unwrap_or(0);
        let origin = Time::from_nanos(origin);
        let resolved = policy(file, &top)?;
        let (policy, environment) = (top.raw("policy").cloned(), top.raw("environment").cloned());
        let steps = if top.raw("contradiction").is_some() && top.raw("steps").is_none() {
            Vec::new()
        } else {
            steps(file, &top, origin)?
        };
        Ok((Self { about, origin, policy, environment, resolved, steps }, value))
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
                let mut machine = Machine::new(policy.clone());
                let mut last = self.origin;
                let mut latest = last;
                let mut played = Vec::new();
                for (at_us, step) in &self.steps {
                    last = words::after(self.origin, Duration::from_micros(*at_us));
                    self.step(&mut machine, step, (last, latest), &mut played)?;
                    latest = latest.max(last);
                }
                let report = machine.report(last).to_json();
                let report = serde_json::from_str(&report).map_err(|error| error.to_string())?;
                vector.insert("steps".into(), Value::Array(played));
                vector.insert("report".into(), report);
            }
        }
        Ok(Value::Object(vector))
    }

    fn step(
        &self,
        machine: &mut Machine,
        step: &Step,
        (now, latest): (Time, Time),
        played: &mut Vec<Value>,
    ) -> Result<(), Malformed> {
        match step {
            Step::Event(given, event) => {
                let refused = machine.handle(event.clone(), now).err();
                played.push(self.outcome(machine, now, ("event", given.clone()), refused)?);
            }
            Step::Tick => {
                machine.tick(now);
                played.push(self.outcome(machine, now, ("tick", json!(true)), None)?);
            }
            Step::Run => {
                let mut passed = latest;
                for _ in 0..MOST_TICKS {
                    let Some((at, _)) = machine.next_wake().filter(|(at, _)| *at <= now) else {
                        return Ok(());
                    };
                    passed = passed.max(at);
                    machine.tick(passed);
                    played.push(self.outcome(machine, passed, ("tick", json!(true)), None)?);
                }
                return Err(format!("{}: the machine wakes without end", self.about));
            }
        }
        Ok(())
    }

    fn outcome(
        &self,
        machine: &mut Machine,
        now: Time,
        (what, given): (&str, Value),
        refused: Option<Refused>,
    ) -> Result<Value, Malformed> {
        let effects: Vec<Value> =
            std::iter::from_fn(|| machine.poll_effect()).map(words::effect).collect();
        let wake = match machine.next_wake() {
            Some((at, why)) => json!({ "at_us": self.micros(at)?, "why": why.name() }),
            None => Value::Null,
        };
        let mut step = Map::new();
        step.insert("at_us".into(), json!(self.micros(now)?));
        step.insert(what.into(), given);
        step.extend(refused.map(|refused| ("refused".into(), json!(refused.name()))));
        step.insert("effects".into(), Value::Array(effects));
        step.insert("wake".into(), wake);
        step.insert("phase".into(), json!(machine.phase().name()));
        Ok(Value::Object(step))
    }

    fn micros(&self, at: Time) -> Result<u64, Malformed> {
        let nanos = at.as_nanos() - self.origin.as_nanos();
        if nanos.is_multiple_of(1_000) {
            Ok(nanos / 1_000)
        } else {
            Err(format!("{}: {nanos} ns after the origin is no whole microsecond", self.about))
        }
    }
}

fn policy(file: &str, top: &Fields<'_>) -> Result<Result<Policy, String>, Malformed> {
    let empty = json!({});
    let place = format!("{file}: policy");
    let fields = Fields::of(&place, top.raw("policy").unwrap_or(&empty))?;
    fields.only(&[
        "grace_ms",
        "window_ms",
        "margin_ms",
        "reserve_ms",
        "settle_ms",
        "quiet_ms",
        "abort_lead_ms",
        "new_requests",
        "readiness",
        "seed",
        "interactive",
        "development",
    ])?;
    let grace = |fields: &Fields<'_>, name: &str| match fields.raw(name) {
        Some(Value::String(text)) if text == "unlimited" => Ok(Grace::Unlimited),
        _ => fields.millis(name).map(Grace::Limited),
    };
    let new_requests = [("refuse", NewRequests::Refuse), ("serve", NewRequests::Serve)];
    let readiness = [("fail", Readiness::Fail), ("keep", Readiness::Keep)];
    let code = Settings {
        grace: fields.maybe("grace_ms", grace)?,
        margin: fields.maybe("margin_ms", Fields::millis)?,
        reserve: fields.maybe("reserve_ms", Fields::millis)?,
        window: fields.maybe("window_ms", Fields::millis)?,
        settle: fields.maybe("settle_ms", Fields::millis)?,
        quiet: fields.maybe("quiet_ms", Fields::millis)?,
        abort_lead: fields.maybe("abort_lead_ms", Fields::millis)?,
        new_requests: fields.maybe("new_requests", |f, name| f.one_of(name, &new_requests))?,
        readiness: fields.maybe("readiness", |f, name| f.one_of(name, &readiness))?,
        seed: fields.maybe("seed", Fields::decimal)?,
        interactive: fields.maybe("interactive", Fields::flag)?.unwrap_or(false),
        development: fields.maybe("development", Fields::flag)?.unwrap_or(false),
    };
    let place = format!("{file}: environment");
    let given = top.raw("environment").unwrap_or(&empty);
    let fields = Fields::of(&place, given)?;
    let mut variables = BTreeMap::new();
    for name in given.as_object().into_iter().flat_map(Map::keys) {
        variables.insert(name.clone(), fields.text(name)?.to_string());
    }
    Ok(environment::settings(|name| variables.get(name).cloned())
        .and_then(|environment| Policy::resolve(&code, &environment))
        .map_err(|contradiction| contradiction.to_string()))
}

fn steps(file: &str, top: &Fields<'_>, origin: Time) -> Result<Vec<(u64, Step)>, Malformed> {
    let Some(Value::Array(rows)) = top.raw("steps") else {
        return Err(format!("{file}.steps: must be an array"));
    };
    let mut steps = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let place = format!("{file}: steps[{index}]");
        let fields = Fields::of(&place, row)?;
        fields.only(&["at_us", "event", "tick", "run", "refused", "effects", "wake", "phase"])?;
        let step = match (fields.raw("event"), fields.raw("tick"), fields.raw("run")) {
            (Some(event), None, None) => {
                let inner = Fields::of(&format!("{place}.event"), event)?;
                Step::Event(event.clone(), words::event(&inner, origin)?)
            }
            (None, Some(Value::Bool(true)), None) => Step::Tick,
            (None, None, Some(Value::Bool(true))) => Step::Run,
            _ => return Err(format!("{place}: must have either an event or \"tick\": true")),
        };
        steps.push((fields.whole("at_us")?, step));
    }
    Ok(steps)
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
