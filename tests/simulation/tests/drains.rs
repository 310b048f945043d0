//! Small drains of every sort: what must hold for each, and that they reach what they should.

use lameduck_simulation::report::RequestCounts;
use lameduck_simulation::{Loss, Outcome, drains, run, traced};

/// `make prove` runs 100,000 with the command.
const DRAINS: u64 = 4_000;
/// Of those, every so many is run a second time.
const TWICE: u64 = 20;

#[test]
fn thousands_of_drains_hold_every_invariant() {
    let mut total = Outcome::default();
    for seed in 0..DRAINS {
        let scenario = drains::drain(seed);
        let outcome = run(&scenario);
        assert_eq!(outcome.violations, [""; 0], "seed {seed}");
        if seed % TWICE == 0 {
            assert_eq!(run(&scenario).digest, outcome.digest, "seed {seed} is not repeatable");
        }
        total.add(outcome);
    }
    reaches_everything(&total);
}

/// An invariant that nothing tempts proves nothing.
fn reaches_everything(total: &Outcome) {
    let sum = |of: fn(&RequestCounts) -> u64| {
        total.drains.iter().map(|drain| of(&drain.report.requests)).sum::<u64>()
    };
    let counts = [
        ("adopted", sum(|of| of.adopted)),
        ("admitted", sum(|of| of.admitted)),
        ("not processed", sum(|of| of.not_processed)),
        ("completed", sum(|of| of.completed)),
        ("client gone", sum(|of| of.client_gone)),
        ("refused", sum(|of| of.refused)),
        ("ended", sum(|of| of.ended)),
        ("forced", sum(|of| of.forced)),
        ("503", total.unavailable),
        ("clients that did not wait", total.gave_up),
        ("repeated elsewhere", total.repeated),
        ("refused connections", total.refused),
        ("lost in the accept queue", total.lost_by(Loss::Backlog)),
        ("lost as forced", total.lost_by(Loss::Forced)),
        ("lost in the idle race", total.lost_by(Loss::Idle)),
        ("lost as refused", total.lost_by(Loss::Refused)),
    ];
    for (what, count) in counts {
        assert!(count > 0, "no drain reaches: {what}");
    }
}

#[test]
fn the_same_seed_writes_the_same_trace_byte_for_byte() {
    let text = |seed| traced(&drains::drain(seed)).1;
    for seed in 0..100 {
        assert!(text(seed) == text(seed), "seed {seed}");
    }
    assert!(text(0) != text(1));
}

#[test]
fn a_trace_that_is_kept_has_the_digest_of_one_that_is_not() {
    let scenario = drains::drain(7);
    assert_eq!(traced(&scenario).0.digest, run(&scenario).digest);
}
