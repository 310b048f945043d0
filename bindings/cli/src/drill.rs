//! `lameduck drill`: restarts a server under load and says how many requests failed.

mod args;
mod balancer;
mod client;
mod course;
mod delay;
mod diagnosis;
mod distance;
mod external;
mod html;
mod http;
mod http2;
mod journal;
mod load;
mod mistake;
mod observation;
mod paths;
mod ports;
mod probe;
mod progress;
mod record;
mod server;
mod splice;
mod table;
mod timeline_svg;
mod wire;
mod witness;

use std::io::Write;

pub use args::Drill;
use record::Record;

use crate::files::{check_writable, read, write};
use crate::screen::Screen;

/// Runs a drill and writes its result wherever it was asked for. The error is about a file.
pub fn run(options: &Drill) -> Result<u8, String> {
    let mut earlier = Vec::new();
    for path in &options.against {
        earlier.push(record::read(path).map_err(|error| format!("--against: {error}"))?);
    }
    // A drill takes a while: what can go wrong afterwards is found out before.
    for (name, path) in
        [("--json-file", &options.json_file), ("--svg", &options.svg), ("--html", &options.html)]
    {
        if let Some(path) = path {
            check_writable(path).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    let lines = match &options.paths {
        None => Vec::new(),
        Some(path) => {
            let (name, text) = read(path).map_err(|error| format!("--paths: {error}"))?;
            paths::parse(&text).map_err(|error| format!("--paths: {name}: {error}"))?
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("the drill cannot start its threads: {error}"))?;
    // On the main thread, which is where children are started: they are killed when it ends.
    let record = runtime.block_on(course::run(options, &lines));
    runtime.shutdown_background();
    server::end_orphans();

    let mut records: Vec<&Record> = earlier.iter().collect();
    records.push(&record);
    let wrote_files = write_files(options, &record, &records);
    let text = if options.json { record::to_json(&record) } else { report(&record, &records) };
    // Nobody may be reading any more; the exit status still tells.
    let _ = anstream::stdout().write_all(text.as_bytes());
    if record.outcome.is_about_a_copy() {
        eprint!("{}", complaint(&record));
    }
    wrote_files?;
    Ok(record.exit_status)
}

/// The table, unless there is nothing to tabulate.
fn report(record: &Record, records: &[&Record]) -> String {
    if record.outcome.is_about_the_command() && record.requests.total == 0 {
        String::new()
    } else {
        table::render(records, Screen::of_stdout())
    }
}

fn complaint(record: &Record) -> String {
    let mut text = format!("error: {}\n", record.sentence);
    if record.last_output.is_empty() {
        text.push_str("It wrote no output.\n");
    } else {
        text.push_str("Its last output:\n");
        for line in &record.last_output {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

fn write_files(options: &Drill, record: &Record, records: &[&Record]) -> Result<(), String> {
    if let Some(path) = &options.json_file {
        write(path, &record::to_json(record))?;
    }
    if let Some(path) = &options.svg {
        write(path, &timeline_svg::render(records))?;
    }
    if let Some(path) = &options.html {
        write(path, &html::render(records))?;
    }
    Ok(())
}
