//! One row of the ledger, shared between threads: how it changes, and how it is handed over.
//!
//! What the bits mean is fixed in [`crate::ledger`]; this file fixes the order in which threads
//! see them change. It holds no memory of its own: the host's paged table and the guards of the
//! async layer are both made of [`AtomicRow`]s.
//!
//! # The hand-over
//! When the server is asked to stop, [`AtomicRow::hand_over`] sets HANDED in each open row by one
//! read-modify-write and returns what the row held before. Every other change is one
//! read-modify-write of the same word, so the two are ordered, row by row: a change that came first
//! is in what the hand-over saw and returns [`Change::Counted`]; one that came second returns
//! [`Change::HandedOver`] and its caller must tell the machine. Nothing is missed and nothing is told
//! twice. The row goes on counting, for the watchdog's message only.
//!
//! # Two ways to change it
//! Whoever has a *handle* ([`AtomicRow::begin`], [`AtomicRow::end`] …) may be wrong: the
//! connection may be closed, its slot used again, the end said twice. Such a change is checked before it is
//! made, in a compare-and-swap loop. It must not be made first and taken back when it turns out to be
//! wrong: for that moment another connection's row would count a request that is not there, and the
//! hand-over could fall into it.
//!
//! Whoever *owns* the row, as the guards of the async layer do, cannot be wrong: the type system keeps
//! a guard from ending what it did not begin. There one unconditional addition is enough, which needs no
//! loop when threads meet on one connection.

use crate::ledger::{self, Row};
use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// For each change of a row: what was done before it is visible to the hand-over that counted it.
///
/// ```text
/// label = "GET /slow";                // thread 1
/// row.begin();
///
/// let (_, row) = row.hand_over();     // thread 2
/// if row.in_flight == 1 {
///     assert!(label == "GET /slow");  // fails if this is Relaxed
/// }
/// ```
///
/// Likewise with `open` (who the peer is), `end` and `close` (what the last request left in a buffer that
/// a hook flushes). Those that come between do not break the chain: each is a read-modify-write.
const CHANGE: Ordering = Ordering::Release;

/// For the slot's next connection, which is a plain store and begins a chain of its own: the example of
/// [`CHANGE`], with `open` in the place of `begin`.
const OPEN: Ordering = Ordering::Release;

/// For the hand-over: the other half of [`CHANGE`], and of [`AFTER_HANDED`].
///
/// ```text
/// known.insert(connection);           // thread 1
/// row.hand_over();
///
/// if let HandedOver = row.begin() {   // thread 2
///     assert!(known.contains(connection)); // fails if this is only Acquire
/// }
/// ```
const HAND_OVER: Ordering = Ordering::AcqRel;

/// For the hand-over that finds the row closed: the example of [`CHANGE`], with `close` in the
/// place of `begin`, and a hook that flushes what the connection's last request wrote.
const FOUND_CLOSED: Ordering = Ordering::Acquire;

/// For a change that saw HANDED: the other half of [`HAND_OVER`]. A fence, so that a change before the
/// hand-over, which is nearly every one, does not pay for it.
const AFTER_HANDED: Ordering = Ordering::Acquire;

/// From here on an owner's begin is refused. The upper half of the range is for begins that are about
/// to take themselves back: to wrap the count, 32 767 threads would have to be in that instruction at
/// once.
#[cfg(any(test, feature = "async"))]
const CROWDED: u16 = 1 << 15;

/// A row: 64 bits, the generation in the upper half and the state in the lower. All zeroes is a row
/// that was never used.
#[derive(Debug)]
#[repr(transparent)]
pub struct AtomicRow(AtomicU64);

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a change that came after the hand-over must be told to the machine"]
pub enum Change {
    /// It came before the hand-over: counting was all there was to do.
    Counted {
        /// The row as it was just before.
        previous: Row,
    },
    /// It came after the hand-over: the caller must tell the machine.
    HandedOver {
        /// The row as it was just before.
        previous: Row,
    },
}

impl Change {
    #[inline]
    fn after(before: u64) -> Self {
        let previous = ledger::decode(state(before));
        if previous.handed {
            // Not `AcqRel` on the change itself: see AFTER_HANDED.
            fence(AFTER_HANDED);
            Self::HandedOver { previous }
        } else {
            Self::Counted { previous }
        }
    }
}

/// No open connection has that generation: it was closed, or never was. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

/// Why an owner's begin was not simply counted.
#[cfg(any(test, feature = "async"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// The connection was closed before. It was counted nevertheless and must be taken back.
    Closed,
    /// Too many requests are in flight; the row's fault bit is set and this one is not counted. If
    /// the hand-over fell between counting it and taking it back, it adopted a request that must be
    /// told as finished.
    Crowded { adopted: bool },
    /// It was counted, after the hand-over: the machine must be told.
    HandedOver,
}

impl Default for AtomicRow {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl AtomicRow {
    /// Enters a connection that speaks `protocol` (a number of [`crate::ledger`]) and returns its
    /// generation. `handed` says that the hand-over has been, so the row is born handed.
    ///
    /// Only whoever owns the slot may call this, and only while no connection is in it.
    pub fn open(&self, protocol: u8, handed: bool) -> u32 {
        self.occupy(ledger::opened(protocol), handed)
    }

    /// [`open`](Self::open) and [`begin`](Self::begin) in one: a connection that is there for one request only.
    pub fn open_with_request(&self, protocol: u8, handed: bool) -> u32 {
        self.occupy(ledger::begin(ledger::opened(protocol)), handed)
    }

    fn occupy(&self, state: u32, handed: bool) -> u32 {
        // Relaxed: whoever gave the caller the slot ordered this after the previous connection.
        let generation = ledger::next_generation(generation(self.0.load(Ordering::Relaxed)));
        let state = if handed { ledger::handed(state) } else { state };
        self.0.store(join(generation, state), OPEN);
        generation
    }

    /// The connection has closed. Its generation is stale from now on; the row that is returned says how many
    /// requests were in flight.
    ///
    /// # Errors
    /// [`Stale`].
    pub fn close(&self, generation: u32) -> Result<Change, Stale> {
        self.change(generation, ledger::closed)
    }

    /// [`end`](Self::end) and [`close`](Self::close) in one, so that the hand-over finds both or neither.
    ///
    /// # Errors
    /// [`Stale`].
    pub fn close_with_request(&self, generation: u32) -> Result<Change, Stale> {
        self.change(generation, |state| ledger::closed(ledger::end(state)))
    }

    /// A request begins. At [`IN_FLIGHT_MAX`](ledger::IN_FLIGHT_MAX) the count stays and the fault bit is set.
    ///
    /// # Errors
    /// [`Stale`].
    #[inline]
    pub fn begin(&self, generation: u32) -> Result<Change, Stale> {
        self.change(generation, ledger::begin)
    }

    /// A request ends. If none was in flight, the fault bit is set and the count stays zero:
    /// `previous.in_flight == 0` says so.
    ///
    /// # Errors
    /// [`Stale`].
    #[inline]
    pub fn end(&self, generation: u32) -> Result<Change, Stale> {
        self.change(generation, ledger::end)
    }

    /// The peer was told that the connection closes.
    ///
    /// # Errors
    /// [`Stale`].
    pub fn announce(&self, generation: u32) -> Result<Change, Stale> {
        self.change(generation, ledger::announced)
    }

    /// The connection speaks another protocol from now on; its count stays as it is.
    ///
    /// # Errors
    /// [`Stale`].
    pub fn upgrade(&self, generation: u32, protocol: u8) -> Result<Change, Stale> {
        self.change(generation, |state| ledger::with_protocol(state, protocol))
    }

    /// The hand-over of this row: its generation and the row as it was just before. `None` when no connection is in
    /// it, or one that was born handed.
    pub fn hand_over(&self) -> Option<(u32, Row)> {
        let before = self.0.fetch_update(HAND_OVER, FOUND_CLOSED, |current| {
            let state = state(current);
            let wanted = state & (ledger::OPEN | ledger::HANDED) == ledger::OPEN;
            wanted.then(|| join(generation(current), ledger::handed(state)))
        });
        before.ok().map(|before| (generation(before), ledger::decode(state(before))))
    }

    /// Generation and row as they are now, for whoever only wants to know.
    pub fn read(&self) -> (u32, Row) {
        let current = self.0.load(Ordering::Relaxed);
        (generation(current), ledger::decode(state(current)))
    }

    /// Replaces the state by what `next` makes of it, in one read-modify-write that also checks that
    /// the generation is still the row's.
    #[inline]
    fn change(&self, generation: u32, next: impl Fn(u32) -> u32) -> Result<Change, Stale> {
        self.0
            .fetch_update(CHANGE, Ordering::Relaxed, |current| {
                is_current(current, generation).then(|| join(generation, next(state(current))))
            })
            .map(Change::after)
            .map_err(|_| Stale)
    }
}

/// For owners of the row.
#[cfg(any(test, feature = "async"))]
impl AtomicRow {
    /// A row whose last connection was of this generation.
    #[cfg(feature = "async")]
    pub(crate) fn after(generation: u32) -> Self {
        Self(AtomicU64::new(join(generation, 0)))
    }

    /// [`begin`](Self::begin) that cannot be wrong.
    #[inline]
    pub(crate) fn enter(&self) -> Result<(), Late> {
        let before = self.0.fetch_add(1, CHANGE);
        // The three questions at once: handed over, closed, crowded?
        if state(before) & (ledger::HANDED | ledger::OPEN | u32::from(CROWDED)) == ledger::OPEN {
            return Ok(());
        }
        Err(self.entered_late(before))
    }

    #[cold]
    fn entered_late(&self, before: u64) -> Late {
        let row = ledger::decode(state(before));
        if row.in_flight >= CROWDED {
            self.0.fetch_or(u64::from(ledger::FAULT), Ordering::Relaxed);
            let adopted = matches!(
                (Change::after(before), self.leave()),
                (Change::Counted { .. }, Change::HandedOver { .. })
            );
            return Late::Crowded { adopted };
        }
        match Change::after(before) {
            Change::Counted { .. } => Late::Closed,
            Change::HandedOver { .. } => Late::HandedOver,
        }
    }

    /// [`end`](Self::end) of one who has [`enter`](Self::enter)ed it. A row that was closed
    /// meanwhile still takes it.
    #[inline]
    pub(crate) fn leave(&self) -> Change {
        let before = self.0.fetch_sub(1, CHANGE);
        debug_assert_ne!(ledger::decode(state(before)).in_flight, 0, "left without entering");
        Change::after(before)
    }
}

const fn join(generation: u32, state: u32) -> u64 {
    (generation as u64) << 32 | state as u64
}

const fn state(cell: u64) -> u32 {
    cell as u32
}

const fn generation(cell: u64) -> u32 {
    (cell >> 32) as u32
}

const fn is_current(cell: u64, wanted: u32) -> bool {
    generation(cell) == wanted && state(cell) & ledger::OPEN != 0
}

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
