//! Files to processes: which kind of file it is, and what each kind says about a process's end.

mod aws;
mod compose;
mod dockerfile;
mod kubernetes;
mod oxmgr;
mod pm2;
mod span;
mod systemd;

use std::sync::Arc;
use std::time::Duration;

use crate::plan::model::{Balancer, Given, Process};
use crate::plan::node::{At, Malformed, Node, Value};
use crate::plan::parse::{javascript, json, toml, yaml};

/// What a file says.
#[derive(Debug, Default)]
pub struct Read {
    /// The processes that it deploys.
    pub processes: Vec<Process>,
    /// The image it builds, as a process that nobody runs yet.
    pub image: Option<Process>,
    /// The balancer that it sets up.
    pub balancer: Balancer,
    /// What in it was not looked at, as sentences.
    pub notes: Vec<String>,
}

/// Reads one file. `name` decides what is tried; its contents decide what it is.
///
/// # Errors
/// A sentence with the line, without the file's name.
pub fn read(name: &str, text: &str) -> Result<Read, Malformed> {
    let base = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let extension = base.rsplit_once('.').map_or("", |(_, extension)| extension);
    if text.contains('\0') {
        return Err(Malformed("this is not a text file".into()));
    }
    let is_image = |part: &str| part == "dockerfile" || part == "containerfile";
    if is_image(extension) || base.split(['.', '-']).next().is_some_and(is_image) {
        return dockerfile::read(name, text);
    }
    match extension {
        "service" => systemd::read(name, text),
        "automount" | "mount" | "path" | "slice" | "socket" | "target" | "timer" => {
            Ok(skipped(name, "a systemd unit of a kind that is not stopped by a signal"))
        }
        "cjs" | "js" | "mjs" => {
            let module = javascript::module(text)?;
            recognised(name, &[module])
        }
        "toml" => recognised(name, &[toml::parse(text)?]),
        "json" => recognised(name, &[json::parse(text)?]),
        _ if text.trim_start().starts_with('{') && extension.is_empty() => {
            recognised(name, &[json::parse(text)?])
        }
        _ => recognised(name, &yaml::parse(text)?),
    }
}

/// By its contents.
fn recognised(name: &str, documents: &[Arc<Node>]) -> Result<Read, Malformed> {
    let mut read = Read::default();
    let maps: Vec<At<'_>> = kubernetes::without_lists(name, documents);
    let configs = kubernetes::configs(&maps);
    for at in maps {
        let more = if at.get("apiVersion").is_some() && at.get("kind").is_some() {
            kubernetes::read(at, &configs)?
        } else if at
            .get("services")
            .is_some_and(|services| matches!(services.value(), Value::Map(_)))
        {
            compose::read(at)?
        } else if pm2::is(at) {
            pm2::read(at)?
        } else if oxmgr::is(at) {
            oxmgr::read(at)?
        } else if aws::is(at) {
            aws::read(at)?
        } else {
            let place = at.place();
            let whole =
                if documents.len() > 1 { format!("{name}:{}", place.line) } else { name.into() };
            skipped(&whole, "a kind of file that is not known here")
        };
        read.add(more);
    }
    if documents.is_empty() {
        read.notes.push(format!("{name} is empty"));
    }
    Ok(read)
}

fn skipped(what: &str, why: &str) -> Read {
    Read { notes: vec![format!("{what} is left out: {why}")], ..Read::default() }
}

impl Read {
    fn add(&mut self, more: Self) {
        self.processes.extend(more.processes);
        self.image = self.image.take().or(more.image);
        self.balancer.add(more.balancer);
        self.notes.extend(more.notes);
    }
}

impl Balancer {
    /// What one file leaves open another may say.
    pub fn add(&mut self, more: Self) {
        self.check = self.check.take().or(more.check);
        self.keep_alive = self.keep_alive.take().or(more.keep_alive);
        // An explicit delay beats a default.
        if self.deregistration.as_ref().is_none_or(|(_, _, explicit)| !explicit) {
            self.deregistration = more.deregistration.or(self.deregistration.take());
        }
    }
}

/// A value that a function makes of a scalar. `None` for an expression: then `notes` says so.
///
/// # Errors
/// When it is neither.
fn given<T>(
    at: At<'_>,
    notes: &mut Vec<String>,
    expected: &str,
    make: impl Fn(&str) -> Option<T>,
) -> Result<Option<Given<T>>, Malformed> {
    let text = at.text();
    let text = text.as_deref().map(str::trim);
    // Compose and many templates: ${NAME:-value}.
    let default = text.and_then(|text| {
        let inner = text.strip_prefix("${")?.strip_suffix('}')?;
        inner.split_once(":-").or_else(|| inner.split_once('-')).map(|(_, value)| value)
    });
    if let Some(value) = default.or(text).and_then(&make) {
        return Ok(Some(Given { value, place: at.place() }));
    }
    if at.is_computed() {
        let place = at.place();
        notes.push(format!(
            "{}:{}: {} is computed where it is deployed, so it is not known here",
            place.file, place.line, place.path
        ));
        return Ok(None);
    }
    Err(at.malformed(expected))
}

/// Seconds as a number.
fn seconds(at: At<'_>, notes: &mut Vec<String>) -> Result<Option<Given<Duration>>, Malformed> {
    given(at, notes, "a number of seconds", |text| scaled(text, 1.0))
}

/// Milliseconds as a number.
fn milliseconds(at: At<'_>, notes: &mut Vec<String>) -> Result<Option<Given<Duration>>, Malformed> {
    given(at, notes, "a number of milliseconds", |text| scaled(text, 0.001))
}

fn scaled(text: &str, unit: f64) -> Option<Duration> {
    let number: f64 =
        text.parse().ok().filter(|_| text.starts_with(|c: char| c.is_ascii_digit()))?;
    Duration::try_from_secs_f64(number * unit).ok()
}

/// A whole number.
fn count(at: At<'_>, notes: &mut Vec<String>) -> Result<Option<u32>, Malformed> {
    let found = given(at, notes, "a whole number", |text| text.parse::<u32>().ok())?;
    Ok(found.map(|found| found.value))
}

/// Variables of a map.
fn variables(map: At<'_>) -> Vec<(String, Given<String>)> {
    map.entries()
        .filter_map(|(name, at)| {
            let value = at.text().filter(|_| !at.is_computed())?;
            Some((name.to_owned(), Given { value, place: at.place() }))
        })
        .collect()
}
