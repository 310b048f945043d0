//! Requests, from their first byte to the end of the response's body.

use alloc::borrow::Cow;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};

use super::job::{JobGuard, JobOptions};
use super::line::{Key, Line, is_event};
use super::signal::Wait;
use crate::effect::Effect;
use crate::event::{Event, JobSource, Outcome, RequestKind};
use crate::id::RequestId;
use crate::refusal::Refused;
use crate::row::Late;
use crate::sync::{Arc, lock};

/// What a request is told. Each is told once, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestCue {
    /// A long poll shall answer now; a stream's peer may be told that the server is leaving.
    Notify,
    /// A stream shall end: its protocol's clean end, then [`RequestGuard::finish`] with [`Outcome::Ended`].
    End,
    /// The drain deadline is near: roll back while that is possible.
    Abort,
    /// It is over. What is unanswered is answered 503 now or never; the verdict is given.
    Force,
}

impl RequestCue {
    const ALL: [Self; 4] = [Self::Notify, Self::End, Self::Abort, Self::Force];
}

/// A set of [`RequestCue`]s that fired, and which of them were told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cues {
    fired: u8,
    told: u8,
}

impl Cues {
    pub(super) fn fire(&mut self, cue: RequestCue) {
        self.fired |= 1 << cue as u8;
    }

    fn has_fired(self, cue: RequestCue) -> bool {
        self.fired & (1 << cue as u8) != 0
    }

    fn take(&mut self) -> Option<RequestCue> {
        let next = |cue: &RequestCue| self.has_fired(*cue) && self.told & (1 << *cue as u8) == 0;
        let cue = RequestCue::ALL.into_iter().find(next)?;
        self.told |= 1 << cue as u8;
        Some(cue)
    }
}

/// A request in flight. Move it into the response's body, so that it lives until the last byte is handed on:
/// a request that counts only until its handler returns is cut while its body is on the way.
///
/// Dropping it without [`finish`](Self::finish) counts as completed: in Rust the end of a scope is how things
/// end. Who can tell that the client went away says so.
#[must_use = "a request that is dropped counts as completed"]
pub struct RequestGuard {
    line: Arc<Line>,
    /// Its entry in the connection's book; without one it is one of a number.
    entry: Option<Key>,
}

impl RequestGuard {
    #[inline]
    pub(super) fn begin(line: &Arc<Line>) -> Result<Self, Refused> {
        match line.row.enter() {
            Ok(()) => Ok(Self { line: Arc::clone(line), entry: None }),
            Err(late) => Self::begin_late(line, late),
        }
    }

    /// A request on a connection that was handed over or closed, or that has too many.
    #[cold]
    fn begin_late(line: &Arc<Line>, late: Late) -> Result<Self, Refused> {
        match late {
            Late::Crowded { adopted } => {
                if adopted {
                    let request = lock(&line.book).claim();
                    line.tell(request.map(|id| finished(line, id, Outcome::Refused, true)));
                }
                Err(Refused::TooMany)
            }
            Late::Closed => {
                // The hand-over never finds it.
                let _ = line.row.leave();
                Err(Refused::UnknownConnection)
            }
            Late::HandedOver => {
                let begun = Self::start(line);
                if begun.is_err() {
                    // The machine knows nothing of it; the row counts for the totals only.
                    let _ = line.row.leave();
                }
                begun
            }
        }
    }

    /// Begins a request as an event.
    fn start(line: &Arc<Line>) -> Result<Self, Refused> {
        let (shared, connection, now) = (&line.shared, line.id, line.shared.timer.now());
        shared.with(|core| {
            let (request, looked_for, peer) = {
                let mut book = lock(&line.book);
                (book.next_id(), book.pending.spare_the_look(), book.peer_to_tell(line))
            };
            if looked_for {
                core.machine.handle(Event::ConnectionBusy { connection }, now)?;
            }
            if let Some(peer) = peer {
                core.machine.handle(peer, now)?;
            }
            let kind = RequestKind::Ordinary;
            core.machine.handle(Event::RequestStarted { connection, request, kind }, now)?;
            // A request that the machine counts as not processed it does not know afterwards. Asked about it, it
            // refuses either way, and a refusal changes nothing.
            let flushed = Event::RequestFlushed { connection, request };
            if core.machine.handle(flushed, now) == Err(Refused::UnknownRequest) {
                return Err(Refused::Draining);
            }
            let mut refused = false;
            while let Some(effect) = core.machine.poll_effect() {
                refused |= effect == (Effect::RefuseRequest { connection, request });
                shared.apply(core, effect);
            }
            let key = lock(&line.book).enter(Some(request), now, refused);
            Ok(Self { line: Arc::clone(line), entry: Some(key) })
        })
    }

    /// Whether the policy refuses it: answer 503, then [`finish`](Self::finish) with [`Outcome::Refused`].
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.entry
            .is_some_and(|key| lock(&self.line.book).entry(key).is_some_and(|entry| entry.refused))
    }

    /// Says what it is: its kind, as far as it is known by now, and method and route as an operator would write
    /// them. That is how [`Shutdown::blockers`](super::Shutdown::blockers) and the report name it; its age counts
    /// from the first time it is described.
    pub fn describe(&mut self, kind: RequestKind, label: impl Into<Cow<'static, str>>) {
        let label = label.into();
        let described = self.entered(|line, entry| {
            entry.kind = kind;
            let Some(request) = entry.id else {
                entry.label = Some(label);
                return None;
            };
            let (connection, label, since) = (line.id, label.into_owned(), entry.since);
            Some(Event::RequestDescribed { connection, request, kind, label, since })
        });
        self.line.tell(described);
    }

    /// The head of the response was written; `announced` says whether it said that the connection closes.
    /// It counts once.
    pub fn headers_sent(&mut self, announced: bool) {
        let sent = self.entered(|line, entry| {
            if core::mem::replace(&mut entry.headers_sent, true) {
                return None;
            }
            let Some(request) = entry.id else {
                if announced {
                    // Before the hand-over, which waits for this lock; a closed connection is beyond caring.
                    let _ = line.row.announce(line.generation);
                }
                return None;
            };
            Some(Event::RequestHeadersSent { connection: line.id, request, announced })
        });
        self.line.tell(sent);
    }

    /// The next thing it is told. Never resolves if there is nothing; may be dropped and called again.
    pub async fn cue(&mut self) -> RequestCue {
        let key = self.key();
        let line = &*self.line;
        let mut wait = Wait::new(&line.shared.due);
        let next = || lock(&line.book).entry(key)?.cues.take();
        poll_fn(|context| wait.poll(&line.signal, context, next)).await
    }

    /// Resolves when the abort signal of this request fires, or its time is over: for work that is
    /// better rolled back than cut. Never resolves if the request ends before.
    pub fn aborted(&mut self) -> Aborted {
        let wait = Wait::new(&self.line.shared.due);
        Aborted { key: self.key(), line: Arc::clone(&self.line), wait }
    }

    /// Work that outlives this request begins; shutdown waits for it until the drain deadline. If the abort signals
    /// have fired already, so will this one's.
    ///
    /// # Errors
    /// Once the drain is over.
    pub fn job(&self, options: impl Into<JobOptions>) -> Result<JobGuard, Refused> {
        JobGuard::begin(&self.line.shared, options.into(), JobSource::Request)
    }

    /// It has ended, and every byte of its response has left the process, or is the business of something
    /// that sends it before it closes.
    pub fn finish(mut self, outcome: Outcome) {
        if outcome != Outcome::Completed {
            self.entered(|_, entry| {
                entry.outcome = outcome;
                None::<()>
            });
        }
    }

    /// It has ended, but bytes of its response are still in the process. It stays in flight until what is
    /// returned is dropped.
    pub fn finish_unflushed(mut self, outcome: Outcome) -> Unflushed {
        let finished = self.entered(|line, entry| {
            entry.outcome = outcome;
            entry.unflushed = true;
            entry.id.map(|id| finished(line, id, outcome, false))
        });
        self.line.tell(finished);
        Unflushed { _request: self }
    }

    /// Works on its entry, which it makes if there is none.
    fn entered<R>(
        &mut self,
        work: impl FnOnce(&Line, &mut super::line::Entry) -> Option<R>,
    ) -> Option<R> {
        let key = self.key();
        let mut book = lock(&self.line.book);
        work(&self.line, book.entry(key)?)
    }

    fn key(&mut self) -> Key {
        if let Some(key) = self.entry {
            return key;
        }
        let since = self.line.shared.timer.now();
        let mut book = lock(&self.line.book);
        let adopted = if book.is_handed() { book.claim() } else { None };
        let key = book.enter(adopted, since, false);
        self.entry = Some(key);
        key
    }

    /// Ends it as an event, or as an entry.
    #[cold]
    fn leave(&self) {
        let line = &*self.line;
        let mut book = lock(&line.book);
        let ended = match self.entry {
            // Counted when it began, an event when it ended: one of those adopted.
            None => book.claim().map(|id| finished(line, id, Outcome::Completed, true)),
            Some(key) => {
                // Under the lock, so that the hand-over counts both or neither.
                let _ = line.row.leave();
                book.leave(key).and_then(|entry| {
                    let (connection, request) = (line.id, entry.id?);
                    Some(if entry.unflushed {
                        Event::RequestFlushed { connection, request }
                    } else {
                        finished(line, request, entry.outcome, true)
                    })
                })
            }
        };
        drop(book);
        line.tell(ended);
    }
}

impl Drop for RequestGuard {
    #[inline]
    fn drop(&mut self) {
        if self.entry.is_some() || is_event(self.line.row.leave()) {
            self.leave();
        }
    }
}

impl fmt::Debug for RequestGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestGuard").field("connection", &self.line.id).finish_non_exhaustive()
    }
}

/// The rest of a request that has finished: bytes which are still to leave the process. Dropping it says that
/// they have.
#[derive(Debug)]
#[must_use = "dropping it says that the response was flushed"]
pub struct Unflushed {
    _request: RequestGuard,
}

/// See [`RequestGuard::aborted`].
#[must_use = "futures do nothing unless polled"]
pub struct Aborted {
    line: Arc<Line>,
    key: Key,
    wait: Wait,
}

impl Future for Aborted {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { line, key, wait } = self.get_mut();
        wait.poll(&line.signal, context, || {
            let cues = lock(&line.book).entry(*key)?.cues;
            let fired = cues.has_fired(RequestCue::Abort) || cues.has_fired(RequestCue::Force);
            fired.then_some(())
        })
    }
}

impl fmt::Debug for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aborted").field("connection", &self.line.id).finish_non_exhaustive()
    }
}

fn finished(line: &Line, request: RequestId, outcome: Outcome, flushed: bool) -> Event {
    Event::RequestFinished { connection: line.id, request, outcome, flushed }
}
