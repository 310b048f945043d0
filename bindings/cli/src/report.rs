//! `lameduck report`: the report of a shutdown as a timeline that people read, and two of them
//! side by side.

mod args;
mod html;
mod record;
mod story;
mod svg;
mod text;

use std::io::Write as _;

pub use args::Report;
use record::Record;

use crate::files::{check_writable, read, write};
use crate::screen::Screen;

/// Reads one report or two, and writes them wherever it was asked for.
///
/// # Errors
/// A sentence about a file that cannot be read or written.
pub fn run(options: &Report) -> Result<u8, String> {
    for (name, path) in [("--svg", &options.svg), ("--html", &options.html)] {
        if let Some(path) = path {
            check_writable(path).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    let mut reports = Vec::new();
    for path in std::iter::once(&options.file).chain(&options.other) {
        let (name, text) = read(path)?;
        let record = Record::last_in(&text).map_err(|error| format!("{name}: {error}"))?;
        reports.push((name, record));
    }
    if let Some(path) = &options.svg {
        write(path, &svg::render(&reports))?;
    }
    if let Some(path) = &options.html {
        write(path, &html::render(&reports))?;
    }
    let text = text::render(&reports, Screen::of_stdout());
    // Nobody may be reading any more.
    let _ = anstream::stdout().write_all(text.as_bytes());
    Ok(0)
}

#[cfg(test)]
mod tests;
