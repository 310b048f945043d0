//! Amazon's JSON: ECS task definitions, target groups and load balancers, as the command line
//! prints them or as CloudFormation holds them.

use std::time::Duration;

use crate::plan::command::Command;
use crate::plan::model::{Balancer, Finding, Given, Id, Limit, Platform, Probe, Process};
use crate::plan::node::{At, Malformed};
use crate::plan::read::{Read, count, given, seconds, skipped};

const DEREGISTRATION: &str = "deregistration_delay.timeout_seconds";
const IDLE: &str = "idle_timeout.timeout_seconds";
const MOST_ON_FARGATE: Duration = Duration::from_secs(120);

/// Whether this is any of them.
pub fn is(at: At<'_>) -> bool {
    let keys = ["containerDefinitions", "taskDefinition", "targetGroups", "loadBalancers"];
    keys.iter().any(|key| at.either(key).is_some())
        || at.get("Attributes").is_some_and(At::is_list)
        || at
            .get("Resources")
            .is_some_and(|all| all.entries().any(|(_, one)| one.get("Type").is_some()))
}

/// Whatever is in it.
pub fn read(at: At<'_>) -> Result<Read, Malformed> {
    let mut read = Read::default();
    if let Some(resources) = at.get("Resources") {
        let mut left = Vec::new();
        for (name, resource) in resources.entries() {
            let kind = resource.get("Type").and_then(At::text).unwrap_or_default();
            let Some(properties) = resource.get("Properties") else { continue };
            match kind.as_str() {
                "AWS::ECS::TaskDefinition" => task(properties, &mut read)?,
                "AWS::ElasticLoadBalancingV2::TargetGroup" => {
                    let attributes = properties.get("TargetGroupAttributes");
                    let more = target_group(properties, attributes, &mut read.notes)?;
                    read.balancer.add(more);
                }
                "AWS::ElasticLoadBalancingV2::LoadBalancer" => {
                    let attributes = properties.get("LoadBalancerAttributes");
                    let more = load_balancer(properties, attributes, &mut read.notes)?;
                    read.balancer.add(more);
                }
                _ => left.push(format!("{name} ({kind})")),
            }
        }
        if !left.is_empty() {
            let place = at.place();
            read.notes.push(format!("{}: left out {}", place.file, left.join(", ")));
        }
    } else if let Some(attributes) = at.get("Attributes") {
        let more = attributes_of(Some(attributes), &mut read.notes)?;
        read.balancer.add(more);
    } else if let Some(groups) = at.either("targetGroups") {
        for group in groups.items() {
            let more = target_group(group, None, &mut read.notes)?;
            read.balancer.add(more);
        }
    } else if at.either("loadBalancers").is_some() && at.either("containerDefinitions").is_none() {
        let place = at.place();
        return Ok(skipped(
            &place.file,
            "give describe-load-balancer-attributes, which has the times",
        ));
    } else {
        task(at.either("taskDefinition").unwrap_or(at), &mut read)?;
    }
    Ok(read)
}

fn task(at: At<'_>, read: &mut Read) -> Result<(), Malformed> {
    let family = at.either("family").and_then(At::text).unwrap_or_else(|| "task".into());
    let compatibilities = at.either("requiresCompatibilities").map(At::words).unwrap_or_default();
    let on_fargate = compatibilities.iter().any(|word| word == "FARGATE");
    let containers = at.either("containerDefinitions").into_iter().flat_map(At::items);
    let mut all = Vec::new();
    for container in containers {
        all.push(process(container, &family, on_fargate)?);
    }
    let any = all.iter().any(Process::knows_lameduck);
    let (meant, left): (Vec<Process>, Vec<Process>) =
        all.into_iter().partition(|process| !any || process.knows_lameduck());
    if !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|process| process.short.as_str()).collect();
        read.notes.push(format!(
            "task {family}: {} left out, as no LAMEDUCK_ variable is there",
            names.join(", ")
        ));
    }
    read.processes.extend(meant);
    Ok(())
}

fn process(container: At<'_>, family: &str, on_fargate: bool) -> Result<Process, Malformed> {
    let short = container.either("name").and_then(At::text).unwrap_or_else(|| "container".into());
    let name = format!("task {family}, container {short}");
    let mut process = Process::new(Platform::Ecs, &short, name, container.place());
    process.takes_image = true;
    let notes = &mut process.notes;
    if let Some(at) = container.either("stopTimeout") {
        let asked = seconds(at, notes)?;
        if let Some(given) =
            asked.as_ref().filter(|given| on_fargate && given.value > MOST_ON_FARGATE)
        {
            process.findings.push(Finding {
                id: Id::LimitRefused,
                place: given.place.clone(),
                what: format!("stopTimeout is {}", given.value.as_secs_f64()),
                why: "Fargate takes at most 120 s and refuses the task definition".into(),
                remedy: "write \"stopTimeout\": 120".into(),
            });
        }
        process.limit =
            asked.map(|Given { value, place }| Given { value: Limit::After(value), place });
    }
    let (entry, command) = (container.either("entryPoint"), container.either("command"));
    if let Some(first) = entry.or(command) {
        let words = [entry, command].into_iter().flatten().flat_map(At::words).collect();
        process.command = Some(Given { value: Command::Words(words), place: first.place() });
    }
    process.has_init = container
        .either("linuxParameters")
        .and_then(|at| at.either("initProcessEnabled"))
        .and_then(At::flag)
        .unwrap_or(false);
    for variable in container.either("environment").into_iter().flat_map(At::items) {
        let name = variable.either("name").and_then(At::text);
        let value = variable.either("value").filter(|at| !at.is_computed());
        if let (Some(name), Some(at)) = (name, value) {
            let value = at.text().unwrap_or_default();
            process.environment.push((name, Given { value, place: at.place() }));
        }
    }
    if let Some(check) = container.either("healthCheck") {
        let words = check.either("command").map(At::words).unwrap_or_default();
        let interval = match check.either("interval") {
            Some(at) => seconds(at, notes)?.map(|given| given.value),
            None => Some(Duration::from_secs(30)),
        };
        let threshold = match check.either("retries") {
            Some(at) => count(at, notes)?,
            None => Some(3),
        };
        process.liveness = interval.zip(threshold).map(|(interval, threshold)| Probe {
            what: words.join(" "),
            interval,
            threshold,
            place: check.place(),
        });
    }
    Ok(process)
}

fn target_group(
    group: At<'_>,
    attributes: Option<At<'_>>,
    notes: &mut Vec<String>,
) -> Result<Balancer, Malformed> {
    let mut balancer = attributes_of(attributes, notes)?;
    if balancer.deregistration.is_none() {
        balancer.deregistration = Some((Duration::from_secs(300), group.place(), false));
    }
    let interval = match group.get("HealthCheckIntervalSeconds") {
        Some(at) => seconds(at, notes)?.map(|given| given.value),
        None => Some(Duration::from_secs(30)),
    };
    let threshold = match group.get("UnhealthyThresholdCount") {
        Some(at) => count(at, notes)?,
        None => Some(2),
    };
    let path = group.get("HealthCheckPath").and_then(At::text).unwrap_or_else(|| "/".into());
    balancer.check = interval.zip(threshold).map(|(interval, threshold)| Probe {
        what: format!("the target group's GET {path}"),
        interval,
        threshold,
        place: group.place(),
    });
    Ok(balancer)
}

fn load_balancer(
    at: At<'_>,
    attributes: Option<At<'_>>,
    notes: &mut Vec<String>,
) -> Result<Balancer, Malformed> {
    let mut balancer = attributes_of(attributes, notes)?;
    let is_application = at.get("Type").and_then(At::text).is_none_or(|kind| kind == "application");
    if balancer.keep_alive.is_none() && is_application {
        let value = Duration::from_secs(60);
        balancer.keep_alive = Some(Given { value, place: at.place() });
    }
    Ok(balancer)
}

fn attributes_of(
    attributes: Option<At<'_>>,
    notes: &mut Vec<String>,
) -> Result<Balancer, Malformed> {
    let mut balancer = Balancer::default();
    for attribute in attributes.into_iter().flat_map(At::items) {
        let key = attribute.get("Key").and_then(At::text).unwrap_or_default();
        let Some(at) = attribute.get("Value") else { continue };
        let time = |text: &str| text.parse::<u32>().ok().map(|s| Duration::from_secs(s.into()));
        match key.as_str() {
            DEREGISTRATION => {
                let found = given(at, notes, "a number of seconds", time)?;
                balancer.deregistration = found.map(|found| (found.value, found.place, true));
            }
            IDLE => balancer.keep_alive = given(at, notes, "a number of seconds", time)?,
            _ => {}
        }
    }
    Ok(balancer)
}
