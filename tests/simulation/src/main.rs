//! Prints what the simulation finds. The README beside it says how to call it.

use std::process::ExitCode;

use lameduck_simulation::{Loss, Outcome, drains, run, tables, traced};

const USAGE: &str = "usage: lameduck-simulation drains COUNT [FIRST-SEED] | trace SEED | tables";
/// More findings than this are not worth reading.
const MOST_SHOWN: u64 = 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u64> = arguments.iter().skip(1).flat_map(|text| text.parse()).collect();
    match (arguments.first().map(String::as_str), &numbers[..]) {
        (Some("drains"), [count]) => many(0, *count),
        (Some("drains"), [count, first]) => many(*first, *count),
        (Some("tables"), []) => print_tables(),
        (Some("trace"), [seed]) => trace(*seed),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

/// Runs each drain twice: every invariant holds, and both traces are the same.
fn many(first: u64, count: u64) -> ExitCode {
    let mut total = Outcome::default();
    let mut failed = 0;
    for seed in first..first + count {
        let scenario = drains::drain(seed);
        let mut outcome = run(&scenario);
        if run(&scenario).digest != outcome.digest {
            outcome.violations.push("the second run wrote another trace".to_owned());
        }
        if !outcome.violations.is_empty() {
            failed += 1;
            if failed <= MOST_SHOWN {
                println!("seed {seed}: {}", outcome.violations.join("; "));
            }
        }
        total.add(outcome);
    }
    let Outcome { answered, unavailable, gave_up, repeated, digest, .. } = total;
    println!(
        "{count} scenarios with {} drains, each run twice: {failed} failed",
        total.drains.len()
    );
    println!("answered {answered}, 503 {unavailable}, did not wait {gave_up}, repeated {repeated}");
    for reason in Loss::ALL {
        println!("lost, {reason:?}: {}", total.lost_by(reason));
    }
    println!("digest of all traces: {digest:016x}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_tables() -> ExitCode {
    for table in tables::all() {
        println!("{}\n\n{}", table.title, table.markdown());
    }
    ExitCode::SUCCESS
}

fn trace(seed: u64) -> ExitCode {
    let (outcome, text) = traced(&drains::drain(seed));
    print!("{text}");
    for violation in &outcome.violations {
        println!("violated: {violation}");
    }
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
