//! The `lameduck` command. `README.md` beside the manifest says which file holds what.

mod args;
mod columns;
mod drill;
mod files;
mod number;
mod page;
mod plan;
mod report;
mod screen;
mod svg;
mod time;
mod timeline;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Drill(options) => drill::run(&options),
        Command::Plan(options) => plan::run(&options),
        Command::Report(options) => report::run(&options),
        Command::Completions { shell } => {
            args::completions(shell);
            Ok(0)
        }
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(sentence) => {
            eprintln!("error: {}", screen::plain(&sentence));
            ExitCode::from(2)
        }
    }
}
