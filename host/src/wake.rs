//! What a signal handler may do to wake a thread: write to a descriptor.
//!
//! A fixed table of wakers. Their descriptors are never closed by the process that opened them, only reused:
//! a handler that has just read a number from the table can therefore never write to
//! somebody else's file. A forked child opens its own.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{
    AtomicI32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::clock::{MonotonicNs, now_ns};

/// How many wakers a process can have at a time.
pub(crate) const MAX_WAKERS: usize = 16;

static WAKERS: [Entry; MAX_WAKERS] = [const { Entry::new() }; MAX_WAKERS];

struct Entry {
    /// The process whose waker this is; 0 when it is free. Another process's number means that this one
    /// was forked and the entry is free here.
    owner: AtomicI32,
    /// The process that opened the descriptors.
    opened_by: AtomicI32,
    /// The process in which `poke_all` may write: the owner, once the descriptors are valid.
    ready: AtomicI32,
    read: AtomicI32,
    write: AtomicI32,
}

impl Entry {
    const fn new() -> Self {
        Self {
            owner: AtomicI32::new(0),
            opened_by: AtomicI32::new(0),
            ready: AtomicI32::new(0),
            read: AtomicI32::new(-1),
            write: AtomicI32::new(-1),
        }
    }
}

/// The number of this process. Async-signal-safe.
pub(crate) fn process_id() -> libc::pid_t {
    // SAFETY: getpid has no preconditions.
    unsafe { libc::getpid() }
}

/// One thread's waker. Any thread and any signal handler may poke it; its owner waits.
pub(crate) struct Waker {
    entry: &'static Entry,
    process: libc::pid_t,
}

impl Waker {
    /// Takes a free waker.
    ///
    /// # Errors
    /// The system's, when it has no descriptor left; `EAGAIN` when all [`MAX_WAKERS`] are taken.
    pub(crate) fn claim() -> io::Result<Self> {
        let process = process_id();
        for entry in &WAKERS {
            let owner = entry.owner.load(Acquire);
            if owner == process
                || entry.owner.compare_exchange(owner, process, AcqRel, Relaxed).is_err()
            {
                continue;
            }
            if entry.opened_by.load(Acquire) != process {
                let (read, write) = open_pair().inspect_err(|_| entry.owner.store(0, Release))?;
                entry.read.store(read, Relaxed);
                entry.write.store(write, Relaxed);
                entry.opened_by.store(process, Release);
            }
            let waker = Self { entry, process };
            waker.clear();
            // Release: a handler that sees `ready` sees the descriptors.
            entry.ready.store(process, Release);
            return Ok(waker);
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    /// Makes the current or the next [`wait`](Self::wait) return.
    pub(crate) fn poke(&self) {
        if self.process == process_id() {
            poke_descriptor(self.entry.write.load(Relaxed));
        }
    }

    /// Waits until somebody pokes, or until `deadline` (at most 1 ms later). It may return early.
    pub(crate) fn wait(&self, deadline: Option<MonotonicNs>) {
        let milliseconds = match deadline {
            None => -1,
            Some(deadline) => {
                let left = deadline.saturating_sub(now_ns()).div_ceil(1_000_000);
                i32::try_from(left).unwrap_or(i32::MAX)
            }
        };
        let fd = self.entry.read.load(Relaxed);
        let mut question = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one pollfd, and 1 is how many there are.
        let answer = unsafe { libc::poll(&mut question, 1, milliseconds) };
        if answer > 0 {
            self.clear();
        }
    }

    fn clear(&self) {
        let mut bytes = [0_u8; 64];
        let fd = self.entry.read.load(Relaxed);
        // SAFETY: the buffer is writable for its length; the descriptor does not block.
        while unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) } == 64 {}
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        if self.process == process_id() {
            self.entry.ready.store(0, Release);
            self.entry.owner.store(0, Release);
        }
    }
}

/// Pokes every waker of this process. Async-signal-safe; the caller saves `errno`.
pub(crate) fn poke_all(process: libc::pid_t) {
    for entry in &WAKERS {
        if entry.ready.load(Acquire) == process {
            poke_descriptor(entry.write.load(Relaxed));
        }
    }
}

fn poke_descriptor(fd: RawFd) {
    let one: u64 = 1;
    // SAFETY: the pointer is to eight readable bytes. A full pipe or counter refuses, and has woken
    // its thread already.
    unsafe { libc::write(fd, (&raw const one).cast(), size_of_val(&one)) };
}

#[cfg(target_os = "linux")]
fn open_pair() -> io::Result<(RawFd, RawFd)> {
    // SAFETY: eventfd has no preconditions.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd == -1 { Err(io::Error::last_os_error()) } else { Ok((fd, fd)) }
}

#[cfg(not(target_os = "linux"))]
fn open_pair() -> io::Result<(RawFd, RawFd)> {
    let mut pair = [-1; 2];
    // SAFETY: the pointer is to two writable ints.
    if unsafe { libc::pipe(pair.as_mut_ptr()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    for fd in pair {
        // SAFETY: both calls change flags of a descriptor that was opened just now and is nobody else's.
        unsafe {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
        }
    }
    Ok((pair[0], pair[1]))
}
