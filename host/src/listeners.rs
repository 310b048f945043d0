//! Finds the listening sockets of this process, for drivers whose server does not show its own.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// A listening socket of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerInfo {
    /// Its descriptor. Two descriptors of one socket (`dup`) are listed as two.
    pub fd: RawFd,
    /// Where it listens.
    pub address: ListenerAddress,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenerAddress {
    /// At a TCP port.
    Inet(SocketAddr),
    /// Neither TCP nor a Unix socket.
    Other,
    /// At a path, or at none (abstract or unbound).
    Unix(Option<PathBuf>),
}

/// Lists the listening sockets of this process, by `SO_ACCEPTCONN` on each open descriptor, in the order of
/// their numbers. Other threads may open and close descriptors meanwhile: the list is of no single moment.
///
/// # Errors
/// What reading `/proc/self/fd` says; [`io::ErrorKind::Unsupported`] where there is no such folder.
pub fn listeners() -> io::Result<Vec<ListenerInfo>> {
    let mut found = Vec::new();
    for fd in open_descriptors()? {
        if crate::fence::check_listening(fd).is_ok() {
            found.push(ListenerInfo { fd, address: address(fd) });
        }
    }
    Ok(found)
}

#[cfg(target_os = "linux")]
pub(crate) fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let mut descriptors = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        descriptors.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    descriptors.sort_unstable();
    Ok(descriptors)
}

#[cfg(not(target_os = "linux"))]
fn open_descriptors() -> io::Result<Vec<RawFd>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Where a socket has its local end; [`ListenerAddress::Other`] for what is no socket.
pub(crate) fn address(fd: RawFd) -> ListenerAddress {
    use std::mem::{ManuallyDrop, size_of_val, zeroed};
    use std::net::TcpListener;
    use std::os::fd::FromRawFd;
    use std::os::unix::net::UnixListener;

    // SAFETY: sockaddr_storage consists of integers, for which zero is a value.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let mut length = size_of_val(&storage) as libc::socklen_t;
    // SAFETY: the pointers are to a writable address and to its length.
    let failed = unsafe { libc::getsockname(fd, (&raw mut storage).cast(), &mut length) };
    if failed != 0 {
        return ListenerAddress::Other;
    }
    match c_int_family(storage.ss_family) {
        libc::AF_INET | libc::AF_INET6 => {
            // SAFETY: never dropped, so the descriptor stays its owner's; it is only asked for its address.
            let socket = ManuallyDrop::new(unsafe { TcpListener::from_raw_fd(fd) });
            socket.local_addr().map_or(ListenerAddress::Other, ListenerAddress::Inet)
        }
        libc::AF_UNIX => {
            // SAFETY: as above.
            let socket = ManuallyDrop::new(unsafe { UnixListener::from_raw_fd(fd) });
            let path = socket.local_addr().ok().and_then(|a| a.as_pathname().map(PathBuf::from));
            ListenerAddress::Unix(path)
        }
        _ => ListenerAddress::Other,
    }
}

fn c_int_family(family: libc::sa_family_t) -> std::ffi::c_int {
    family.into()
}
