//! The listener fence: no new arrivals while the kernel's queue is accepted to its end.
//!
//! Closing a listening TCP socket resets every connection that the kernel completed and nobody accepted,
//! and every handshake under way. So a server that wants to lose nobody stops the arrivals first, accepts for
//! `settle` (longer than a client's round trip) and until [`pending`] says 0, and closes the listener, which
//! takes the fence with it. [`Drain`](crate::drain::Drain) is that loop for those who accept themselves.
//!
//! # Two kinds of fence, on Linux
//! [`Arrivals::Dropped`]: a classic BPF filter on the listening socket drops a SYN without ACK, the first packet of
//! a new connection, and lets everything else pass, the last ACK of a handshake above all. The client sends its SYN again
//! after about 1 s and by then reaches another server, or is refused. Needs `CAP_NET_ADMIN` since Linux commit
//! 5d39580f68e6 (2026, in stable kernels too); before that, no right at all. MPTCP sockets take no filter.
//!
//! [`Arrivals::Refused`]: the listening socket is bound to a network interface that does not exist, so that no SYN finds
//! it any more; a handshake that began before belongs to the interface it came by and completes. The client is refused at
//! once. Needs no right since Linux 5.7, so it is what [`Fence::raise`] falls back to. What it loses and the
//! filter does not: handshakes that are under way by SYN cookies alone.
//!
//! Where there is neither ([`FenceError`]) the portable way is to accept until nothing is left, then close; what
//! arrives in between is lost.
//!
//! # Who shares the listener
//! A fence belongs to the socket, not to the descriptor or the process: raised in one worker, it fences all that
//! share the listener by `fork` or by passing descriptors. So it is raised only when every holder is stopping; a
//! recycled worker never does. [`stop_arrivals`] is that rule, and says what it did.
//!
//! Sockets of one `SO_REUSEPORT` group have a queue each, and closing one resets its queue. Measured in a group of four
//! with 400 connects (Linux 6.18; `tests/group.rs` does it again):
//!
//! | what one member does | the quarter of the connects that it would have got |
//! |---|---|
//! | closes, with a queue | reset |
//! | `connect(AF_UNSPEC)` or `shutdown(SHUT_RD)`, with a queue | reset |
//! | a fence by filter | dropped, not moved to the others; when it has closed, the repeated SYNs reach them after 1 s |
//! | a fence by interface | likewise: the group's hash still chooses it, and it cannot answer; refused if all members do it |
//! | a program for the group (`SO_ATTACH_REUSEPORT_CBPF`) that never chooses it | goes to the others |
//! | closes, with `net.ipv4.tcp_migrate_req` = 1 | moves to the others with its queue and its handshakes |
//!
//! The program for the group is not used although it loses nobody and needs no right: it names members by a number that none
//! can ask for and that changes when another leaves (the last one takes the hole), it belongs to all members, and it
//! replaces silently whatever program was there. So with `tcp_migrate_req` the member accepts to the end and closes, and without
//! it fences itself: late instead of lost.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::{fmt, io, mem};

/// What becomes of those who begin to connect to a fenced listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Their SYN is dropped, and they send it again after about 1 s.
    Dropped,
    /// They are refused at once.
    Refused,
}

/// Who goes on accepting at a listener's address when this process has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// Nobody: this process alone holds the listener, or everybody who holds it stops, each accepting to the end.
    None,
    /// Others that listen with sockets of their own (`SO_REUSEPORT`).
    OwnSockets,
    /// Others that accept from the same socket, which was inherited or passed (prefork, cluster).
    SameSocket,
}

/// How a listener is brought to its end, in words for the log ([`fmt::Display`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// There is a fence: accept for `settle` and until nothing is left, then close.
    Fenced(Arrivals),
    /// The kernel gives what is left to the others of the `SO_REUSEPORT` group: accept until nothing is left,
    /// then close.
    HandedOver,
    /// There is no fence: accept until nothing is left, then close. What arrives in between is lost.
    Portable(FenceError),
    /// Others go on accepting from the same socket: just close the descriptor. Nothing is lost.
    Shared,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced(Arrivals::Dropped) => {
                f.write_str("fenced, new connections wait; accepting until nothing is left")
            }
            Self::Fenced(Arrivals::Refused) => {
                f.write_str("fenced, new connections are refused; accepting until nothing is left")
            }
            Self::HandedOver => {
                f.write_str("not fenced: the kernel gives what is left to the other listeners")
            }
            Self::Portable(error) => write!(f, "not fenced: {error}"),
            Self::Shared => {
                f.write_str("not fenced: others go on accepting from the same listener")
            }
        }
    }
}

/// Why a fence could not be raised, asked or lifted. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FenceError {
    /// Somebody raised a fence at this socket before, in this process or in another that holds it.
    AlreadyFenced {
        /// What becomes of new connections.
        arrivals: Arrivals,
    },
    /// The descriptor is closed, or by now belongs to another socket.
    Closed,
    /// The system refused the fence: no right, no memory for options (`net.core.optmem_max`), or the
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
            Self::AlreadyFenced { .. } => f.write_str("the listener is fenced already"),
            Self::Closed => f.write_str("the listener's descriptor was closed"),
            Self::Denied { errno } => write!(
                f,
                "the system refused the listener's fence: {}; accepting until nothing is left instead",
                io::Error::from_raw_os_error(*errno)
            ),
            Self::NotASocket => f.write_str("the descriptor is not a socket"),
            Self::NotListening => {
                f.write_str("the descriptor is a socket, but not a listening one")
            }
            Self::Occupied => f.write_str(
                "the listener has a packet filter already, which the fence would have replaced; accepting until \
                 nothing is left instead",
            ),
            Self::Unsupported { what } => {
                write!(f, "there is no fence for {what}; accepting until nothing is left instead")
            }
        }
    }
}

impl std::error::Error for FenceError {}

/// Stops new arrivals at the listening socket `fd` if the rule above allows it and the system can, and says
/// how the listener is to be brought to its end. Never fails for want of a fence. Whoever accepts goes on doing so.
///
/// # Errors
/// [`FenceError::Closed`], [`FenceError::NotASocket`], [`FenceError::NotListening`]; nothing has changed then.
pub fn stop_arrivals(fd: RawFd, survivors: Survivors) -> Result<Way, FenceError> {
    check_listening(fd)?;
    match survivors {
        Survivors::OwnSockets if system::queue_migrates(fd) => return Ok(Way::HandedOver),
        Survivors::SameSocket => return Ok(Way::Shared),
        Survivors::None | Survivors::OwnSockets => {}
    }
    match Fence::raise(fd).map(|fence| fence.arrivals()) {
        Ok(arrivals) | Err(FenceError::AlreadyFenced { arrivals }) => {
            // The group goes on choosing this socket, which then cannot answer.
            let in_a_group = survivors == Survivors::OwnSockets;
            Ok(Way::Fenced(if in_a_group { Arrivals::Dropped } else { arrivals }))
        }
        Err(error @ (FenceError::Closed | FenceError::NotASocket | FenceError::NotListening)) => {
            Err(error)
        }
        Err(error) => Ok(Way::Portable(error)),
    }
}

/// A raised fence. Dropping it changes nothing: the fence stands until [`lift`](Self::lift) or until the
/// listener is closed.
#[derive(Debug)]
pub struct Fence {
    fd: RawFd,
    cookie: u64,
    means: Means,
}

#[derive(Clone, Copy, Debug)]
enum Means {
    Filter,
    NoInterface {
        /// The one to which the socket was bound; 0 stands for all.
        before: c_int,
    },
}

impl Fence {
    /// Stops new arrivals at the listening socket `fd`, whoever shares it. The descriptor stays the caller's,
    /// who may close it at any time. [`stop_arrivals`] is this with the rule for shared listeners.
    ///
    /// # Errors
    /// [`FenceError`]; nothing has changed then.
    pub fn raise(fd: RawFd) -> Result<Self, FenceError> {
        let cookie = system::cookie(fd)?;
        let means = match system::raise_filter(fd) {
            Ok(()) => Means::Filter,
            Err(
                error @ (FenceError::Denied { .. }
                | FenceError::Occupied
                | FenceError::Unsupported { .. }),
            ) => match system::leave_interfaces(fd) {
                Ok(before) => Means::NoInterface { before },
                Err(_) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        Ok(Self { fd, cookie, means })
    }

    /// What becomes of new connections.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        match self.means {
            Means::Filter => Arrivals::Dropped,
            Means::NoInterface { .. } => Arrivals::Refused,
        }
    }

    /// Lets new connections arrive again. If the descriptor was closed meanwhile and its number names
    /// another socket, that one is left alone. Where they are refused, lifting needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// [`FenceError::Closed`] when the listener is gone, [`FenceError::Denied`].
    pub fn lift(self) -> Result<(), FenceError> {
        match system::cookie(self.fd) {
            Ok(cookie) if cookie == self.cookie => {}
            Ok(_) | Err(FenceError::NotASocket) => return Err(FenceError::Closed),
            Err(error) => return Err(error),
        }
        match self.means {
            Means::Filter => system::lift_filter(self.fd),
            Means::NoInterface { before } => system::return_to(self.fd, before),
        }
    }
}

/// How many connections the kernel has completed on the listening socket `fd` and nobody has accepted. Of anything but
/// TCP on Linux the system says only whether there are any: there 1 stands for one or more.
///
/// # Errors
/// [`FenceError::Closed`], [`FenceError::NotASocket`], [`FenceError::NotListening`].
pub fn pending(fd: RawFd) -> Result<u32, FenceError> {
    check_listening(fd)?;
    Ok(system::tcp_pending(fd).unwrap_or_else(|| readable(fd).into()))
}

/// Whether a call of `accept` would have a connection.
fn readable(fd: RawFd) -> bool {
    let mut question = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one pollfd, and 1 is how many there are.
    unsafe { libc::poll(&mut question, 1, 0) == 1 && question.revents & libc::POLLIN != 0 }
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
pub(crate) mod system {
    use super::{Arrivals, FenceError, check_listening, int_option, refusal};
    use std::ffi::{c_int, c_void};
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

    /// The highest interface number, which the kernel, counting up from 1, does not reach.
    const NOWHERE: c_int = c_int::MAX;

    const fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt, jf, k }
    }

    pub(super) fn raise_filter(fd: RawFd) -> Result<(), FenceError> {
        check_tcp_listener(fd)?;
        check_unfenced(fd)?;
        let program = libc::sock_fprog {
            len: ONLY_OLD_ACQUAINTANCES.len() as u16,
            filter: ONLY_OLD_ACQUAINTANCES.as_ptr().cast_mut(),
        };
        // SAFETY: the program points to `len` instructions, which the kernel copies and never writes to.
        unsafe { set(fd, libc::SO_ATTACH_FILTER, &program) }
    }

    /// Binds the socket to an interface that does not exist. Returns the one to which it was bound; 0 stands for all.
    pub(super) fn leave_interfaces(fd: RawFd) -> Result<c_int, FenceError> {
        check_tcp_listener(fd)?;
        let interface = int_option(fd, libc::SO_BINDTOIFINDEX)?;
        // SAFETY: this option is an int.
        unsafe { set(fd, libc::SO_BINDTOIFINDEX, &NOWHERE) }.map(|()| interface)
    }

    pub(super) fn lift_filter(fd: RawFd) -> Result<(), FenceError> {
        // SAFETY: this option ignores its value.
        unsafe { set(fd, libc::SO_DETACH_FILTER, &0) }
    }

    pub(super) fn return_to(fd: RawFd, interface: c_int) -> Result<(), FenceError> {
        // SAFETY: this option is an int.
        unsafe { set(fd, libc::SO_BINDTOIFINDEX, &interface) }
    }

    /// The length of a TCP listener's accept queue; `None` of other sockets.
    pub(super) fn tcp_pending(fd: RawFd) -> Option<u32> {
        check_tcp_listener(fd).ok()?;
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
        (failed == 0).then_some(info.tcpi_unacked)
    }

    /// Makes a Unix listener refuse new connections, for good. Whether it is one. Those in its queue stay
    /// (`unix_shutdown`, `unix_stream_connect`).
    pub(crate) fn refuse_on_unix(fd: RawFd) -> bool {
        check_listening(fd).is_ok()
            && int_option(fd, libc::SO_DOMAIN) == Ok(libc::AF_UNIX)
            // SAFETY: no preconditions; any descriptor number may be asked.
            && unsafe { libc::shutdown(fd, libc::SHUT_RD) } == 0
    }

    /// Whether closing this socket gives its queue to the others of its `SO_REUSEPORT` group.
    pub(super) fn queue_migrates(fd: RawFd) -> bool {
        check_tcp_listener(fd) == Ok(libc::IPPROTO_TCP)
            && int_option(fd, libc::SO_REUSEPORT).is_ok_and(|value| value != 0)
            && std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req")
                .is_ok_and(|value| value.trim() == "1")
    }

    /// The number by which the kernel tells this socket from all others since it booted.
    pub(crate) fn cookie(fd: RawFd) -> Result<u64, FenceError> {
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

    /// Its protocol: TCP or MPTCP.
    fn check_tcp_listener(fd: RawFd) -> Result<c_int, FenceError> {
        check_listening(fd)?;
        match int_option(fd, libc::SO_DOMAIN)? {
            libc::AF_INET | libc::AF_INET6 => {}
            libc::AF_UNIX => return Err(FenceError::Unsupported { what: "a Unix socket" }),
            _ => return Err(FenceError::Unsupported { what: "this address family" }),
        }
        match int_option(fd, libc::SO_PROTOCOL)? {
            protocol @ (libc::IPPROTO_TCP | libc::IPPROTO_MPTCP) => Ok(protocol),
            _ => Err(FenceError::Unsupported { what: "a protocol other than TCP" }),
        }
    }

    /// Makes sure that the socket has neither a fence nor a filter.
    fn check_unfenced(fd: RawFd) -> Result<(), FenceError> {
        if int_option(fd, libc::SO_BINDTOIFINDEX) == Ok(NOWHERE) {
            return Err(FenceError::AlreadyFenced { arrivals: Arrivals::Refused });
        }
        match instructions(fd, &mut [])? {
            0 => return Ok(()),
            length if length == ONLY_OLD_ACQUAINTANCES.len() => {}
            _ => return Err(FenceError::Occupied),
        }
        let mut filter = ONLY_OLD_ACQUAINTANCES.map(|_| step(0, 0, 0, 0));
        let words = |step: &libc::sock_filter| (step.code, step.jt, step.jf, step.k);
        instructions(fd, &mut filter)?;
        if filter.iter().map(words).eq(ONLY_OLD_ACQUAINTANCES.iter().map(words)) {
            return Err(FenceError::AlreadyFenced { arrivals: Arrivals::Dropped });
        }
        Err(FenceError::Occupied)
    }

    /// Copies the socket's filter, if there is room, and says how many instructions it has.
    fn instructions(fd: RawFd, filter: &mut [libc::sock_filter]) -> Result<usize, FenceError> {
        let mut length = filter.len() as libc::socklen_t;
        let room = if filter.is_empty() { ptr::null_mut() } else { filter.as_mut_ptr().cast() };
        // SAFETY: with a length of 0 the kernel writes nothing but the length; otherwise the length is that of
        // the writable slice, in instructions, and the kernel refuses to write more.
        let failed = unsafe {
            libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_GET_FILTER, room, &mut length)
        };
        match refusal() {
            _ if failed == 0 => Ok(length as usize),
            // An extended BPF program, which cannot be read.
            FenceError::Denied { errno: libc::EACCES } => Err(FenceError::Occupied),
            error => Err(error),
        }
    }

    /// # Safety
    /// `value` must be what the option expects.
    unsafe fn set<T>(fd: RawFd, option: c_int, value: &T) -> Result<(), FenceError> {
        // SAFETY: the pointer is to a value of the length given, of the right type by the caller's promise.
        let failed = unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                option,
                (value as *const T).cast::<c_void>(),
                mem::size_of_val(value) as libc::socklen_t,
            )
        };
        if failed == 0 { Ok(()) } else { Err(refusal()) }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) mod system {
    use super::{FenceError, check_listening};
    use std::ffi::c_int;
    use std::os::fd::RawFd;

    const NOT_LINUX: FenceError =
        FenceError::Unsupported { what: "a listener on this operating system" };

    pub(super) fn raise_filter(fd: RawFd) -> Result<(), FenceError> {
        check_listening(fd)?;
        Err(NOT_LINUX)
    }

    pub(super) fn leave_interfaces(_: RawFd) -> Result<c_int, FenceError> {
        Err(NOT_LINUX)
    }

    pub(super) fn lift_filter(_: RawFd) -> Result<(), FenceError> {
        Err(NOT_LINUX)
    }

    pub(super) fn return_to(_: RawFd, _: c_int) -> Result<(), FenceError> {
        Err(NOT_LINUX)
    }

    pub(super) fn tcp_pending(_: RawFd) -> Option<u32> {
        None
    }

    pub(crate) fn refuse_on_unix(_: RawFd) -> bool {
        false
    }

    pub(super) fn queue_migrates(_: RawFd) -> bool {
        false
    }

    /// Sockets cannot be told apart here.
    pub(crate) fn cookie(fd: RawFd) -> Result<u64, FenceError> {
        check_listening(fd).map(|()| 0)
    }
}
