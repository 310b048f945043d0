//! The listener fence: no new arrivals while the kernel's queue is accepted to its end.
//!
//! Closing a listening TCP socket resets every connection that the kernel completed and nobody accepted,
//! and every handshake under way. So a server that wants to lose nobody stops the arrivals first. On
//! Linux a classic BPF filter on the listening socket does it: it drops a SYN without ACK, the first packet
//! of a new connection, and lets everything else pass, the last ACK of a handshake above all. The client of
//! a dropped SYN sends it again after about 1 s and by then reaches another server, or is refused.
//!
//! The order: [`Fence::raise`], accept for `settle` (longer than a client's round trip) and
//! until [`pending`] says 0, close the listener. Closing removes the filter with the socket.
//!
//! **Shared listeners.** The filter belongs to the socket, not to the descriptor or the process: raised in one
//! worker, it fences all that share the listener by `fork` or by passing descriptors. Raise it only when every
//! holder is stopping; a recycled worker never does. Sockets of one `SO_REUSEPORT` group each have their own.
//!
//! Where this does not work ([`FenceError::Unsupported`], [`FenceError::Denied`]) the portable way is
//! to accept until nothing is left, then close; what arrives in between is lost.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::{fmt, io, mem};

/// Why a fence could not be raised, asked or lifted. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FenceError {
    /// The descriptor is closed, or by now belongs to another socket.
    Closed,
    /// The system refused the filter: no right, no memory for options (`net.core.optmem_max`), or the
    /// socket's filter is locked.
    Denied {
        /// The system's error number.
        errno: i32,
    },
    /// The descriptor is open but no socket.
    NotASocket,
    /// The descriptor is a socket on which nobody listens.
    NotListening,
    /// Another filter is attached to the socket, and raising the fence would have replaced it.
    Occupied,
    /// There is no fence for this kind of socket, or on this system.
    Unsupported {
        /// What it is that has no fence.
        what: &'static str,
    },
}

impl fmt::Display for FenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the listener's descriptor was closed"),
            Self::Denied { errno } => write!(
                f,
                "the system refused the listener's filter: {}; accepting until nothing is left instead",
                io::Error::from_raw_os_error(*errno)
            ),
            Self::NotASocket => f.write_str("the descriptor is not a socket"),
            Self::NotListening => {
                f.write_str("the descriptor is a socket, but not a listening one")
            }
            Self::Occupied => f.write_str(
                "the listener has a packet filter already, which the fence would have replaced",
            ),
            Self::Unsupported { what } => {
                write!(f, "there is no fence for {what}; accepting until nothing is left instead")
            }
        }
    }
}

impl std::error::Error for FenceError {}

/// A raised fence. Dropping it changes nothing: the fence stands until [`lift`](Self::lift) or until the
/// listener is closed.
#[derive(Debug)]
pub struct Fence {
    fd: RawFd,
    cookie: u64,
}

impl Fence {
    /// Stops new arrivals at the listening socket `fd`. The descriptor stays the caller's, who may close it
    /// at any time.
    ///
    /// # Errors
    /// [`FenceError`]; nothing has changed then.
    pub fn raise(fd: RawFd) -> Result<Self, FenceError> {
        let cookie = system::raise(fd)?;
        Ok(Self { fd, cookie })
    }

    /// Lets new connections arrive again. If the descriptor was closed meanwhile and its number names
    /// another socket, that one is left alone.
    ///
    /// # Errors
    /// [`FenceError::Closed`] when the listener is gone, [`FenceError::Denied`].
    pub fn lift(self) -> Result<(), FenceError> {
        system::lift(self.fd, self.cookie)
    }
}

/// How many connections the kernel has completed on the listening socket `fd` and nobody has accepted.
///
/// # Errors
/// [`FenceError`]; [`FenceError::Unsupported`] for anything but TCP on Linux.
pub fn pending(fd: RawFd) -> Result<u32, FenceError> {
    system::pending(fd)
}

/// Makes sure that `fd` is a listening socket.
///
/// # Errors
/// [`FenceError::Closed`], [`FenceError::NotASocket`], [`FenceError::NotListening`].
pub fn check_listening(fd: RawFd) -> Result<(), FenceError> {
    match int_option(fd, libc::SO_ACCEPTCONN)? {
        0 => Err(FenceError::NotListening),
        _ => Ok(()),
    }
}

fn int_option(fd: RawFd, option: c_int) -> Result<c_int, FenceError> {
    let mut value: c_int = 0;
    let mut length = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointers are to a writable int and to its length.
    let failed = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, option, (&raw mut value).cast(), &mut length)
    };
    if failed == 0 { Ok(value) } else { Err(refusal()) }
}

/// What the last failed socket call means.
fn refusal() -> FenceError {
    match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
        libc::EBADF => FenceError::Closed,
        libc::ENOTSOCK => FenceError::NotASocket,
        libc::ENOPROTOOPT | libc::EOPNOTSUPP => {
            FenceError::Unsupported { what: "this kind of socket" }
        }
        errno => FenceError::Denied { errno },
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::{FenceError, check_listening, int_option, refusal};
    use std::ffi::c_int;
    use std::os::fd::RawFd;
    use std::{mem, ptr};

    /// Drops SYN without ACK. A filter on a listening TCP socket sees the packet from the start of the
    /// TCP header (`tcp_filter` in the kernel), whose byte 13 holds the flags (RFC 9293 §3.1).
    static ONLY_OLD_ACQUAINTANCES: [libc::sock_filter; 5] = [
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 13),
        step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN | ACK),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;

    const fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt, jf, k }
    }

    pub fn raise(fd: RawFd) -> Result<u64, FenceError> {
        check_tcp_listener(fd)?;
        let cookie = cookie(fd)?;
        if has_filter(fd)? {
            return Err(FenceError::Occupied);
        }
        let program = libc::sock_fprog {
            len: ONLY_OLD_ACQUAINTANCES.len() as u16,
            filter: ONLY_OLD_ACQUAINTANCES.as_ptr().cast_mut(),
        };
        // SAFETY: the program points to `len` instructions, which the kernel copies and never writes to.
        let failed = unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                mem::size_of_val(&program) as libc::socklen_t,
            )
        };
        if failed == 0 { Ok(cookie) } else { Err(refusal()) }
    }

    pub fn lift(fd: RawFd, expected: u64) -> Result<(), FenceError> {
        match cookie(fd) {
            Ok(cookie) if cookie == expected => {}
            Ok(_) | Err(FenceError::NotASocket) => return Err(FenceError::Closed),
            Err(error) => return Err(error),
        }
        let nothing: c_int = 0;
        // SAFETY: the pointer is to an int, which this option ignores.
        let failed = unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_DETACH_FILTER,
                (&raw const nothing).cast(),
                mem::size_of_val(&nothing) as libc::socklen_t,
            )
        };
        if failed == 0 { Ok(()) } else { Err(refusal()) }
    }

    pub fn pending(fd: RawFd) -> Result<u32, FenceError> {
        check_tcp_listener(fd)?;
        // SAFETY: tcp_info consists of integers, for which zero is a value.
        let mut info: libc::tcp_info = unsafe { mem::zeroed() };
        let mut length = mem::size_of_val(&info) as libc::socklen_t;
        // SAFETY: the pointers are to a writable tcp_info and to its length; the kernel writes no more than that.
        let failed = unsafe {
            libc::getsockopt(
                fd,
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut info).cast(),
                &mut length,
            )
        };
        // For a listener the kernel reports the length of its accept queue here (`tcp_get_info`).
        if failed == 0 { Ok(info.tcpi_unacked) } else { Err(refusal()) }
    }

    fn check_tcp_listener(fd: RawFd) -> Result<(), FenceError> {
        check_listening(fd)?;
        match int_option(fd, libc::SO_DOMAIN)? {
            libc::AF_INET | libc::AF_INET6 => {}
            libc::AF_UNIX => return Err(FenceError::Unsupported { what: "a Unix socket" }),
            _ => return Err(FenceError::Unsupported { what: "this address family" }),
        }
        match int_option(fd, libc::SO_PROTOCOL)? {
            libc::IPPROTO_TCP => Ok(()),
            _ => Err(FenceError::Unsupported { what: "a protocol other than TCP" }),
        }
    }

    /// The number by which the kernel tells this socket from all others since it booted.
    fn cookie(fd: RawFd) -> Result<u64, FenceError> {
        let mut cookie: u64 = 0;
        let mut length = mem::size_of_val(&cookie) as libc::socklen_t;
        // SAFETY: the pointers are to a writable 64-bit integer and to its length.
        let failed = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_COOKIE,
                (&raw mut cookie).cast(),
                &mut length,
            )
        };
        if failed == 0 { Ok(cookie) } else { Err(refusal()) }
    }

    fn has_filter(fd: RawFd) -> Result<bool, FenceError> {
        // Asked with no room for them, the kernel says how many instructions the filter has.
        let mut instructions: libc::socklen_t = 0;
        // SAFETY: with a length of 0 the kernel writes nothing but the length.
        let failed = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_GET_FILTER,
                ptr::null_mut(),
                &mut instructions,
            )
        };
        if failed == 0 { Ok(instructions > 0) } else { Err(refusal()) }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{FenceError, check_listening};
    use std::os::fd::RawFd;

    const NOT_LINUX: FenceError =
        FenceError::Unsupported { what: "a listener on this operating system" };

    pub fn raise(fd: RawFd) -> Result<u64, FenceError> {
        check_listening(fd)?;
        Err(NOT_LINUX)
    }

    pub fn lift(_: RawFd, _: u64) -> Result<(), FenceError> {
        Err(NOT_LINUX)
    }

    pub fn pending(fd: RawFd) -> Result<u32, FenceError> {
        check_listening(fd)?;
        Err(NOT_LINUX)
    }
}
