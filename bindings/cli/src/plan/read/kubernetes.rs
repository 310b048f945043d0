//! Kubernetes manifests: whatever has a pod's template.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::plan::command::{Command, sleep_of};
use crate::plan::model::{Given, Limit, Platform, PreStop, Probe, Process};
use crate::plan::node::{At, Malformed, Node};
use crate::plan::read::{Read, count, seconds, skipped, variables};

/// Config maps of the same files, for `envFrom`.
pub type Configs<'a> = HashMap<String, At<'a>>;

/// The documents, with the items of a `List` in its place.
pub fn without_lists<'a>(name: &'a str, documents: &'a [Arc<Node>]) -> Vec<At<'a>> {
    let mut all = Vec::new();
    for document in documents {
        let at = At::root(name, document);
        let is_list = at.get("kind").and_then(At::text).is_some_and(|kind| kind == "List");
        match at.get("items") {
            Some(items) if is_list => all.extend(items.items()),
            _ => all.push(at),
        }
    }
    all
}

/// The config maps among them.
pub fn configs<'a>(documents: &[At<'a>]) -> Configs<'a> {
    let found = documents.iter().filter_map(|at| {
        let is_config = at.get("kind")?.text()? == "ConfigMap";
        let name = at.dig(&["metadata", "name"])?.text()?;
        is_config.then_some((name, at.get("data")?))
    });
    found.collect()
}

/// One document.
pub fn read(at: At<'_>, configs: &Configs<'_>) -> Result<Read, Malformed> {
    let kind = at.get("kind").and_then(At::text).unwrap_or_default();
    let name = at.dig(&["metadata", "name"]).and_then(At::text);
    let name = name.unwrap_or_else(|| "without a name".into());
    let spec = match kind.as_str() {
        "Pod" => at.get("spec"),
        "CronJob" => at.dig(&["spec", "jobTemplate", "spec", "template", "spec"]),
        _ => at.dig(&["spec", "template", "spec"]),
    };
    let Some(spec) = spec.filter(|spec| spec.get("containers").is_some()) else {
        let place = at.place();
        if kind == "ConfigMap" {
            return Ok(Read::default());
        }
        let what = format!("{}:{}: {kind} {name}", place.file, place.line);
        return Ok(skipped(&what, "it starts no process"));
    };
    let mut read = Read::default();
    let sidecars = spec.get("initContainers").into_iter().flat_map(At::items).filter(|container| {
        container.get("restartPolicy").and_then(At::text).is_some_and(|policy| policy == "Always")
    });
    let containers = spec.get("containers").into_iter().flat_map(At::items);
    for container in containers.chain(sidecars) {
        let owner = format!("{kind} {name}");
        let serves = !matches!(kind.as_str(), "CronJob" | "Job");
        read.processes.push(process(spec, container, &owner, serves, configs)?);
    }
    // One that speaks to lameduck is meant; the others are the mesh's and the log shipper's.
    let meant: Vec<Process> =
        read.processes.iter().filter(|process| process.knows_lameduck()).cloned().collect();
    if !meant.is_empty() && meant.len() < read.processes.len() {
        let left: Vec<&str> = read
            .processes
            .iter()
            .filter(|process| !process.knows_lameduck())
            .map(|process| process.short.as_str())
            .collect();
        read.notes.push(format!(
            "{kind} {name}: {} left out, as no LAMEDUCK_ variable is there",
            left.join(", ")
        ));
        read.processes = meant;
    }
    Ok(read)
}

fn process(
    spec: At<'_>,
    container: At<'_>,
    owner: &str,
    serves: bool,
    configs: &Configs<'_>,
) -> Result<Process, Malformed> {
    let short = container.get("name").and_then(At::text).unwrap_or_else(|| "container".into());
    let name = format!("{owner}, container {short}");
    let mut process = Process::new(Platform::Kubernetes, &short, name, container.place());
    process.serves = serves;
    process.takes_image = true;
    let notes = &mut process.notes;
    if let Some(at) = spec.get("terminationGracePeriodSeconds") {
        process.limit = seconds(at, notes)?
            .map(|Given { value, place }| Given { value: Limit::After(value), place });
    }
    process.readiness = probe(container.get("readinessProbe"), notes)?;
    process.liveness = probe(container.get("livenessProbe"), notes)?;
    process.pre_stop = pre_stop(container.dig(&["lifecycle", "preStop"]), notes)?;
    process.signal = container
        .dig(&["lifecycle", "stopSignal"])
        .and_then(|at| at.text().map(|value| Given { value, place: at.place() }));
    // `command` is the entry point, `args` what follows it.
    let (command, args) = (container.get("command"), container.get("args"));
    if let Some(at) = command {
        let mut words = at.words();
        words.extend(args.into_iter().flat_map(At::words));
        process.command = Some(Given { value: Command::Words(words), place: at.place() });
    }
    let pod_shares = spec.get("shareProcessNamespace").and_then(At::flag).unwrap_or(false);
    process.has_init = pod_shares;
    for from in container.get("envFrom").into_iter().flat_map(At::items) {
        let name = from.dig(&["configMapRef", "name"]).and_then(At::text);
        match name.as_ref().and_then(|name| configs.get(name)) {
            Some(config) => process.environment.extend(variables(*config)),
            None => {
                if let Some(name) = name {
                    notes.push(format!(
                        "the ConfigMap {name} is not in these files: what it sets is not known"
                    ));
                }
            }
        }
    }
    for variable in container.get("env").into_iter().flat_map(At::items) {
        let Some(name) = variable.get("name").and_then(At::text) else { continue };
        match variable.get("value") {
            Some(at) if !at.is_computed() => {
                let value = at.text().unwrap_or_default();
                process.environment.push((name, Given { value, place: at.place() }));
            }
            _ if name.starts_with("LAMEDUCK") => {
                notes.push(format!("{name} comes from elsewhere: its value is not known"));
            }
            _ => {}
        }
    }
    Ok(process)
}

fn probe(at: Option<At<'_>>, notes: &mut Vec<String>) -> Result<Option<Probe>, Malformed> {
    let Some(at) = at else { return Ok(None) };
    let interval = match at.get("periodSeconds") {
        Some(at) => seconds(at, notes)?.map(|given| given.value),
        None => Some(Duration::from_secs(10)),
    };
    let threshold = match at.get("failureThreshold") {
        Some(at) => count(at, notes)?,
        None => Some(3),
    };
    let text = |at: At<'_>, key: &str| at.get(key).and_then(At::text);
    let what = if let Some(get) = at.get("httpGet") {
        let path = text(get, "path").unwrap_or_else(|| "/".into());
        match text(get, "port") {
            Some(port) => format!("GET {path} on port {port}"),
            None => format!("GET {path}"),
        }
    } else if let Some(command) = at.dig(&["exec", "command"]) {
        command.words().join(" ")
    } else if at.get("grpc").is_some() {
        "a gRPC health check".into()
    } else {
        "a connection".into()
    };
    let parts = interval.zip(threshold);
    Ok(parts.map(|(interval, threshold)| Probe { what, interval, threshold, place: at.place() }))
}

fn pre_stop(at: Option<At<'_>>, notes: &mut Vec<String>) -> Result<Option<PreStop>, Malformed> {
    let Some(at) = at else { return Ok(None) };
    let (time, what, place) = if let Some(at) = at.dig(&["sleep", "seconds"]) {
        (seconds(at, notes)?.map(|given| given.value), "sleep".to_owned(), at.place())
    } else if let Some(at) = at.dig(&["exec", "command"]) {
        let words = at.words();
        (sleep_of(&words), words.join(" "), at.place())
    } else {
        (None, "a request".into(), at.place())
    };
    if time.is_none() {
        notes.push(format!(
            "{}:{}: how long preStop takes ({what}) is not known here; say it with --pre-stop",
            place.file, place.line
        ));
    }
    Ok(Some(PreStop { time, what, place }))
}
