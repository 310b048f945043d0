//! `lameduck plan`: reads what is deployed with, lays every timer on one line, and says what does
//! not add up.
//!
//! Pure from text to text: [`read`] makes processes of files, [`findings`] applies the rules with
//! the core's own policy, [`line`] lays the times, and `text`, `json` and `svg` write the result.

mod args;
mod command;
mod findings;
mod json;
mod line;
mod model;
mod node;
mod parse;
mod read;
mod svg;
mod text;

use std::io::Write as _;

pub use args::Plan;
use findings::Planned;
use line::Line;
use model::{Id, Process};

use crate::columns::pad;
use crate::files::{check_writable, read as read_file, write};
use crate::screen::Screen;

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Every process with its line.
    pub processes: Vec<(Planned, Line)>,
    /// What was not looked at.
    pub notes: Vec<String>,
}

impl Outcome {
    /// How many things do not add up.
    pub fn count(&self) -> usize {
        self.processes.iter().map(|(planned, _)| planned.findings.len()).sum()
    }
}

/// Plans the files and writes the result wherever it was asked for.
///
/// # Errors
/// A sentence about a file that cannot be read or written.
pub fn run(options: &Plan) -> Result<u8, String> {
    if options.rules {
        let widest = Id::ALL.iter().map(|id| id.name().len()).max().unwrap_or(0);
        let line = |id: &Id| format!("{}  {}\n", pad(id.name(), widest), id.title());
        let rules: String = Id::ALL.iter().map(line).collect();
        let _ = anstream::stdout().write_all(rules.as_bytes());
        return Ok(0);
    }
    if let Some(path) = &options.svg {
        check_writable(path).map_err(|error| format!("--svg: {error}"))?;
    }
    let mut files = Vec::new();
    for path in &options.files {
        files.push(read_file(path)?);
    }
    let outcome = plan(&files, options)?;
    if let Some(path) = &options.svg {
        write(path, &svg::render(&outcome))?;
    }
    let mut out = anstream::stdout();
    // Nobody may be reading any more; the exit status still tells.
    let _ = if options.json {
        out.write_all(json::render(&outcome).as_bytes())
    } else {
        out.write_all(text::render(&outcome, Screen::of_stdout()).as_bytes())
    };
    Ok(u8::from(outcome.count() > 0))
}

/// Names and texts to everything that can be said about them.
///
/// # Errors
/// A sentence about a file that is malformed, or that nothing in them can be stopped.
fn plan(files: &[(String, String)], options: &Plan) -> Result<Outcome, String> {
    let mut processes = Vec::new();
    let mut images = Vec::new();
    let mut balancer = model::Balancer::default();
    let mut notes = Vec::new();
    for (name, text) in files {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let read =
            read::read(name, text).map_err(|malformed| format!("{name}, {}", malformed.0))?;
        processes.extend(read.processes);
        images.extend(read.image);
        balancer.add(read.balancer);
        notes.extend(read.notes);
    }
    put_images_in(&mut processes, images, &mut notes);
    if !options.only.is_empty() {
        let known: Vec<String> = processes.iter().map(|process| process.short.clone()).collect();
        for name in &options.only {
            if !known.contains(name) {
                return Err(format!(
                    "--only: there is no {name} in these files; there are {}",
                    known.join(", ")
                ));
            }
        }
        processes.retain(|process| options.only.contains(&process.short));
    }
    if processes.is_empty() {
        let why = if notes.is_empty() { String::new() } else { format!(": {}", notes.join("; ")) };
        return Err(format!("nothing in these files is a process that is stopped{why}"));
    }
    let mut seen = Vec::new();
    let mut planned = Vec::new();
    for mut process in processes {
        process.balancer.add(balancer.clone());
        let mut one = Planned::new(process, options);
        // What several processes share is said once.
        one.findings.retain(|finding| {
            let key = (finding.id, finding.place.clone());
            let new = !seen.contains(&key);
            seen.push(key);
            new
        });
        let line = Line::of(&one);
        planned.push((one, line));
    }
    Ok(Outcome { processes: planned, notes })
}

/// What an image sets holds for the one process that runs it, where that says nothing else.
fn put_images_in(processes: &mut Vec<Process>, images: Vec<Process>, notes: &mut Vec<String>) {
    let takers = processes.iter().filter(|process| process.takes_image).count();
    if images.len() == 1 && takers == 1 {
        let runs = processes.iter_mut().find(|process| process.takes_image);
        if let (Some(process), Some(image)) = (runs, images.into_iter().next()) {
            let mut environment = image.environment;
            environment.append(&mut process.environment);
            process.environment = environment;
            process.signal = process.signal.take().or(image.signal);
            process.command = process.command.take().or(image.command);
        }
        return;
    }
    if takers > 0 && !images.is_empty() {
        notes.push(
            "which process runs which image is not known: each image is looked at alone".into(),
        );
    }
    processes.extend(images);
}

#[cfg(test)]
mod tests;
