//! What a driver may do in a state: say something, or let time pass and tick. It need not:
//! one that answers nothing at all is among them, and so is every order.

use std::time::Duration;

use lameduck::{
    Cause, Event, JobOutcome, JobSource, ListenerId, OnDrain, Outcome, Phase, Protocol, RequestId,
    RequestKind, Stage, Time,
};

use crate::bounds::{self, Begins, Bounds, CONNECTIONS, HOOKS};
use crate::history::{Connection, History, HookState, JobState, Request, Standing};

/// One step of a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The request to stop, and the hand-over of what is open.
    Stop(Cause),
    /// One event.
    Say(Event),
    /// Time passes until then, and nobody ticks.
    Sleep(Time),
    /// A tick.
    Tick,
    /// Both, with nothing between them.
    Wake(Time),
    /// From now on it says nothing, and ticks at each wake.
    FallSilent,
    /// Says everything that is illegal here, and ticks when nothing is due. A step only where
    /// that had consequences.
    Meddle,
}

/// How a driver sleeps: exactly until the next wake, longer, or not so long.
pub(crate) fn sleeps(bounds: &Bounds, history: &History, now: Time, wake: Time) -> Vec<Time> {
    let mut sleeps = Vec::new();
    if wake > now {
        sleeps.push(wake);
        let span = wake.since(now);
        if history.between < bounds.between && !history.slept && span > Duration::from_nanos(1) {
            sleeps.push(later(now, span / 2));
        }
    }
    let (times, spans) = bounds.late;
    if history.late < times && !history.slept {
        sleeps.extend(spans.iter().map(|ms| later(wake.max(now), Duration::from_millis(*ms))));
    }
    sleeps
}

fn later(time: Time, span: Duration) -> Time {
    let nanos = u64::try_from(span.as_nanos()).expect("a few seconds");
    Time::from_nanos(time.as_nanos() + nanos)
}

/// The hand-over: what was open at the request to stop.
pub(crate) fn hand_over(bounds: &Bounds) -> impl Iterator<Item = Event> {
    bounds.connections.iter().enumerate().filter_map(|(index, plan)| {
        Some(Event::ConnectionAdopted {
            connection: bounds::connection(index),
            protocol: plan.protocol,
            in_flight: plan.adopted?,
            announced: plan.announced,
        })
    })
}

/// A tunnel that is there at the request to stop and gone at once. The machine's queue lays its buckets
/// out from the first moment that it hears of, 24 bytes for each 4 ms; this one is late, and what is
/// due earlier costs a state nothing. Without it a state holds tens of kilobytes of them.
pub(crate) fn decoy() -> [Event; 2] {
    let connection = bounds::connection(CONNECTIONS);
    let (protocol, in_flight, announced) = (Protocol::Tunnel, 0, false);
    [
        Event::ConnectionAdopted { connection, protocol, in_flight, announced },
        Event::ConnectionClosed { connection },
    ]
}

/// What is registered while serving, in this order.
pub(crate) fn set_up(bounds: &Bounds) -> Vec<Event> {
    let listeners = (0..bounds.listeners).map(bounds::listener);
    let mut events: Vec<Event> =
        listeners.map(|listener| Event::ListenerOpened { listener }).collect();
    for (index, plan) in bounds.hooks.iter().enumerate() {
        if plan.begins == Begins::Serving {
            events.push(register(bounds, index));
        }
    }
    if bounds.job == Some(Begins::Serving) {
        events.push(start_job());
    }
    events
}

fn register(bounds: &Bounds, index: usize) -> Event {
    let plan = &bounds.hooks[index];
    Event::HookRegistered {
        hook: bounds::hook(index),
        stage: plan.stage,
        name: String::new(),
        order: plan.order,
        timeout: plan.timeout.map(Duration::from_millis),
    }
}

fn start_job() -> Event {
    // One that the program itself begins late is refused, and so changes nothing.
    let (source, on_drain) = (JobSource::Request, OnDrain::Wait);
    Event::JobStarted { job: bounds::JOB, name: String::new(), source, on_drain }
}

/// Everything that may be said. The machine may still refuse it.
pub(crate) fn events(bounds: &Bounds, history: &History, into: &mut Vec<Step>) {
    let mut say = |event| into.push(Step::Say(event));
    for (index, listener) in history.listeners.iter().enumerate().filter(|(_, known)| known.open) {
        let listener_id = bounds::listener(index);
        say(Event::ListenerClosed { listener: listener_id });
        if !listener.told_to_close {
            say(Event::ListenerFailed { listener: listener_id, error: String::new() });
        }
    }
    for (index, state) in history.hooks.iter().enumerate() {
        match state {
            HookState::Unborn if index < bounds.hooks.len() => say(register(bounds, index)),
            HookState::Running => {
                let hook = bounds::hook(index);
                say(Event::HookFinished { hook, error: None });
                if bounds.hooks[index].fails {
                    say(Event::HookFinished { hook, error: Some(String::new()) });
                }
            }
            _ => {}
        }
    }
    match history.job {
        JobState::Unborn if bounds.job.is_some() => say(start_job()),
        JobState::Running { cancelled } => {
            say(Event::JobFinished { job: bounds::JOB, outcome: JobOutcome::Completed });
            if cancelled {
                say(Event::JobFinished { job: bounds::JOB, outcome: JobOutcome::Aborted });
            }
        }
        _ => {}
    }
    if history.phase == Phase::Serving {
        return;
    }
    for (index, connection) in history.connections.iter().enumerate() {
        if let Some(plan) = bounds.connections.get(index) {
            connection_events(plan, connection, index, &mut say);
        }
    }
    if history.insisted < bounds.escalations {
        say(Event::Escalate);
    }
    for (index, ms) in bounds.graces.iter().enumerate() {
        if history.graces & 1 << index == 0 {
            say(Event::DeadlineChanged { grace: Duration::from_millis(*ms) });
        }
    }
    for (index, cause) in bounds.later_causes.iter().enumerate() {
        if history.causes & 1 << index == 0 {
            say(Event::Shutdown { cause: *cause, ever_accepted: true });
        }
    }
}

fn connection_events(
    plan: &bounds::Connection,
    known: &Connection,
    index: usize,
    say: &mut impl FnMut(Event),
) {
    let connection = bounds::connection(index);
    match known.standing {
        Standing::Absent if plan.adopted.is_none() => {
            say(Event::ConnectionOpened { connection, protocol: plan.protocol });
        }
        Standing::Absent | Standing::Gone => {}
        Standing::Cut => say(Event::ConnectionClosed { connection }),
        Standing::Open => {
            say(Event::ConnectionClosed { connection });
            if !known.carries() && !known.is_long_lived() {
                say(Event::ConnectionBusy { connection });
            }
            if !known.upgraded {
                for &protocol in plan.upgrades {
                    say(Event::ConnectionUpgraded { connection, protocol });
                }
            }
            request_events(plan, known, index, say);
        }
    }
}

fn request_events(
    plan: &bounds::Connection,
    known: &Connection,
    index: usize,
    say: &mut impl FnMut(Event),
) {
    let connection = bounds::connection(index);
    let mut started = false;
    for (slot, state) in known.requests.iter().enumerate() {
        let request = request_id(slot);
        match *state {
            Request::Unborn if !started => {
                started = true;
                for &kind in plan.requests.get(slot).copied().unwrap_or_default() {
                    say(Event::RequestStarted { connection, request, kind });
                }
            }
            Request::InFlight { finished: true, .. } => {
                say(Event::RequestFlushed { connection, request });
                let (outcome, flushed) = (Outcome::ClientGone, true);
                say(Event::RequestFinished { connection, request, outcome, flushed });
            }
            Request::InFlight { head, described, kind, .. } => {
                if !described {
                    for &other in plan.described.iter().filter(|other| **other != kind.0) {
                        say(describe(index, slot, other));
                    }
                }
                if !head {
                    for &announced in plan.heads {
                        say(Event::RequestHeadersSent { connection, request, announced });
                    }
                }
                for &outcome in plan.outcomes {
                    let flushed = true;
                    say(Event::RequestFinished { connection, request, outcome, flushed });
                }
                let (outcome, flushed) = (Outcome::Completed, false);
                if plan.flushes_late {
                    say(Event::RequestFinished { connection, request, outcome, flushed });
                }
            }
            Request::Unborn | Request::Over => {}
        }
    }
}

pub(crate) fn request_id(slot: usize) -> RequestId {
    RequestId(u32::try_from(slot).expect("few"))
}

fn describe(index: usize, slot: usize, kind: RequestKind) -> Event {
    Event::RequestDescribed {
        connection: bounds::connection(index),
        request: request_id(slot),
        kind,
        label: String::new(),
        since: bounds::T0,
    }
}

/// What no driver in its senses says here: it must be refused.
pub(crate) fn illegal(bounds: &Bounds, history: &History, say: &mut impl FnMut(Event)) {
    let phase = history.phase;
    let known_listener = history.listeners.iter().position(|listener| listener.open);
    if phase != Phase::Serving {
        say(Event::ListenerOpened { listener: ListenerId(99) });
        let stage = Stage::Drain;
        let (hook, name) = (bounds::hook(HOOKS), String::new());
        say(Event::HookRegistered { hook, stage, name, order: 0, timeout: None });
    } else if let Some(index) = known_listener {
        say(Event::ListenerOpened { listener: bounds::listener(index) });
    }
    for (index, listener) in history.listeners.iter().enumerate() {
        if !listener.open {
            say(Event::ListenerClosed { listener: bounds::listener(index) });
            let error = String::new();
            say(Event::ListenerFailed { listener: bounds::listener(index), error });
        }
    }
    for (index, state) in history.hooks.iter().enumerate() {
        if *state != HookState::Running {
            say(Event::HookFinished { hook: bounds::hook(index), error: None });
        }
        if *state != HookState::Unborn {
            say(register(bounds, index));
        }
    }
    match history.job {
        JobState::Running { .. } => say(start_job()),
        JobState::Unborn | JobState::Ended => {
            say(Event::JobFinished { job: bounds::JOB, outcome: JobOutcome::Completed });
        }
    }
    for (index, known) in history.connections.iter().enumerate() {
        illegal_connection(history, known, index, say);
    }
    if matches!(phase, Phase::Serving | Phase::Done) {
        say(Event::Escalate);
        say(Event::DeadlineChanged { grace: Duration::from_secs(1) });
    }
    if phase == Phase::Done {
        say(Event::Shutdown { cause: Cause::Terminate, ever_accepted: true });
        say(start_job());
    }
}

fn illegal_connection(
    history: &History,
    known: &Connection,
    index: usize,
    say: &mut impl FnMut(Event),
) {
    let connection = bounds::connection(index);
    let protocol = Protocol::Http1;
    let there = matches!(known.standing, Standing::Open | Standing::Cut);
    let served = history.phase == Phase::Draining && known.standing == Standing::Open;
    if there || history.phase == Phase::Serving {
        let (in_flight, announced) = (0, false);
        say(Event::ConnectionAdopted { connection, protocol, in_flight, announced });
        say(Event::ConnectionOpened { connection, protocol });
    }
    if !there || history.phase == Phase::Done {
        say(Event::ConnectionClosed { connection });
        say(Event::ConnectionDescribed { connection, peer: String::new() });
    }
    if !served {
        say(Event::ConnectionUpgraded { connection, protocol });
        let (request, kind) = (RequestId(99), RequestKind::Ordinary);
        say(Event::RequestStarted { connection, request, kind });
    }
    if !served || known.carries() || known.is_long_lived() {
        say(Event::ConnectionBusy { connection });
    }
    for (slot, state) in known.requests.iter().enumerate() {
        let request = request_id(slot);
        let finish = Event::RequestFinished {
            connection,
            request,
            outcome: Outcome::Completed,
            flushed: true,
        };
        let head = Event::RequestHeadersSent { connection, request, announced: false };
        match *state {
            Request::InFlight { kind, head: begun, finished, .. } => {
                say(Event::RequestStarted { connection, request, kind: kind.0 });
                if begun {
                    say(head);
                }
                say(if finished { finish } else { Event::RequestFlushed { connection, request } });
            }
            Request::Unborn | Request::Over => {
                say(describe(index, slot, RequestKind::Ordinary));
                say(finish);
                say(head);
                say(Event::RequestFlushed { connection, request });
            }
        }
    }
}
