//! The driver: carries out what the machine says, as `core/src/effect.rs` describes it.

use lameduck::{Effect, Event, Outcome, Phase, Protocol};

use crate::agenda::Happening;
use crate::network::{HostClose, HostEnd, HostState, Message, Way};
use crate::request::{Ending, Request};
use crate::scenario::{Goaway, WorkKind};
use crate::server::{LISTENER, Listener, connection_of, handle, is_long_lived};
use crate::time::MS;
use crate::world::World;

/// No stream is above this: a GOAWAY with it refuses none.
const EVERY_STREAM: u32 = u32::MAX;
/// How long a handler that heeds its abort signal takes to end.
const ROLL_BACK: u64 = 50 * MS;

impl World<'_> {
    pub(crate) fn carry_out(&mut self, server: usize, effect: Effect) {
        if self.servers[server].exit_code.is_some() {
            self.violations.push(format!("{effect:?} after the exit"));
        }
        match effect {
            Effect::AbandonHook { hook } => self.servers[server].abandoned.push(hook.0),
            Effect::AbortRequests => self.abort(server),
            Effect::AnnounceClose { connection } => self.announce(connection_of(connection)),
            Effect::CancelJob { job } => {
                let rolled_back = self.now + self.random.below(2 * ROLL_BACK);
                let ends = Happening::JobEnds { server: server as u32, job: job.0, aborted: true };
                self.plan(rolled_back, ends);
            }
            Effect::CloseIdle { connection, look } => {
                self.close_idle(connection_of(connection), look);
            }
            Effect::CloseListener { .. } => {
                self.close_listener(server);
                self.report_event(server, Event::ListenerClosed { listener: LISTENER });
            }
            Effect::CloseLongLived { connection, request: None } => {
                let connection = connection_of(connection);
                if self.link(connection).host.state == HostState::Accepted {
                    self.send(connection, Way::Down, Message::CloseFrame);
                }
            }
            Effect::CloseLongLived { request: Some(id), connection } => {
                if let Some(request) = self.in_flight(connection_of(connection), id) {
                    self.asked(request).end_sent = true;
                    if self.asked(request).begun {
                        self.answer(request);
                    }
                }
            }
            Effect::Exit { code } => self.exit(server, code),
            Effect::FenceListener { .. } => {
                self.servers[server].listener = Listener::Fenced;
                self.servers[server].fenced_at = self.now;
                if self.scenario.deviations.at_once {
                    self.close_all_idle(server);
                }
            }
            Effect::ForceConnection { connection, unanswered } => {
                self.force(connection_of(connection), unanswered);
            }
            Effect::NotifyLongLived { request: Some(id), connection } => {
                let request = self.in_flight(connection_of(connection), id);
                if let Some(request) = request
                    && self.asked(request).work.kind == WorkKind::LongPoll
                    && self.asked(request).begun
                {
                    self.plan(self.now, Happening::Answer { request });
                }
            }
            Effect::NotifyLongLived { request: None, .. } => {}
            Effect::PhaseChanged { phase } => self.enter(server, phase),
            Effect::RefuseRequest { connection, request } => {
                if let Some(request) = self.in_flight(connection_of(connection), request) {
                    self.asked(request).to_refuse = true;
                }
            }
            Effect::RefuseStreams { connection } => self.final_goaway(connection_of(connection)),
            Effect::RunHook { hook } => {
                if let Some(takes) = self.scenario.hooks[hook.0 as usize].takes {
                    let ends = Happening::HookEnds { server: server as u32, hook: hook.0 };
                    self.plan(self.now + takes, ends);
                }
            }
            Effect::SetReadiness { ready } => self.servers[server].ready = ready,
        }
    }

    /// The request in flight that the machine knows by this id.
    fn in_flight(&mut self, connection: u32, id: lameduck::RequestId) -> Option<u32> {
        let known = self.link(connection).host.in_flight.clone();
        known.into_iter().find(|request| self.asked(*request).id == id)
    }

    fn enter(&mut self, server: usize, phase: Phase) {
        let phases = &mut self.servers[server].phases;
        if phases.last() >= Some(&phase) {
            self.violations.push(format!("{phase:?} after {phases:?}"));
        }
        self.servers[server].phases.push(phase);
    }

    /// From now on the last response says so.
    fn announce(&mut self, connection: u32) {
        let HostEnd { state, protocol, last_stream, .. } = self.link(connection).host;
        if state != HostState::Accepted {
            return;
        }
        self.link(connection).host.tell = true;
        if protocol == Some(Protocol::Http2) {
            match self.scenario.deviations.goaway {
                Goaway::TwoStep => self.goaway(connection, EVERY_STREAM),
                Goaway::Single => self.refuse_streams(connection, last_stream),
                Goaway::Never => {}
            }
        }
    }

    /// The last stream that was processed is known now, and nothing after it is.
    fn final_goaway(&mut self, connection: u32) {
        let HostEnd { state, last_stream, .. } = self.link(connection).host;
        if state == HostState::Accepted {
            self.refuse_streams(connection, last_stream);
        }
    }

    fn goaway(&mut self, connection: u32, last: u32) {
        self.send(connection, Way::Down, Message::Goaway(last));
    }

    fn refuse_streams(&mut self, connection: u32, last: u32) {
        let refusing = std::mem::replace(&mut self.link(connection).host.refusing, true);
        if !refusing && self.scenario.deviations.goaway != Goaway::Never {
            self.goaway(connection, last);
        }
    }

    /// The last look, then half-close.
    fn close_idle(&mut self, connection: u32, look: bool) {
        let HostEnd { state, ref unread, partial, protocol, last_stream, announced, .. } =
            self.connections[connection as usize].host;
        if state != HostState::Accepted {
            return;
        }
        let unread = unread.iter().any(|message| *message != Message::Fin);
        if look && (unread || partial) && !self.scenario.deviations.blind {
            let server = self.link(connection).server as usize;
            self.report_event(server, Event::ConnectionBusy { connection: handle(connection) });
            return;
        }
        if protocol == Some(Protocol::Http2) {
            let told = self.link(connection).host.refusing || self.scenario.deviations.any();
            if look && !told {
                self.violations.push(format!("connection {connection} closed before it was told"));
            }
            self.refuse_streams(connection, last_stream);
        }
        let now = self.now;
        self.link(connection).host.looked_at = look.then_some(now);
        let why = if announced { HostClose::Announced } else { HostClose::Idle };
        self.half_close(connection, why);
    }

    /// Answers what can be answered, then cuts.
    fn force(&mut self, connection: u32, unanswered: u32) {
        let HostEnd { state, protocol, last_stream, ref in_flight, .. } =
            self.link(connection).host;
        let requests = in_flight.clone();
        let server = self.link(connection).server as usize;
        let closing = self.servers[server].machine.phase() == Phase::Closing;
        if state == HostState::Closed || (state == HostState::Lingering && closing) {
            return; // Closing gives the last answer time to leave: read on until then.
        }
        let unsent = requests.iter().filter(|request| {
            let Request { head_sent, unflushed, .. } = self.requests[**request as usize];
            !head_sent && !unflushed
        });
        let unsent = unsent.count() as u32;
        if unsent != unanswered && !is_long_lived(protocol) {
            let said = format!("connection {connection}: {unanswered} unanswered, not {unsent}");
            self.violations.push(said);
        }
        self.link(connection).host.ended = Some(HostClose::Forced);
        let mut cut = false;
        for request in &requests {
            self.asked(*request).begun = true;
        }
        for request in requests {
            // Behind an answer that has begun nothing can be said any more on HTTP/1.1.
            cut |= self.asked(request).head_sent && protocol == Some(Protocol::Http1);
            if !self.asked(request).head_sent && !cut {
                self.write(request, true, true, true);
            }
            self.over_with(request, Ending::Forced);
        }
        if protocol == Some(Protocol::Http2) {
            self.refuse_streams(connection, last_stream);
        }
        if cut || state == HostState::Lingering || is_long_lived(protocol) {
            self.close_socket(connection, HostClose::Forced);
            self.report_event(server, Event::ConnectionClosed { connection: handle(connection) });
        } else {
            self.half_close(connection, HostClose::Forced);
        }
    }

    pub(crate) fn refuse(&mut self, request: u32) {
        self.write(request, true, true, true);
        self.finished(request, Outcome::Refused, true);
        self.over_with(request, Ending::Refused);
    }

    /// Whoever heeds the abort signal ends soon; those who are stuck never do.
    fn abort(&mut self, server: usize) {
        self.servers[server].aborting = true;
        for connection in self.accepted(server) {
            for request in self.link(connection).host.in_flight.clone() {
                let Request { work, begun, .. } = *self.asked(request);
                if begun && work.kind != WorkKind::Stuck {
                    let rolled_back = self.now + self.random.below(ROLL_BACK);
                    self.plan(rolled_back, Happening::Answer { request });
                }
            }
        }
    }

    /// Deviation: told, and ended if nothing but the server ends it, at the request to stop.
    pub(crate) fn tell_at_once(&mut self, server: usize, connection: u32) {
        self.announce(connection);
        if is_long_lived(self.link(connection).host.protocol) {
            self.send(connection, Way::Down, Message::CloseFrame);
        }
        debug_assert_eq!(self.link(connection).server as usize, server);
    }

    /// Deviation: every idle connection is closed in the same instant.
    fn close_all_idle(&mut self, server: usize) {
        for connection in self.accepted(server) {
            if self.link(connection).host.in_flight.is_empty() {
                self.close_idle(connection, true);
            }
        }
    }
}
