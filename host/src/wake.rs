//! How a signal handler wakes a thread, and how a thread keeps signals away from itself.
//!
//! A fixed table of wakers in static memory, so that a handler never meets one that was freed. On Linux a waker is a
//! futex: no descriptor that somebody could close, or that a forked child would share. Elsewhere it is a
//! pipe; its descriptors are never closed, only used again, so that a handler which has just read a number
//! from the table cannot write to somebody else's file.

use std::sync::atomic::{
    AtomicI32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::{io, mem, ptr};

use crate::clock::MonotonicNs;

/// How many wakers a process can have at a time.
const MAX_WAKERS: usize = 16;

static WAKERS: [Entry; MAX_WAKERS] = [const { Entry::new() }; MAX_WAKERS];

struct Entry {
    /// The process whose waker this is; 0 when it is free. Another process's number means that this one
    /// was forked and the entry is free here.
    owner: AtomicI32,
    /// The process in which `poke_all` may use it: the owner, once the bell works.
    ready: AtomicI32,
    bell: Bell,
}

impl Entry {
    const fn new() -> Self {
        Self { owner: AtomicI32::new(0), ready: AtomicI32::new(0), bell: Bell::new() }
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
    /// `EAGAIN` when all [`MAX_WAKERS`] are taken; the system's, when it has no descriptor left.
    pub(crate) fn claim() -> io::Result<Self> {
        let process = process_id();
        for entry in &WAKERS {
            let owner = entry.owner.load(Acquire);
            if owner == process
                || entry.owner.compare_exchange(owner, process, AcqRel, Relaxed).is_err()
            {
                continue;
            }
            entry.bell.prepare(process).inspect_err(|_| entry.owner.store(0, Release))?;
            // Release: a handler that sees `ready` sees a bell that works.
            entry.ready.store(process, Release);
            return Ok(Self { entry, process });
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    /// Makes the current or the next [`wait`](Self::wait) return.
    pub(crate) fn poke(&self) {
        if self.process == process_id() {
            self.entry.bell.ring();
        }
    }

    /// Waits until somebody pokes, or until `deadline` (at most 1 ms later). It may return early.
    pub(crate) fn wait(&self, deadline: Option<MonotonicNs>) {
        self.entry.bell.wait(deadline);
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
            entry.bell.ring();
        }
    }
}

/// While it lives, this thread has all signals blocked, and so have the threads that it starts, for good.
pub(crate) struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    pub(crate) fn now() -> Self {
        // SAFETY: sigset_t consists of integers, for which zero is a value.
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = unsafe { mem::zeroed() };
        // SAFETY: both pointers are to writable sets.
        unsafe {
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        }
        Self { before }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: `before` is the mask that this thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut()) };
    }
}

#[cfg(target_os = "linux")]
use futex::Bell;

#[cfg(target_os = "linux")]
mod futex {
    use std::ffi::{c_int, c_long};
    use std::sync::atomic::{
        AtomicU32,
        Ordering::{AcqRel, Relaxed},
    };
    use std::{io, ptr};

    use crate::clock::{MonotonicNs, now_ns};

    /// 1 when it was rung and nobody has noticed yet.
    pub(super) struct Bell(AtomicU32);

    /// What this system call reads, whatever `time_t` the C library has.
    #[repr(C)]
    struct Timeout {
        seconds: c_long,
        nanoseconds: c_long,
    }

    impl Bell {
        pub(super) const fn new() -> Self {
            Self(AtomicU32::new(0))
        }

        pub(super) fn prepare(&self, _: libc::pid_t) -> io::Result<()> {
            self.0.store(0, Relaxed);
            Ok(())
        }

        pub(super) fn ring(&self) {
            // AcqRel, here and in `wait`: who was woken sees what was done before it was rung.
            if self.0.swap(1, AcqRel) == 0 {
                // SAFETY: the futex is a static 32-bit word; waking reads no memory.
                unsafe { self.futex(libc::FUTEX_WAKE, 1, ptr::null()) };
            }
        }

        pub(super) fn wait(&self, deadline: Option<MonotonicNs>) {
            if self.0.swap(0, AcqRel) == 1 {
                return;
            }
            let timeout = deadline.map(|deadline| {
                let left = deadline.saturating_sub(now_ns());
                Timeout {
                    // An hour is as good as more: waiting may end early. It fits 32 bits.
                    seconds: (left / 1_000_000_000).min(3600) as c_long,
                    nanoseconds: (left % 1_000_000_000) as c_long,
                }
            });
            let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: the futex is a static 32-bit word; the timeout, if any, lives through the call.
            unsafe { self.futex(libc::FUTEX_WAIT, 0, timeout) };
            self.0.swap(0, AcqRel);
        }

        /// # Safety
        /// `timeout` must be null or point to a `Timeout`.
        unsafe fn futex(&self, operation: c_int, value: u32, timeout: *const Timeout) {
            // SAFETY: the caller's promise, and `self` is valid for the call.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.0.as_ptr(),
                    operation | libc::FUTEX_PRIVATE_FLAG,
                    value,
                    timeout,
                );
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
use pipe::Bell;

#[cfg(not(target_os = "linux"))]
mod pipe {
    use std::io;
    use std::os::fd::RawFd;
    use std::sync::atomic::{
        AtomicI32,
        Ordering::{Acquire, Relaxed, Release},
    };
    use std::time::Duration;

    use crate::clock::{MonotonicNs, now_ns};

    pub(super) struct Bell {
        /// The process that opened the pipe: a forked child opens its own.
        opened_by: AtomicI32,
        read: AtomicI32,
        write: AtomicI32,
    }

    impl Bell {
        pub(super) const fn new() -> Self {
            Self {
                opened_by: AtomicI32::new(0),
                read: AtomicI32::new(-1),
                write: AtomicI32::new(-1),
            }
        }

        pub(super) fn prepare(&self, process: libc::pid_t) -> io::Result<()> {
            if self.opened_by.load(Acquire) != process {
                let (read, write) = open()?;
                self.read.store(read, Relaxed);
                self.write.store(write, Relaxed);
                self.opened_by.store(process, Release);
            }
            self.clear();
            Ok(())
        }

        pub(super) fn ring(&self) {
            // SAFETY: the pointer is to one readable byte. A full pipe refuses, and has woken its thread.
            unsafe { libc::write(self.write.load(Relaxed), [1_u8].as_ptr().cast(), 1) };
        }

        pub(super) fn wait(&self, deadline: Option<MonotonicNs>) {
            let milliseconds = deadline.map_or(-1, |deadline| {
                let left = deadline.saturating_sub(now_ns()).div_ceil(1_000_000);
                i32::try_from(left).unwrap_or(i32::MAX)
            });
            let fd = self.read.load(Relaxed);
            let mut question = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: the pointer is to one pollfd, and 1 is how many there are.
            let answer = unsafe { libc::poll(&mut question, 1, milliseconds) };
            if answer > 0 && question.revents & libc::POLLIN != 0 {
                self.clear();
            } else if answer != 0 {
                // Somebody closed the pipe: look round now and then, without spinning.
                std::thread::sleep(Duration::from_millis(1));
            }
        }

        fn clear(&self) {
            let mut bytes = [0_u8; 64];
            let fd = self.read.load(Relaxed);
            // SAFETY: the buffer is writable for its length; the descriptor does not block.
            while unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) } == 64 {}
        }
    }

    fn open() -> io::Result<(RawFd, RawFd)> {
        let mut pair = [-1; 2];
        // SAFETY: the pointer is to two writable ints.
        if unsafe { libc::pipe(pair.as_mut_ptr()) } == -1 {
            return Err(io::Error::last_os_error());
        }
        for fd in pair {
            // SAFETY: both calls change flags of a descriptor opened just now, which is nobody else's.
            unsafe {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
                libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
            }
        }
        Ok((pair[0], pair[1]))
    }
}
