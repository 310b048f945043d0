//! A descriptor that becomes readable when there is something to do: how another thread calls an event loop.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Rung by any thread, seen by whoever polls [`descriptor`](Self::descriptor) for readability. Level-triggered: readable
/// until it is [silenced](Self::silence).
#[derive(Debug)]
pub struct Doorbell {
    ear: OwnedFd,
    /// Where a pipe is written to; an eventfd is written to at its only end.
    button: Option<OwnedFd>,
}

impl Doorbell {
    /// A silent one. Its descriptors are non-blocking and closed on `exec`.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        system::new()
    }

    /// What to poll for readability. Belongs to the doorbell; never read from it or close it.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.ear.as_raw_fd()
    }

    /// Makes the descriptor readable.
    pub fn ring(&self) {
        let one = 1_u64.to_ne_bytes();
        let button = self.button.as_ref().unwrap_or(&self.ear).as_raw_fd();
        // SAFETY: the pointer is to 8 readable bytes, the descriptor is ours. If it fails the bell is full: it rings.
        unsafe { libc::write(button, one.as_ptr().cast(), one.len()) };
    }

    /// Makes it unreadable until the next ring.
    pub fn silence(&self) {
        let mut scrap = [0_u8; 512];
        loop {
            // SAFETY: the pointer is to a writable buffer of the length given; the descriptor is ours and non-blocking.
            let read =
                unsafe { libc::read(self.ear.as_raw_fd(), scrap.as_mut_ptr().cast(), scrap.len()) };
            // An eventfd gives all it has at once.
            if read != scrap.len() as isize {
                return;
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::{Doorbell, FromRawFd, OwnedFd, io};

    pub(super) fn new() -> io::Result<Doorbell> {
        // SAFETY: no preconditions.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just opened and nobody else has it.
        Ok(Doorbell { ear: unsafe { OwnedFd::from_raw_fd(fd) }, button: None })
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{AsRawFd, Doorbell, FromRawFd, OwnedFd, RawFd, io};

    pub(super) fn new() -> io::Result<Doorbell> {
        let mut ends: [RawFd; 2] = [-1; 2];
        // SAFETY: the pointer is to two writable descriptors.
        if unsafe { libc::pipe(ends.as_mut_ptr()) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: they were just opened and nobody else has them.
        let [ear, button] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        for fd in [&ear, &button] {
            // SAFETY: flags of descriptors that are ours.
            unsafe {
                libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
                libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        Ok(Doorbell { ear, button: Some(button) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(bell: &Doorbell) -> bool {
        let mut question = libc::pollfd { fd: bell.descriptor(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one pollfd.
        unsafe { libc::poll(&mut question, 1, 0) == 1 }
    }

    #[test]
    fn it_rings_until_it_is_silenced() {
        let bell = Doorbell::new().unwrap();
        assert!(!readable(&bell));
        for _ in 0..1000 {
            bell.ring();
        }
        assert!(readable(&bell));
        bell.silence();
        assert!(!readable(&bell));
        bell.silence();
        bell.ring();
        assert!(readable(&bell));
    }
}
