//! Small drains of every sort, one a seed: for the invariants, and for what is lost on purpose
//! nowhere. A few clients of a few kinds, any policy that fits, any mishap.

use std::time::Duration;

use lameduck::{Cause, Grace, NewRequests, Policy, Readiness, Settings, Stage};

use crate::network::Path;
use crate::random::Random;
use crate::scenario::{
    Arrival, Balancing, Hook, Incident, Pool, Scenario, Speaks, Think, Work, WorkKind,
};
use crate::time::{MS, Nanos, SECOND};

/// Chance that makes scenarios is not the chance that happens in them.
const PURPOSE: u64 = 1;

/// The drain of this seed.
pub fn drain(seed: u64) -> Scenario {
    let mut random = Random::new(seed, PURPOSE);
    let random = &mut random;
    Scenario {
        seed,
        path: path(random),
        turn: random.pick(&[0, 0, MS, 5 * MS]),
        servers: 2,
        balancing: balancing(random),
        pools: (0..random.between(2, 6)).map(|_| pool(random)).collect(),
        settings: settings(random),
        stop_at: random.between(300 * MS, 1_500 * MS),
        stops: if random.chance(0.1) { vec![0, 1] } else { vec![0] },
        boot: random.between(10 * MS, SECOND),
        cause: cause(random),
        incidents: incidents(random),
        hooks: hooks(random),
        jobs: jobs(random),
        ..Scenario::default()
    }
}

fn path(random: &mut Random) -> Path {
    let one_way = |random: &mut Random| random.between(MS / 10, 40 * MS);
    let loss = random.pick(&[0.0, 0.0, 0.01, 0.05]);
    Path { up: one_way(random), down: one_way(random), loss }
}

fn balancing(random: &mut Random) -> Balancing {
    if random.chance(0.3) {
        return Balancing::Passive;
    }
    let period = random.between(50 * MS, 500 * MS);
    let threshold = random.between(1, 3) as u32;
    Balancing::Probes { period, threshold, pooled: random.chance(0.5) }
}

fn pool(random: &mut Random) -> Pool {
    let speaks = random.pick(&[
        Speaks::Http1,
        Speaks::Http1,
        Speaks::Http1,
        Speaks::Http2,
        Speaks::Http2,
        Speaks::Websocket,
    ]);
    let mean = random.between(10 * MS, SECOND);
    let arrival = match random.below(3) {
        0 if speaks != Speaks::Websocket => Arrival::Open(mean),
        1 => Arrival::Closed(random.between(1, 3) as u32, Think::Fixed(mean)),
        _ => Arrival::Closed(random.between(1, 3) as u32, Think::Exponential(mean)),
    };
    let websocket = speaks == Speaks::Websocket;
    Pool {
        speaks,
        arrival,
        preopened: if websocket { 0 } else { random.below(3) as u32 },
        at_first: random.chance(0.5).then_some(0),
        idle_timeout: random.chance(0.3).then(|| random.between(50 * MS, 2 * SECOND)),
        works: if websocket {
            vec![Work { kind: WorkKind::Quick, mean: 2 * MS }]
        } else {
            (0..random.between(1, 3)).map(|_| work(random)).collect()
        },
        unrepeatable: random.pick(&[0.0, 0.5, 1.0]),
        repeats: random.chance(0.5),
        repeats_refused: random.chance(0.5),
        eager: random.chance(0.2),
        stays: random.chance(0.5),
        pipelined: random.pick(&[0.0, 0.0, 0.3]),
        split: random.pick(&[0.0, 0.0, 0.2]),
        one_shot: random.pick(&[0.0, 0.0, 0.1]),
        patience: random.chance(0.3).then(|| random.between(50 * MS, 5 * SECOND)),
    }
}

fn work(random: &mut Random) -> Work {
    use WorkKind::{Download, LongPoll, Quick, SlowReader, Stream, Stuck, Upload};
    // Stuck handlers hold every drain up to its deadline: rare enough that most end before.
    let kinds = [Quick, Quick, Quick, Quick, Quick, Download, SlowReader, Upload, LongPoll, Stream];
    let kind = if random.chance(0.03) { Stuck } else { random.pick(&kinds) };
    let mean = match kind {
        Quick => random.between(MS, 50 * MS),
        LongPoll => random.between(SECOND, 20 * SECOND),
        Download | SlowReader | Stream | Stuck | Upload => random.between(10 * MS, SECOND),
    };
    Work { kind, mean }
}

fn span(random: &mut Random, most: Nanos) -> Option<Duration> {
    random.chance(0.6).then(|| Duration::from_nanos(random.between(0, most / MS) * MS))
}

fn settings(random: &mut Random) -> Settings {
    let grace = Duration::from_nanos(random.between(500 * MS, 15 * SECOND));
    let asked = Settings {
        grace: Some(Grace::Limited(grace)),
        margin: span(random, 500 * MS),
        reserve: span(random, 2 * SECOND),
        window: span(random, 2 * SECOND),
        window_idle: span(random, 500 * MS).filter(|_| random.chance(0.3)),
        settle: span(random, 200 * MS),
        quiet: span(random, SECOND),
        abort_lead: span(random, SECOND),
        new_requests: random.chance(0.05).then_some(NewRequests::Refuse),
        readiness: random.chance(0.1).then_some(Readiness::Keep),
        seed: Some(random.below(u64::MAX)),
        interactive: random.chance(0.05),
        ..Settings::default()
    };
    match Policy::resolve(&asked, &Settings::default()) {
        Ok(_) => asked,
        Err(_) => Settings { grace: asked.grace, seed: asked.seed, ..Settings::default() },
    }
}

fn cause(random: &mut Random) -> Cause {
    if random.chance(0.9) { Cause::Terminate } else { random.pick(&Cause::ALL) }
}

fn incidents(random: &mut Random) -> Vec<(Nanos, Incident)> {
    let mut incidents = Vec::new();
    while random.chance(0.1) {
        let incident = match random.below(3) {
            0 => Incident::Escalate,
            1 => Incident::Grace(Duration::from_nanos(random.between(0, 20 * SECOND))),
            _ => Incident::Cause(random.pick(&Cause::ALL)),
        };
        incidents.push((random.between(0, 5 * SECOND), incident));
    }
    incidents
}

fn hooks(random: &mut Random) -> Vec<Hook> {
    let mut hooks = Vec::new();
    while random.chance(0.3) {
        hooks.push(Hook {
            stage: random.pick(&[Stage::Drain, Stage::Close, Stage::Flush]),
            order: random.between(0, 2) as i32,
            takes: (!random.chance(0.05)).then(|| random.exponential(100 * MS)),
            fails: random.chance(0.05),
            timeout: random.chance(0.3).then(|| Duration::from_millis(random.below(500))),
        });
    }
    hooks
}

fn jobs(random: &mut Random) -> Vec<Option<Nanos>> {
    let mut jobs = Vec::new();
    while random.chance(0.15) {
        jobs.push((!random.chance(0.1)).then(|| random.exponential(SECOND)));
    }
    jobs
}
