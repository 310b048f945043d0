//! One connection after the hand-over, and when something is due on it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::event::{Outcome, RequestKind};
use crate::id::{ConnectionId, RequestId};
use crate::jitter::{self, ANNOUNCE_SALT, END_SALT, SPREAD_SALT};
use crate::manner::{self, Ended, Told};
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
    /// Whoever answers it was told that the server is leaving.
    pub(crate) notified: bool,
    /// A stream that was told to end.
    pub(crate) end_sent: bool,
}

impl Request {
    pub(crate) fn new(id: RequestId, kind: RequestKind, since: Time) -> Self {
        Self {
            id,
            kind,
            label: None,
            since,
            headers_sent: false,
            unflushed: None,
            notified: false,
            end_sent: false,
        }
    }

    /// Whether it is a stream whose end is still to be sent.
    pub(crate) fn is_to_end(&self) -> bool {
        let ended = manner::of_kind(self.kind).ended == Ended::InSecondHalf;
        ended && !self.end_sent && self.unflushed.is_none()
    }

    /// Whether it is to be notified at its connection's moment.
    pub(crate) fn is_to_notify(&self) -> bool {
        let told = manner::of_kind(self.kind).told == Told::InFirstHalf;
        told && !self.notified && self.unflushed.is_none()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing was decided.
    Open,
    /// The driver was told to close it.
    Closing,
    /// Forced; its requests have their verdict.
    Forced,
}

/// How far its peer was told that it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Notice {
    Untold,
    /// The driver was told to announce.
    Told,
    /// HTTP/2: the final GOAWAY was asked for.
    Final,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) protocol: Protocol,
    pub(crate) fate: Fate,
    /// Until when the driver may take to close it.
    pub(crate) close_until: Option<Time>,
    /// Nothing that arrives is admitted any more: a response said `Connection: close`, or the
    /// final GOAWAY was asked for.
    pub(crate) announced: bool,
    pub(crate) notice: Notice,
    /// Since when it is so.
    pub(crate) notice_since: Time,
    /// When a long-lived exchange on it is ended.
    pub(crate) end_at: Option<Time>,
    /// The last byte either way, as far as the driver told.
    pub(crate) quiet_since: Time,
    /// The moment it is queued for.
    pub(crate) queued: Option<Time>,
    /// What an idle connection of no name has not.
    detail: Option<Box<Detail>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Detail {
    peer: Option<String>,
    requests: Vec<Request>,
    /// Bytes of a next request arrived; until then it may complete its head.
    head_until: Option<Time>,
}

/// What of the shutdown a connection's next moment depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Situation {
    /// The window ends, or ended.
    pub(crate) t1: Time,
    /// The middle of the window.
    pub(crate) half: Time,
    /// From when on idle connections close, spread: t1, or the end of the first quiet period
    /// when that comes later. Else all that were idle at t0 would close at that moment.
    pub(crate) close_from: Time,
    /// Whether t1 has passed.
    pub(crate) emptying: bool,
    /// When the last long-lived exchanges end.
    pub(crate) abort: Option<Time>,
    /// Over how long closes are spread, in nanoseconds.
    pub(crate) spread: u64,
    /// In nanoseconds.
    pub(crate) quiet: u64,
    pub(crate) seed: u64,
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, protocol: Protocol, since: Time) -> Self {
        Self {
            id,
            protocol,
            fate: Fate::Open,
            close_until: None,
            announced: false,
            notice: Notice::Untold,
            notice_since: since,
            end_at: None,
            quiet_since: since,
            queued: None,
            detail: None,
        }
    }

    pub(crate) fn requests(&self) -> &[Request] {
        self.detail.as_ref().map_or(&[], |detail| &detail.requests)
    }

    pub(crate) fn requests_mut(&mut self) -> &mut [Request] {
        self.detail.as_mut().map_or(&mut [], |detail| &mut detail.requests)
    }

    pub(crate) fn join(&mut self, request: Request) {
        self.detail_mut().requests.push(request);
    }

    pub(crate) fn leave(&mut self, id: RequestId) {
        if let Some(detail) = &mut self.detail {
            detail.requests.retain(|known| known.id != id);
        }
    }

    pub(crate) fn take_requests(&mut self) -> Vec<Request> {
        self.detail.as_mut().map(|detail| core::mem::take(&mut detail.requests)).unwrap_or_default()
    }

    pub(crate) fn peer(&self) -> Option<&String> {
        self.detail.as_ref()?.peer.as_ref()
    }

    pub(crate) fn describe(&mut self, peer: String) {
        self.detail_mut().peer = Some(peer);
    }

    pub(crate) fn head_until(&self) -> Option<Time> {
        self.detail.as_ref()?.head_until
    }

    pub(crate) fn allow_head(&mut self, until: Option<Time>) {
        if self.head_until() != until {
            self.detail_mut().head_until = until;
        }
    }

    fn detail_mut(&mut self) -> &mut Detail {
        self.detail.get_or_insert_default()
    }

    pub(crate) fn request(&mut self, id: RequestId) -> Result<&mut Request, Refused> {
        if self.fate == Fate::Forced {
            return Err(Refused::Forced);
        }
        let found = self.requests_mut().iter_mut().find(|known| known.id == id);
        found.ok_or(Refused::UnknownRequest)
    }

    /// Whether this request is a long-lived exchange that got its protocol's end; its
    /// notice came before.
    pub(crate) fn had_its_end(&self, request: &Request) -> bool {
        request.end_sent || (self.fate == Fate::Closing && self.protocol.is_long_lived())
    }

    /// Requests that could still be answered 503.
    pub(crate) fn unanswered(&self) -> u32 {
        let unanswered = |request: &&Request| !request.headers_sent && request.unflushed.is_none();
        if self.protocol.is_long_lived() {
            return 0;
        }
        u32::try_from(self.requests().iter().filter(unanswered).count()).unwrap_or(u32::MAX)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.requests().is_empty() && !self.protocol.is_long_lived()
    }

    // When something is due.

    /// When its last response is told to announce, and its long polls to answer.
    fn notice_at(&self, situation: &Situation) -> Time {
        if self.notice > Notice::Untold {
            return self.notice_since;
        }
        let span = situation.half.nanos_since(self.notice_since);
        self.notice_since.plus_nanos(self.jitter(span, situation, ANNOUNCE_SALT))
    }

    /// Whether the driver is still to be told to announce.
    pub(crate) fn is_to_tell(&self) -> bool {
        let told = self.notice > Notice::Untold || self.announced;
        !told && manner::of_protocol(self.protocol).told == Told::InFirstHalf
    }

    pub(crate) fn tell_at(&self, situation: &Situation) -> Option<Time> {
        let to_notify = || self.requests().iter().any(Request::is_to_notify);
        (self.is_to_tell() || to_notify()).then(|| self.notice_at(situation))
    }

    /// When the final GOAWAY follows the first: no stream that was under way to a peer which
    /// heeds the first is refused then.
    pub(crate) fn final_at(&self, situation: &Situation) -> Option<Time> {
        let waits = self.protocol == Protocol::Http2 && self.notice == Notice::Told;
        waits.then(|| self.notice_since.plus_nanos(situation.quiet))
    }

    /// The long-lived exchange on it whose end is still to be sent, if any.
    pub(crate) fn to_end(&self) -> Option<Option<RequestId>> {
        if self.fate != Fate::Open {
            None
        } else if self.protocol.is_long_lived() {
            Some(None)
        } else {
            let stream = self.requests().iter().find(|request| request.is_to_end());
            stream.map(|request| Some(request.id))
        }
    }

    /// Fixes the moment at which a long-lived exchange that begins at `now` ends.
    pub(crate) fn begin_long_lived(&mut self, situation: &Situation, now: Time) {
        let Situation { t1, spread, .. } = *situation;
        if self.ends_before_abort() {
            self.end_at = self.before_abort(situation, now);
            return;
        }
        let half = situation.half.max(now);
        let (from, span) =
            if half < t1 { (half, t1.nanos_since(half)) } else { (t1.max(now), spread) };
        self.end_at = Some(from.plus_nanos(self.jitter(span, situation, END_SALT)));
    }

    /// Brings that moment to where the deadlines are now: nothing that belongs to the window
    /// happens after it.
    pub(crate) fn hasten(&mut self, situation: &Situation) {
        if self.ends_before_abort() {
            self.end_at = self.before_abort(situation, situation.t1);
        } else if let Some(end_at) = self.end_at {
            let latest = self.jitter(situation.spread, situation, END_SALT);
            self.end_at = Some(end_at.min(situation.t1.plus_nanos(latest)));
        }
    }

    fn ends_before_abort(&self) -> bool {
        manner::of_protocol(self.protocol).ended == Ended::BeforeAbort
    }

    fn before_abort(&self, situation: &Situation, earliest: Time) -> Option<Time> {
        let jitter = self.jitter(situation.spread, situation, END_SALT);
        let earliest = earliest.max(situation.half);
        situation.abort.map(|abort| abort.minus_nanos(jitter).max(earliest))
    }

    fn jitter(&self, span: u64, situation: &Situation, salt: u64) -> u64 {
        jitter::within(span, situation.seed, self.id.0, salt)
    }

    /// When it may be closed as idle; `None` while it may not.
    pub(crate) fn idle_at(&self, situation: &Situation) -> Option<Time> {
        if !self.is_idle() || self.fate != Fate::Open {
            return None;
        }
        if self.announced {
            return Some(self.quiet_since);
        }
        // A peer that can be told is told first.
        if !situation.emptying || self.protocol == Protocol::Http2 {
            return None;
        }
        Some(self.head_until().unwrap_or_else(|| {
            let spread = self.jitter(situation.spread, situation, SPREAD_SALT);
            let quiet = self.quiet_since.plus_nanos(situation.quiet);
            quiet.max(situation.close_from.plus_nanos(spread))
        }))
    }

    /// The next moment at which something is due on it.
    pub(crate) fn next_due(&self, situation: &Situation) -> Option<Time> {
        match self.fate {
            Fate::Closing => self.close_until,
            Fate::Forced => None,
            Fate::Open => {
                let told = earlier(self.tell_at(situation), self.final_at(situation));
                let ended = earlier(self.to_end().and(self.end_at), self.idle_at(situation));
                earlier(told, ended)
            }
        }
    }
}

fn earlier(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
