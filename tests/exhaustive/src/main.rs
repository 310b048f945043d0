//! `cargo run --release -p lameduck-exhaustive`: every model, every seeded bug, and the page
//! `docs/exhaustive.md` that says what came out.
//!
//! `models [NAME…]`, `reduced [NAME…]` or `bugs [NAME…]` runs only those, and writes nothing.

use std::process::ExitCode;

use lameduck_exhaustive::bounds::Bounds;
use lameduck_exhaustive::bugs::{self, Bug, Found};
use lameduck_exhaustive::check::{self, Outcome};
use lameduck_exhaustive::{models, page};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        None => everything(),
        Some((what, names)) => match what.as_str() {
            "models" => run(&chosen(models::FULL, names)).map(drop),
            "reduced" => run(&chosen(models::REDUCED, names)).map(drop),
            "bugs" => seed(names).map(drop),
            _ => Err(String::from("say nothing, or models, reduced or bugs, and names of them")),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn everything() -> Result<(), String> {
    let found = seed(&[])?;
    let outcomes = run(models::FULL)?;
    let unseen = page::unseen(&outcomes);
    if !unseen.is_empty() {
        return Err(format!("never seen: {}", unseen.join("; ")));
    }
    let path = bugs::root().join("docs/exhaustive.md");
    std::fs::write(&path, page::markdown(&outcomes, &found)).map_err(|error| error.to_string())?;
    println!("docs/exhaustive.md is written");
    Ok(())
}

fn chosen(models: &[Bounds], names: &[String]) -> Vec<Bounds> {
    let named = |model: &&Bounds| names.is_empty() || names.iter().any(|name| name == model.name);
    models.iter().filter(named).copied().collect()
}

fn run(models: &[Bounds]) -> Result<Vec<Outcome>, String> {
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2));
    let outcomes = check::run_all(models, workers, |outcome| {
        println!(
            "{}: {} states, {} steps, depth {}, {:.1} s",
            outcome.bounds.name,
            outcome.states,
            outcome.steps,
            outcome.depth,
            outcome.took.as_secs_f64()
        );
        for (promise, steps) in &outcome.broken {
            println!("broken after {} steps: {promise}", steps.len());
            for step in steps {
                println!("  {step}");
            }
        }
    });
    let broken = outcomes.iter().filter(|outcome| !outcome.broken.is_empty()).count();
    println!("not seen: {}", page::unseen(&outcomes).join("; "));
    if broken > 0 {
        return Err(format!("{broken} of {} models found a broken promise", outcomes.len()));
    }
    Ok(outcomes)
}

fn seed(names: &[String]) -> Result<Vec<(Bug, Found)>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let workshop = program.ancestors().nth(2).expect("in a profile's folder").join("seeded-bugs");
    let bugs = bugs::all()?;
    let chosen = |bug: &Bug| names.is_empty() || names.contains(&bug.name);
    let (mut found, mut missed) = (Vec::new(), 0);
    for bug in bugs.into_iter().filter(chosen) {
        match bug.seed(&workshop) {
            Ok(how) => {
                println!("{}: found in {} steps: {}", bug.name, how.steps, bug.promise.text());
                found.push((bug, how));
            }
            Err(error) => {
                eprintln!("{error}");
                missed += 1;
            }
        }
    }
    if missed > 0 {
        Err(format!("{missed} seeded bugs were not found as they should"))
    } else {
        Ok(found)
    }
}
