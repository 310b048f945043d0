//! The race that HTTP/1.1 cannot win: the server closes an idle connection while a request is on
//! its way. How often, by the formula and by the wire.
//!
//! The server closes at `c`. Whatever left its client before `c − up` has arrived: the last look
//! finds it. Whatever would leave after `c + down` does not: the FIN has arrived. What leaves
//! between is lost: a round trip, however it is divided between the ways there and back.

use std::time::Duration;

use lameduck::{Grace, Settings};

use crate::network::Path;
use crate::outcome::Share;
use crate::random::Random;
use crate::scenario::{Arrival, Deviations, Pool, Scenario, Think, Work, WorkKind};
use crate::time::{MS, Nanos, SECOND};
use crate::world::run;

/// The most over which the machine spreads closes (`core/src/machine/draining.rs`).
const SPREAD: Nanos = SECOND;
/// Connections of one drain.
const CROWD: u64 = 500;

/// What decides the odds of one idle connection.
#[derive(Clone, Copy, Debug)]
pub struct Odds {
    /// The mean interval between requests of its client, a Poisson process.
    pub interval: Nanos,
    /// The quiet period.
    pub quiet: Nanos,
    /// One-way delays.
    pub path: Path,
    /// Whether closes are spread as the machine does by default; otherwise each connection is
    /// closed the moment it was quiet for long enough.
    pub spread: bool,
}

impl Odds {
    fn rate(&self) -> f64 {
        1.0 / self.interval as f64
    }

    /// The chance that nothing is asked for so long.
    fn nothing_for(&self, span: Nanos) -> f64 {
        libm::exp(-self.rate() * span as f64)
    }

    /// The chance that something is asked within a round trip.
    fn something_in_the_round_trip(&self) -> f64 {
        -libm::expm1(-self.rate() * self.path.round_trip() as f64)
    }

    /// `P = e^(−λQ)(1 − e^(−λ·RTT))`: of a connection that is silent at the hand-over, whose
    /// quiet period is counted from there. With a spread the connection is quiet for its place
    /// in it after `Q`: the mean over places that are equally likely.
    pub fn of_a_silent_connection(&self) -> f64 {
        let place = if self.spread {
            let span = self.rate() * SPREAD as f64;
            -libm::expm1(-span) / span
        } else {
            1.0
        };
        self.nothing_for(self.quiet) * place * self.something_in_the_round_trip()
    }

    /// `P = e^(−λ(Q−RTT))(1 − e^(−λ·RTT))`: of a connection whose quiet period is counted from a
    /// response. Its client cannot ask before it has the response, and a request takes as long
    /// to come back: of the server's quiet period the client is silent for `Q − RTT` only.
    pub fn after_a_response(&self) -> f64 {
        assert!(!self.spread, "the drain of a response lies anywhere in the spread");
        let silent_for = self.quiet.saturating_sub(self.path.round_trip());
        self.nothing_for(silent_for) - self.nothing_for(self.quiet)
    }

    /// The most that the first can be, whatever the rate: `RTT/(e·Q)`.
    pub fn bound(&self) -> f64 {
        self.path.round_trip() as f64 / (core::f64::consts::E * self.quiet as f64)
    }

    /// Drains without a window until so many connections were watched.
    pub fn measure(&self, connections: u64, deviations: Deviations) -> Measured {
        let mut measured = Measured::default();
        for drain in 0..connections / CROWD {
            let outcome = run(&self.scenario(drain, deviations));
            assert!(
                deviations.prompt_fin || outcome.violations.is_empty(),
                "{:?}",
                outcome.violations
            );
            measured.silent.add(outcome.silent);
            measured.after_a_response.add(outcome.unannounced);
        }
        measured
    }

    /// The silent connections of servers whose bytes lie in the kernel for a turn of the loop, and
    /// whose driver looks before it closes, or not.
    pub fn measure_with_turn(&self, connections: u64, turn: Nanos, blind: bool) -> Share {
        let mut silent = Share::default();
        for drain in 0..connections / CROWD {
            let deviations = Deviations { blind, ..Deviations::default() };
            silent.add(run(&Scenario { turn, ..self.scenario(drain, deviations) }).silent);
        }
        silent
    }

    /// Other odds, other chance: what is measured is independent.
    fn seed(&self, drain: u64) -> u64 {
        let Self { interval, quiet, path: Path { up, down, .. }, spread } = *self;
        let parts = [interval, quiet, up, down, u64::from(spread), drain];
        parts.into_iter().fold(0, |seed, part| Random::new(seed, part).below(u64::MAX))
    }

    /// Each client has a connection of its own, and asks for something that begins at once and
    /// ends later: so that a response which cannot announce any more is there too.
    fn scenario(&self, drain: u64, deviations: Deviations) -> Scenario {
        let seed = self.seed(drain);
        let client = Pool {
            arrival: Arrival::Closed(1, Think::Exponential(self.interval)),
            preopened: 1,
            at_first: Some(0),
            works: vec![Work { kind: WorkKind::Download, mean: 300 * MS }],
            ..Pool::default()
        };
        Scenario {
            seed,
            path: self.path,
            pools: vec![client; CROWD as usize],
            settings: Settings {
                grace: Some(Grace::Limited(Duration::from_secs(120))),
                window: Some(Duration::ZERO),
                quiet: Some(Duration::from_nanos(self.quiet)),
                seed: Some(seed),
                interactive: !self.spread,
                ..Settings::default()
            },
            deviations,
            ..Scenario::default()
        }
    }
}

/// What the wire saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Connections that were silent at the hand-over.
    pub silent: Share,
    /// Connections whose quiet period was counted from a response.
    pub after_a_response: Share,
}
