//! Rolling restarts: both servers stop, one after the other, under the same clients.

use std::time::Duration;

use lameduck::{Grace, Settings};

use crate::network::Path;
use crate::scenario::{
    Arrival, Balancing, Deviations, Goaway, Pool, Scenario, Speaks, Think, Work, WorkKind,
};
use crate::time::{MS, Nanos, SECOND};

/// Servers and clients in one place, 10 ms apart, nothing lost on the wire.
const NEAR: Path = Path { up: 10 * MS, down: 10 * MS, loss: 0.0 };

fn both(seed: u64, balancing: Balancing, pools: Vec<Pool>, settings: Settings) -> Scenario {
    let grace = Some(Grace::Limited(Duration::from_secs(30)));
    let settings = Settings { grace, seed: Some(seed), ..settings };
    let stops = vec![0, 1];
    Scenario { seed, path: NEAR, balancing, pools, settings, stops, ..Scenario::default() }
}

/// Requests that end within a second, half of which may not be repeated, and nobody repeats.
fn traffic(speaks: Speaks, arrival: Arrival, preopened: u32) -> Pool {
    let work = |kind, mean| Work { kind, mean };
    Pool {
        speaks,
        arrival,
        preopened,
        works: vec![
            work(WorkKind::Quick, 5 * MS),
            work(WorkKind::Quick, 40 * MS),
            work(WorkKind::Download, 100 * MS),
            work(WorkKind::SlowReader, 50 * MS),
            work(WorkKind::Upload, 50 * MS),
        ],
        unrepeatable: 0.5,
        ..Pool::default()
    }
}

/// A balancer that probes, with connections of its own (L7), and servers that give it `window`.
/// The least that loses nothing is [`enough`].
pub fn probed(seed: u64, window: Nanos) -> Scenario {
    let balancing = Balancing::Probes { period: PERIOD, threshold: THRESHOLD, pooled: true };
    let pools = vec![
        traffic(Speaks::Http1, Arrival::Open(20 * MS), 4),
        traffic(Speaks::Http1, Arrival::Closed(8, Think::Exponential(300 * MS)), 8),
    ];
    let settings = Settings {
        window: Some(Duration::from_nanos(window)),
        // The worst case: nothing but the window protects anybody, and all is closed at once.
        quiet: Some(Duration::ZERO),
        interactive: true,
        settle: Some(Duration::from_millis(100)),
        ..Settings::default()
    };
    both(seed, balancing, pools, settings)
}

/// How often the balancer asks.
pub const PERIOD: Nanos = 200 * MS;
/// How many refusals convince it.
pub const THRESHOLD: u32 = 2;

/// The last probe before the request to stop finds the server ready; `THRESHOLD` periods
/// later at most the balancer's last refusal leaves the server, one way down later the balancer
/// knows, and what it sent until then is one way up from arriving.
pub fn enough() -> Nanos {
    PERIOD * Nanos::from(THRESHOLD) + NEAR.round_trip()
}

/// Clients of their own connections (L4) behind a balancer that sees nothing but refused
/// connections, and servers without a window that close after `quiet`. Each client closes what
/// was idle for `idle_timeout`.
pub fn timed_out(seed: u64, idle_timeout: Option<Nanos>, quiet: Nanos) -> Scenario {
    let client = |interval| Pool {
        idle_timeout,
        ..traffic(Speaks::Http1, Arrival::Closed(1, Think::Exponential(interval)), 1)
    };
    let pools = [100 * MS, 300 * MS, SECOND, 3 * SECOND].map(client);
    let settings = Settings {
        window: Some(Duration::ZERO),
        quiet: Some(Duration::from_nanos(quiet)),
        interactive: true,
        settle: Some(Duration::from_millis(100)),
        ..Settings::default()
    };
    let pools = pools.iter().cycle().take(16).cloned().collect();
    both(seed, Balancing::Passive, pools, settings)
}

/// The round trip of these restarts.
pub fn round_trip() -> Nanos {
    NEAR.round_trip()
}

/// HTTP/2 clients behind a balancer that sees nothing, and servers that announce by `goaway`.
/// `repeats` says whether clients repeat what a GOAWAY refused.
pub fn http2(seed: u64, goaway: Goaway, repeats: bool, quiet: Nanos) -> Scenario {
    let client = |interval| Pool {
        repeats_refused: repeats,
        // Of the slower ones the server must close the connections itself.
        stays: interval > 20 * MS,
        ..traffic(Speaks::Http2, Arrival::Open(interval), 1)
    };
    let pools = [5 * MS, 20 * MS, 100 * MS, SECOND].map(client);
    let settings = Settings {
        window: Some(Duration::from_secs(1)),
        quiet: Some(Duration::from_nanos(quiet)),
        ..Settings::default()
    };
    let deviations = Deviations { goaway, ..Deviations::default() };
    let mut scenario = both(seed, Balancing::Passive, pools.into(), settings);
    // Who is never told never goes: those drains last until their deadline.
    scenario.settings.grace = Some(Grace::Limited(Duration::from_secs(4)));
    scenario.deviations = deviations;
    scenario
}
