//! What became of a run.

use lameduck::report::Report;

use crate::network::Connection;
use crate::request::{Fate, Loss, Request};
use crate::server::Server;
use crate::time::Nanos;
use crate::world::World;

/// What became of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Of the whole trace.
    pub digest: u64,
    /// What must not happen and did, as sentences.
    pub violations: Vec<String>,
    /// Requests with a complete answer.
    pub answered: u64,
    /// Requests that were answered 503.
    pub unavailable: u64,
    /// Requests whose client did not wait.
    pub gave_up: u64,
    /// Attempts that were safely repeated elsewhere.
    pub repeated: u64,
    /// Requests without an answer, by [`Loss::ALL`].
    pub lost: [u64; Loss::ALL.len()],
    /// Connections that a stopping server adopted idle, silent for a round trip by then: how
    /// many lost their next request because it was closed as idle.
    pub silent: Share,
    /// Connections that fell idle after a response which did not announce: the same.
    pub unannounced: Share,
    /// When connections were begun; not those that repeat a refused one.
    pub connects: Vec<Nanos>,
    /// Connections that found no listener and went elsewhere.
    pub refused: u64,
    /// Of each server that stopped, in order.
    pub drains: Vec<Drain>,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub lost: u64,
    /// Of how many.
    pub of: u64,
}

impl Share {
    /// Counts these too.
    pub fn add(&mut self, more: Self) {
        self.lost += more.lost;
        self.of += more.of;
    }

    /// As a probability.
    pub fn rate(self) -> f64 {
        self.lost as f64 / self.of as f64
    }
}

/// How one server ended.
#[derive(Debug)]
pub struct Drain {
    /// When it was asked to stop.
    pub asked: Nanos,
    /// How long it took.
    pub took: Nanos,
    /// The machine's report.
    pub report: Report,
}

impl Outcome {
    pub(crate) fn of(world: &World) -> Self {
        let fates = |wanted: Fate| {
            world.requests.iter().filter(|request| request.fate == Some(wanted)).count() as u64
        };
        let drain = |server: &Server| {
            let (asked, took) = (server.t0, server.done_at - server.t0);
            server.report.clone().map(|report| Drain { asked, took, report })
        };
        Self {
            digest: world.trace.digest(),
            violations: world.violations.clone(),
            answered: fates(Fate::Answered),
            unavailable: fates(Fate::Unavailable),
            gave_up: fates(Fate::GaveUp),
            repeated: fates(Fate::Repeated),
            lost: Loss::ALL.map(|reason| fates(Fate::Lost(reason))),
            silent: silent(world),
            unannounced: world.unannounced,
            connects: world.clients.connects.clone(),
            refused: u64::from(world.clients.refused),
            drains: world.servers.iter().filter_map(drain).collect(),
        }
    }

    /// Adds another run to the counts; the digest becomes that of both.
    pub fn add(&mut self, more: Self) {
        self.digest = self.digest.rotate_left(1) ^ more.digest;
        self.violations.extend(more.violations);
        self.answered += more.answered;
        self.unavailable += more.unavailable;
        self.gave_up += more.gave_up;
        self.repeated += more.repeated;
        for (total, more) in self.lost.iter_mut().zip(more.lost) {
            *total += more;
        }
        self.silent.add(more.silent);
        self.unannounced.add(more.unannounced);
        self.refused += more.refused;
        self.drains.extend(more.drains);
    }

    /// Requests without an answer.
    pub fn lost(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// Those for this reason.
    pub fn lost_by(&self, reason: Loss) -> u64 {
        self.lost[reason as usize]
    }
}

fn silent(world: &World) -> Share {
    let adopted = world.connections.iter().filter(|link| link.host.adopted_silent);
    let raced = |request: &&Request| {
        let link = world.connections.get(request.connection as usize);
        let untouched = |link: &Connection| link.host.adopted_silent && !link.host.asked_since;
        request.fate == Some(Fate::Lost(Loss::Idle)) && link.is_some_and(untouched)
    };
    let lost = world.requests.iter().filter(raced).count();
    Share { lost: lost as u64, of: adopted.count() as u64 }
}
