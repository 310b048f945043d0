//! PM2's ecosystem file, in whichever language.

use crate::plan::command::{Command, split};
use crate::plan::model::{Finding, Given, Id, Limit, Platform, Process};
use crate::plan::node::{At, Malformed, Value};
use crate::plan::read::{Read, milliseconds, variables};

/// Whether this is one: apps with a script.
pub fn is(at: At<'_>) -> bool {
    at.get("script").is_some() || apps(at).any(|app| app.get("script").is_some())
}

fn apps(at: At<'_>) -> Box<dyn Iterator<Item = At<'_>> + '_> {
    match at.get("apps") {
        Some(apps) if apps.is_list() => Box::new(apps.items()),
        Some(apps) => Box::new(std::iter::once(apps)),
        None if at.is_list() => Box::new(at.items()),
        None => Box::new(std::iter::empty()),
    }
}

/// Every app.
pub fn read(at: At<'_>) -> Result<Read, Malformed> {
    let mut read = Read::default();
    let all: Vec<At<'_>> = if at.get("script").is_some() { vec![at] } else { apps(at).collect() };
    for app in all {
        if matches!(app.value(), Value::Computed) {
            let place = app.place();
            read.notes
                .push(format!("{}:{}: this app is computed and not read", place.file, place.line));
            continue;
        }
        read.processes.push(process(app)?);
    }
    Ok(read)
}

fn process(app: At<'_>) -> Result<Process, Malformed> {
    let text = |key: &str| app.get(key).filter(|at| !at.is_computed()).and_then(At::text);
    let script = text("script").unwrap_or_default();
    let short = text("name").unwrap_or_else(|| script.clone());
    let mut process = Process::new(Platform::Pm2, &short, format!("app {short}"), app.place());
    // PM2 sends the signal to every process of the tree.
    process.signals_children = true;
    if let Some(at) = app.get("kill_timeout") {
        process.limit = milliseconds(at, &mut process.notes)?
            // To PM2 a kill_timeout of 0 is none.
            .filter(|given| !given.value.is_zero())
            .map(|Given { value, place }| Given { value: Limit::After(value), place });
    }
    for key in ["env", "env_production"] {
        if let Some(at) = app.get(key) {
            process.environment.extend(variables(at));
        }
    }
    if let Some(at) = app.get("script") {
        let mut words = split(&script);
        for args in app.get("args").into_iter() {
            match args.text() {
                Some(line) => words.extend(split(&line)),
                None => words.extend(args.words()),
            }
        }
        process.command = Some(Given { value: Command::Words(words), place: at.place() });
    }
    let autorestart = app.get("autorestart");
    if let Some(at) = autorestart.filter(|at| at.flag() == Some(false)) {
        process.findings.push(Finding {
            id: Id::NoRestart,
            place: at.place(),
            what: "autorestart: false".into(),
            why: "after a fatal error lameduck drains and exits with 1, and then nobody serves"
                .into(),
            remedy:
                "leave autorestart out, and list codes that shall not restart in stop_exit_codes"
                    .into(),
        });
    }
    Ok(process)
}
