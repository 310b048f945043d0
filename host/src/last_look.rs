//! The last look into a socket before it is closed.

use std::ffi::c_int;
use std::io;
use std::os::fd::RawFd;

/// How many bytes the kernel has received on `fd` and nobody has read yet.
///
/// Closing a connection with unread bytes makes the kernel send a reset, which can destroy a
/// response that the client has not read. So an idle connection with unread bytes is busy: a request
/// has arrived. The count is of bytes on the wire; under TLS they may also be a record without any request
/// in it, which a server must treat alike. 0 at the end of the stream too. On a listening socket Linux
/// answers `EINVAL`.
///
/// # Errors
/// What `ioctl(FIONREAD)` says: `EBADF` when the descriptor is closed, `ENOTTY` or `EINVAL` when it
/// cannot hold received bytes.
pub fn unread(fd: RawFd) -> io::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: FIONREAD writes one int, and `bytes` is one; any descriptor number may be asked.
    if unsafe { libc::ioctl(fd, libc::FIONREAD, &mut bytes) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}
