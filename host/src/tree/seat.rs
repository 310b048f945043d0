//! Memory that a parent shares with its workers: a seat each.
//!
//! A worker that counts its requests in its seat lets the parent say how many were lost when it dies, and reads from
//! it how long it has when it is asked to stop. That works for workers that were forked (prefork servers, gunicorn);
//! one that was started by `exec` does not share the memory, and its number is not known.
//!
//! Every seat has a cache line of its own. A request costs its worker two uncontended atomic additions.

use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicI32, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::{fmt, io, mem, ptr};

use crate::clock::MonotonicNs;
use crate::wake::process_id;

/// Values of [`Words::deadline`] that are no deadline.
const NOT_ASKED: u64 = 0;
const UNLIMITED: u64 = u64::MAX;

#[repr(C, align(64))]
struct Words {
    /// Who counts here; 0 is nobody.
    process: AtomicI32,
    in_flight: AtomicU32,
    deadline: AtomicU64,
    everybody: AtomicU32,
}

/// Seats for a number of workers. Make it before forking them; it is freed with its last seat.
#[derive(Clone, Debug)]
pub struct Page(Arc<Memory>);

/// One worker's place. Clone it freely; the parent's and the worker's are the same memory.
#[derive(Clone)]
pub struct Seat {
    memory: Arc<Memory>,
    number: usize,
}

/// What a worker was asked by its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When it is killed; `None` is never.
    pub deadline: Option<MonotonicNs>,
    /// Whether everybody stops: the listener is fenced and is to be accepted to its end. If not, this worker is
    /// recycled: it closes its descriptor of the listener and the others go on.
    pub everybody: bool,
}

impl Page {
    /// Memory for `seats` workers.
    ///
    /// # Errors
    /// When the system has no memory.
    pub fn new(seats: usize) -> io::Result<Self> {
        Memory::new(seats).map(|memory| Self(Arc::new(memory)))
    }

    /// The seat with that number, free for the next worker: what an earlier one left in it is forgotten. `None` when there
    /// are not as many.
    #[must_use]
    pub fn seat(&self, number: usize) -> Option<Seat> {
        let words = self.0.words(number)?;
        words.process.store(0, Relaxed);
        words.in_flight.store(0, Relaxed);
        words.deadline.store(NOT_ASKED, Relaxed);
        words.everybody.store(0, Relaxed);
        Some(Seat { memory: Arc::clone(&self.0), number })
    }
}

impl Seat {
    /// In the worker, after the fork: from now on this process counts here.
    pub fn sit(&self) {
        self.words().in_flight.store(0, Relaxed);
        // Release: a parent that sees the process sees its count.
        self.words().process.store(process_id(), Release);
    }

    /// In the worker: a request begins.
    pub fn begin(&self) {
        self.words().in_flight.fetch_add(1, Relaxed);
    }

    /// In the worker: a request was answered, or its client is gone.
    pub fn end(&self) {
        // Never below zero: an end without a begin must not look like four thousand million lost requests.
        let _ = self.words().in_flight.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
    }

    /// In the worker: what the parent asked; `None` when the signal came from somebody else.
    #[must_use]
    pub fn asked(&self) -> Option<Asked> {
        // Acquire pairs with the Release in `ask`.
        let deadline = match self.words().deadline.load(Acquire) {
            NOT_ASKED => return None,
            UNLIMITED => None,
            deadline => Some(deadline),
        };
        Some(Asked { deadline, everybody: self.words().everybody.load(Relaxed) != 0 })
    }

    pub(super) fn ask(&self, asked: Asked) {
        self.words().everybody.store(asked.everybody.into(), Relaxed);
        let deadline = asked.deadline.map_or(UNLIMITED, |at| at.clamp(1, UNLIMITED - 1));
        self.words().deadline.store(deadline, Release);
    }

    /// In the parent, once the process has ended: how many requests it left, if it counted.
    pub(super) fn left_by(&self, process: libc::pid_t) -> Option<u32> {
        let counted = self.words().process.load(Acquire) == process;
        counted.then(|| self.words().in_flight.load(Relaxed))
    }

    fn words(&self) -> &Words {
        self.memory.words(self.number).expect("a seat's number is one of its page's")
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("number", &self.number).field("asked", &self.asked()).finish()
    }
}

#[derive(Debug)]
struct Memory {
    start: NonNull<Words>,
    seats: usize,
}

// SAFETY: the memory is only reached through atomics, by this process and by others, and is unmapped once by the last
// owner; no thread is special.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(seats: usize) -> io::Result<Self> {
        let seats = seats.max(1);
        let length = seats
            .checked_mul(mem::size_of::<Words>())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANON);
        const NO_FILE: c_int = -1;
        // SAFETY: a new mapping wherever the system likes; nothing that exists is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, NO_FILE, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, seats })
    }

    fn words(&self, number: usize) -> Option<&Words> {
        // SAFETY: within the mapping, whose start is aligned to a page and so to `Words`; zeroes, which it
        // begins as, are valid atomics; it is unmapped only when `self` is dropped, which the borrow excludes.
        (number < self.seats).then(|| unsafe { self.start.add(number).as_ref() })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, which nobody borrows any more. In other processes theirs stays.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.seats * mem::size_of::<Words>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_counts_for_the_process_that_sits_in_it() {
        let page = Page::new(2).unwrap();
        let (seat, parents) = (page.seat(1).unwrap(), page.seat(1).unwrap());
        assert_eq!(parents.left_by(process_id()), None, "nobody counts yet");
        seat.sit();
        seat.begin();
        seat.begin();
        seat.end();
        assert_eq!(parents.left_by(process_id()), Some(1));
        assert_eq!(parents.left_by(1), None, "somebody else's");
        seat.end();
        seat.end();
        assert_eq!(parents.left_by(process_id()), Some(0), "never below zero");
        seat.begin();
        assert_eq!(page.seat(0).unwrap().left_by(process_id()), None, "another seat");
        assert_eq!(page.seat(1).unwrap().left_by(process_id()), None, "the next worker's");
        assert!(page.seat(2).is_none());
    }

    #[test]
    fn what_the_parent_asks_is_read_as_it_was_meant() {
        let seat = Page::new(1).unwrap().seat(0).unwrap();
        assert_eq!(seat.asked(), None);
        for (deadline, everybody) in [(Some(5), true), (None, false), (Some(7), false)] {
            seat.ask(Asked { deadline, everybody });
            assert_eq!(seat.asked(), Some(Asked { deadline, everybody }));
        }
        for (deadline, kept) in [(0, 1), (u64::MAX, u64::MAX - 1)] {
            seat.ask(Asked { deadline: Some(deadline), everybody: true });
            assert_eq!(seat.asked().unwrap().deadline, Some(kept));
        }
    }
}
