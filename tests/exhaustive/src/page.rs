//! `docs/exhaustive.md`: what was looked at, how much it was, and which bugs it finds.

use std::fmt::Write as _;

use crate::bounds::{Begins, Bounds, Connection, Hook};
use crate::bugs::{Bug, Found};
use crate::check::{self, Outcome};

const INTRODUCTION: &str = "\
# Every order of events, within bounds

The shipping machine, stepped through every order in which a driver can say what it may say, sleep and tick, for as
long as anything can happen. Written by `cargo run --release -p lameduck-exhaustive`; how it works, and what makes
two states the same, is in [`tests/exhaustive/README.md`](../tests/exhaustive/README.md).
";

const MODELS: &str = "
## The models

In each of them the driver may answer every effect, at any wake or before it, or never. *States* differ in what the
machine or its driver can still do; *steps* is the number of events, sleeps and ticks tried from them; *depth* is the
longest of the shortest ways to a state.

";

const PROMISES: &str = "
## What holds in every state, and the bugs that break it

Each promise was broken once on purpose, in a copy of the core's source. The reduced form of a model finds exactly the
broken promise; *steps* is a shortest way there.

| promise | seeded bug | found by | steps |
|---|---|---|---|
";

const SIGHTS: &str = "
## What was seen to happen

A promise that is kept because nothing happens is worth nothing. Each of these happened in so many of the steps above.

| | steps | models |
|---|---|---|
";

/// The page.
pub fn markdown(outcomes: &[Outcome], found: &[(Bug, Found)]) -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str(MODELS);
    page.push_str("| model | states | steps | depth |\n|---|---|---|---|\n");
    for Outcome { bounds, states, steps, depth, .. } in outcomes {
        let (states, steps) = (grouped(*states as u64), grouped(*steps as u64));
        line(&mut page, format_args!("| {} | {states} | {steps} | {depth} |", bounds.name));
    }
    let sum = |count: fn(&Outcome) -> usize| {
        grouped(outcomes.iter().map(|outcome| count(outcome) as u64).sum())
    };
    let (states, steps) = (sum(|outcome| outcome.states), sum(|outcome| outcome.steps));
    line(&mut page, format_args!("| together | {states} | {steps} | |\n"));
    for Outcome { bounds, .. } in outcomes {
        line(&mut page, format_args!("- **{}**: {}", bounds.name, describe(bounds)));
    }
    page.push_str(PROMISES);
    for (bug, Found { steps }) in found {
        let (promise, what, model) = (bug.promise.text(), &bug.what, &bug.model);
        line(&mut page, format_args!("| {promise} | {what} | {model} | {steps} |"));
    }
    page.push_str(SIGHTS);
    for (sight, count) in check::seen(outcomes) {
        let models = outcomes.iter().filter(|outcome| outcome.seen.contains_key(&sight));
        let models: Vec<_> = models.map(|outcome| outcome.bounds.name).collect();
        let (text, count) = (sight.text(), grouped(count));
        line(&mut page, format_args!("| {text} | {count} | {} |", models.join(", ")));
    }
    page
}

/// The sights that none of them had.
pub fn unseen(outcomes: &[Outcome]) -> Vec<&'static str> {
    let all = check::seen(outcomes).into_iter();
    all.filter(|(_, count)| *count == 0).map(|(sight, _)| sight.text()).collect()
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("a String takes all");
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The bounds of a model, in words.
pub fn describe(bounds: &Bounds) -> String {
    let times = &bounds.times;
    let grace = times.grace.map_or_else(|| String::from("unlimited"), |ms| format!("{ms} ms"));
    let mut parts = vec![format!(
        "grace {grace}, window {} ms, reserve {} ms, quiet {} ms",
        times.window, times.reserve, times.quiet
    )];
    if let Some(ms) = times.window_idle {
        parts.push(format!("window ends after {ms} ms of silence"));
    }
    let flags = [
        (times.keep_ready, "readiness kept"),
        (times.refuse_new, "new requests refused"),
        (times.interactive, "no spread"),
        (bounds.farthest_first, "looked at farthest first, so the depth is the longest way walked"),
        (bounds.prompt, "nothing between waking and ticking"),
    ];
    parts.extend(flags.into_iter().filter(|(set, _)| *set).map(|(_, text)| String::from(text)));
    if bounds.listeners > 0 {
        parts.push(format!("listeners {}", bounds.listeners));
    }
    parts.extend(bounds.connections.iter().map(connection));
    parts.extend(bounds.hooks.iter().map(hook));
    if let Some(begins) = bounds.job {
        parts.push(String::from(if begins == Begins::Late { "a late job" } else { "a job" }));
    }
    let causes = |causes: &[lameduck::Cause]| {
        causes.iter().map(|cause| cause.name()).collect::<Vec<_>>().join(" or ")
    };
    parts.push(causes(bounds.causes));
    if !bounds.later_causes.is_empty() {
        parts.push(format!("then {}", causes(bounds.later_causes)));
    }
    if bounds.escalations > 0 {
        parts.push(format!("somebody insists up to {} times", bounds.escalations));
    }
    if !bounds.graces.is_empty() {
        parts.push(format!("grace becomes {}", alternatives(bounds.graces, "and")));
    }
    let (times, spans) = bounds.late;
    if times > 0 {
        parts.push(format!("up to {times} late ticks by {}", alternatives(spans, "or")));
    }
    if bounds.between > 0 {
        parts.push(format!("up to {} events halfway to a wake", bounds.between));
    }
    parts.join("; ")
}

fn alternatives(times: &[u64], word: &str) -> String {
    let times: Vec<_> = times.iter().map(|ms| format!("{ms} ms")).collect();
    times.join(&format!(" {word} "))
}

fn connection(plan: &Connection) -> String {
    let mut text = String::from(plan.protocol.name());
    match plan.adopted {
        None => text.push_str(" opened later"),
        Some(0) => {}
        Some(count) => text.push_str(&format!(" with {count} in flight")),
    }
    if plan.announced {
        text.push_str(", told before");
    }
    for protocol in plan.upgrades {
        text.push_str(&format!(", may become {}", protocol.name()));
    }
    for kinds in plan.requests {
        let kinds: Vec<_> = kinds.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
        text.push_str(&format!(", request {}", kinds.join("/")));
    }
    if !plan.heads.is_empty() {
        text.push_str(", heads told");
    }
    if plan.flushes_late {
        text.push_str(", flushed later");
    }
    text
}

fn hook(plan: &Hook) -> String {
    let mut text = format!("{} hook {}", plan.stage.name(), plan.order);
    if let Some(ms) = plan.timeout {
        text.push_str(&format!(" of {ms} ms"));
    }
    if plan.begins == Begins::Late {
        text.push_str(" registered late");
    }
    if plan.fails {
        text.push_str(" that may fail");
    }
    text
}
