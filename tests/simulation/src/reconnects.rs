//! How many clients come back at once when a server leaves.

use std::time::Duration;

use lameduck::{Grace, Settings};

use crate::network::Path;
use crate::scenario::{
    Arrival, Balancing, Deviations, Pool, Scenario, Speaks, Think, Work, WorkKind,
};
use crate::time::{MS, Nanos, SECOND};
use crate::world::run;

/// Clients, each with a connection.
pub const CLIENTS: usize = 1_000;
/// Reconnects are counted in any stretch of this length.
pub const STRETCH: Nanos = 100 * MS;

/// What the clients of a crowd do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// Each asks five times a second, and reconnects when it asks after it was told to go.
    Busy,
    /// None asks; each reconnects as soon as it was closed, as pools do that keep connections
    /// open.
    Idle,
    /// Each has a WebSocket, and reconnects as soon as it was closed.
    Websockets,
}

impl Crowd {
    /// Every crowd.
    pub const ALL: [Self; 3] = [Self::Busy, Self::Idle, Self::Websockets];

    fn client(self) -> Pool {
        let think = match self {
            Self::Busy => 200 * MS,
            Self::Idle => 100_000 * SECOND,
            Self::Websockets => 100 * MS,
        };
        Pool {
            speaks: if self == Self::Websockets { Speaks::Websocket } else { Speaks::Http1 },
            arrival: Arrival::Closed(1, Think::Exponential(think)),
            preopened: u32::from(self != Self::Websockets),
            at_first: Some(0),
            eager: self != Self::Busy,
            works: vec![Work { kind: WorkKind::Quick, mean: 2 * MS }],
            ..Pool::default()
        }
    }

    /// The most reconnects in any stretch, with this window.
    pub fn peak(self, window: Nanos, at_once: bool) -> usize {
        let outcome = run(&Scenario {
            seed: window,
            path: Path { up: MS, down: MS, loss: 0.0 },
            // It looks away from the server that stops before most come back.
            balancing: Balancing::Probes { period: 20 * MS, threshold: 1, pooled: false },
            pools: vec![self.client(); CLIENTS],
            settings: Settings {
                grace: Some(Grace::Limited(Duration::from_secs(60))),
                window: Some(Duration::from_nanos(window)),
                ..Settings::default()
            },
            stop_at: 2 * SECOND,
            deviations: Deviations { at_once, ..Deviations::default() },
            ..Scenario::default()
        });
        let asked = outcome.drains[0].asked;
        let since: Vec<Nanos> = outcome.connects.into_iter().filter(|at| *at >= asked).collect();
        most_within(&since)
    }
}

/// The most of these moments, which are in order, within a stretch.
fn most_within(moments: &[Nanos]) -> usize {
    let mut from = 0;
    let counts = moments.iter().enumerate().map(|(to, at)| {
        while moments[from] + STRETCH <= *at {
            from += 1;
        }
        to + 1 - from
    });
    counts.max().unwrap_or_default()
}
