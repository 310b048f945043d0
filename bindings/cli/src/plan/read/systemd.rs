//! systemd service units.

use std::time::Duration;

use crate::plan::command::{Command, split};
use crate::plan::model::{Finding, Given, Id, Limit, Platform, Process};
use crate::plan::node::{Malformed, Place};
use crate::plan::read::{Read, span};

/// The service of a unit.
pub fn read(name: &str, text: &str) -> Result<Read, Malformed> {
    let unit = Unit::parse(name, text)?;
    let short = name.rsplit('/').next().unwrap_or(name);
    let place = unit.section.clone().ok_or_else(|| {
        Malformed("there is no [Service] section in this unit, so nothing that is stopped".into())
    })?;
    let mut process = Process::new(Platform::Systemd, short, format!("unit {short}"), place);
    for line in unit.lines.iter().filter(|line| line.key == "Environment") {
        for word in split(&line.value) {
            if let Some((name, value)) = word.split_once('=') {
                let given = Given { value: value.into(), place: line.place.clone() };
                process.environment.push((name.into(), given));
            }
        }
    }
    if let Some(line) = unit.last("EnvironmentFile") {
        process.notes.push(format!("the variables in {} are not read", line.value));
    }
    process.limit = unit.limit()?;
    process.signal = unit.last("KillSignal").map(Line::given);
    let command = unit.last("ExecStart").map(|line| Given {
        // The prefixes change how it is started, not what.
        value: Command::Words(split(line.value.trim_start_matches(['@', '-', ':', '+', '!', '|']))),
        place: line.place.clone(),
    });
    process.command = command;
    let mode = unit.last("KillMode");
    // All processes of the unit get the signal, whatever stands between.
    process.signals_children = mode.is_none_or(|line| line.value == "control-group");
    let notifies = unit.last("Type").is_some_and(|line| line.value.starts_with("notify"));
    process.asks_for_time = match unit.last("NotifyAccess") {
        Some(line) => line.value != "none",
        None => notifies,
    };
    process.findings.extend(mode.and_then(kill_mode));
    for line in unit.lines.iter().filter(|line| line.key == "ExecStop") {
        process.findings.extend(kills(line));
    }
    process.findings.extend(unit.no_restart());
    Ok(Read { processes: vec![process], ..Read::default() })
}

fn kill_mode(line: &Line) -> Option<Finding> {
    let why = match line.value.as_str() {
        "none" => {
            "systemd sends no signal at all: the server never hears that it shall stop, and stays"
        }
        "process" => {
            "only the main process is ever killed: children that it leaves behind keep running, and its port"
        }
        _ => return None,
    };
    Some(Finding {
        id: Id::KillMode,
        place: line.place.clone(),
        what: format!("KillMode={}", line.value),
        why: why.into(),
        remedy: "write KillMode=mixed: the server gets the signal, and what is left at the end is killed".into(),
    })
}

fn kills(line: &Line) -> Option<Finding> {
    let words = split(line.value.trim_start_matches(['-', '+', '!', ':', '@']));
    let program = words.first()?.rsplit('/').next()?.to_owned();
    let is_kill = matches!(program.as_str(), "kill" | "killall" | "pkill");
    let hard = words.windows(2).any(|pair| {
        let signal = pair[1].trim_start_matches('-').trim_start_matches("SIG");
        (pair[1].starts_with('-') || pair[0] == "-s") && matches!(signal, "9" | "KILL")
    });
    (is_kill && hard).then(|| Finding {
        id: Id::KillMode,
        place: line.place.clone(),
        what: format!("ExecStop={}", line.value),
        why: "this kills the server before systemd has sent it its stop signal".into(),
        remedy: "leave ExecStop out: systemd sends the signal itself".into(),
    })
}

struct Line {
    key: String,
    value: String,
    place: Place,
}

impl Line {
    fn given(&self) -> Given<String> {
        Given { value: self.value.clone(), place: self.place.clone() }
    }
}

struct Unit {
    section: Option<Place>,
    /// Of the service section.
    lines: Vec<Line>,
}

impl Unit {
    fn parse(name: &str, text: &str) -> Result<Self, Malformed> {
        let mut unit = Self { section: None, lines: Vec::new() };
        let mut section = String::new();
        let mut open: Option<(u32, String)> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let trimmed = line.trim();
            if trimmed.starts_with(['#', ';']) || (trimmed.is_empty() && open.is_none()) {
                continue;
            }
            let (part, goes_on) = match trimmed.strip_suffix('\\') {
                Some(part) => (part, true),
                None => (trimmed, false),
            };
            let (_, whole) = open.get_or_insert((number, String::new()));
            whole.push_str(part);
            whole.push(' ');
            if goes_on {
                continue;
            }
            let Some((begin, whole)) = open.take() else { continue };
            let whole = whole.trim();
            if let Some(name) = whole.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.into();
            } else if let Some((key, value)) = whole.split_once('=') {
                if section != "Service" {
                    continue;
                }
                let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
                let place =
                    Place { file: name.into(), line: begin, path: format!("Service.{key}") };
                if value.is_empty() {
                    // An empty assignment takes back what stood before.
                    unit.lines.retain(|line| line.key != key);
                } else {
                    unit.lines.push(Line { key, value, place });
                }
            } else {
                let sentence = "this is neither [Section] nor Key=value";
                return Err(Malformed::at(begin, None, sentence));
            }
            if section == "Service" && unit.section.is_none() {
                unit.section =
                    Some(Place { file: name.into(), line: begin, path: "Service".into() });
            }
        }
        Ok(unit)
    }

    fn last(&self, key: &str) -> Option<&Line> {
        self.lines.iter().rev().find(|line| line.key == key)
    }

    fn limit(&self) -> Result<Option<Given<Limit>>, Malformed> {
        let line = self
            .lines
            .iter()
            .rev()
            .find(|line| line.key == "TimeoutStopSec" || line.key == "TimeoutSec");
        let Some(line) = line else { return Ok(None) };
        let value = match (line.value.as_str(), span::systemd(&line.value)) {
            ("infinity", _) | (_, Some(Duration::ZERO)) => Limit::Never,
            (_, Some(time)) => Limit::After(time),
            (other, None) => {
                let shown = other.escape_debug();
                let sentence = format!(
                    "{} is {shown}, expected a time like 30, 1min 30s or infinity",
                    line.key
                );
                return Err(Malformed::at(line.place.line, None, &sentence));
            }
        };
        Ok(Some(Given { value, place: line.place.clone() }))
    }

    fn no_restart(&self) -> Option<Finding> {
        let restart = self.last("Restart");
        let one_shot = self.last("Type").is_some_and(|line| line.value == "oneshot");
        let word = restart.map_or("no", |line| line.value.as_str());
        if one_shot || !matches!(word, "no" | "on-success") {
            return None;
        }
        let place = restart.map(|line| line.place.clone()).or_else(|| self.section.clone())?;
        Some(Finding {
            id: Id::NoRestart,
            place,
            what: match restart {
                Some(_) => format!("Restart={word}"),
                None => "Restart is left at its default, no".into(),
            },
            why: "after a fatal error lameduck drains and exits with 1, and then nobody serves"
                .into(),
            remedy: "write Restart=on-failure (it does not restart what you stop)".into(),
        })
    }
}
