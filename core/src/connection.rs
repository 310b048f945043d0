//! One connection after the hand-over, and when something is due on it.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::event::{Outcome, RequestKind};
use crate::id::RequestId;
use crate::protocol::Protocol;
use crate::refusal::Refused;
use crate::time::Time;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) kind: RequestKind,
    pub(crate) label: Option<String>,
    pub(crate) since: Time,
    pub(crate) headers_sent: bool,
    /// Finished with this outcome, bytes still in the process.
    pub(crate) unflushed: Option<Outcome>,
    /// A stream that was told to end.
    pub(crate) end_sent: bool,
}

impl Request {
    /// Whether it is a stream whose end is still to be sent.
    pub(crate) fn is_stream_to_end(&self) -> bool {
        self.kind == RequestKind::Stream && !self.end_sent && self.unflushed.is_none()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing was decided.
    Open,
    /// The driver was told to close it and has until then.
    Closing { until: Time },
    /// Forced; its requests have their verdict.
    Forced,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) protocol: Protocol,
    pub(crate) peer: Option<String>,
    pub(crate) requests: Vec<Request>,
    pub(crate) fate: Fate,
    /// A response said `Connection: close`.
    pub(crate) announced: bool,
    /// The driver was told to announce.
    pub(crate) told: bool,
    /// When to tell it.
    pub(crate) announce_at: Time,
    /// When a long-lived exchange on it is ended.
    pub(crate) end_at: Time,
    /// Its place in the spread of closes after t1.
    pub(crate) spread: Duration,
    /// The last byte either way, as far as the driver told.
    pub(crate) quiet_since: Time,
    /// Bytes of a next request arrived; until then it may complete its head.
    pub(crate) head_until: Option<Time>,
    /// The moment it is queued for.
    pub(crate) queued: Option<Time>,
}

/// What of the shutdown a connection's next moment depends on.
#[derive(Clone, Copy)]
pub(crate) struct Situation {
    /// t1, once it has passed.
    pub(crate) emptying_since: Option<Time>,
    pub(crate) quiet: Duration,
}

impl Connection {
    pub(crate) fn request(&mut self, id: RequestId) -> Result<&mut Request, Refused> {
        if self.fate == Fate::Forced {
            return Err(Refused::Forced);
        }
        self.requests.iter_mut().find(|known| known.id == id).ok_or(Refused::UnknownRequest)
    }

    pub(crate) fn take(&mut self, id: RequestId) -> Option<Request> {
        let index = self.requests.iter().position(|known| known.id == id)?;
        Some(self.requests.remove(index))
    }

    /// Whether this request is a long-lived exchange that got its protocol's end; its
    /// notice came before.
    pub(crate) fn had_its_end(&self, request: &Request) -> bool {
        let closing = matches!(self.fate, Fate::Closing { .. });
        request.end_sent || (closing && self.protocol.is_long_lived())
    }

    /// Requests that could still be answered 503.
    pub(crate) fn unanswered(&self) -> u32 {
        let unanswered = |request: &&Request| !request.headers_sent && request.unflushed.is_none();
        if self.protocol.is_long_lived() {
            return 0;
        }
        u32::try_from(self.requests.iter().filter(unanswered).count()).unwrap_or(u32::MAX)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.requests.is_empty() && !self.protocol.is_long_lived()
    }

    /// Whether the next response is still to be told to announce.
    pub(crate) fn to_tell(&self) -> bool {
        !self.told && !self.announced && !self.protocol.is_long_lived()
    }

    /// The long-lived exchange on it whose end is still to be sent, if any.
    pub(crate) fn to_end(&self) -> Option<Option<RequestId>> {
        if self.fate != Fate::Open {
            None
        } else if self.protocol.is_long_lived() {
            Some(None)
        } else {
            let stream = |request: &&Request| request.is_stream_to_end();
            self.requests.iter().find(stream).map(|request| Some(request.id))
        }
    }

    /// When it may be closed as idle; `None` while it may not.
    pub(crate) fn idle_due(&self, situation: &Situation) -> Option<Time> {
        if !self.is_idle() || self.fate != Fate::Open {
            return None;
        }
        if self.announced {
            return Some(self.quiet_since);
        }
        let t1 = situation.emptying_since?;
        Some(
            self.head_until.unwrap_or_else(|| {
                self.quiet_since.plus(situation.quiet).max(t1.plus(self.spread))
            }),
        )
    }

    /// The next moment at which something is due on it.
    pub(crate) fn next_due(&self, situation: &Situation) -> Option<Time> {
        if let Fate::Closing { until } = self.fate {
            return Some(until);
        }
        [
            self.to_tell().then_some(self.announce_at),
            self.to_end().map(|_| self.end_at),
            self.idle_due(situation),
        ]
        .into_iter()
        .flatten()
        .filter(|_| self.fate == Fate::Open)
        .min()
    }
}
