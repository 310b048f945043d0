//! Whether a socket takes a few bytes now.

use std::os::fd::RawFd;

/// Whether a write of a few bytes to `fd` is taken whole and at once: the kernel calls a socket writable only when a good part of its
/// buffer is free. `false` for what is no descriptor, or has failed.
#[must_use]
pub fn has_room(fd: RawFd) -> bool {
    let mut question = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer is to one pollfd, and 1 is how many there are.
    let answered = unsafe { libc::poll(&mut question, 1, 0) };
    answered == 1 && question.revents == libc::POLLOUT
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::has_room;

    #[test]
    fn a_full_socket_has_none_until_it_is_read() {
        let (mut writer, mut reader) = UnixStream::pair().expect("a pair");
        let fd = writer.as_raw_fd();
        assert!(has_room(fd));
        writer.set_nonblocking(true).expect("a mode");
        while writer.write(&[0; 4096]).is_ok() {}
        assert!(!has_room(fd));
        reader.set_nonblocking(true).expect("a mode");
        while reader.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {}
        assert!(has_room(fd));
        drop(reader);
        assert!(!has_room(fd), "its peer is gone");
        assert!(!has_room(-1));
    }
}
