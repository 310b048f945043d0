//! Connections and requests, from the hand-over to their verdict.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::Machine;
use crate::connection::{Connection, Fate, Request, Situation};
use crate::effect::Effect;
use crate::event::{Outcome, RequestKind};
use crate::id::{ConnectionId, RequestId};
use crate::jitter;
use crate::ledger::IN_FLIGHT_MAX;
use crate::phase::Phase;
use crate::policy::NewRequests;
use crate::protocol::Protocol;
use crate::refusal::Refused;
use crate::tally::{Tally, Verdict};
use crate::time::Time;

/// How long a closed connection may take to go: half-close, bounded reading, close.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// How long a long-lived peer may take to answer its protocol's end.
const CLOSE_HANDSHAKE: Duration = Duration::from_secs(2);
/// How long a request head may take to complete once the connection should close.
const HEAD_ALLOWANCE: Duration = Duration::from_secs(5);

const ANNOUNCE_SALT: u64 = 1;
const END_SALT: u64 = 2;
const SPREAD_SALT: u64 = 3;

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
        self.insert(id, protocol, announced, t0)?;
        self.tally.connections_adopted += 1;
        self.tally.adopted += u64::from(in_flight);
        let entry = self.connections.get_mut(&id).ok_or(Refused::UnknownConnection)?;
        for request in (0..in_flight).map(RequestId) {
            entry.requests.push(new_request(request, RequestKind::Ordinary, t0));
            self.in_flight.insert((t0, id, request));
        }
        self.begin_notice(id, protocol);
        self.schedule(id);
        Ok(())
    }

    pub(super) fn connection_opened(
        &mut self,
        id: ConnectionId,
        protocol: Protocol,
        now: Time,
    ) -> Result<(), Refused> {
        self.insert(id, protocol, false, now)?;
        self.tally.connections_opened += 1;
        self.begin_notice(id, protocol);
        self.schedule(id);
        Ok(())
    }

    fn insert(
        &mut self,
        id: ConnectionId,
        protocol: Protocol,
        announced: bool,
        since: Time,
    ) -> Result<(), Refused> {
        if self.connections.contains_key(&id) {
            return Err(Refused::AlreadyKnown);
        }
        let seed = self.policy.seed.value;
        let half = self.half();
        let spread_over = self.spread(self.t1());
        let connection = Connection {
            protocol,
            peer: None,
            requests: Vec::new(),
            fate: Fate::Open,
            announced,
            told: false,
            announce_at: since.plus(jitter::within(half.since(since), seed, id.0, ANNOUNCE_SALT)),
            end_at: self.end_moment(id, since),
            spread: jitter::within(spread_over, seed, id.0, SPREAD_SALT),
            quiet_since: since,
            head_until: None,
            queued: None,
        };
        self.connections.insert(id, connection);
        Ok(())
    }

    /// When a long-lived exchange ends: spread over the second half of the window, so
    /// that its client finds a server that stays; without a window, over the first closes.
    fn end_moment(&self, id: ConnectionId, now: Time) -> Time {
        let t1 = self.t1();
        let half = self.half().max(now);
        let (from, span) =
            if half < t1 { (half, t1.since(half)) } else { (t1.max(now), self.spread(t1)) };
        from.plus(jitter::within(span, self.policy.seed.value, id.0, END_SALT))
    }

    fn begin_notice(&mut self, connection: ConnectionId, protocol: Protocol) {
        if protocol.is_long_lived() {
            self.effects.push_back(Effect::NotifyLongLived { connection, request: None });
        }
    }

    pub(super) fn connection(&mut self, id: ConnectionId) -> Result<&mut Connection, Refused> {
        self.connections.get_mut(&id).ok_or(Refused::UnknownConnection)
    }

    pub(super) fn connection_upgraded(
        &mut self,
        id: ConnectionId,
        protocol: Protocol,
        now: Time,
    ) -> Result<(), Refused> {
        let end_at = self.end_moment(id, now);
        let connection = self.connection(id)?;
        if connection.fate == Fate::Forced {
            return Err(Refused::Forced);
        }
        connection.protocol = protocol;
        connection.end_at = end_at;
        // What was told in the old protocol's way is to be told in the new one's.
        connection.told = false;
        connection.quiet_since = now;
        self.begin_notice(id, protocol);
        self.schedule(id);
        Ok(())
    }

    /// The last look found bytes: the connection stays, for a bounded time that
    /// progress does not extend.
    pub(super) fn connection_busy(&mut self, id: ConnectionId, now: Time) -> Result<(), Refused> {
        let allowance = self.plan.drain.map_or(HEAD_ALLOWANCE, |t2| {
            HEAD_ALLOWANCE.min(t2.since(self.emptying_since.unwrap_or(now)) / 2)
        });
        let connection = self.connection(id)?;
        if connection.fate == Fate::Forced {
            return Err(Refused::Forced);
        }
        if !connection.is_idle() {
            return Err(Refused::NotIdle);
        }
        if connection.head_until.is_some() {
            return Err(Refused::AllowanceSpent);
        }
        connection.head_until = Some(now.plus(allowance));
        connection.fate = Fate::Open;
        self.schedule(id);
        Ok(())
    }

    pub(super) fn connection_closed(&mut self, id: ConnectionId) -> Result<(), Refused> {
        let connection = self.connections.remove(&id).ok_or(Refused::UnknownConnection)?;
        self.severed -= usize::from(connection.fate == Fate::Forced);
        for request in &connection.requests {
            self.in_flight.remove(&(request.since, id, request.id));
            let ended = connection.had_its_end(request);
            self.tally.give(if ended { Verdict::Ended } else { Verdict::ClientGone });
        }
        Ok(())
    }

    pub(super) fn request_started(
        &mut self,
        id: ConnectionId,
        request: RequestId,
        kind: RequestKind,
        now: Time,
    ) -> Result<(), Refused> {
        let connection = self.connection(id)?;
        if connection.fate == Fate::Forced {
            return Err(Refused::Forced);
        }
        if connection.requests.iter().any(|known| known.id == request) {
            return Err(Refused::AlreadyKnown);
        }
        if connection.announced || connection.fate != Fate::Open {
            self.tally.not_processed += 1;
            return Ok(());
        }
        connection.requests.push(new_request(request, kind, now));
        connection.quiet_since = now;
        connection.head_until = None;
        self.in_flight.insert((now, id, request));
        self.tally.admitted += 1;
        if self.policy.new_requests.value == NewRequests::Refuse {
            self.effects.push_back(Effect::RefuseRequest { connection: id, request });
        } else {
            self.begin_stream(id, request, kind, now);
        }
        self.schedule(id);
        Ok(())
    }

    /// Gives a stream its notice, and its moment to end.
    fn begin_stream(&mut self, id: ConnectionId, request: RequestId, kind: RequestKind, now: Time) {
        if kind != RequestKind::Stream {
            return;
        }
        let end_at = self.end_moment(id, now);
        if let Some(connection) = self.connections.get_mut(&id) {
            let pending = |known: &Request| known.id != request && known.is_stream_to_end();
            // Streams that go on arriving do not put off the end of those before them.
            let waiting = connection.requests.iter().any(pending);
            if !connection.protocol.is_long_lived() && !waiting {
                connection.end_at = end_at;
            }
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
        let known = self.connection(id)?.request(request)?;
        let (old_since, old_kind) = (known.since, known.kind);
        known.since = since.min(now);
        known.kind = kind;
        known.label = Some(label);
        self.in_flight.remove(&(old_since, id, request));
        self.in_flight.insert((since.min(now), id, request));
        if old_kind != kind {
            self.begin_stream(id, request, kind, now);
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
        if known.unflushed.is_some() {
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
        let connection = self.connection(id)?;
        let known = connection.request(request)?;
        let Some(outcome) = known.unflushed else {
            return Err(Refused::NotInFlight);
        };
        let since = known.since;
        let end_sent = known.end_sent;
        connection.take(request);
        connection.quiet_since = now;
        self.in_flight.remove(&(since, id, request));
        self.tally.give(match outcome {
            Outcome::ClientGone if end_sent => Verdict::Ended,
            Outcome::ClientGone => Verdict::ClientGone,
            Outcome::Completed if end_sent => Verdict::Ended,
            Outcome::Completed => Verdict::Completed,
            Outcome::Ended => Verdict::Ended,
            Outcome::Refused => Verdict::Refused,
        });
        self.schedule(id);
        Ok(())
    }

    fn situation(&self) -> Situation {
        Situation { emptying_since: self.emptying_since, quiet: self.policy.quiet.value }
    }

    /// Queues the connection for its next moment.
    fn schedule(&mut self, id: ConnectionId) {
        let situation = self.situation();
        if let Some(connection) = self.connections.get_mut(&id) {
            self.queue.put(id, connection, &situation);
        }
    }

    /// Brings the moments of every connection forward to what t1 is now: nothing that
    /// belongs to the window happens after it.
    pub(super) fn hasten(&mut self) {
        let (t1, situation, seed) = (self.t1(), self.situation(), self.policy.seed.value);
        let told_by = self.emptying_since.unwrap_or(self.half());
        let spread = self.spread(t1);
        for (id, connection) in &mut self.connections {
            let end_by = t1.plus(jitter::within(spread, seed, id.0, END_SALT));
            connection.announce_at = connection.announce_at.min(told_by);
            connection.end_at = connection.end_at.min(end_by);
            connection.spread = jitter::within(spread, seed, id.0, SPREAD_SALT);
            self.queue.put(*id, connection, &situation);
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
        let situation = self.situation();
        // A peer's time to go begins when the driver is told, however late this tick is.
        let told = self.clock;
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.queued != Some(queued) {
            return;
        }
        connection.queued = None;
        if let Fate::Closing { until } = connection.fate {
            if until <= at {
                self.cut(id);
            }
            return;
        }
        if connection.to_tell() && connection.announce_at <= at {
            connection.told = true;
            self.effects.push_back(Effect::AnnounceClose { connection: id });
        }
        if let Some(request) = connection.to_end()
            && connection.end_at <= at
        {
            match request {
                None => connection.fate = Fate::Closing { until: told.plus(CLOSE_HANDSHAKE) },
                Some(stream) => {
                    if let Ok(stream) = connection.request(stream) {
                        stream.end_sent = true;
                    }
                }
            }
            self.effects.push_back(Effect::CloseLongLived { connection: id, request });
        }
        if connection.idle_due(&situation).is_some_and(|due| due <= at) {
            let look = connection.head_until.is_none();
            connection.fate = Fate::Closing { until: told.plus(LINGER) };
            self.effects.push_back(Effect::CloseIdle { connection: id, look });
        }
        self.schedule(id);
    }

    /// A connection that was told to close and did not.
    fn cut(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let unanswered = connection.unanswered();
        let lost = sever(id, connection, &mut self.in_flight, &mut self.tally);
        self.tally.connections_forced += u64::from(lost);
        self.severed += 1;
        self.effects.push_back(Effect::ForceConnection { connection: id, unanswered });
    }
}

/// Ends a connection whose time is over: its requests get their verdict now, and it holds
/// nothing up any more. Returns whether a request was lost.
pub(super) fn sever(
    id: ConnectionId,
    connection: &mut Connection,
    in_flight: &mut BTreeSet<(Time, ConnectionId, RequestId)>,
    tally: &mut Tally,
) -> bool {
    let mut any_lost = false;
    for request in core::mem::take(&mut connection.requests) {
        let lost = !connection.had_its_end(&request);
        any_lost |= lost;
        in_flight.remove(&(request.since, id, request.id));
        tally.give(if lost { Verdict::Forced } else { Verdict::Ended });
    }
    connection.fate = Fate::Forced;
    any_lost
}

fn new_request(id: RequestId, kind: RequestKind, since: Time) -> Request {
    Request { id, kind, label: None, since, headers_sent: false, unflushed: None, end_sent: false }
}
