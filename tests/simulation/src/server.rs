//! One process of the server: its life, and the machine that decides how it ends.

use std::collections::VecDeque;

use lameduck::ledger;
use lameduck::report::Report;
use lameduck::{
    ConnectionId, Event, HookId, JobId, JobOutcome, JobSource, ListenerId, Machine, OnDrain, Phase,
    Policy, Protocol, Refused, RequestId, Settings, Time,
};

use crate::agenda::Happening;
use crate::network::{HostClose, HostState};
use crate::request::{Arrived, Ending, Request};
use crate::scenario::{Incident, Scenario};
use crate::time::{MS, Nanos};
use crate::world::World;

pub(crate) const LISTENER: ListenerId = ListenerId(0);
/// The virtual clock's origin is not the machine's: a minute lies between.
const ORIGIN: Nanos = 60_000 * MS;
/// Once it is ready again the next server is asked to stop after this.
const PAUSE: Nanos = 500 * MS;

pub(crate) struct Server {
    pub(crate) slot: u32,
    pub(crate) machine: Machine,
    pub(crate) life: Life,
    pub(crate) listener: Listener,
    pub(crate) fenced_at: Nanos,
    pub(crate) closed_at: Nanos,
    pub(crate) accept_queue: VecDeque<u32>,
    /// What readiness probes are answered.
    pub(crate) ready: bool,
    /// Hooks that it no longer waits for.
    pub(crate) abandoned: Vec<u32>,
    /// Jobs that have ended.
    ended_jobs: Vec<u32>,
    /// The abort signals have fired.
    pub(crate) aborting: bool,
    /// Whether effects are being taken; they are taken in order.
    pub(crate) taking: bool,
    /// The earliest wake that is planned.
    wake: Option<Nanos>,
    /// When it was asked to stop.
    pub(crate) t0: Nanos,
    /// T, as the machine said last.
    said: Option<Nanos>,
    /// The same, and no earlier than it said so.
    pub(crate) deadline: Option<Nanos>,
    pub(crate) done_at: Nanos,
    pub(crate) phases: Vec<Phase>,
    pub(crate) exit_code: Option<u8>,
    pub(crate) report: Option<Report>,
    /// Connections that it accepted since it was asked to stop, and had before.
    pub(crate) opened: u64,
    pub(crate) adopted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Serving,
    Draining,
    Exited,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    Closed,
    Fenced,
    Open,
}

impl Server {
    pub(crate) fn new(slot: u32, scenario: &Scenario) -> Self {
        let policy = Policy::resolve(&scenario.settings, &Settings::default());
        Self {
            slot,
            machine: Machine::new(policy.expect("the scenario's settings fit")),
            life: Life::Serving,
            listener: Listener::Closed,
            fenced_at: 0,
            closed_at: 0,
            accept_queue: VecDeque::new(),
            ready: true,
            abandoned: Vec::new(),
            ended_jobs: Vec::new(),
            aborting: false,
            taking: false,
            wake: None,
            t0: 0,
            said: None,
            deadline: None,
            done_at: 0,
            phases: Vec::new(),
            exit_code: None,
            report: None,
            opened: 0,
            adopted: 0,
        }
    }

    pub(crate) fn answers_ready(&self) -> bool {
        self.ready && self.listener == Listener::Open
    }
}

/// A connection's handle in the ledger; slots are not reused here.
pub(crate) fn handle(connection: u32) -> ConnectionId {
    ConnectionId(ledger::handle(1, connection))
}

pub(crate) fn connection_of(id: ConnectionId) -> u32 {
    ledger::index_of(id.0)
}

impl World<'_> {
    pub(crate) fn machine_time(&self) -> Time {
        Time::from_nanos(ORIGIN + self.now)
    }

    /// A process begins to listen.
    pub(crate) fn listen(&mut self, server: usize) {
        self.servers[server].listener = Listener::Open;
        self.say(server, Event::ListenerOpened { listener: LISTENER });
        for (hook, number) in self.scenario.hooks.iter().zip(0..) {
            self.say(
                server,
                Event::HookRegistered {
                    hook: HookId(number),
                    stage: hook.stage,
                    name: format!("hook {number}"),
                    order: hook.order,
                    timeout: hook.timeout,
                },
            );
        }
        for job in 0..self.scenario.jobs.len() as u32 {
            let name = format!("job {job}");
            let (source, on_drain) = (JobSource::Background, OnDrain::Wait);
            self.say(server, Event::JobStarted { job: JobId(job), name, source, on_drain });
        }
    }

    /// The request to stop, and the hand-over.
    pub(crate) fn stop(&mut self, slot: u32) {
        let server = self.slots[slot as usize] as usize;
        if !self.takes_for_ready(slot) {
            // The balancer has not found the new process yet: stop the next one later.
            self.plan(self.now + PAUSE, Happening::Stop { slot });
            return;
        }
        self.stopped += 1;
        self.servers[server].life = Life::Draining;
        self.servers[server].t0 = self.now;
        let cause = self.scenario.cause;
        self.say(server, Event::Shutdown { cause, ever_accepted: true });
        self.plan_what_happens_to(server);
        for connection in self.accepted(server) {
            self.adopt(server, connection);
        }
    }

    fn plan_what_happens_to(&mut self, server: usize) {
        let number = server as u32;
        for (job, takes) in (0..).zip(&self.scenario.jobs) {
            if let Some(takes) = takes {
                let ends = Happening::JobEnds { server: number, job, aborted: false };
                self.plan(self.now + takes, ends);
            }
        }
        for (index, (after, _)) in (0..).zip(&self.scenario.incidents) {
            self.plan(self.now + after, Happening::Incident { server: number, index });
        }
    }

    fn adopt(&mut self, server: usize, connection: u32) {
        let long_ago = self.now.saturating_sub(self.scenario.path.round_trip());
        let host = &mut self.connections[connection as usize].host;
        let idle = host.in_flight.is_empty() && !host.partial && host.unread.is_empty();
        host.adopted_silent = idle && host.last_sent <= long_ago;
        host.asked_since = false;
        let protocol = host.protocol.expect("it was accepted");
        let requests = host.in_flight.clone();
        host.next_id = requests.len() as u32;
        let in_flight = host.next_id;
        let announced = host.announced;
        self.servers[server].adopted += 1;
        let id = handle(connection);
        let adopted = Event::ConnectionAdopted { connection: id, protocol, in_flight, announced };
        self.say(server, adopted);
        for (number, request) in (0..).zip(requests) {
            self.asked(request).id = RequestId(number);
            let known = *self.asked(request);
            let (request, kind) = (known.id, known.kind());
            let (label, since) = ("GET /".to_owned(), self.machine_time());
            let described = Event::RequestDescribed { connection: id, request, kind, label, since };
            self.say(server, described);
            if known.head_sent {
                let sent = Event::RequestHeadersSent { connection: id, request, announced };
                self.say(server, sent);
            }
            if known.unflushed {
                let (outcome, flushed) = (lameduck::Outcome::Completed, false);
                let finished = Event::RequestFinished { connection: id, request, outcome, flushed };
                self.say(server, finished);
            }
        }
        if self.scenario.deviations.at_once {
            self.tell_at_once(server, connection);
        }
    }

    /// Says it to the machine once the server is stopping; before, the driver only counts.
    pub(crate) fn report_event(&mut self, server: usize, event: Event) {
        if self.servers[server].life == Life::Draining {
            self.say(server, event);
        }
    }

    pub(crate) fn say(&mut self, server: usize, event: Event) {
        let now = self.machine_time();
        let taken = self.servers[server].machine.handle(event.clone(), now);
        if let Err(refused) = taken
            && !matches!(refused, Refused::Closing | Refused::Done | Refused::Forced)
        {
            self.violations.push(format!("{event:?} was refused: {refused:?}"));
        }
        self.take_effects(server);
    }

    fn take_effects(&mut self, server: usize) {
        if std::mem::replace(&mut self.servers[server].taking, true) {
            return;
        }
        while let Some(effect) = self.servers[server].machine.poll_effect() {
            self.trace.line(self.now, &effect);
            self.carry_out(server, effect);
        }
        self.servers[server].taking = false;
    }

    pub(crate) fn wake(&mut self, server: usize) {
        self.servers[server].wake = None;
    }

    /// Ticks every machine that wants it, and plans its next wake.
    pub(crate) fn settle_servers(&mut self) {
        for server in 0..self.servers.len() {
            if self.servers[server].life == Life::Draining {
                self.settle(server);
            }
        }
    }

    fn settle(&mut self, server: usize) {
        self.note_deadline(server);
        let now = self.machine_time();
        while let Some((at, _)) = self.servers[server].machine.next_wake()
            && at <= now
        {
            self.servers[server].machine.tick(now);
            self.take_effects(server);
        }
        self.note_deadline(server);
        let Server { machine, wake, .. } = &mut self.servers[server];
        let next = machine.next_wake().map(|(at, _)| at.as_nanos().saturating_sub(ORIGIN));
        if let Some(next) = next.filter(|next| wake.is_none_or(|planned| *next < planned)) {
            *wake = Some(next);
            self.plan(next, Happening::Wake { server: server as u32 });
        }
    }

    fn note_deadline(&mut self, server: usize) {
        let server = &mut self.servers[server];
        let hard = server.machine.hard_deadline().map(|at| at.as_nanos().saturating_sub(ORIGIN));
        if server.life == Life::Draining && hard != server.said {
            server.said = hard;
            server.deadline = hard.map(|at| at.max(self.now));
        }
    }

    pub(crate) fn incident(&mut self, server: usize, index: u32) {
        let event = match self.scenario.incidents[index as usize].1 {
            Incident::Escalate => Event::Escalate,
            Incident::Grace(grace) => Event::DeadlineChanged { grace },
            Incident::Cause(cause) => Event::Shutdown { cause, ever_accepted: true },
        };
        self.report_event(server, event);
    }

    pub(crate) fn hook_ends(&mut self, server: usize, hook: u32) {
        if self.servers[server].abandoned.contains(&hook) {
            return;
        }
        let error = self.scenario.hooks[hook as usize].fails.then(|| "it broke".to_owned());
        self.report_event(server, Event::HookFinished { hook: HookId(hook), error });
    }

    pub(crate) fn job_ends(&mut self, server: usize, job: u32, aborted: bool) {
        // At the drain deadline the machine took a verdict itself.
        let late = self.servers[server].machine.phase() != Phase::Draining;
        if late || self.servers[server].ended_jobs.contains(&job) {
            return;
        }
        self.servers[server].ended_jobs.push(job);
        let outcome = if aborted { JobOutcome::Aborted } else { JobOutcome::Completed };
        self.report_event(server, Event::JobFinished { job: JobId(job), outcome });
    }

    /// The process ends: its kernel closes what is open.
    pub(crate) fn exit(&mut self, server: usize, code: u8) {
        let report = self.servers[server].machine.report(self.machine_time());
        let ended = &mut self.servers[server];
        ended.life = Life::Exited;
        ended.exit_code = Some(code);
        ended.report = Some(report);
        ended.done_at = self.now;
        let slot = ended.slot;
        self.close_listener(server);
        for connection in self.accepted(server) {
            self.leave_open(server, connection);
        }
        let boot = self.now + self.scenario.boot;
        if self.stopped < self.scenario.stops.len() {
            self.plan(boot, Happening::Boot { slot });
        } else {
            self.over = true;
        }
    }

    /// At its end no process may leave anything open that it was not told to cut.
    fn leave_open(&mut self, server: usize, connection: u32) {
        if self.link(connection).host.state == HostState::Accepted {
            self.violations.push(format!("server {server} left connection {connection} open"));
        }
        self.link(connection).host.left_at_exit = true;
        self.close_socket(connection, HostClose::Exit);
    }

    /// A new process takes the slot; the next server of the restart is asked to stop.
    pub(crate) fn boot(&mut self, slot: u32) {
        let server = self.servers.len();
        self.servers.push(Server::new(slot, self.scenario));
        self.slots[slot as usize] = server as u32;
        self.listen(server);
        let next = self.scenario.stops[self.stopped];
        self.plan(self.now + PAUSE, Happening::Stop { slot: next as u32 });
    }

    /// What the wire saw of the requests that a machine accounts for, by how they ended.
    pub(crate) fn endings(&self, server: usize) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(move |request| {
            let counts =
                request.arrived != Arrived::NotYet && request.ending != Some(Ending::Before);
            request.server as usize == server && counts
        })
    }
}

/// Whether the server ends connections of this protocol itself.
pub(crate) fn is_long_lived(protocol: Option<Protocol>) -> bool {
    matches!(protocol, Some(Protocol::Websocket | Protocol::Tunnel | Protocol::Other))
}
