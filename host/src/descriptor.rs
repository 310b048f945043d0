//! Descriptors without an owner's ceremony, for code that may neither allocate nor wait for a lock.

use std::ffi::c_int;
use std::io;
use std::os::fd::RawFd;

/// A descriptor that the system returned, or what it said instead.
pub(crate) fn of(returned: c_int) -> io::Result<RawFd> {
    done(returned).map(|()| returned)
}

/// What the system said to a call that returns -1 when it failed.
pub(crate) fn done(returned: c_int) -> io::Result<()> {
    if returned == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Writes everything, waiting as long as it takes, whether the descriptor blocks or not.
pub(crate) fn write_all(fd: RawFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the buffer is readable for its length.
        let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        if written >= 0 {
            bytes = &bytes[written as usize..];
            continue;
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => {
                let mut question = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
                // SAFETY: the pointer is to one pollfd, and 1 is how many there are.
                unsafe { libc::poll(&mut question, 1, -1) };
            }
            _ => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn close(fd: RawFd) {
    // SAFETY: the caller's own descriptor, which nobody uses afterwards.
    unsafe { libc::close(fd) };
}
