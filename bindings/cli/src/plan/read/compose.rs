//! Compose files.

use std::time::Duration;

use crate::plan::command::{Command, split};
use crate::plan::model::{Given, Limit, Platform, Probe, Process};
use crate::plan::node::{At, Malformed};
use crate::plan::read::{Read, given, span, variables};

/// Every service.
pub fn read(at: At<'_>) -> Result<Read, Malformed> {
    let mut read = Read::default();
    for (name, service) in at.get("services").into_iter().flat_map(At::entries) {
        read.processes.push(process(name, service)?);
    }
    // What speaks to lameduck, else what is built here: the rest is somebody else's database.
    let meant = |process: &Process| process.knows_lameduck();
    let built = |process: &Process| process.takes_image;
    let (keep, why): (&dyn Fn(&Process) -> bool, &str) = if read.processes.iter().any(meant) {
        (&meant, "as no LAMEDUCK_ variable is there")
    } else if read.processes.iter().any(built) {
        (&built, "as it is not built here")
    } else {
        (&|_| true, "")
    };
    let left: Vec<&str> =
        read.processes.iter().filter(|process| !keep(process)).map(|p| p.short.as_str()).collect();
    if !left.is_empty() {
        read.notes.push(format!("{} left out, {why}", left.join(", ")));
    }
    read.processes.retain(|process| keep(process));
    Ok(read)
}

fn process(name: &str, service: At<'_>) -> Result<Process, Malformed> {
    let place = service.place();
    let mut process = Process::new(Platform::Compose, name, format!("service {name}"), place);
    process.takes_image = service.get("build").is_some();
    let notes = &mut process.notes;
    if let Some(at) = service.get("stop_grace_period") {
        process.limit = given(at, notes, "a time like 30s or 1m30s", span::compose)?
            .map(|Given { value, place }| Given { value: Limit::After(value), place });
    }
    process.signal = service
        .get("stop_signal")
        .and_then(|at| at.text().map(|value| Given { value, place: at.place() }));
    process.has_init = service.get("init").and_then(At::flag).unwrap_or(false);
    let entry = service.get("entrypoint");
    let command = service.get("command");
    if let Some(first) = entry.or(command) {
        let mut words = Vec::new();
        for at in [entry, command].into_iter().flatten() {
            match at.text() {
                Some(line) => words.extend(split(&line)),
                None => words.extend(at.words()),
            }
        }
        process.command = Some(Given { value: Command::Words(words), place: first.place() });
    }
    if let Some(environment) = service.get("environment") {
        process.environment = if environment.is_list() {
            let pair = |at: At<'_>| {
                let text = at.text()?;
                let (name, value) = text.split_once('=')?;
                let value = value.to_owned();
                Some((name.to_owned(), Given { value, place: at.place() }))
            };
            environment.items().filter(|at| !at.is_computed()).filter_map(pair).collect()
        } else {
            variables(environment)
        };
    }
    for (key, what) in [("env_file", "its variables"), ("extends", "what it extends")] {
        if service.get(key).is_some() {
            notes.push(format!(
                "service {name}: {what} ({key}) stand in another file and are not read"
            ));
        }
    }
    for labels in [service.get("labels"), service.dig(&["deploy", "labels"])].into_iter().flatten()
    {
        process.balancer.check = process.balancer.check.take().or(traefik(labels));
    }
    Ok(process)
}

/// Traefik's own health check, in labels: it takes a server out after one failure.
fn traefik(labels: At<'_>) -> Option<Probe> {
    let mut pairs: Vec<(String, String, At<'_>)> = Vec::new();
    for at in labels.items() {
        if let Some((key, value)) = at.text().as_deref().and_then(|text| text.split_once('=')) {
            pairs.push((key.to_owned(), value.to_owned(), at));
        }
    }
    for (key, at) in labels.entries() {
        pairs.extend(at.text().map(|value| (key.to_owned(), value, at)));
    }
    let find = |end: &str| {
        pairs.iter().find(|(key, ..)| key.starts_with("traefik.") && key.ends_with(end))
    };
    let (_, path, at) = find(".loadbalancer.healthcheck.path")?;
    let interval = find(".loadbalancer.healthcheck.interval");
    Some(Probe {
        what: format!("Traefik's GET {path}"),
        interval: match interval {
            Some((_, text, _)) => span::compose(text)?,
            None => Duration::from_secs(30),
        },
        threshold: 1,
        place: interval.map_or(at, |(.., at)| at).place(),
    })
}
