//! One connection's own memory: its row, what is known of its requests, and what it is to be told.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use core::num::NonZeroU64;
use core::ops::Range;

use super::connection::{Cue, Pending};
use super::request::{Cues, RequestCue};
use super::shared::Shared;
use super::signal::Signal;
use crate::blocker::{Blocker, Blockers};
use crate::event::{Event, Outcome, RequestKind};
use crate::id::{ConnectionId, RequestId};
use crate::ledger;
use crate::machine::Machine;
use crate::millis::Millis;
use crate::protocol::Protocol;
use crate::refusal::Refused;
use crate::row::{AtomicRow, Change};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::time::Time;

/// Aligned to a cache line, so that threads which serve different connections never wait for each other.
#[repr(align(64))]
pub(super) struct Line {
    pub(super) row: AtomicRow,
    /// The driver was told to announce.
    announce: AtomicBool,
    pub(super) generation: u32,
    pub(super) id: ConnectionId,
    /// Taken for a request only once somebody describes it or waits for its cues.
    ///
    /// Order of locks: the machine's, the registry's, this one.
    pub(super) book: Mutex<Book>,
    /// Somebody is to be told something.
    pub(super) signal: Signal,
    pub(super) peer: String,
    pub(super) shared: Arc<Shared>,
}

/// What is known of a connection's requests beyond their number, and what it is to be told.
pub(super) struct Book {
    /// In the order in which they were first described; ascending keys.
    entries: Vec<Entry>,
    last_key: u64,
    /// The machine has adopted the connection: every entry has an id.
    handed: bool,
    /// Ids of adopted requests that nobody had described. Which is whose makes no difference until
    /// one of them speaks.
    unclaimed: Range<u32>,
    /// The next id of a request that begins after the hand-over.
    next_id: u32,
    /// For requests that are entered from now on.
    cues: Cues,
    /// What the connection's task is to be told.
    pub(super) pending: Pending,
    /// The machine knows who the peer is: from the first request on that it knows.
    peer_told: bool,
}

/// Names an entry.
pub(super) type Key = NonZeroU64;

/// A request that somebody described, or that began after the hand-over.
pub(super) struct Entry {
    key: Key,
    pub(super) id: Option<RequestId>,
    pub(super) kind: RequestKind,
    /// `None` when nobody gave one, or the machine has it.
    pub(super) label: Option<Cow<'static, str>>,
    pub(super) since: Time,
    pub(super) headers_sent: bool,
    /// The policy refuses it.
    pub(super) refused: bool,
    /// How it ends, unless somebody says otherwise.
    pub(super) outcome: Outcome,
    /// It has finished; what is missing is that it was flushed.
    pub(super) unflushed: bool,
    pub(super) cues: Cues,
}

pub(super) struct Opening {
    pub(super) shared: Arc<Shared>,
    pub(super) index: u32,
    pub(super) last_generation: u32,
    pub(super) protocol: Protocol,
    pub(super) peer: String,
    pub(super) handed: bool,
    pub(super) aborted: bool,
}

impl Line {
    pub(super) fn new(opening: Opening) -> Self {
        let row = AtomicRow::after(opening.last_generation);
        let generation = row.open(opening.protocol as u8, opening.handed);
        let mut cues = Cues::default();
        if opening.aborted {
            cues.fire(RequestCue::Abort);
        }
        Self {
            row,
            announce: AtomicBool::new(false),
            generation,
            id: ConnectionId(ledger::handle(generation, opening.index)),
            book: Mutex::new(Book {
                entries: Vec::new(),
                last_key: 0,
                handed: opening.handed,
                unclaimed: 0..0,
                next_id: 0,
                cues,
                pending: Pending::default(),
                peer_told: false,
            }),
            signal: Signal::default(),
            peer: opening.peer,
            shared: opening.shared,
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        Protocol::ALL[usize::from(self.row.read().1.protocol)]
    }

    /// Whether the next response shall say that the connection closes.
    pub(super) fn should_announce(&self) -> bool {
        // Relaxed: nothing else is read because of it.
        self.announce.load(Ordering::Relaxed)
    }

    /// Puts down what the connection's task is to be told. Who waits is told by `signal`.
    pub(super) fn cue(&self, cue: Cue) {
        if cue == Cue::AnnounceClose {
            self.announce.store(true, Ordering::Relaxed);
        }
        lock(&self.book).pending.put(cue);
    }

    /// The same for one request.
    pub(super) fn cue_request(&self, id: RequestId, cue: RequestCue) {
        if let Some(entry) = lock(&self.book).entries.iter_mut().find(|entry| entry.id == Some(id))
        {
            entry.cues.fire(cue);
        }
    }

    /// The same for every request, and those that come.
    pub(super) fn cue_requests(&self, cue: RequestCue) {
        let mut book = lock(&self.book);
        book.cues.fire(cue);
        book.entries.iter_mut().for_each(|entry| entry.cues.fire(cue));
    }

    /// The hand-over of this connection: the machine learns what the row and the book hold.
    pub(super) fn hand_over(&self, machine: &mut Machine, now: Time) {
        // Under the book's lock, so that a request is in both or in neither.
        let mut book = lock(&self.book);
        let Some((_, row)) = self.row.hand_over() else {
            return;
        };
        let (connection, in_flight) = (self.id, u32::from(row.in_flight));
        book.handed = true;
        let mut tell = |event| {
            // The registry names each connection once and the book each request, so nothing is refused.
            let told = machine.handle(event, now);
            debug_assert_eq!(told, Ok(()));
        };
        tell(Event::ConnectionAdopted {
            connection,
            protocol: Protocol::ALL[usize::from(row.protocol)],
            in_flight,
            announced: row.announced,
        });
        if in_flight > 0 {
            book.peer_to_tell(self).map(&mut tell);
        }
        for (request, entry) in (0..).map(RequestId).zip(&mut book.entries) {
            entry.id = Some(request);
            tell(Event::RequestDescribed {
                connection,
                request,
                kind: entry.kind,
                label: entry.label.take().unwrap_or_default().into_owned(),
                since: entry.since,
            });
            if entry.headers_sent {
                // That it announced is in the row.
                tell(Event::RequestHeadersSent { connection, request, announced: false });
            }
            if entry.unflushed {
                let outcome = entry.outcome;
                tell(Event::RequestFinished { connection, request, outcome, flushed: false });
            }
        }
        let described = book.entries.len() as u32;
        debug_assert!(described <= in_flight, "a request was described, but not counted");
        book.unclaimed = described..in_flight;
        book.next_id = in_flight;
    }

    /// Says what is in flight here while the machine does not know it.
    pub(super) fn blockers(&self, now: Time, into: &mut Blockers) {
        let book = lock(&self.book);
        let (_, row) = self.row.read();
        if !row.open || row.handed {
            return;
        }
        into.requests += u64::from(row.in_flight);
        into.idle_connections += u64::from(row.in_flight == 0);
        into.oldest.extend(book.entries.iter().map(|entry| Blocker::Request {
            protocol: Protocol::ALL[usize::from(row.protocol)].name(),
            kind: entry.kind,
            peer: Some(self.peer.clone()).filter(|peer| !peer.is_empty()),
            label: entry.label.as_deref().map(String::from),
            state: match (entry.unflushed, entry.headers_sent) {
                (true, _) => "response not flushed",
                (false, true) => "response begun",
                (false, false) => "unanswered",
            },
            age_ms: Millis(now.since(entry.since)),
        }));
    }

    /// Tells the machine about a request of this connection, if the machine is to know. What it refuses
    /// is a race that it has decided: the request was forced, the connection is gone.
    pub(super) fn tell(&self, event: Option<Event>) {
        if let Some(event) = event {
            let _: Result<(), Refused> = self.shared.tell(event);
        }
    }
}

impl Book {
    /// Enters a request, and returns its key.
    pub(super) fn enter(&mut self, id: Option<RequestId>, since: Time, refused: bool) -> Key {
        let key = Key::MIN.saturating_add(self.last_key);
        self.last_key = key.get();
        self.entries.push(Entry {
            key,
            id,
            kind: RequestKind::Ordinary,
            label: None,
            since,
            headers_sent: false,
            refused,
            outcome: Outcome::Completed,
            unflushed: false,
            cues: self.cues,
        });
        key
    }

    pub(super) fn is_handed(&self) -> bool {
        self.handed
    }

    /// The id of an adopted request that nobody had described.
    pub(super) fn claim(&mut self) -> Option<RequestId> {
        self.unclaimed.next().map(RequestId)
    }

    /// Who the peer is, if a request is about to be the first that the machine knows.
    pub(super) fn peer_to_tell(&mut self, line: &Line) -> Option<Event> {
        let told = mem::replace(&mut self.peer_told, true) || line.peer.is_empty();
        let (connection, peer) = (line.id, &line.peer);
        (!told).then(|| Event::ConnectionDescribed { connection, peer: peer.clone() })
    }

    /// A new request's id.
    pub(super) fn next_id(&mut self) -> RequestId {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        RequestId(id)
    }

    pub(super) fn entry(&mut self, key: Key) -> Option<&mut Entry> {
        let index = self.entries.binary_search_by_key(&key, |entry| entry.key).ok()?;
        self.entries.get_mut(index)
    }

    pub(super) fn leave(&mut self, key: Key) -> Option<Entry> {
        let index = self.entries.binary_search_by_key(&key, |entry| entry.key).ok()?;
        Some(self.entries.remove(index))
    }
}

/// Whether a change is one that the machine must be told.
pub(super) fn is_event(change: Change) -> bool {
    matches!(change, Change::HandedOver { .. })
}
