//! Connections.

use core::future::poll_fn;
use core::mem;
use core::ops::Deref;

use super::line::{Line, is_event};
use super::request::RequestGuard;
use super::signal::Wait;
use crate::event::Event;
use crate::protocol::Protocol;
use crate::refusal::Refused;
use crate::row::Stale;
use crate::sync::{Arc, lock};

/// What a connection's task is told to do. Each is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue {
    /// HTTP/1: the last response says `Connection: close` (RFC 9112 §9.6); ask
    /// [`Connection::should_announce`] when a head is written. HTTP/2: the first GOAWAY, with the
    /// highest stream id (RFC 9113 §6.8).
    AnnounceClose,
    /// It is idle: half-close, read for a bounded time, close.
    CloseIdle {
        /// Look first: with unread bytes, leave it open and say [`Connection::busy`]. When `false` its
        /// time is over.
        look: bool,
    },
    /// End it as its protocol does: a WebSocket's close frame, a tunnel's half-close.
    CloseLongLived,
    /// Its time is over: answer what can still be answered with 503, then cut. Closing
    /// waits a second at most for the guard to be dropped, so that the answer leaves.
    Force {
        /// Requests whose head is unsent: 503 + `Retry-After` + `Connection: close`.
        unanswered: u32,
    },
    /// Tell the peer that the server is leaving.
    NotifyLongLived,
    /// HTTP/2: the final GOAWAY, with the last stream that was processed (RFC 9113 §6.8).
    RefuseStreams,
}

/// What a connection's task is still to be told, in the order in which that comes about. A cue that comes again before
/// it was told is told once, as it was said last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pending {
    announce_close: bool,
    refuse_streams: bool,
    notify_long_lived: bool,
    close_long_lived: bool,
    close_idle: Option<bool>,
    force: Option<u32>,
}

impl Pending {
    pub(super) fn put(&mut self, cue: Cue) {
        match cue {
            Cue::AnnounceClose => self.announce_close = true,
            Cue::CloseIdle { look } => self.close_idle = Some(look),
            Cue::CloseLongLived => self.close_long_lived = true,
            Cue::Force { unanswered } => self.force = Some(unanswered),
            Cue::NotifyLongLived => self.notify_long_lived = true,
            Cue::RefuseStreams => self.refuse_streams = true,
        }
    }

    fn take(&mut self) -> Option<Cue> {
        let flags = [
            (&mut self.announce_close, Cue::AnnounceClose),
            (&mut self.refuse_streams, Cue::RefuseStreams),
            (&mut self.notify_long_lived, Cue::NotifyLongLived),
            (&mut self.close_long_lived, Cue::CloseLongLived),
        ];
        for (flag, cue) in flags {
            if mem::take(flag) {
                return Some(cue);
            }
        }
        let idle = self.close_idle.take().map(|look| Cue::CloseIdle { look });
        idle.or_else(|| self.force.take().map(|unanswered| Cue::Force { unanswered }))
    }

    /// A request has come. If the connection was to be closed as idle and its task has not looked yet, it would
    /// find this request; so it is spared the look. Returns whether that was so.
    pub(super) fn spare_the_look(&mut self) -> bool {
        self.close_idle.take_if(|look| *look).is_some()
    }
}

/// A connection, as long as it is open. Dropping it says that the connection is closed, whoever closed it.
///
/// It is also a [`Connection`], of which there may be many.
#[derive(Debug)]
#[must_use = "a connection that is dropped counts as closed"]
pub struct ConnectionGuard {
    connection: Connection,
}

/// What begins requests on a connection: [`ConnectionGuard::handle`] and its clones. It does not keep
/// the connection open.
#[derive(Clone)]
pub struct Connection {
    line: Arc<Line>,
}

impl ConnectionGuard {
    pub(super) fn new(line: Arc<Line>) -> Self {
        Self { connection: Connection { line } }
    }

    /// The next thing to do. Never resolves if there is nothing to do; may be dropped and called again.
    pub async fn cue(&mut self) -> Cue {
        let line = &*self.connection.line;
        let mut wait = Wait::new(&line.shared.due);
        let next = || lock(&line.book).pending.take();
        poll_fn(|context| wait.poll(&line.signal, context, next)).await
    }

    /// What begins requests on it.
    pub fn handle(&self) -> &Connection {
        &self.connection
    }
}

impl Deref for ConnectionGuard {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let line = &self.connection.line;
        // From here on the hand-over does not find it.
        let forgotten = lock(&line.shared.registry).close(line.id);
        drop(forgotten);
        if let Ok(change) = line.row.close(line.generation)
            && is_event(change)
        {
            line.tell(Some(Event::ConnectionClosed { connection: line.id }));
        }
    }
}

impl Connection {
    /// A request was parsed. While Serving this is one atomic addition and a reference.
    ///
    /// # Errors
    /// Nothing was counted, and the request must not be processed:
    /// [`Refused::Draining`] after the response that announced the connection's end
    /// (RFC 9112 §9.6), or the final GOAWAY (RFC 9113 §6.8); [`Refused::Forced`],
    /// [`Refused::Closing`], [`Refused::Done`] when time is over;
    /// [`Refused::UnknownConnection`] when the guard was dropped; [`Refused::TooMany`] with 32 768 in
    /// flight.
    #[inline]
    pub fn begin(&self) -> Result<RequestGuard, Refused> {
        RequestGuard::begin(&self.line)
    }

    /// Whether the response whose head is about to be written shall say that the connection closes; tell
    /// [`RequestGuard::headers_sent`] if it does.
    #[must_use]
    pub fn should_announce(&self) -> bool {
        self.line.should_announce()
    }

    /// [`Cue::CloseIdle`] found unread bytes: a request is on its way, and the connection stays open.
    ///
    /// # Errors
    /// [`Refused::NotIdle`] when a request is in flight, so that there is nothing to say;
    /// [`Refused::AllowanceSpent`] the second time, [`Refused::Forced`]: close it now.
    pub fn busy(&self) -> Result<(), Refused> {
        self.line.shared.tell(Event::ConnectionBusy { connection: self.line.id })
    }

    /// It speaks another protocol from now on; its requests stay in flight.
    ///
    /// # Errors
    /// [`Refused::UnknownConnection`] when the guard was dropped, [`Refused::Forced`], [`Refused::Closing`]
    /// and [`Refused::Done`] when its time is over.
    pub fn upgraded(&self, protocol: Protocol) -> Result<(), Refused> {
        let line = &self.line;
        match line.row.upgrade(line.generation, protocol as u8) {
            Ok(change) if is_event(change) => {
                line.shared.tell(Event::ConnectionUpgraded { connection: line.id, protocol })
            }
            Ok(_) => Ok(()),
            Err(Stale) => Err(Refused::UnknownConnection),
        }
    }

    /// What is spoken on it.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.line.protocol()
    }

    /// Who is at the other end, as it was given.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.line.peer
    }
}

impl core::fmt::Debug for Connection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.line.id)
            .field("peer", &self.line.peer)
            .field("row", &self.line.row.read().1)
            .finish()
    }
}
