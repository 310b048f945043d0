//! HTTP/2 loses nothing when its peers heed GOAWAY, and needs both of them.

use lameduck_simulation::restart::{http2, round_trip};
use lameduck_simulation::scenario::Goaway;
use lameduck_simulation::tables::many;
use lameduck_simulation::time::MS;
use lameduck_simulation::{Loss, Outcome};

const RESTARTS: u64 = 40;

fn restarts(goaway: Goaway, repeats: bool, quiet: u64) -> Outcome {
    many(&|seed| http2(seed, goaway, repeats, quiet), RESTARTS)
}

#[test]
fn two_steps_lose_nothing_and_refuse_nothing() {
    // Not even with clients that repeat nothing.
    let seen = restarts(Goaway::TwoStep, false, round_trip());
    assert_eq!(seen.violations, [""; 0]);
    assert_eq!((seen.lost(), seen.unavailable, seen.repeated), (0, 0, 0));
    assert!(seen.answered > 10_000);
}

#[test]
fn the_second_step_must_not_come_within_a_round_trip() {
    assert!(restarts(Goaway::TwoStep, false, round_trip() / 2).lost_by(Loss::Refused) > 0);
}

#[test]
fn one_step_refuses_what_is_on_the_wire() {
    let repeated = restarts(Goaway::Single, true, 500 * MS);
    assert_eq!(repeated.lost(), 0);
    assert!(repeated.repeated > 0);
    let lost = restarts(Goaway::Single, false, 500 * MS);
    assert!(lost.lost_by(Loss::Refused) > 0);
}

#[test]
fn without_a_goaway_requests_are_lost() {
    assert!(restarts(Goaway::Never, true, 500 * MS).lost() > 0);
}
