//! Oxmgr's Oxfile.

use std::time::Duration;

use crate::plan::command::{Command, split};
use crate::plan::model::{Finding, Given, Id, Limit, Platform, Probe, Process};
use crate::plan::node::{At, Malformed};
use crate::plan::read::{Read, count, seconds, variables};

/// After SIGTERM Oxmgr waits no longer than this, whatever the file says (its 0.6).
const MOST_AFTER_SIGTERM: Duration = Duration::from_secs(15);

/// Whether this is one: apps with a command.
pub fn is(at: At<'_>) -> bool {
    at.get("apps").into_iter().flat_map(At::items).any(|app| app.get("command").is_some())
}

/// Every app.
pub fn read(at: At<'_>) -> Result<Read, Malformed> {
    let mut read = Read::default();
    for app in at.get("apps").into_iter().flat_map(At::items) {
        if app.get("disabled").and_then(At::flag) == Some(true) {
            continue;
        }
        read.processes.push(process(app, at.get("defaults"))?);
        if app.get("profiles").is_some() {
            let name = app.get("name").and_then(At::text).unwrap_or_default();
            read.notes.push(format!("app {name}: its profiles are not read"));
        }
    }
    Ok(read)
}

fn process(app: At<'_>, defaults: Option<At<'_>>) -> Result<Process, Malformed> {
    let look = |key: &str| app.get(key).or_else(|| defaults.and_then(|defaults| defaults.get(key)));
    let command = app.get("command");
    let line = command.and_then(At::text).unwrap_or_default();
    let short = app.get("name").and_then(At::text).unwrap_or_else(|| line.clone());
    let mut process = Process::new(Platform::Oxmgr, &short, format!("app {short}"), app.place());
    // Oxmgr signals the process group.
    process.signals_children = true;
    for at in [defaults.and_then(|defaults| defaults.get("env")), app.get("env")] {
        process.environment.extend(at.into_iter().flat_map(variables));
    }
    process.command =
        command.map(|at| Given { value: Command::Words(split(&line)), place: at.place() });
    let notes = &mut process.notes;
    process.signal = look("stop_signal")
        .and_then(|at| at.text().map(|value| Given { value, place: at.place() }));
    if let Some(at) = look("stop_timeout_secs") {
        let by_sigterm = process.signal.as_ref().is_none_or(|signal| {
            signal.value.trim_start_matches("SIG").eq_ignore_ascii_case("TERM")
        });
        let asked = seconds(at, notes)?;
        if let Some(given) =
            asked.as_ref().filter(|given| given.value > MOST_AFTER_SIGTERM && by_sigterm)
        {
            process.findings.push(Finding {
                id: Id::LimitRefused,
                place: given.place.clone(),
                what: format!("stop_timeout_secs = {}", given.value.as_secs_f64()),
                why: "after SIGTERM Oxmgr kills at the latest after 15 s, whatever is set here".into(),
                remedy: "write stop_signal = \"SIGINT\", which has no such cap and which lameduck takes for a stop, too; or keep within 15 s".into(),
            });
        }
        let most = if by_sigterm { MOST_AFTER_SIGTERM } else { Duration::MAX };
        process.limit = asked.map(|Given { value, place }| Given {
            // It waits at least a second.
            value: Limit::After(value.max(Duration::from_secs(1)).min(most)),
            place,
        });
    }
    if let Some(at) = look("health_cmd") {
        let interval = match look("health_interval_secs") {
            Some(at) => seconds(at, notes)?.map(|given| given.value),
            None => Some(Duration::from_secs(30)),
        };
        let threshold = match look("health_max_failures") {
            Some(at) => count(at, notes)?,
            None => Some(3),
        };
        let what = at.text().unwrap_or_default();
        let parts = interval.zip(threshold);
        process.liveness = parts.map(|(interval, threshold)| Probe {
            what,
            interval,
            threshold,
            place: at.place(),
        });
    }
    if let Some(at) = look("restart_policy").filter(|at| at.text().as_deref() == Some("never")) {
        process.findings.push(Finding {
            id: Id::NoRestart,
            place: at.place(),
            what: "restart_policy = \"never\"".into(),
            why: "after a fatal error lameduck drains and exits with 1, and then nobody serves"
                .into(),
            remedy: "write restart_policy = \"on_failure\"".into(),
        });
    }
    Ok(process)
}
