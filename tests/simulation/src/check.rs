//! What holds for every run, whatever its scenario.

use lameduck::report::Report;
use lameduck::{Cause, Phase, Severity};

use crate::network::HostClose;
use crate::request::{Arrived, Ending, Fate, Loss, Request};
use crate::server::Life;
use crate::world::World;

/// Notes every violation that shows only in the end.
pub(crate) fn all(world: &mut World) {
    let mut found = Vec::new();
    drains(world, &mut found);
    answers(world, &mut found);
    cuts(world, &mut found);
    losses(world, &mut found);
    world.violations.append(&mut found);
}

/// Each server that was asked to stop is Done by T, and its report is what the wire saw.
fn drains(world: &World, found: &mut Vec<String>) {
    let stopped = world.servers.iter().filter(|server| server.life != Life::Serving).count();
    if stopped != world.scenario.stops.len() {
        found.push(format!("{stopped} servers stopped, not {}", world.scenario.stops.len()));
    }
    for (number, server) in world.servers.iter().enumerate() {
        if server.life == Life::Serving {
            continue;
        }
        let mut complain = |what: String| found.push(format!("server {number}: {what}"));
        let Some(report) = &server.report else {
            complain("never done".to_owned());
            continue;
        };
        if server.deadline.is_some_and(|deadline| server.done_at > deadline) {
            let late = server.done_at - server.deadline.unwrap_or_default();
            complain(format!("done {late} ns after T"));
        }
        let path = [Phase::Draining, Phase::Closing, Phase::Done];
        if server.phases != path {
            complain(format!("phases {:?}", server.phases));
        }
        if server.exit_code != Some(report.exit_code) {
            complain(format!("exit {:?}, report {}", server.exit_code, report.exit_code));
        }
        let said = &report.requests;
        let verdicts = said.completed + said.client_gone + said.refused + said.ended + said.forced;
        if said.adopted + said.admitted != verdicts || said.in_flight != 0 {
            complain(format!("verdicts do not balance: {said:?}"));
        }
        let count = |arrived| {
            world.endings(number).filter(|request| request.arrived == arrived).count() as u64
        };
        let ended = |ending| {
            world.endings(number).filter(|request| request.ending == Some(ending)).count() as u64
        };
        let connections = &report.connections;
        let pairs = [
            ("adopted", said.adopted, count(Arrived::Serving)),
            ("admitted", said.admitted, count(Arrived::Draining)),
            ("not processed", said.not_processed, count(Arrived::NotProcessed)),
            ("completed", said.completed, ended(Ending::Completed)),
            ("client gone", said.client_gone, ended(Ending::ClientGone)),
            ("refused", said.refused, ended(Ending::Refused)),
            ("ended", said.ended, ended(Ending::Ended)),
            ("forced", said.forced, ended(Ending::Forced)),
            ("connections adopted", connections.adopted, server.adopted),
            ("connections opened", connections.opened, server.opened),
        ];
        for (what, report, wire) in pairs {
            if report != wire {
                complain(format!("{what}: the report says {report}, the wire {wire}"));
            }
        }
        let clean = said.forced == 0
            && report.hooks.iter().all(|hook| hook.result == "ok")
            && report.jobs.aborted + report.jobs.forced + report.jobs.failed == 0
            && !was_fatal(report);
        if clean != (report.exit_code == 0) {
            complain(format!("exit code {} for {:?}", report.exit_code, report.lost));
        }
    }
}

fn was_fatal(report: &Report) -> bool {
    let causes = report.cause.iter().chain(&report.raised_by);
    let fatal = |cause: &Cause| cause.severity() == Severity::Fatal;
    causes.into_iter().any(|said| {
        Cause::ALL.iter().filter(|cause| fatal(cause)).any(|cause| cause.name() == *said)
    })
}

/// Nothing is answered twice, nothing that may not be repeated is done twice, and every
/// attempt has an end.
fn answers(world: &World, found: &mut Vec<String>) {
    for (number, wish) in world.wishes.iter().enumerate() {
        if wish.answers > 1 {
            found.push(format!("wish {number} was answered {} times", wish.answers));
        }
        if wish.unrepeatable && wish.processed > 1 {
            found.push(format!("wish {number} was processed {} times", wish.processed));
        }
    }
    for (number, request) in world.requests.iter().enumerate() {
        let gone = world.servers[request.server as usize].life != Life::Serving;
        let counted = request.arrived != Arrived::NotYet;
        let owed = counted && request.arrived != Arrived::NotProcessed;
        if gone && owed && request.ending.is_none() {
            found.push(format!("request {number} has no verdict"));
        }
        if gone && request.fate.is_none() {
            found.push(format!("request {number} waits for a process that is gone"));
        }
        if request.fate == Some(Fate::Answered)
            && !matches!(request.ending, Some(Ending::Before | Ending::Completed | Ending::Ended))
        {
            found.push(format!("request {number} was answered but {:?}", request.ending));
        }
    }
}

/// A response that began and did not end was forced, or its client did not wait.
fn cuts(world: &World, found: &mut Vec<String>) {
    for (number, request) in world.requests.iter().enumerate() {
        let cut = request.head_seen && matches!(request.fate, Some(Fate::Lost(_)));
        if cut && request.ending != Some(Ending::Forced) && !after_the_end(world, request) {
            found.push(format!("the answer to request {number} was cut: {:?}", request.ending));
        }
    }
}

/// Every loss has a reason that is allowed.
fn losses(world: &World, found: &mut Vec<String>) {
    let faithful = !world.scenario.deviations.any();
    for (number, request) in world.requests.iter().enumerate() {
        let Some(Fate::Lost(reason)) = request.fate else {
            continue;
        };
        let link = &world.connections[request.connection as usize];
        let http2 = link.host.protocol == Some(lameduck::Protocol::Http2);
        let allowed = match reason {
            Loss::Announced | Loss::Exit => after_the_end(world, request),
            Loss::Backlog => too_short_to_settle(world, request),
            Loss::Forced => link.host.ended == Some(HostClose::Forced),
            Loss::Idle if http2 => after_the_end(world, request),
            Loss::Idle => on_the_wire(world, request),
            Loss::Refused => http2 && !world.scenario.pools[link.pool as usize].repeats_refused,
            Loss::Unreachable => false,
        };
        if faithful && !allowed {
            found.push(format!("request {number} was lost: {reason:?}"));
        }
        let processed = matches!(request.arrived, Arrived::Serving | Arrived::Draining);
        let completed = processed && request.ending == Some(Ending::Completed);
        if completed && !after_the_end(world, request) {
            found.push(format!("request {number} was completed and lost: {reason:?}"));
        }
    }
}

/// The last words left, a segment of them was lost, and the process ended before its client had
/// closed: the kernel repeats the segment, but a byte of the client's that finds no process
/// resets the connection before. No server can do anything about that.
fn after_the_end(world: &World, request: &Request) -> bool {
    let link = &world.connections[request.connection as usize];
    link.host.left_at_exit && world.scenario.path.loss > 0.0
}

/// A handshake that was under way when the listener was fenced needs a round trip, and more when
/// something was lost.
fn too_short_to_settle(world: &World, request: &Request) -> bool {
    let server = &world.servers[request.server as usize];
    let settled = server.closed_at - server.fenced_at;
    settled < world.scenario.path.round_trip() || world.scenario.path.loss > 0.0
}

/// What had arrived when the last look was taken must not be lost; unless the time for half a
/// head was over.
fn on_the_wire(world: &World, request: &Request) -> bool {
    let path = &world.scenario.path;
    let host = &world.connections[request.connection as usize].host;
    let arrived_after = |closed| request.sent_at + path.up >= closed;
    host.looked_at.is_none_or(arrived_after) || path.loss > 0.0
}
