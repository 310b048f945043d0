//! The lingering close: half-close, bounded reading, close.
//!
//! Closing a socket with unread bytes in its receive buffer, or one that receives bytes afterwards, makes the
//! kernel send a reset. A reset destroys what the peer has not received of the last response, and on some systems
//! what it has received and not read. So a server that has said all it will say sends the end of its stream, and goes on
//! reading and discarding until the client has closed its side too (RFC 9112 §9.6). How long and how much is
//! bounded: the client may never close, or send for ever.
//!
//! For an event loop: [`Linger::begin`], then [`Linger::read`] whenever the socket is readable and when its time is over,
//! until there is an [`End`]; then close the socket. For a thread: [`close`] does all of it.
//!
//! Before that comes the [last look](crate::last_look): a socket with unread bytes is not idle.
//!
//! **TLS.** Send `close_notify` first, and let it leave your library's buffers (RFC 8446 §6.1); then begin. What is read
//! while lingering are records that nobody decrypts, among them the client's own `close_notify`.

use std::ffi::c_int;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use crate::clock::{MonotonicNs, now_ns};

const BUFFER: usize = 16 * 1024;

/// A half-closed connection that is being read to its end.
#[derive(Debug)]
pub struct Linger {
    allowance: u64,
    deadline: MonotonicNs,
}

/// Why there is no more to wait for. Close the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The client has closed its side. Nothing can be lost any more.
    Closed,
    /// The connection broke: a reset by the client, above all.
    Failed {
        /// The system's error number.
        errno: i32,
    },
    /// The client sent more than it was allowed.
    TooMuch {
        /// Its system had received the whole response, so a reset can only destroy what the client did not read.
        /// `None` where the system does not say.
        acknowledged: Option<bool>,
    },
    /// The client took longer than it was allowed.
    TooLong {
        /// As for [`End::TooMuch`].
        acknowledged: Option<bool>,
    },
}

impl Linger {
    /// Half-closes `socket`, after which nothing can be sent. It discards up to `bytes` bytes until `deadline`.
    ///
    /// # Errors
    /// What `shutdown` says. `ENOTCONN`: the connection is broken already. In any case close the socket.
    pub fn begin(socket: impl AsFd, bytes: u64, deadline: MonotonicNs) -> io::Result<Self> {
        // SAFETY: no preconditions; the descriptor is borrowed.
        if unsafe { libc::shutdown(socket.as_fd().as_raw_fd(), libc::SHUT_WR) } == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { allowance: bytes, deadline })
    }

    /// Discards what has arrived on the `socket` that was half-closed. Never waits, even if the socket does; the bound on
    /// bytes is also what keeps one client from keeping an event loop. `None`: all was read; call again when it is readable, at the latest at [`deadline`](Self::deadline).
    pub fn read(&mut self, socket: impl AsFd, now: MonotonicNs) -> Option<End> {
        let fd = socket.as_fd().as_raw_fd();
        let mut scrap = [0_u8; BUFFER];
        loop {
            // SAFETY: the pointer is to a writable buffer of the length given; the descriptor is borrowed.
            let received = unsafe {
                libc::recv(fd, scrap.as_mut_ptr().cast(), scrap.len(), libc::MSG_DONTWAIT)
            };
            match u64::try_from(received) {
                Ok(0) => return Some(End::Closed),
                Ok(bytes) if bytes > self.allowance => {
                    return Some(End::TooMuch { acknowledged: acknowledged(fd) });
                }
                Ok(bytes) => self.allowance -= bytes,
                Err(_) => match io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) {
                    libc::EINTR => {}
                    errno if errno == libc::EAGAIN || errno == libc::EWOULDBLOCK => break,
                    errno => return Some(End::Failed { errno }),
                },
            }
        }
        (now >= self.deadline).then(|| End::TooLong { acknowledged: acknowledged(fd) })
    }

    /// When its time is over.
    #[must_use]
    pub fn deadline(&self) -> MonotonicNs {
        self.deadline
    }
}

/// Half-closes `socket`, discards up to `bytes` bytes for up to `limit_ns`, and closes it. For threads: it waits.
///
/// # Errors
/// As for [`Linger::begin`]; the socket is closed nevertheless.
pub fn close(socket: impl Into<OwnedFd>, bytes: u64, limit_ns: u64) -> io::Result<End> {
    let socket = socket.into();
    let mut linger = Linger::begin(&socket, bytes, now_ns().saturating_add(limit_ns))?;
    loop {
        let now = now_ns();
        if let Some(end) = linger.read(&socket, now) {
            return Ok(end);
        }
        wait(socket.as_raw_fd(), linger.deadline - now);
    }
}

/// Shuts a socket down whose owner goes on reading, and so learns of it. A connection that is broken already stays so.
pub(crate) fn shut(fd: RawFd, how: Shutdown) {
    let how = match how {
        Shutdown::Read => libc::SHUT_RD,
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: no preconditions.
    unsafe { libc::shutdown(fd, how) };
}

/// Waits until `fd` is readable, broken, or for about `limit_ns`.
fn wait(fd: RawFd, limit_ns: u64) {
    // Rounded up, or the last millisecond would be spun away.
    let limit = c_int::try_from(limit_ns.div_ceil(1_000_000)).unwrap_or(c_int::MAX);
    let mut question = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one pollfd, and 1 is how many there are. If it fails, reading says why.
    unsafe { libc::poll(&mut question, 1, limit) };
}

/// Whether the peer's system has received everything that was sent on `fd`, the end included.
#[cfg(target_os = "linux")]
fn acknowledged(fd: RawFd) -> Option<bool> {
    let mut unacknowledged: c_int = 0;
    // SAFETY: TIOCOUTQ writes one int.
    let failed = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &mut unacknowledged) };
    (failed == 0).then_some(unacknowledged == 0)
}

/// Whether the peer's system has received everything that was sent on `fd`, the end included.
#[cfg(not(target_os = "linux"))]
fn acknowledged(_: RawFd) -> Option<bool> {
    None
}
