//! The table in which a driver counts connections and requests while it is serving.
//!
//! One row per connection, in pages that are allocated once and never move; what the words of a row
//! mean is fixed in [`lameduck::ledger`], how they change in [`lameduck::row`]. A request touches its own
//! connection's row and nothing else: no shared counter, no lock, no call into the machine.
//!
//! # The hand-over
//! When the server is asked to stop, [`Ledger::hand_over`] visits the open connections in handle order and
//! passes on what each row held; [`lameduck::row`] says why nothing is missed and nothing told twice.
//!
//! # Rows that a binding writes itself
//! JavaScript cannot afford a native call per request, so it gets the memory of a page
//! ([`Ledger::add_page`], [`Ledger::page`]) as a typed array, keeps its own free list of the page's slots, and
//! writes with ordinary stores. [`Ledger::open`] never touches such a page, while hand-over and totals read
//! all pages alike. This is sound, not just usual, because:
//!
//! - every cell is an aligned 32-bit word, and the engine stores to an `Int32Array` or `Uint32Array` element by a
//!   single machine store of that width: no other agent can see half a word;
//! - one thread only, the one that owns the page, stores to it. [`Ledger::hand_over`] and the operations by
//!   handle are the only writers on the Rust side, and for such a page they must be called on that same
//!   thread, so they are ordered with its stores by program order and no update can be lost between
//!   a script's load and store;
//! - other threads (the watchdog) only read, by relaxed atomic loads, in [`Ledger::totals`]. They may see
//!   a state and a generation of different moments, and use the state alone;
//! - the stores are not made by Rust code, so what Rust's memory model asks of them is what it asks of a
//!   device or another process that writes to the memory: that Rust reads it by atomics only. It does;
//! - the pages live as long as the ledger. A binding must keep the ledger alive as long as any
//!   view of a page can be reached.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lameduck::ledger as word;
pub use lameduck::ledger::Row;
pub use lameduck::row::Change;
use lameduck::row::{AtomicRow, Stale};
use lameduck::{ConnectionId, Event, Machine, Protocol, Time};

/// Connections in one page.
pub const PAGE_ROWS: usize = 1024;
/// The most pages that a ledger can have: 4 194 304 connections.
pub const MAX_PAGES: usize = 4096;
/// Which of a row's two 32-bit words is `state`. (A row is one 64-bit word to Rust, `state` its lower half.)
pub const STATE_WORD: usize = if cfg!(target_endian = "little") { 0 } else { 1 };
/// Which of a row's two 32-bit words is `generation`.
pub const GENERATION_WORD: usize = 1 - STATE_WORD;

const PAGE_ALIGN: usize = 64;

/// How far apart the rows of a ledger lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// 8 bytes: eight connections share a cache line. For one thread that does all the counting.
    Dense,
    /// 64 bytes: each connection has its own cache line, so that threads that serve different
    /// connections never wait for each other.
    Line,
}

impl Spacing {
    /// 32-bit words from the start of one row to the start of the next.
    #[must_use]
    pub const fn words(self) -> usize {
        2 << self.shift()
    }

    const fn shift(self) -> u32 {
        match self {
            Self::Dense => 0,
            Self::Line => 3,
        }
    }
}

/// A connection that [`Ledger::open`] has just entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Names the connection until it is closed; below 2^52, never 0.
    pub handle: u64,
    /// The hand-over has been: the caller must tell the machine about this connection.
    pub handed_over: bool,
}

/// What the whole ledger says, see [`Ledger::totals`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Open connections.
    pub connections: u64,
    /// Requests in flight on them.
    pub in_flight: u64,
    /// Connections, open or closed since, whose count once left its range.
    pub faults: u64,
}

/// Why an operation on the ledger was refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LedgerError {
    /// The hand-over has been; there is only one.
    AlreadyHandedOver,
    /// All [`MAX_PAGES`] pages are in use.
    Full,
    /// The handle's connection was closed, or the number never was a handle of this ledger.
    Stale {
        /// The handle that was passed in.
        handle: u64,
    },
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyHandedOver => {
                f.write_str("the ledger was handed over before: a process stops only once")
            }
            Self::Full => write!(
                f,
                "the ledger is full: it holds {} connections at most",
                MAX_PAGES * PAGE_ROWS
            ),
            Self::Stale { handle } => {
                write!(f, "no open connection has the handle {handle}: it was closed, or never was")
            }
        }
    }
}

impl std::error::Error for LedgerError {}

/// The memory of one page, see [`Ledger::page`].
#[derive(Clone, Copy, Debug)]
pub struct PageView<'a> {
    /// The first word. Aligned to 64 bytes, valid for [`words`](Self::words) words as long as the ledger lives.
    /// Other threads may read or write the words at any time: see the module's documentation.
    pub start: NonNull<u32>,
    /// Length in 32-bit words: [`PAGE_ROWS`] rows of [`Spacing::words`] each.
    pub words: usize,
    /// The index, as in a handle, of the page's first row.
    pub first_index: u32,
    ledger: PhantomData<&'a Ledger>,
}

/// The table. `Send + Sync`: all operations take `&self`.
pub struct Ledger {
    spacing: Spacing,
    pages: Box<[AtomicPtr<AtomicRow>]>,
    page_count: AtomicUsize,
    handed: AtomicBool,
    closed_faults: AtomicU32,
    /// Taken when a connection opens or closes and when a page is added, never for a request.
    slots: Mutex<Slots>,
}

/// Which rows [`Ledger::open`] may take.
struct Slots {
    free: Vec<u32>,
    /// By page: whether the caller of [`Ledger::add_page`] manages its rows.
    callers: Vec<bool>,
}

impl Ledger {
    /// An empty ledger without a page.
    #[must_use]
    pub fn new(spacing: Spacing) -> Self {
        Self {
            spacing,
            pages: (0..MAX_PAGES).map(|_| AtomicPtr::new(ptr::null_mut())).collect(),
            page_count: AtomicUsize::new(0),
            handed: AtomicBool::new(false),
            closed_faults: AtomicU32::new(0),
            slots: Mutex::new(Slots { free: Vec::new(), callers: Vec::new() }),
        }
    }

    /// How far apart the rows lie.
    #[must_use]
    pub fn spacing(&self) -> Spacing {
        self.spacing
    }

    /// Enters a connection that speaks `protocol` (a number of [`lameduck::ledger`]). Takes a lock, and now
    /// and then allocates a page: once per connection, not per request.
    ///
    /// # Errors
    /// [`LedgerError::Full`].
    pub fn open(&self, protocol: u8) -> Result<Opened, LedgerError> {
        self.occupy(|row, handed| row.open(protocol, handed))
    }

    /// [`open`](Self::open) and [`begin`](Self::begin) at once, for a server that knows of requests and not of their connections:
    /// each has one of its own. Born handed over, both must be told.
    ///
    /// # Errors
    /// [`LedgerError::Full`].
    pub fn open_with_request(&self, protocol: u8) -> Result<Opened, LedgerError> {
        self.occupy(|row, handed| row.open_with_request(protocol, handed))
    }

    #[inline]
    fn occupy(&self, open: impl Fn(&AtomicRow, bool) -> u32) -> Result<Opened, LedgerError> {
        let mut slots = self.lock_slots();
        let index = match slots.free.pop() {
            Some(index) => index,
            None => {
                let page = self.push_page(&mut slots, false)?;
                let first = (page * PAGE_ROWS) as u32;
                slots.free.extend((first + 1..first + PAGE_ROWS as u32).rev());
                first
            }
        };
        // Read under the lock, and set under it too: this connection is either in its row before
        // the hand-over starts to walk, or born handed.
        let handed_over = self.handed.load(Relaxed);
        let row = self.row_at(index).expect("a free slot's page exists");
        let generation = open(row, handed_over);
        Ok(Opened { handle: word::handle(generation, index), handed_over })
    }

    /// The connection has closed. Its handle is stale from now on, and requests still in flight are gone
    /// from the totals; the row that is returned says how many.
    ///
    /// # Errors
    /// [`LedgerError::Stale`].
    pub fn close(&self, handle: u64) -> Result<Change, LedgerError> {
        let change = self.change(handle, AtomicRow::close)?;
        let (Change::Counted { previous } | Change::HandedOver { previous }) = change;
        self.free(word::index_of(handle), previous.fault);
        Ok(change)
    }

    /// [`end`](Self::end) and [`close`](Self::close) at once, the other half of [`open_with_request`](Self::open_with_request): what
    /// was handed over, both must be told.
    ///
    /// # Errors
    /// [`LedgerError::Stale`].
    pub fn close_with_request(&self, handle: u64) -> Result<Change, LedgerError> {
        let change = self.change(handle, AtomicRow::close_with_request)?;
        let (Change::Counted { previous } | Change::HandedOver { previous }) = change;
        self.free(word::index_of(handle), previous.fault || previous.in_flight == 0);
        Ok(change)
    }

    #[inline]
    fn free(&self, index: u32, fault: bool) {
        if fault {
            self.closed_faults.fetch_add(1, Relaxed);
        }
        let mut slots = self.lock_slots();
        if !slots.callers[index as usize / PAGE_ROWS] {
            slots.free.push(index);
        }
    }

    /// A request begins on the connection.
    ///
    /// # Errors
    /// [`LedgerError::Stale`].
    #[inline]
    pub fn begin(&self, handle: u64) -> Result<Change, LedgerError> {
        self.change(handle, AtomicRow::begin)
    }

    /// A request ends on the connection. If none was in flight, the row's fault bit is set and the
    /// count stays zero: `previous.in_flight == 0` in the result says so.
    ///
    /// # Errors
    /// [`LedgerError::Stale`].
    #[inline]
    pub fn end(&self, handle: u64) -> Result<Change, LedgerError> {
        self.change(handle, AtomicRow::end)
    }

    /// The connection's peer was told that the connection closes.
    ///
    /// # Errors
    /// [`LedgerError::Stale`].
    pub fn announce(&self, handle: u64) -> Result<Change, LedgerError> {
        self.change(handle, AtomicRow::announce)
    }

    /// The connection speaks another protocol from now on; its count stays as it is.
    ///
    /// # Errors
    /// [`LedgerError::Stale`].
    pub fn upgrade(&self, handle: u64, protocol: u8) -> Result<Change, LedgerError> {
        self.change(handle, |row, generation| row.upgrade(generation, protocol))
    }

    /// What the connection's row says now.
    ///
    /// # Errors
    /// [`LedgerError::Stale`].
    pub fn row(&self, handle: u64) -> Result<Row, LedgerError> {
        let current = self.row_at(word::index_of(handle)).map(AtomicRow::read);
        match current {
            Some((generation, row)) if row.open && generation == word::generation_of(handle) => {
                Ok(row)
            }
            _ => Err(LedgerError::Stale { handle }),
        }
    }

    /// The connection's row as a word of memory, generation in the upper half and state in the lower, for whoever counts in another
    /// language: by a compare-and-swap that checks the generation, as [`lameduck::row`] does. Valid as long as the ledger.
    ///
    /// # Errors
    /// [`LedgerError::Stale`].
    pub fn word(&self, handle: u64) -> Result<NonNull<u64>, LedgerError> {
        self.row(handle)?;
        // An atomic, which may be changed through what a shared reference points to.
        self.row_at(word::index_of(handle))
            .map(|row| NonNull::from(row).cast())
            .ok_or(LedgerError::Stale { handle })
    }

    /// The hand-over: marks every open connection as handed, in handle order of their slots, and passes its
    /// handle and the row as it was just before to `adopt`. Connections that open from now on are born
    /// handed. Returns how many were passed on.
    ///
    /// `adopt` may use the ledger. For pages whose slots a binding manages, call this on the thread that
    /// writes to them.
    ///
    /// # Errors
    /// [`LedgerError::AlreadyHandedOver`] the second time.
    pub fn hand_over(&self, mut adopt: impl FnMut(u64, Row)) -> Result<usize, LedgerError> {
        {
            let _slots = self.lock_slots();
            if self.handed.swap(true, AcqRel) {
                return Err(LedgerError::AlreadyHandedOver);
            }
        }
        let mut adopted = 0;
        for (index, row) in self.rows() {
            if let Some((generation, before)) = row.hand_over() {
                adopted += 1;
                adopt(word::handle(generation, index), before);
            }
        }
        Ok(adopted)
    }

    /// [`hand_over`](Self::hand_over) to a machine that was asked to stop at `now`. A ledger that was handed over before has
    /// nothing left to give: its connections are known already.
    pub fn hand_over_to(&self, machine: &mut Machine, now: Time) {
        let _ = self.hand_over(|handle, row| {
            let adopted = Event::ConnectionAdopted {
                connection: ConnectionId(handle),
                protocol: Protocol::ALL[usize::from(row.protocol).min(Protocol::ALL.len() - 1)],
                in_flight: u32::from(row.in_flight),
                announced: row.announced,
            };
            // The ledger names each connection once, so the machine cannot know it.
            let _ = machine.handle(adopted, now);
        });
    }

    /// Whether the hand-over has been.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.handed.load(Acquire)
    }

    /// Makes it as new for another server of the same process: every connection is closed, nothing is handed over. The generations
    /// go on, so every handle that was given out is stale.
    ///
    /// Other threads may still try such handles, by [`begin`](Self::begin) and [`end`](Self::end); none may open or close, and
    /// no page may be a caller's.
    pub fn reset(&self) {
        let mut slots = self.lock_slots();
        for (index, row) in self.rows() {
            let (generation, before) = row.read();
            // What is closed already was closed by its owner, who has put it into the list.
            if before.open && row.close(generation).is_ok() {
                slots.free.push(index);
            }
        }
        self.handed.store(false, Release);
        self.closed_faults.store(0, Relaxed);
    }

    /// Adds up all rows. From any thread, without a lock or an allocation; while others count, the result
    /// is of no single moment.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals =
            Totals { faults: u64::from(self.closed_faults.load(Relaxed)), ..Totals::default() };
        for (_, row) in self.rows() {
            let (_, row) = row.read();
            if row.open {
                totals.connections += 1;
                totals.in_flight += u64::from(row.in_flight);
                totals.faults += u64::from(row.fault);
            }
        }
        totals
    }

    /// Adds a page whose slots the caller manages: [`Ledger::open`] will not take them. Returns its number.
    ///
    /// The caller opens a connection in a free slot by storing a generation other than the last one (1 to
    /// [`GENERATION_MAX`](lameduck::ledger::GENERATION_MAX)) and then the state
    /// [`opened`](lameduck::ledger::opened), and closes it by storing the state 0.
    ///
    /// # Errors
    /// [`LedgerError::Full`].
    pub fn add_page(&self) -> Result<usize, LedgerError> {
        self.push_page(&mut self.lock_slots(), true)
    }

    /// How many pages there are.
    #[must_use]
    pub fn page_count(&self) -> usize {
        self.page_count.load(Acquire)
    }

    /// The memory of page `number`, or `None` when there is no such page.
    #[must_use]
    pub fn page(&self, number: usize) -> Option<PageView<'_>> {
        let start = NonNull::new(self.pages.get(number)?.load(Acquire))?;
        Some(PageView {
            start: start.cast(),
            words: PAGE_ROWS * self.spacing.words(),
            first_index: (number * PAGE_ROWS) as u32,
            ledger: PhantomData,
        })
    }

    #[inline]
    fn change(
        &self,
        handle: u64,
        make: impl Fn(&AtomicRow, u32) -> Result<Change, Stale>,
    ) -> Result<Change, LedgerError> {
        let row = self.row_at(word::index_of(handle)).ok_or(Stale);
        row.and_then(|row| make(row, word::generation_of(handle)))
            .map_err(|Stale| LedgerError::Stale { handle })
    }

    #[inline]
    fn row_at(&self, index: u32) -> Option<&AtomicRow> {
        let index = index as usize;
        // Acquire pairs with the Release in `push_page`: the page's zeroes are visible.
        let page = NonNull::new(self.pages.get(index / PAGE_ROWS)?.load(Acquire))?;
        let offset = (index % PAGE_ROWS) << self.spacing.shift();
        // SAFETY: a page that is not null was allocated by `push_page` for PAGE_ROWS rows of this
        // spacing, so `offset` is inside it and aligned; all zeroes is a valid `AtomicRow`; it is freed
        // only when the ledger is dropped, which the returned borrow excludes.
        Some(unsafe { page.add(offset).as_ref() })
    }

    fn rows(&self) -> impl Iterator<Item = (u32, &AtomicRow)> {
        let rows = (self.page_count() * PAGE_ROWS) as u32;
        (0..rows).filter_map(|index| Some((index, self.row_at(index)?)))
    }

    fn push_page(&self, slots: &mut Slots, callers: bool) -> Result<usize, LedgerError> {
        let number = slots.callers.len();
        let place = self.pages.get(number).ok_or(LedgerError::Full)?;
        let layout = self.page_layout();
        // SAFETY: the layout's size is not zero.
        let page = unsafe { alloc_zeroed(layout) }.cast::<AtomicRow>();
        if page.is_null() {
            handle_alloc_error(layout);
        }
        slots.callers.push(callers);
        place.store(page, Release);
        self.page_count.store(number + 1, Release);
        Ok(number)
    }

    fn page_layout(&self) -> Layout {
        Layout::from_size_align(PAGE_ROWS * self.spacing.words() * size_of::<u32>(), PAGE_ALIGN)
            .expect("the size is a small constant")
    }

    fn lock_slots(&self) -> MutexGuard<'_, Slots> {
        // Every step under the lock leaves the list valid, so a panic elsewhere does not matter.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let layout = self.page_layout();
        for page in &mut self.pages {
            let page = *page.get_mut();
            if !page.is_null() {
                // SAFETY: `push_page` allocated it with this very layout, and nobody borrows it:
                // `self` is exclusive, and bindings keep the ledger as long as their views.
                unsafe { dealloc(page.cast(), layout) };
            }
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("spacing", &self.spacing)
            .field("pages", &self.page_count())
            .field("handed_over", &self.is_handed_over())
            .field("totals", &self.totals())
            .finish()
    }
}

#[cfg(test)]
mod tests;
