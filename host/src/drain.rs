//! Accepts a stopping listener's queue to its end, for drivers that accept themselves.
//!
//! [`Drain::begin`] stops new arrivals as [`stop_arrivals`] does; then the driver calls
//! [`Drain::accept`] until it says [`Step::Over`], and closes the listener. Nothing here waits or reads a clock, so it
//! fits an event loop and a thread alike. A driver whose server accepts by itself calls `stop_arrivals` and watches
//! [`pending`] instead.
//!
//! **Unix sockets** have no handshake, and the kernel refuses new connections once the listener is shut down for reading
//! while those in its queue can still be accepted. So the end is exact: nobody is lost and nothing settles. It is
//! done here alone, since whoever polls such a listener finds it readable for ever after.
//!
//! **Out of descriptors.** `accept` then fails and the connection stays in the queue, with the listener readable, so a
//! loop that waits for readability spins. Hence a reserve: one descriptor is kept open, and given up for a
//! connection when there is no other. So even then the queue empties, one connection at a time, if each is answered and
//! closed. When the reserve is spent, [`Step::Failed`] says for how long to leave the listener alone.

use std::fs::File;
#[cfg(not(target_os = "linux"))]
use std::os::fd::AsRawFd;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::{io, ptr};

use crate::clock::MonotonicNs;
use crate::fence::{Arrivals, FenceError, Survivors, Way, pending, stop_arrivals, system};

/// How long a listener is left alone after a failure, unless a connection ends before.
const RETRY_NS: u64 = 10_000_000;

/// A listener that is being accepted to its end. The listener's descriptor stays the caller's; dropping this closes
/// nothing of it.
#[derive(Debug)]
pub struct Drain {
    fd: RawFd,
    cookie: u64,
    way: Way,
    settled: MonotonicNs,
    deadline: MonotonicNs,
    reserve: Option<File>,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// Serve this connection: non-blocking, closed on `exec`. Then call again.
    Accepted {
        /// The connection.
        socket: OwnedFd,
        /// It took the last descriptor: answer it shortly and close it.
        last_descriptor: bool,
    },
    /// Accepting failed, for want of descriptors or memory above all. Those who wait still do. Call again when a
    /// connection has been closed, at the latest at `until`; do not wait for the listener to become readable, which it is.
    Failed {
        /// The system's error number.
        errno: i32,
        /// When to call again.
        until: MonotonicNs,
    },
    /// Nothing more will come of it: close the listener.
    Over(Over),
    /// Nobody waits. Call again when the listener is readable, at the latest at `until`.
    Wait {
        /// When to call again.
        until: MonotonicNs,
    },
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Over {
    /// Nobody waits any more.
    Empty,
    /// Somebody else closed the listener, or shut it down.
    Gone,
    /// The deadline came first: closing resets those who still wait.
    Late {
        /// How many they are, as [`pending`] counts.
        left: u32,
    },
    /// Others go on accepting from the same socket. Nothing was accepted here.
    Shared,
}

impl Drain {
    /// Stops new arrivals at the listening socket `fd` and makes it non-blocking, which no holder minds: all are about to
    /// stop. A listener that is shared with survivors is left as it is.
    ///
    /// It accepts for `settle_ns` if there is a fence, and until nobody waits; at `deadline` it is over in any case.
    ///
    /// # Errors
    /// [`FenceError::Closed`], [`FenceError::NotASocket`], [`FenceError::NotListening`]; nothing has changed then.
    pub fn begin(
        fd: RawFd,
        survivors: Survivors,
        settle_ns: u64,
        deadline: MonotonicNs,
        now: MonotonicNs,
    ) -> Result<Self, FenceError> {
        let mut way = stop_arrivals(fd, survivors)?;
        let cookie = system::cookie(fd)?;
        let mut settled = now;
        if way != Way::Shared {
            make_nonblocking(fd);
            if matches!(way, Way::Portable(_))
                && survivors == Survivors::None
                && system::refuse_on_unix(fd)
            {
                way = Way::Fenced(Arrivals::Refused);
            } else if matches!(way, Way::Fenced(_)) {
                settled = now.saturating_add(settle_ns);
            }
        }
        let reserve = File::open("/dev/null").ok();
        Ok(Self { fd, cookie, way, settled, deadline, reserve })
    }

    /// How the listener is brought to its end, for the log.
    #[must_use]
    pub fn way(&self) -> Way {
        self.way
    }

    /// Accepts one connection, or says what else to do. Call it again after anything but [`Step::Over`].
    pub fn accept(&mut self, now: MonotonicNs) -> Step {
        if self.way == Way::Shared {
            return Step::Over(Over::Shared);
        }
        loop {
            if system::cookie(self.fd) != Ok(self.cookie) {
                return Step::Over(Over::Gone);
            }
            if now >= self.deadline {
                return Step::Over(self.at_the_deadline());
            }
            self.reserve = self.reserve.take().or_else(|| File::open("/dev/null").ok());
            let mut last_descriptor = false;
            let accepted = accept(self.fd).or_else(|errno| match errno {
                libc::EMFILE | libc::ENFILE if self.reserve.take().is_some() => {
                    last_descriptor = true;
                    accept(self.fd)
                }
                _ => Err(errno),
            });
            return match accepted {
                Ok(socket) => Step::Accepted { socket, last_descriptor },
                Err(errno) if errno == libc::EAGAIN || errno == libc::EWOULDBLOCK => {
                    if now < self.settled {
                        Step::Wait { until: self.settled.min(self.deadline) }
                    } else {
                        Step::Over(Over::Empty)
                    }
                }
                // A connection that ended while it waited: the next one.
                Err(libc::ECONNABORTED | libc::EINTR | libc::EPROTO) => continue,
                // EINVAL is what a socket says on which nobody listens any more: somebody shut it down.
                Err(libc::EBADF | libc::EINVAL | libc::ENOTSOCK) => Step::Over(Over::Gone),
                Err(errno) => {
                    let until = now.saturating_add(RETRY_NS).min(self.deadline);
                    Step::Failed { errno, until }
                }
            };
        }
    }

    fn at_the_deadline(&self) -> Over {
        match pending(self.fd) {
            Ok(0) => Over::Empty,
            Ok(left) => Over::Late { left },
            Err(_) => Over::Gone,
        }
    }
}

fn make_nonblocking(fd: RawFd) {
    // SAFETY: these commands take and return flags; any descriptor number may be asked. One that cannot be changed
    // is no listening socket any more, as `accept` will find.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        if flags != -1 && flags & libc::O_NONBLOCK == 0 {
            libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK);
        }
    }
}

/// Accepts one connection, or says with which error number it could not.
#[cfg(target_os = "linux")]
fn accept(fd: RawFd) -> Result<OwnedFd, i32> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: without room for the peer's address none is written; any descriptor number may be asked.
    let socket = unsafe { libc::accept4(fd, ptr::null_mut(), ptr::null_mut(), flags) };
    own(socket)
}

/// Accepts one connection, or says with which error number it could not.
#[cfg(not(target_os = "linux"))]
fn accept(fd: RawFd) -> Result<OwnedFd, i32> {
    // SAFETY: without room for the peer's address none is written; any descriptor number may be asked.
    let socket = own(unsafe { libc::accept(fd, ptr::null_mut(), ptr::null_mut()) })?;
    make_nonblocking(socket.as_raw_fd());
    // SAFETY: the command takes flags.
    unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    Ok(socket)
}

fn own(socket: std::ffi::c_int) -> Result<OwnedFd, i32> {
    if socket == -1 {
        return Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO));
    }
    // SAFETY: the system has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}
