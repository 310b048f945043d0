//! Rolling restarts lose nothing under the conditions that the documentation names, and
//! something just outside of them.

use lameduck_simulation::restart::{PERIOD, THRESHOLD, enough, probed, round_trip, timed_out};
use lameduck_simulation::tables::many;
use lameduck_simulation::time::MS;
use lameduck_simulation::{Loss, Outcome, Scenario};

const RESTARTS: u64 = 100;
const QUIET: u64 = 500 * MS;

fn restarts(make: &dyn Fn(u64) -> Scenario) -> Outcome {
    let seen = many(make, RESTARTS);
    assert_eq!(seen.violations, [""; 0]);
    assert_eq!(seen.drains.len() as u64, 2 * RESTARTS, "both servers stop");
    assert!(seen.drains.iter().all(|drain| drain.report.exit_code == 0));
    seen
}

fn nothing_is_lost(make: &dyn Fn(u64) -> Scenario) {
    let seen = restarts(make);
    assert_eq!((seen.lost(), seen.unavailable, seen.repeated), (0, 0, 0));
    assert!(seen.answered > 5_000);
}

#[test]
fn a_window_as_long_as_the_balancer_needs_loses_nothing() {
    nothing_is_lost(&|seed| probed(seed, enough()));
}

#[test]
fn a_window_that_is_one_probe_too_short_loses_some() {
    let needed = PERIOD * u64::from(THRESHOLD);
    assert!(restarts(&|seed| probed(seed, needed - PERIOD)).lost_by(Loss::Idle) > 0);
}

#[test]
fn clients_that_close_a_round_trip_before_the_quiet_period_lose_nothing() {
    nothing_is_lost(&|seed| timed_out(seed, Some(QUIET - round_trip()), QUIET));
}

#[test]
fn clients_that_never_close_lose_some() {
    assert!(restarts(&|seed| timed_out(seed, None, QUIET)).lost_by(Loss::Idle) > 0);
}
