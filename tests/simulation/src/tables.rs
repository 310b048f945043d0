//! The tables that `docs/simulation.md` quotes, as Markdown. Seeds are fixed, so they come out the
//! same on every machine.

use crate::network::Path;
use crate::outcome::Outcome;
use crate::race::{Measured, Odds};
use crate::reconnects::{CLIENTS, Crowd};
use crate::restart::{self, PERIOD, THRESHOLD};
use crate::scenario::{Deviations, Goaway, Scenario};
use crate::statistics::interval;
use crate::time::{MS, Nanos, SECOND};
use crate::world::run;

/// Connections of one measurement of loss.
const WATCHED: u64 = 50_000;
/// Restarts of one measurement of those.
const RESTARTS: u64 = 500;

/// One table: its head, and how each row is made.
pub struct Table {
    /// What it shows.
    pub title: &'static str,
    head: &'static [&'static str],
    /// A row that an unoptimized build measures in a moment.
    pub quick: Option<usize>,
    rows: Vec<Box<dyn Fn() -> Vec<String>>>,
}

impl Table {
    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Its head.
    pub fn head(&self) -> String {
        let rule: Vec<&str> = self.head.iter().map(|_| "---").collect();
        format!("{}{}", line(self.head), line(&rule).replace(' ', ""))
    }

    /// Measures one row.
    pub fn row(&self, number: usize) -> String {
        line(&self.rows[number]())
    }

    /// Measures all of it.
    pub fn markdown(&self) -> String {
        let rows: String = (0..self.len()).map(|number| self.row(number)).collect();
        format!("{}{rows}", self.head())
    }
}

fn line<T: AsRef<str>>(cells: &[T]) -> String {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// Every table.
pub fn all() -> [Table; 5] {
    [loss(), loss_after_a_response(), loss_with_spread(), reconnects(), restarts()]
}

const PATH: Path = Path { up: 10 * MS, down: 10 * MS, loss: 0.0 };
const QUIETS: [Nanos; 8] =
    [0, 50 * MS, 100 * MS, 250 * MS, 500 * MS, SECOND, 2 * SECOND, 5 * SECOND];

fn odds(interval: Nanos, quiet: Nanos, spread: bool) -> Odds {
    Odds { interval, quiet, path: PATH, spread }
}

/// Loss of connections that were silent when the server stopped.
fn loss() -> Table {
    let row = |quiet: Nanos| {
        let cells = move || {
            let mut cells = vec![duration(quiet)];
            for interval in [SECOND, 100 * MS] {
                cells.extend(silent(odds(interval, quiet, false)));
            }
            let worst = odds(quiet.max(1), quiet, false);
            if quiet == 0 {
                cells.extend(["100 %".to_owned(), "—".to_owned()]);
            } else {
                cells.extend([percent(worst.bound()), silent(worst)[1].clone()]);
            }
            cells
        };
        Box::new(cells) as Box<dyn Fn() -> Vec<String>>
    };
    Table {
        title: "Loss against quiet period, a silent connection",
        head: &[
            "quiet",
            "1 request/s: formula",
            "measured",
            "10 requests/s: formula",
            "measured",
            "worst rate 1/Q: bound RTT/(e·Q)",
            "measured",
        ],
        quick: None,
        rows: QUIETS.into_iter().map(row).collect(),
    }
}

fn silent(odds: Odds) -> [String; 2] {
    let Measured { silent, .. } = odds.measure(WATCHED, Deviations::default());
    [percent(odds.of_a_silent_connection()), measured(silent)]
}

/// Loss of connections whose quiet period began with a response that could not announce.
fn loss_after_a_response() -> Table {
    let row = |quiet: Nanos| {
        let cells = move || {
            let mut cells = vec![duration(quiet)];
            for interval in [SECOND, 100 * MS] {
                let odds = odds(interval, quiet, false);
                let seen = odds.measure(WATCHED, Deviations::default()).after_a_response;
                cells.extend([percent(odds.after_a_response()), measured(seen)]);
            }
            cells
        };
        Box::new(cells) as Box<dyn Fn() -> Vec<String>>
    };
    Table {
        title: "The same, when the last byte was of a response",
        head: &["quiet", "1 request/s: formula", "measured", "10 requests/s: formula", "measured"],
        quick: None,
        rows: QUIETS.into_iter().map(row).collect(),
    }
}

/// Loss with the spread of closes that the machine has unless somebody is developing.
fn loss_with_spread() -> Table {
    let row = |quiet: Nanos| {
        let cells = move || {
            let mut cells = vec![duration(quiet)];
            for interval in [SECOND, 100 * MS] {
                cells.extend(silent(odds(interval, quiet, true)));
            }
            cells
        };
        Box::new(cells) as Box<dyn Fn() -> Vec<String>>
    };
    Table {
        title: "The same with closes spread over a second",
        head: &["quiet", "1 request/s: formula", "measured", "10 requests/s: formula", "measured"],
        quick: None,
        rows: QUIETS.into_iter().map(row).collect(),
    }
}

/// The most clients that come back within 100 ms.
fn reconnects() -> Table {
    let row = |window: Nanos| {
        let cells = move || {
            let mut cells = vec![duration(window)];
            for crowd in Crowd::ALL {
                cells.push(crowd.peak(window, true).to_string());
                cells.push(crowd.peak(window, false).to_string());
            }
            cells
        };
        Box::new(cells) as Box<dyn Fn() -> Vec<String>>
    };
    debug_assert_eq!(CLIENTS, 1_000, "the documentation says how many");
    Table {
        title: "Reconnects against window",
        head: &[
            "window",
            "busy: at once",
            "seeded",
            "idle: at once",
            "seeded",
            "WebSockets: at once",
            "seeded",
        ],
        quick: Some(2),
        rows: [0, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND].into_iter().map(row).collect(),
    }
}

/// What rolling restarts lose, and when they lose nothing.
fn restarts() -> Table {
    let needed = PERIOD * Nanos::from(THRESHOLD);
    let round_trip = restart::round_trip();
    let quiet = 500 * MS;
    type Make = Box<dyn Fn(u64) -> Scenario>;
    let http2 = |goaway, repeats, quiet| -> Make {
        Box::new(move |seed| restart::http2(seed, goaway, repeats, quiet))
    };
    let timed_out =
        |timeout| -> Make { Box::new(move |seed| restart::timed_out(seed, timeout, quiet)) };
    let probed = |window| -> Make { Box::new(move |seed| restart::probed(seed, window)) };
    let all: Vec<(&str, Make)> = vec![
        ("L7, probes: window = period × threshold + RTT", probed(needed + round_trip)),
        ("L7, probes: window = period × threshold", probed(needed)),
        ("L7, probes: window = period × (threshold − 1)", probed(needed - PERIOD)),
        ("L4, no window: client idle timeout = quiet − RTT", timed_out(Some(quiet - round_trip))),
        ("L4, no window: client idle timeout = quiet", timed_out(Some(quiet))),
        ("L4, no window: no client idle timeout", timed_out(None)),
        ("HTTP/2, two-step GOAWAY: quiet = RTT", http2(Goaway::TwoStep, false, round_trip)),
        ("HTTP/2, two-step GOAWAY: quiet = RTT / 2", http2(Goaway::TwoStep, false, round_trip / 2)),
        ("HTTP/2, one GOAWAY, clients repeat", http2(Goaway::Single, true, quiet)),
        ("HTTP/2, one GOAWAY, clients do not", http2(Goaway::Single, false, quiet)),
        ("HTTP/2, no GOAWAY", http2(Goaway::Never, true, quiet)),
    ];
    let row = |(what, make): (&'static str, Make)| {
        let cells = move || {
            let seen = many(&make, RESTARTS);
            let counts = [seen.answered, seen.repeated, seen.lost()];
            let counts = counts.into_iter().map(|count| count.to_string());
            std::iter::once(what.to_owned()).chain(counts).collect()
        };
        Box::new(cells) as Box<dyn Fn() -> Vec<String>>
    };
    Table {
        title: "Rolling restarts",
        head: &["", "answered", "repeated elsewhere", "lost"],
        quick: None,
        rows: all.into_iter().map(row).collect(),
    }
}

/// What became of so many runs together.
pub fn many(make: &dyn Fn(u64) -> Scenario, runs: u64) -> Outcome {
    let mut total = Outcome::default();
    for seed in 0..runs {
        total.add(run(&make(seed)));
    }
    total
}

fn duration(span: Nanos) -> String {
    if span > 0 && span.is_multiple_of(SECOND) {
        format!("{} s", span / SECOND)
    } else {
        format!("{} ms", span / MS)
    }
}

fn percent(p: f64) -> String {
    format!("{:.2} %", 100.0 * p)
}

fn measured(share: crate::outcome::Share) -> String {
    let (from, to) = interval(share);
    format!("{} ({:.2}–{:.2})", percent(share.rate()), 100.0 * from, 100.0 * to)
}
