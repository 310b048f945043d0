//! A server's HTTP: reading, answering, and what the driver tells its machine of it.

use lameduck::{Event, Outcome, Phase, Protocol, RequestId};

use crate::agenda::Happening;
use crate::network::{HostClose, HostState, Message, Response, Way};
use crate::request::{Arrived, Ending, Request};
use crate::scenario::{Speaks, WorkKind};
use crate::server::{Life, handle};
use crate::world::World;

impl World<'_> {
    /// The event loop reads whatever lies in the kernel.
    pub(crate) fn read(&mut self, connection: u32) {
        let host = &mut self.link(connection).host;
        if !matches!(host.state, HostState::Accepted | HostState::Lingering) {
            return;
        }
        for message in std::mem::take(&mut host.unread) {
            match message {
                Message::Part => self.link(connection).host.partial = true,
                Message::Request(request) => self.parsed(connection, request),
                Message::Body(request) => self.body_complete(request),
                Message::Cancel(request) => self.cancelled(request),
                Message::Fin => self.client_is_gone(connection),
                Message::Response(_) | Message::Goaway(_) | Message::CloseFrame => {
                    unreachable!("servers send these")
                }
            }
        }
    }

    fn parsed(&mut self, connection: u32, request: u32) {
        let link = self.link(connection);
        let server = link.server as usize;
        let host = &mut link.host;
        host.partial = false;
        let welcome = host.state == HostState::Accepted && !host.announced && !host.refusing;
        let forced = host.ended == Some(HostClose::Forced);
        let id = RequestId(host.next_id);
        host.next_id += 1;
        let phase = self.servers[server].machine.phase();
        let serving = self.servers[server].life == Life::Serving;
        // Nobody counts what is dropped before the hand-over, after the end, or on purpose.
        let counted = welcome || !(serving || self.scenario.deviations.any());
        if !counted || forced || phase == Phase::Closing {
            return;
        }
        self.asked(request).id = id;
        self.asked(request).arrived = match (serving, welcome) {
            (true, _) => Arrived::Serving,
            (false, true) => Arrived::Draining,
            (false, false) => Arrived::NotProcessed,
        };
        if welcome {
            self.admit(connection, request);
        }
        let kind = self.asked(request).kind();
        let started = Event::RequestStarted { connection: handle(connection), request: id, kind };
        self.report_event(server, started);
        if welcome {
            self.begin_next(connection);
        }
    }

    fn admit(&mut self, connection: u32, request: u32) {
        let Request { wish, stream, .. } = *self.asked(request);
        self.wishes[wish as usize].processed += 1;
        let host = &mut self.link(connection).host;
        host.in_flight.push(request);
        host.last_stream = stream;
        host.answered_unannounced = false;
        host.asked_since = true;
    }

    /// HTTP/1.1 answers in order: the first in flight is handled. HTTP/2 handles all.
    fn begin_next(&mut self, connection: u32) {
        let host = &self.link(connection).host;
        let at_once = if host.protocol == Some(Protocol::Http2) { usize::MAX } else { 1 };
        let next: Vec<u32> = host.in_flight.iter().take(at_once).copied().collect();
        for request in next {
            let known = self.asked(request);
            if !std::mem::replace(&mut known.begun, true) && known.ending.is_none() {
                self.begin(request);
            }
        }
    }

    fn begin(&mut self, request: u32) {
        let Request { work, body_complete, server, end_sent, to_refuse, .. } = *self.asked(request);
        if to_refuse {
            self.refuse(request);
            return;
        }
        if matches!(work.kind, WorkKind::Download | WorkKind::Stream) {
            self.write(request, true, false, false);
        }
        let aborting = self.servers[server as usize].aborting && work.kind != WorkKind::Stuck;
        let time = match work.kind {
            _ if aborting || end_sent => Some(0),
            WorkKind::Download | WorkKind::LongPoll | WorkKind::Quick => {
                Some(self.random.exponential(work.mean))
            }
            WorkKind::SlowReader => Some(0),
            WorkKind::Upload => body_complete.then_some(0),
            WorkKind::Stream | WorkKind::Stuck => None,
        };
        if let Some(time) = time {
            self.plan(self.now + time, Happening::Answer { request });
        }
    }

    fn body_complete(&mut self, request: u32) {
        let known = self.asked(request);
        known.body_complete = true;
        if known.begun && known.ending.is_none() {
            self.plan(self.now, Happening::Answer { request });
        }
    }

    /// The handler ends.
    pub(crate) fn answer(&mut self, request: u32) {
        let Request { ending, unflushed, work, head_sent, connection, .. } = *self.asked(request);
        if ending.is_some() || unflushed {
            return;
        }
        if work.kind == WorkKind::SlowReader {
            self.write(request, true, false, false);
            self.asked(request).unflushed = true;
            self.finished(request, Outcome::Completed, false);
            let gone = self.now + self.random.exponential(work.mean);
            self.plan(gone, Happening::Flush { request });
            return;
        }
        self.write(request, !head_sent, true, false);
        self.upgrade(connection);
        self.finished(request, Outcome::Completed, true);
        self.over_with(request, Ending::Completed);
    }

    /// The first answer on a WebSocket client's connection is its upgrade.
    fn upgrade(&mut self, connection: u32) {
        let link = self.link(connection);
        let (pool, server) = (link.pool as usize, link.server as usize);
        if self.scenario.pools[pool].speaks == Speaks::Websocket {
            let protocol = Protocol::Websocket;
            self.link(connection).host.protocol = Some(protocol);
            let connection = handle(connection);
            self.report_event(server, Event::ConnectionUpgraded { connection, protocol });
        }
    }

    /// The last byte of a written answer leaves the process.
    pub(crate) fn flush(&mut self, request: u32) {
        let Request { ending, connection, server, id, .. } = *self.asked(request);
        if ending.is_some() {
            return;
        }
        self.write(request, false, true, false);
        let flushed = Event::RequestFlushed { connection: handle(connection), request: id };
        self.report_event(server as usize, flushed);
        self.over_with(request, Ending::Completed);
    }

    /// Writes the head, the end, or both.
    pub(crate) fn write(&mut self, request: u32, head: bool, end: bool, unavailable: bool) {
        let Request { connection, server, id, wish, .. } = *self.asked(request);
        let one_shot = self.wishes[wish as usize].one_shot;
        let upgrades = {
            let pool = self.link(connection).pool as usize;
            self.scenario.pools[pool].speaks == Speaks::Websocket && !unavailable
        };
        let host = &mut self.link(connection).host;
        let http1 = host.protocol == Some(Protocol::Http1);
        let last = host.in_flight.last() == Some(&request);
        let wanted = host.tell || one_shot || unavailable;
        let announced = head && http1 && wanted && last && !upgrades;
        host.announced |= announced;
        if head {
            self.asked(request).head_sent = true;
        }
        let response = Response { request, head, end, unavailable, announced };
        self.send(connection, Way::Down, Message::Response(response));
        if head {
            let connection = handle(connection);
            let sent = Event::RequestHeadersSent { connection, request: id, announced };
            self.report_event(server as usize, sent);
        }
    }

    pub(crate) fn finished(&mut self, request: u32, outcome: Outcome, flushed: bool) {
        let Request { connection, server, id, .. } = *self.asked(request);
        let connection = handle(connection);
        let event = Event::RequestFinished { connection, request: id, outcome, flushed };
        self.report_event(server as usize, event);
    }

    /// The request has ended: what the wire saw of it is settled, and the next may begin.
    pub(crate) fn over_with(&mut self, request: u32, ending: Ending) {
        let Request { connection, server, ending: before, end_sent, .. } = *self.asked(request);
        if let Some(before) = before {
            self.violations.push(format!("request {request} ended {before:?}, then {ending:?}"));
        }
        let ended = end_sent && matches!(ending, Ending::Completed | Ending::ClientGone);
        let serving = self.servers[server as usize].life == Life::Serving;
        self.asked(request).ending = Some(match ending {
            _ if serving => Ending::Before,
            _ if ended => Ending::Ended,
            _ => ending,
        });
        let host = &mut self.link(connection).host;
        host.in_flight.retain(|known| *known != request);
        let idle = host.in_flight.is_empty();
        host.answered_unannounced = idle && !host.announced && !serving;
        let unannounced = host.answered_unannounced;
        self.unannounced.of += u64::from(unannounced);
        let host = &mut self.link(connection).host;
        if host.state == HostState::Accepted && host.announced && idle && serving {
            self.half_close(connection, HostClose::Announced);
        }
        self.begin_next(connection);
    }

    fn cancelled(&mut self, request: u32) {
        let Request { arrived, ending, unflushed, .. } = *self.asked(request);
        let admitted = matches!(arrived, Arrived::Serving | Arrived::Draining);
        if !admitted || ending.is_some() {
            return;
        }
        if unflushed {
            // The machine has no word for a stream that is reset after its handler ended.
            self.flush(request);
        } else {
            self.finished(request, Outcome::ClientGone, true);
            self.over_with(request, Ending::ClientGone);
        }
    }

    /// The client closed or reset its end: whoever waited for an answer is gone.
    pub(crate) fn client_is_gone(&mut self, connection: u32) {
        let host = &mut self.link(connection).host;
        host.unread.clear();
        let requests = std::mem::take(&mut host.in_flight);
        let why = host.ended.unwrap_or(HostClose::Idle);
        let forced = host.ended == Some(HostClose::Forced);
        for request in requests {
            if !forced {
                self.over_with(request, Ending::ClientGone);
            }
        }
        self.link(connection).host.in_flight.clear();
        self.close_socket(connection, why);
        let server = self.link(connection).server as usize;
        self.report_event(server, Event::ConnectionClosed { connection: handle(connection) });
    }
}
