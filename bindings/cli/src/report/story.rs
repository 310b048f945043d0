//! What a report tells: its stages, when its hooks ran, what held it up, and why it took as long
//! as it did.

use std::time::Duration;

use lameduck::policy::text;

use crate::report::record::{BlockedAt, Blocker, Blockers, Hook, Record};
use crate::timeline::{Stage, Stretch, rounded};

/// The stages of a shutdown, without gaps.
pub fn stretches(record: &Record) -> Vec<Stretch> {
    let end = record.took.0;
    let drained = record.at("drained").or_else(|| record.at("drain deadline"));
    let drained = drained.unwrap_or(end).min(end);
    let window = record.at("window ended").or_else(|| record.at("traffic stopped"));
    let window = window.unwrap_or(drained).min(drained);
    let parts = [
        (Stage::Window, Duration::ZERO, window),
        (Stage::Emptying, window, drained),
        (Stage::Closing, drained, end),
    ];
    let some = parts.into_iter().filter(|(_, from, to)| to > from);
    some.map(|(stage, from, to)| Stretch { stage, from, to }).collect()
}

/// How long one stage took.
pub fn length(record: &Record, stage: Stage) -> Duration {
    let found = stretches(record).into_iter().find(|stretch| stretch.stage == stage);
    found.map(|stretch| stretch.length()).unwrap_or_default()
}

/// The hooks that ran, with their begin: a stage's hooks run lower order first, equal order
/// together.
pub fn hooks(record: &Record) -> Vec<(Duration, &Hook)> {
    let drained = record.at("drained").or_else(|| record.at("drain deadline"));
    let begins = [
        ("drain", Some(Duration::ZERO)),
        ("close", drained),
        ("flush", record.at("close hooks ended").or(drained)),
    ];
    let mut found = Vec::new();
    for (stage, begin) in begins {
        let mut of: Vec<&Hook> = record.hooks.iter().filter(|hook| hook.stage == stage).collect();
        of.sort_by_key(|hook| hook.order);
        let Some(mut at) = begin else { continue };
        for group in of.chunk_by(|one, other| one.order == other.order) {
            let ran = group.iter().filter_map(|hook| Some((hook, hook.took?.0)));
            let longest = ran.clone().map(|(_, took)| took).max().unwrap_or_default();
            found.extend(ran.map(|(hook, _)| (at, *hook)));
            at = at.saturating_add(longest);
        }
    }
    found
}

/// What one blocker is, in words.
pub fn words(blocker: &Blocker) -> String {
    match blocker {
        Blocker::Hook { name, stage, age_ms } => {
            format!("{stage} hook '{name}', running for {}", short(age_ms.0))
        }
        Blocker::Job { name, age_ms } => format!("job '{name}', running for {}", short(age_ms.0)),
        Blocker::Request { protocol, kind, peer, label, state, age_ms } => {
            let what = label.as_deref().unwrap_or("a request");
            let kind = if kind == "ordinary" {
                String::new()
            } else {
                format!(" ({})", kind.replace('_', " "))
            };
            let from = peer.as_ref().map_or(String::new(), |peer| format!(" from {peer}"));
            format!("{what}{kind}{from} over {protocol}, {state} after {}", short(age_ms.0))
        }
    }
}

/// How many of what.
pub fn counts(blockers: &Blockers) -> String {
    let parts = [
        (blockers.requests, "request", "requests"),
        (blockers.idle_connections, "idle connection", "idle connections"),
        (blockers.jobs, "job", "jobs"),
        (blockers.hooks, "hook", "hooks"),
        (blockers.listeners, "listener", "listeners"),
    ];
    let some = parts.into_iter().filter(|(number, ..)| *number > 0);
    let words: Vec<String> = some
        .map(|(number, one, more)| format!("{number} {}", if number == 1 { one } else { more }))
        .collect();
    if words.is_empty() { "nothing".into() } else { words.join(", ") }
}

/// `at the drain deadline (6.3s)`.
pub fn when(blocked: &BlockedAt) -> String {
    let name = blocked.deadline.trim_end_matches("deadline").trim_end().replace('_', " ");
    format!("at the {name} deadline ({})", short(blocked.at.0))
}

/// What was cut, unless it was named at a deadline already.
pub fn cut(record: &Record) -> Vec<String> {
    let cut: Vec<String> = record.forced.iter().map(words).collect();
    let named =
        |blocked: &BlockedAt| blocked.blockers.oldest.iter().map(words).eq(cut.iter().cloned());
    if record.blocked_at.iter().any(named) { Vec::new() } else { cut }
}

/// A time as short as it is read.
pub fn short(time: Duration) -> String {
    text(rounded(time))
}

/// A stage is named beside the window from this part of the whole on.
const NOTEWORTHY: u32 = 8;

/// Why it took as long as it did, in one sentence.
pub fn why(record: &Record) -> String {
    let took = short(record.took.0);
    if let Some(blocked) = record.event_loop_blocked_ms {
        return format!(
            "The event loop was blocked for {} when the watchdog ended the process after {took}.",
            short(blocked.0)
        );
    }
    if record.phase != "done" {
        let held = record.blockers.as_ref().map_or("nothing".into(), counts);
        let oldest = record.blockers.as_ref().and_then(|blockers| blockers.oldest.first());
        let oldest = oldest.map_or(String::new(), |one| format!(", the oldest {}", words(one)));
        return format!("After {took} it is still {}, held up by {held}{oldest}.", record.phase);
    }
    let mut stages = stretches(record);
    stages.sort_by_key(|stage| std::cmp::Reverse(stage.length()));
    let Some(longest) = stages.first().filter(|stage| stage.length() >= Duration::from_millis(1))
    else {
        return format!("It took {took}: nothing was to be waited for.");
    };
    let reason = reason(record, *longest);
    let next = stages.get(1).filter(|next| next.length() >= record.took.0 / NOTEWORTHY);
    match (longest.stage, next) {
        (Stage::Window, Some(next)) => {
            format!("Of its {took}, {reason}, and {}.", self::reason(record, *next))
        }
        (Stage::Window, None) => format!("Of its {took}, {reason}; nothing held it up longer."),
        _ => format!("Of its {took}, {reason}."),
    }
}

/// What one stage went by for, with its length.
fn reason(record: &Record, stretch: Stretch) -> String {
    let part = short(stretch.length());
    match stretch.stage {
        Stage::Window => format!("{part} were the window, in which it served on purpose"),
        Stage::Closing => {
            let slowest = record.hooks.iter().filter(|hook| hook.stage != "drain");
            match slowest.filter_map(|hook| Some((hook.took?, hook))).max_by_key(|(took, _)| *took)
            {
                Some((time, hook)) => format!(
                    "{part} were closing, most of it the {} hook '{}' ({}, {})",
                    hook.stage,
                    hook.name,
                    short(time.0),
                    hook.result.replace('_', " ")
                ),
                None => format!("{part} were closing"),
            }
        }
        _ => {
            let blocked =
                record.blocked_at.iter().find(|blocked| blocked.deadline.contains("drain"));
            match blocked {
                Some(blocked) => {
                    let oldest = blocked.blockers.oldest.first();
                    let oldest =
                        oldest.map_or(String::new(), |one| format!(", the oldest {}", words(one)));
                    format!(
                        "{part} went by waiting for {} until the drain deadline{oldest}",
                        counts(&blocked.blockers)
                    )
                }
                None => format!(
                    "{part} went by until what was in flight had finished and every connection was quiet"
                ),
            }
        }
    }
}

/// How two of them differ, in one sentence.
pub fn difference(one: &Record, other: &Record) -> String {
    let (a, b) = (one.took.0, other.took.0);
    let gap = short(a.abs_diff(b));
    let time = match a.cmp(&b) {
        std::cmp::Ordering::Equal => "Both took the same time".to_owned(),
        std::cmp::Ordering::Less => format!("The second took {gap} longer"),
        std::cmp::Ordering::Greater => format!("The second took {gap} less"),
    };
    let stages = [Stage::Window, Stage::Emptying, Stage::Closing];
    let most = stages
        .into_iter()
        .map(|stage| (length(one, stage).abs_diff(length(other, stage)), stage))
        .max_by_key(|(difference, _)| *difference)
        .filter(|(difference, _)| *difference >= Duration::from_millis(1));
    let most = most.map_or(String::new(), |(difference, stage)| {
        let more = if length(other, stage) > length(one, stage) { "longer" } else { "shorter" };
        format!(", {} was {} {more}", stage.name(), short(difference))
    });
    let lost = |record: &Record| record.requests.forced + record.jobs.aborted + record.jobs.forced;
    let losses = match (lost(one), lost(other)) {
        (0, 0) => "; neither lost anything".to_owned(),
        (first, second) => {
            format!("; {first} requests and jobs were cut in the first, {second} in the second")
        }
    };
    format!("{time}{most}{losses}.")
}
