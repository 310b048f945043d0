//! The reduced models keep every promise, and everything is seen in them.

use lameduck_exhaustive::bugs;
use lameduck_exhaustive::check;
use lameduck_exhaustive::models::REDUCED;
use lameduck_exhaustive::page;
use lameduck_exhaustive::promise::Promise;

#[test]
fn every_promise_is_kept_and_everything_is_seen() {
    let outcomes = check::run_all(REDUCED, 2, |outcome| {
        println!("{}: {} states, depth {}", outcome.bounds.name, outcome.states, outcome.depth);
    });
    for outcome in &outcomes {
        assert!(outcome.broken.is_empty(), "{}: {:#?}", outcome.bounds.name, outcome.broken);
    }
    assert_eq!(page::unseen(&outcomes), Vec::<&str>::new());
}

#[test]
fn every_promise_has_its_bug_and_every_bug_still_applies() {
    let bugs = bugs::all().expect("readable");
    let broken: Vec<Promise> = bugs.iter().map(|bug| bug.promise).collect();
    assert_eq!(broken, Promise::ALL);
    for bug in bugs {
        assert!(REDUCED.iter().any(|model| model.name == bug.model), "{}", bug.name);
        let changed = bug.apply(&bugs::root()).unwrap_or_else(|error| panic!("{error}"));
        assert!(!changed.is_empty());
    }
}
