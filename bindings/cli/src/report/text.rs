//! Reports for a terminal.

use std::fmt::Write;
use std::time::Duration;

use crate::columns::{Row, layout, pad};
use crate::report::record::{Hook, Record};
use crate::report::story::{
    counts, cut, difference, hooks, length, short, stretches, when, why, words,
};
use crate::screen::{BAD, DIM, GOOD, STRONG, Screen, styled};
use crate::timeline::{Stage, characters, place};

/// One report, or each of two and how they differ.
pub fn render(reports: &[(String, Record)], screen: Screen) -> String {
    let mut out = String::new();
    for (name, record) in reports {
        one(&mut out, name, record, screen);
    }
    if let [(first_name, first), (second_name, second)] = reports {
        out.push_str(&layout(&rows([(first_name, first), (second_name, second)])));
        let _ = writeln!(out, "\n{}", screen.wrap(&difference(first, second), "", ""));
    }
    out
}

fn one(out: &mut String, name: &str, record: &Record, screen: Screen) {
    let _ = writeln!(out, "{}  {}\n", styled(STRONG, &title(record)), styled(DIM, name));
    let drawn = stretches(record);
    let width = screen.width - 4;
    if !drawn.is_empty() {
        let (bar, times) = characters(&drawn, record.took.0, width);
        let _ = writeln!(out, "  {bar}\n  {}", styled(DIM, &times));
        for (begin, hook) in hooks(record) {
            let _ = writeln!(out, "  {}", lane(begin, hook, record.took.0, width));
        }
        out.push('\n');
    }
    let _ = writeln!(out, "{}\n", screen.wrap(&why(record), "  ", "  "));
    for (name, value) in facts(record) {
        let _ = writeln!(
            out,
            "{}",
            screen.wrap(&value, &format!("  {}  ", pad(name, 11)), &" ".repeat(15))
        );
    }
    for blocked in &record.blocked_at {
        let _ = writeln!(
            out,
            "\n  {} {when}",
            styled(STRONG, &counts(&blocked.blockers)),
            when = when(blocked)
        );
        list(out, blocked.blockers.oldest.iter().map(words), screen);
    }
    if let Some(blockers) = record.blockers.as_ref().filter(|_| record.phase != "done") {
        let _ = writeln!(out, "\n  {} hold it up", styled(STRONG, &counts(blockers)));
        list(out, blockers.oldest.iter().map(words), screen);
    }
    let cut = cut(record);
    if !cut.is_empty() {
        let _ = writeln!(out, "\n  {}", styled(BAD, "cut at the drain deadline"));
        list(out, cut.into_iter(), screen);
    }
    if !record.open_handles.is_empty() {
        let _ = writeln!(out, "\n  {}", styled(STRONG, "what else was open"));
        list(out, record.open_handles.iter().cloned(), screen);
    }
    let verdict = match (record.exit_code, record.lost.as_slice()) {
        (0, []) => styled(GOOD, "exit code 0: nothing was lost"),
        (code, lost) => styled(BAD, &format!("exit code {code}: {}", lost.join("; "))),
    };
    let _ = writeln!(out, "\n  {verdict}\n");
}

/// How many of a list are shown.
const SHOWN: usize = 10;

fn list(out: &mut String, lines: impl Iterator<Item = String>, screen: Screen) {
    let all: Vec<String> = lines.collect();
    for line in all.iter().take(SHOWN) {
        let _ = writeln!(out, "{}", screen.wrap(line, "    ", "      "));
    }
    if all.len() > SHOWN {
        let _ = writeln!(out, "    and {} more", all.len() - SHOWN);
    }
}

/// What happened, in a line.
pub fn title(record: &Record) -> String {
    let cause = match (&record.cause, &record.cause_detail) {
        (Some(cause), Some(detail)) => format!("{cause} ({detail})"),
        (Some(cause), None) => cause.clone(),
        (None, _) => "not asked to stop".into(),
    };
    let raised = match record.raised_by.as_slice() {
        [] => String::new(),
        causes => format!(", then {}", causes.join(", ")),
    };
    let end = match record.phase.as_str() {
        "done" => format!("done in {}", short(record.took.0)),
        phase => format!("{phase} after {}", short(record.took.0)),
    };
    format!("{}{raised}: {end}", cause.replace('_', " "))
}

/// `      ━━━━━ close database 1.2s`
fn lane(begin: Duration, hook: &Hook, end: Duration, width: usize) -> String {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "columns of a terminal"
    )]
    let column = |time| place(time, end, (width - 1) as f64).round() as usize;
    let took = hook.took.unwrap_or_default().0;
    let (from, to) = (column(begin), column(begin.saturating_add(took)).max(column(begin) + 1));
    let bar = "━".repeat((to - from).min(width.saturating_sub(from)));
    let ok = hook.result == "ok";
    let result = if ok { String::new() } else { format!(" {}", hook.result.replace('_', " ")) };
    let label = format!("{} '{}' {}{result}", hook.stage, hook.name, short(took));
    let bar = styled(if ok { GOOD } else { BAD }, &bar);
    let length = label.chars().count();
    if to + length + 2 <= width {
        format!("{}{bar} {label}", " ".repeat(from))
    } else {
        let blanks = from.saturating_sub(length + 1);
        format!("{}{label} {bar}", " ".repeat(blanks))
    }
}

/// The accounts, each on a line; what did not occur is left out.
pub fn facts(record: &Record) -> Vec<(&'static str, String)> {
    let some = |parts: &[(u64, &str)]| {
        let shown: Vec<String> = parts
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, word)| format!("{number} {word}"))
            .collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
    };
    let requests = &record.requests;
    let connections = &record.connections;
    let jobs = &record.jobs;
    let mut facts = vec![
        (
            "requests",
            format!(
                "{} in flight at the stop, {} since: {}",
                requests.adopted,
                requests.admitted,
                some(&[
                    (requests.completed, "completed"),
                    (requests.ended, "ended as their protocol does"),
                    (requests.client_gone, "left by their client"),
                    (requests.refused, "refused"),
                    (requests.forced, "cut"),
                    (requests.in_flight, "in flight"),
                ])
            ),
        ),
        (
            "connections",
            some(&[
                (connections.adopted, "open at the stop"),
                (connections.opened, "accepted since"),
                (connections.forced, "cut"),
                (connections.open, "still open"),
            ]),
        ),
    ];
    if requests.not_processed > 0 {
        facts.push((
            "",
            format!(
                "{} arrived behind an announced close and were not processed",
                requests.not_processed
            ),
        ));
    }
    if jobs.completed + jobs.failed + jobs.cancelled + jobs.aborted + jobs.forced + jobs.running > 0
    {
        facts.push((
            "jobs",
            some(&[
                (jobs.completed, "completed"),
                (jobs.cancelled, "cancelled as meant"),
                (jobs.failed, "failed"),
                (jobs.aborted, "aborted"),
                (jobs.forced, "cut"),
                (jobs.running, "running"),
            ]),
        ));
    }
    for hook in &record.hooks {
        let took = hook.took.map_or(String::new(), |took| format!(" in {}", short(took.0)));
        let error = hook.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
        let result = hook.result.replace('_', " ");
        facts.push(("hook", format!("{} '{}' {result}{took}{error}", hook.stage, hook.name)));
    }
    let times: Vec<String> = record
        .policy
        .iter()
        .map(|line| {
            let time = line.ms.map_or("unlimited".into(), |ms| short(ms.0));
            format!("{} {time} ({})", line.name, line.origin)
        })
        .collect();
    if !times.is_empty() {
        facts.push(("policy", times.join(", ")));
    }
    facts
}

type Count = fn(&Record) -> u64;

/// Two reports side by side.
pub fn rows(reports: [(&String, &Record); 2]) -> Vec<Row> {
    let row = |name: &str, cell: &dyn Fn(&Record) -> String| Row {
        name: name.into(),
        cells: reports.iter().map(|(_, record)| cell(record)).collect(),
    };
    let mut rows = vec![Row {
        name: String::new(),
        cells: reports.iter().map(|(name, _)| (*name).clone()).collect(),
    }];
    rows.push(row("cause", &|r| r.cause.clone().unwrap_or_default()));
    rows.push(row("took", &|r| short(r.took.0)));
    for stage in [Stage::Window, Stage::Emptying, Stage::Closing] {
        rows.push(row(&format!("  {}", stage.name()), &|r| short(length(r, stage))));
    }
    rows.push(Row::rule());
    let counts: [(&str, Count); 7] = [
        ("in flight at the stop", |r| r.requests.adopted),
        ("admitted since", |r| r.requests.admitted),
        ("completed", |r| r.requests.completed),
        ("refused", |r| r.requests.refused),
        ("requests cut", |r| r.requests.forced),
        ("connections cut", |r| r.connections.forced),
        ("jobs aborted or cut", |r| r.jobs.aborted + r.jobs.forced),
    ];
    for (name, count) in counts {
        rows.push(row(name, &|r| count(r).to_string()));
    }
    rows.push(Row::rule());
    let mut names: Vec<(&str, &str)> = Vec::new();
    for hook in reports.iter().flat_map(|(_, record)| &record.hooks) {
        let key = (hook.stage.as_str(), hook.name.as_str());
        if !names.contains(&key) {
            names.push(key);
        }
    }
    for (stage, name) in names {
        rows.push(row(&format!("{stage} hook '{name}'"), &|record| {
            let found = record.hooks.iter().find(|hook| hook.stage == stage && hook.name == name);
            found.map_or("–".into(), |hook| {
                let took = hook.took.map_or(String::new(), |took| format!(" in {}", short(took.0)));
                format!("{}{took}", hook.result.replace('_', " "))
            })
        }));
    }
    rows.push(row("exit code", &|r| r.exit_code.to_string()));
    rows
}
