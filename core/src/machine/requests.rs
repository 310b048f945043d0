//! Connections and requests, from the hand-over to their verdict.

use alloc::collections::VecDeque;
use alloc::string::String;

use super::Machine;
use super::queue::Queue;
use crate::connection::{Connection, Fate, Notice, Request, Situation};
use crate::effect::Effect;
use crate::event::{Outcome, RequestKind};
use crate::id::{ConnectionId, RequestId};
use crate::ledger::IN_FLIGHT_MAX;
use crate::manner::{self, CLOSE_HANDSHAKE, HEAD_ALLOWANCE, LINGER, Told};
use crate::phase::Phase;
use crate::policy::NewRequests;
use crate::protocol::Protocol;
use crate::refusal::Refused;
use crate::time::{Time, nanos};

impl Machine {
    pub(super) fn adopt(
        &mut self,
        id: ConnectionId,
        protocol: Protocol,
        in_flight: u32,
        announced: bool,
    ) -> Result<(), Refused> {
        if in_flight > u32::from(IN_FLIGHT_MAX) {
            return Err(Refused::TooMany);
        }
        // While Serving nothing is stamped: what was idle has been quiet since t0.
        let t0 = self.t0;
        let connection = self.connections.insert(Connection::new(id, protocol, t0))?;
        // An HTTP/2 peer that was told heard the first GOAWAY; the final one is still to come.
        if announced && protocol == Protocol::Http2 {
            connection.notice = Notice::Told;
        } else {
            connection.announced = announced;
        }
        for request in (0..in_flight).map(RequestId) {
            let request = Request::new(request, RequestKind::Ordinary, t0);
            self.accounts.begin(connection, request);
        }
        let tally = &mut self.accounts.tally;
        tally.connections_adopted += 1;
        tally.adopted += u64::from(in_flight);
        begin(connection, t0, &self.situation, &mut self.queue, &mut self.effects);
        Ok(())
    }

    pub(super) fn connection_opened(
        &mut self,
        id: ConnectionId,
        protocol: Protocol,
        now: Time,
    ) -> Result<(), Refused> {
        let connection = self.connections.insert(Connection::new(id, protocol, now))?;
        self.accounts.tally.connections_opened += 1;
        self.last_arrival = now;
        begin(connection, now, &self.situation, &mut self.queue, &mut self.effects);
        Ok(())
    }

    pub(super) fn connection(&mut self, id: ConnectionId) -> Result<&mut Connection, Refused> {
        self.connections.at_mut(id).ok_or(Refused::UnknownConnection)
    }

    /// The connection, unless it was cut.
    fn standing(&mut self, id: ConnectionId) -> Result<&mut Connection, Refused> {
        let connection = self.connection(id)?;
        if connection.fate == Fate::Forced { Err(Refused::Forced) } else { Ok(connection) }
    }

    pub(super) fn connection_upgraded(
        &mut self,
        id: ConnectionId,
        protocol: Protocol,
        now: Time,
    ) -> Result<(), Refused> {
        let connection = self.standing(id)?;
        connection.protocol = protocol;
        // What was told in the old protocol's way is to be told in the new one's.
        connection.announced = false;
        connection.notice = Notice::Untold;
        connection.notice_since = now;
        connection.quiet_since = now;
        let connection = self.connections.at_mut(id).ok_or(Refused::UnknownConnection)?;
        begin(connection, now, &self.situation, &mut self.queue, &mut self.effects);
        Ok(())
    }

    /// The last look found bytes: the connection stays, for a bounded time that
    /// progress does not extend.
    pub(super) fn connection_busy(&mut self, id: ConnectionId, now: Time) -> Result<(), Refused> {
        let allowance = self.plan.drain.map_or(HEAD_ALLOWANCE, |t2| {
            HEAD_ALLOWANCE.min(t2.since(self.emptying_since.unwrap_or(now)) / 2)
        });
        let connection = self.standing(id)?;
        if !connection.is_idle() {
            return Err(Refused::NotIdle);
        }
        if connection.head_until().is_some() {
            return Err(Refused::AllowanceSpent);
        }
        connection.allow_head(Some(now.plus(allowance)));
        connection.fate = Fate::Open;
        self.schedule(id);
        Ok(())
    }

    pub(super) fn connection_closed(&mut self, id: ConnectionId) -> Result<(), Refused> {
        let connection = self.connections.remove(id).ok_or(Refused::UnknownConnection)?;
        self.queue.forget();
        self.accounts.close(connection);
        Ok(())
    }

    pub(super) fn request_started(
        &mut self,
        id: ConnectionId,
        request: RequestId,
        kind: RequestKind,
        now: Time,
    ) -> Result<(), Refused> {
        let connection = self.standing(id)?;
        if connection.requests().iter().any(|known| known.id == request) {
            return Err(Refused::AlreadyKnown);
        }
        self.last_arrival = now;
        let connection = self.connections.at_mut(id).ok_or(Refused::UnknownConnection)?;
        if connection.announced || connection.fate != Fate::Open {
            self.accounts.tally.not_processed += 1;
            return Ok(());
        }
        self.accounts.begin(connection, Request::new(request, kind, now));
        self.accounts.tally.admitted += 1;
        connection.quiet_since = now;
        connection.allow_head(None);
        if self.policy.new_requests.value == NewRequests::Refuse {
            self.effects.push_back(Effect::RefuseRequest { connection: id, request });
        } else {
            self.begin_request(id, request, now);
        }
        self.schedule(id);
        Ok(())
    }

    /// Whether the machine waits for this request. One that began behind the response that announced the close was
    /// taken and is not: it shall not be processed (RFC 9112 §9.6).
    pub fn is_in_flight(&self, connection: ConnectionId, request: RequestId) -> bool {
        let known = self.connections.at(connection);
        known.is_some_and(|known| known.requests().iter().any(|known| known.id == request))
    }

    /// Gives a stream its notice, and its moment to end.
    fn begin_request(&mut self, id: ConnectionId, request: RequestId, now: Time) {
        let situation = self.situation;
        let Ok(connection) = self.connection(id) else {
            return;
        };
        let Ok(known) = connection.request(request) else {
            return;
        };
        if manner::of_kind(known.kind).told != Told::AtShutdown {
            return;
        }
        known.notified = true;
        // Streams that go on arriving do not put off the end of those before them.
        let pending = |known: &Request| known.id != request && known.is_to_end();
        let waiting = connection.requests().iter().any(pending);
        if !connection.protocol.is_long_lived() && !waiting {
            connection.begin_long_lived(&situation, now);
        }
        self.effects.push_back(Effect::NotifyLongLived { connection: id, request: Some(request) });
    }

    pub(super) fn request_described(
        &mut self,
        id: ConnectionId,
        request: RequestId,
        kind: RequestKind,
        label: String,
        since: Time,
        now: Time,
    ) -> Result<(), Refused> {
        let connection = self.connections.at_mut(id).ok_or(Refused::UnknownConnection)?;
        self.accounts.date(connection, request, since.min(now))?;
        let known = connection.request(request)?;
        let before = core::mem::replace(&mut known.kind, kind);
        known.label = Some(label);
        if before != kind {
            self.begin_request(id, request, now);
        }
        self.schedule(id);
        Ok(())
    }

    pub(super) fn request_headers_sent(
        &mut self,
        id: ConnectionId,
        request: RequestId,
        announced: bool,
        now: Time,
    ) -> Result<(), Refused> {
        let connection = self.connection(id)?;
        let known = connection.request(request)?;
        if known.headers_sent {
            return Err(Refused::HeadersAlreadySent);
        }
        known.headers_sent = true;
        connection.announced |= announced && connection.protocol == Protocol::Http1;
        connection.quiet_since = now;
        self.schedule(id);
        Ok(())
    }

    pub(super) fn request_finished(
        &mut self,
        id: ConnectionId,
        request: RequestId,
        outcome: Outcome,
        flushed: bool,
        now: Time,
    ) -> Result<(), Refused> {
        let known = self.connection(id)?.request(request)?;
        // Its client may still go before the last byte has left; that ends it.
        let gone = outcome == Outcome::ClientGone && known.unflushed != Some(Outcome::ClientGone);
        if known.unflushed.is_some() && !gone {
            return Err(Refused::NotInFlight);
        }
        known.unflushed = Some(outcome);
        if flushed {
            return self.request_flushed(id, request, now);
        }
        self.schedule(id);
        Ok(())
    }

    pub(super) fn request_flushed(
        &mut self,
        id: ConnectionId,
        request: RequestId,
        now: Time,
    ) -> Result<(), Refused> {
        let connection = self.connections.at_mut(id).ok_or(Refused::UnknownConnection)?;
        self.accounts.end(connection, request)?;
        connection.quiet_since = now;
        self.schedule(id);
        Ok(())
    }

    /// Queues the connection for its next moment.
    fn schedule(&mut self, id: ConnectionId) {
        let situation = self.situation;
        if let Some(connection) = self.connections.at_mut(id) {
            self.queue.put(connection, &situation);
        }
    }

    /// Brings the moments of every connection to where the deadlines are now.
    pub(super) fn hasten(&mut self) {
        let t1 = self.t1();
        let situation = Situation {
            t1,
            half: self.half(),
            close_from: t1.max(self.t0.plus(self.policy.quiet.value)),
            emptying: self.emptying_since.is_some(),
            // Nobody who develops waits for a tunnel.
            abort: if self.policy.interactive { Some(t1) } else { self.abort_lead() },
            spread: nanos(self.spread(t1)),
            quiet: nanos(self.policy.quiet.value),
            seed: self.policy.seed.value,
        };
        self.situation = situation;
        for connection in self.connections.iter_mut() {
            connection.hasten(&situation);
            self.queue.put(connection, &situation);
        }
    }

    /// The next moment at which a connection is due.
    pub(super) fn next_connection(&self) -> Option<Time> {
        match self.phase {
            Phase::Draining => self.queue.next(),
            Phase::Closing => self.linger(),
            Phase::Serving | Phase::Done => None,
        }
    }

    /// Does what is due on the connection at the head of the queue.
    pub(super) fn connection_due(&mut self, at: Time) {
        if self.phase == Phase::Closing {
            self.linger_until = None;
            return;
        }
        let Some((queued, id)) = self.queue.take() else {
            return;
        };
        let situation = self.situation;
        // A peer's time to go begins when the driver is told, however late this tick is.
        let told = self.clock;
        let Some(connection) = self.connections.at_mut(id) else {
            return;
        };
        if connection.queued != Some(queued) {
            return;
        }
        connection.queued = None;
        let due = |moment: Option<Time>| moment.is_some_and(|moment| moment <= at);
        let effects = &mut self.effects;
        if connection.fate == Fate::Closing {
            if due(connection.close_until) {
                self.cut(id);
            }
            return;
        }
        if due(connection.tell_at(&situation)) {
            // First, so that a long poll which is answered at once announces.
            if connection.is_to_tell() {
                (connection.notice, connection.notice_since) = (Notice::Told, told);
                effects.push_back(Effect::AnnounceClose { connection: id });
            }
            let requests = connection.requests_mut().iter_mut();
            for request in requests.filter(|known| known.is_to_notify()) {
                request.notified = true;
                let request = Some(request.id);
                effects.push_back(Effect::NotifyLongLived { connection: id, request });
            }
        }
        if due(connection.final_at(&situation)) {
            (connection.notice, connection.notice_since) = (Notice::Final, told);
            connection.announced = true;
            effects.push_back(Effect::RefuseStreams { connection: id });
        }
        if let Some(request) = connection.to_end()
            && due(connection.end_at)
        {
            if let Some(Ok(stream)) = request.map(|stream| connection.request(stream)) {
                stream.end_sent = true;
            } else {
                connection.fate = Fate::Closing;
                connection.close_until = Some(told.plus(CLOSE_HANDSHAKE));
            }
            effects.push_back(Effect::CloseLongLived { connection: id, request });
        }
        if due(connection.idle_at(&situation)) {
            // What arrives after the final GOAWAY is not processed anyway.
            let look = connection.head_until().is_none() && connection.notice < Notice::Final;
            connection.fate = Fate::Closing;
            connection.close_until = Some(told.plus(LINGER));
            effects.push_back(Effect::CloseIdle { connection: id, look });
        }
        self.queue.put(connection, &situation);
    }

    /// A connection that was told to close and did not.
    fn cut(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.at_mut(id) else {
            return;
        };
        let unanswered = connection.unanswered();
        self.accounts.sever(connection);
        self.effects.push_back(Effect::ForceConnection { connection: id, unanswered });
    }
}

/// Gives a connection that is new, or speaks a new protocol, its notice and its moments.
fn begin(
    connection: &mut Connection,
    now: Time,
    situation: &Situation,
    queue: &mut Queue,
    effects: &mut VecDeque<Effect>,
) {
    if connection.protocol.is_long_lived() {
        connection.begin_long_lived(situation, now);
        effects.push_back(Effect::NotifyLongLived { connection: connection.id, request: None });
    }
    queue.put(connection, situation);
}
