//! The idle race of HTTP/1.1: the simulation finds it, and agrees with the formula.
//!
//! Each connection is a trial of its own, and its odds are known: so losses are binomial. A cell
//! of the grid is refused when so extreme a count has a chance below [`ALARM`] (exact, both
//! sides), all cells together when their sum lies more than [`DEVIATIONS`] standard deviations from
//! what is expected. A right simulation fails either for one choice of seeds in a thousand.

use std::sync::OnceLock;

use lameduck_simulation::race::{Measured, Odds};
use lameduck_simulation::scenario::{Deviations, Goaway};
use lameduck_simulation::statistics::{deviation, two_sided};
use lameduck_simulation::time::{MS, Nanos, SECOND};
use lameduck_simulation::{Path, Share};

const INTERVALS: [Nanos; 3] = [200 * MS, SECOND, 5 * SECOND];
const QUIETS: [Nanos; 4] = [0, 100 * MS, 500 * MS, 2 * SECOND];
/// The same round trip, divided otherwise, is the same race.
const WAYS: [(Nanos, Nanos); 3] = [(15 * MS, 5 * MS), (5 * MS, 15 * MS), (10 * MS, 90 * MS)];
const CELLS: usize = INTERVALS.len() * QUIETS.len() * WAYS.len();
const ALARM: f64 = 0.000_5 / CELLS as f64;
/// The chance of more, on either side, is 0.0005.
const DEVIATIONS: f64 = 3.48;
/// Connections in each cell, and by how much the formula may be wrong and not be seen: more are
/// watched where they cost less.
const CONNECTIONS: u64 = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
const UNSEEN: f64 = if cfg!(debug_assertions) { 0.25 } else { 0.08 };

fn grid(spread: bool) -> Vec<Odds> {
    let mut cells = Vec::new();
    for interval in INTERVALS {
        for quiet in QUIETS {
            for (up, down) in WAYS {
                cells.push(Odds { interval, quiet, path: Path { up, down, loss: 0.0 }, spread });
            }
        }
    }
    cells
}

/// Whether what was counted can be what the formula says.
fn agree(counts: &[(Share, f64)]) -> bool {
    let each = counts.iter().all(|(share, p)| two_sided(*share, *p) >= ALARM);
    each && deviation(counts).abs() <= DEVIATIONS
}

/// Each cell, what was measured in it, with nothing done wrongly and no spread.
fn plain() -> &'static [(Odds, Measured)] {
    static PLAIN: OnceLock<Vec<(Odds, Measured)>> = OnceLock::new();
    PLAIN.get_or_init(|| measure(false, NONE))
}

fn measure(spread: bool, deviations: Deviations) -> Vec<(Odds, Measured)> {
    let measured = |odds: Odds| (odds, odds.measure(CONNECTIONS, deviations));
    grid(spread).into_iter().map(measured).collect()
}

/// What was counted of silent connections, beside the formula times `factor`.
fn silent(cells: &[(Odds, Measured)], factor: f64) -> Vec<(Share, f64)> {
    let beside =
        |(odds, seen): &(Odds, Measured)| (seen.silent, factor * odds.of_a_silent_connection());
    cells.iter().map(beside).collect()
}

const NONE: Deviations =
    Deviations { goaway: Goaway::TwoStep, blind: false, at_once: false, prompt_fin: false };

#[test]
fn the_race_is_found_when_nobody_is_quiet_first() {
    let lost = |(odds, seen): &(Odds, Measured)| if odds.quiet == 0 { seen.silent.lost } else { 0 };
    assert!(plain().iter().map(lost).sum::<u64>() > 0);
}

#[test]
fn silent_connections_lose_what_the_formula_says() {
    let counts = silent(plain(), 1.0);
    assert!(agree(&counts), "{counts:?}");
}

#[test]
fn a_formula_that_is_a_little_wrong_is_seen() {
    assert!(!agree(&silent(plain(), 1.0 - UNSEEN)));
    assert!(!agree(&silent(plain(), 1.0 + UNSEEN)));
}

#[test]
fn a_wrong_loss_condition_is_seen() {
    // A FIN that needs no time: only the way up is left of the round trip.
    let prompt = Deviations { prompt_fin: true, ..NONE };
    assert!(!agree(&silent(&measure(false, prompt), 1.0)));
}

#[test]
fn the_spread_of_closes_is_longer_quiet() {
    let counts = silent(&measure(true, NONE), 1.0);
    assert!(agree(&counts), "{counts:?}");
}

#[test]
fn after_a_response_the_client_is_silent_for_a_round_trip_less() {
    let beside = |formula: fn(&Odds) -> f64| -> Vec<(Share, f64)> {
        plain().iter().map(|(odds, seen)| (seen.after_a_response, formula(odds))).collect()
    };
    let right = beside(Odds::after_a_response);
    assert!(agree(&right), "{right:?}");
    assert!(!agree(&beside(Odds::of_a_silent_connection)), "the readings cannot be told apart");
}

#[test]
fn without_the_last_look_more_is_lost() {
    // Bytes lie in the kernel for one turn of the loop: unseen, they lengthen the race by it, to
    // the cost of the silence before.
    let path = Path { up: 10 * MS, down: 10 * MS, loss: 0.0 };
    let odds = Odds { interval: SECOND, quiet: 100 * MS, path, spread: false };
    let longer = Path { up: 40 * MS, ..path };
    let turn = longer.up - path.up;
    let measure = |blind| odds.measure_with_turn(20 * CONNECTIONS, turn, blind);
    let p = odds.of_a_silent_connection();
    assert!(agree(&[(measure(false), p)]));
    assert!(!agree(&[(measure(true), p)]));
    let lengthened = Odds { path: longer, quiet: odds.quiet - turn, ..odds };
    assert!(agree(&[(measure(true), lengthened.of_a_silent_connection())]));
}

#[test]
fn no_rate_loses_more_than_its_bound() {
    for quiet in [100 * MS, 500 * MS, 2 * SECOND] {
        for interval in [quiet / 4, quiet / 2, quiet, 2 * quiet, 4 * quiet] {
            for (up, down) in WAYS {
                let path = Path { up, down, loss: 0.0 };
                let odds = Odds { interval, quiet, path, spread: false };
                assert!(odds.of_a_silent_connection() <= odds.bound(), "{odds:?}");
                let spread = Odds { spread: true, ..odds };
                assert!(spread.of_a_silent_connection() <= odds.bound(), "{spread:?}");
                if quiet > path.round_trip() {
                    let shorter = Odds { quiet: quiet - path.round_trip(), ..odds };
                    assert!(odds.after_a_response() <= shorter.bound(), "{odds:?}");
                }
            }
        }
    }
}
