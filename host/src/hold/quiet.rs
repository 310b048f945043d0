//! When a server can be told to stop without losing what is under way to it.
//!
//! An empty accept queue is not enough. A server that was told to stop closes each connection on which it has read no
//! request, and the request of a connection accepted just now is still on the wire or in the socket's buffer:
//! closing resets it. The kernel knows of each socket how much is unread and how long ago it last
//! received and sent, and that can be asked from outside the server.

use std::os::fd::RawFd;
use std::time::Duration;

use crate::fence;

/// Whether the queues of `listeners` are empty and nothing is under way on the connections that came from them:
/// nothing is unread, and each was last heard rather than answered (a request, which the server has), or has been still
/// for `settle`. `waited`: nanoseconds since the listeners had settled.
pub(super) fn are_quiet(listeners: &[RawFd], settle: Duration, waited: u64) -> bool {
    let mut ports = Vec::new();
    for &fd in listeners {
        let port = match fence::pending(fd) {
            Ok(0) => connections::local_port(fd),
            Ok(_) => return false,
            Err(_) => None,
        };
        // Without a port, on a Unix socket or another system: then only time can tell.
        if port.is_none() && u128::from(waited) < settle.as_nanos() {
            return false;
        }
        ports.extend(port);
    }
    connections::all_still(&ports, settle)
}

#[cfg(target_os = "linux")]
mod connections {
    use std::mem::{size_of_val, zeroed};
    use std::os::fd::RawFd;
    use std::time::Duration;

    use crate::last_look::unread;
    use crate::listeners::{self, ListenerAddress};

    /// From the kernel's `tcp_states.h`.
    const ESTABLISHED: u8 = 1;

    pub(super) fn all_still(ports: &[u16], settle: Duration) -> bool {
        let Ok(descriptors) = listeners::open_descriptors() else {
            return true;
        };
        let is_theirs = |fd: &RawFd| local_port(*fd).is_some_and(|port| ports.contains(&port));
        descriptors.into_iter().filter(is_theirs).all(|fd| {
            tcp_info(fd).is_none_or(|info| {
                let (received, sent) = (info.tcpi_last_data_recv, info.tcpi_last_data_sent);
                let still = u128::from(received.min(sent)) >= settle.as_millis();
                info.tcpi_state != ESTABLISHED
                    || (unread(fd).unwrap_or(0) == 0 && (received < sent || still))
            })
        })
    }

    /// The local TCP port of the socket, if it is one.
    pub(super) fn local_port(fd: RawFd) -> Option<u16> {
        match listeners::address(fd) {
            ListenerAddress::Inet(address) => Some(address.port()),
            _ => None,
        }
    }

    fn tcp_info(fd: RawFd) -> Option<libc::tcp_info> {
        // SAFETY: tcp_info consists of integers, for which zero is a value.
        let mut info: libc::tcp_info = unsafe { zeroed() };
        let mut length = size_of_val(&info) as libc::socklen_t;
        let pointer = (&raw mut info).cast();
        // SAFETY: the pointers are to a writable tcp_info and to its length; the kernel writes no more than that.
        let failed = unsafe {
            libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, pointer, &mut length)
        };
        (failed == 0).then_some(info)
    }
}

#[cfg(not(target_os = "linux"))]
mod connections {
    use std::os::fd::RawFd;
    use std::time::Duration;

    pub(super) fn all_still(_: &[u16], _: Duration) -> bool {
        true
    }

    pub(super) fn local_port(_: RawFd) -> Option<u16> {
        None
    }
}
