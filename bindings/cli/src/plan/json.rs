//! The plan for programs: `lameduck-plan/1`. Times are milliseconds since somebody stops the
//! process.

use std::time::Duration;

use serde_json::{Value, json};

use crate::plan::Outcome;
use crate::plan::findings::Planned;
use crate::plan::line::Line;
use crate::plan::node::Place;

/// The schema; the number rises when a field changes its meaning or goes.
pub const SCHEMA: &str = "lameduck-plan/1";

/// The whole plan, with a newline at the end.
pub fn render(outcome: &Outcome) -> String {
    let processes: Vec<Value> =
        outcome.processes.iter().map(|(planned, line)| process(planned, line)).collect();
    let whole = json!({
        "schema": SCHEMA,
        "findings": outcome.count(),
        "processes": processes,
        "notes": outcome.notes,
    });
    format!("{whole:#}\n")
}

fn process(planned: &Planned, line: &Line) -> Value {
    let process = &planned.process;
    let findings: Vec<Value> = planned
        .findings
        .iter()
        .map(|finding| {
            json!({
                "id": finding.id.name(),
                "title": finding.id.title(),
                "at": at(&finding.place),
                "what": finding.what,
                "why": finding.why,
                "remedy": finding.remedy,
            })
        })
        .collect();
    let stretches: Vec<Value> = line
        .stretches
        .iter()
        .map(|stretch| {
            json!({
                "stage": stretch.stage.name(),
                "from_ms": ms(stretch.from),
                "to_ms": ms(stretch.to),
            })
        })
        .collect();
    let timers: Vec<Value> = line
        .timers
        .iter()
        .map(|timer| {
            json!({
                "name": timer.name,
                "ms": timer.time.map(ms),
                "origin": timer.origin,
                "at": timer.place.as_ref().map(at),
            })
        })
        .collect();
    json!({
        "name": process.name,
        "short": process.short,
        "platform": process.platform.name(),
        "at": at(&process.place),
        "timeline": stretches,
        "kill_ms": line.kill.map(ms),
        "looked_away_ms": line.looked_away.map(ms),
        "timers": timers,
        "findings": findings,
        "notes": process.notes,
    })
}

fn at(place: &Place) -> Value {
    json!({ "file": place.file, "line": place.line, "path": place.path })
}

fn ms(time: Duration) -> Value {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "hours in microseconds are far below 2^53")]
    let fraction = || json!(micros as f64 / 1000.0);
    if micros.is_multiple_of(1000) { json!(micros / 1000) } else { fraction() }
}
