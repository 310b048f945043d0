//! The drain's steps, one by one, at times that the test chooses. Its work under load is in `queue.rs`.

mod net;

use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use lameduck_host::drain::{Drain, Over, Step};
use lameduck_host::fence::{Survivors, Way, pending};
use net::*;

const SETTLE: u64 = 100;
const DEADLINE: u64 = 1_000;

fn begin_at_0(fd: RawFd) -> Drain {
    let drain = Drain::begin(fd, Survivors::None, SETTLE, DEADLINE, 0).unwrap();
    assert!(matches!(drain.way(), Way::Fenced(_)), "{}", drain.way());
    drain
}

/// What there is to do, and whether a connection came: they are no part of what is compared.
fn step(drain: &mut Drain, now: u64) -> String {
    match drain.accept(now) {
        Step::Accepted { socket, last_descriptor } => {
            answer([socket]);
            format!("accepted, last descriptor {last_descriptor}")
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn it_accepts_waits_and_ends() {
    let server = listener("127.0.0.1:0", 16);
    let fd = server.as_raw_fd();
    let early = connect_many(server.local_addr().unwrap(), 2);
    wait_until("the queue is filled", || pending(fd) == Ok(2));
    let mut drain = begin_at_0(fd);
    assert_eq!(step(&mut drain, 0), "accepted, last descriptor false");
    // The last one is accepted although settling is over.
    assert_eq!(step(&mut drain, 101), "accepted, last descriptor false");
    assert_eq!(step(&mut drain, 99), "Wait { until: 100 }");
    assert_eq!(step(&mut drain, 100), "Over(Empty)");
    assert_eq!(fates(early).served, 2);
}

#[test]
fn it_ends_at_the_deadline_and_says_who_is_left() {
    let server = listener("127.0.0.1:0", 16);
    let fd = server.as_raw_fd();
    let _early = connect_many(server.local_addr().unwrap(), 3);
    wait_until("the queue is filled", || pending(fd) == Ok(3));
    let mut drain = Drain::begin(fd, Survivors::None, DEADLINE * 2, DEADLINE, 0).unwrap();
    assert_eq!(step(&mut drain, DEADLINE - 1), "accepted, last descriptor false");
    assert_eq!(step(&mut drain, DEADLINE), "Over(Late { left: 2 })");
    while let Step::Accepted { .. } = drain.accept(0) {}
    assert_eq!(step(&mut drain, 0), "Wait { until: 1000 }", "no longer than the deadline");
    assert_eq!(step(&mut drain, DEADLINE), "Over(Empty)");
}

#[test]
fn a_blocking_listener_does_not_block_it() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let limit = libc::timeval { tv_sec: LONG.as_secs() as _, tv_usec: 0 };
    // SAFETY: the pointer is to a timeval, of the length given. It bounds how long `accept` blocks.
    let failed = unsafe {
        libc::setsockopt(
            server.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const limit).cast(),
            size_of_val(&limit) as u32,
        )
    };
    assert_eq!(failed, 0);
    let begin = Instant::now();
    let mut drain = begin_at_0(server.as_raw_fd());
    assert_eq!(step(&mut drain, 0), "Wait { until: 100 }");
    assert!(begin.elapsed() < LONG, "it blocked");
    assert_eq!(step(&mut drain, 100), "Over(Empty)");
}

#[test]
fn connections_do_not_block_and_are_not_inherited() {
    let server = listener("127.0.0.1:0", 16);
    let _client = connect_many(server.local_addr().unwrap(), 1);
    wait_until("the queue is filled", || pending(server.as_raw_fd()) == Ok(1));
    let Step::Accepted { socket, .. } = begin_at_0(server.as_raw_fd()).accept(0) else {
        panic!("nothing accepted");
    };
    // SAFETY: these commands only read flags.
    let [status, descriptor] = [libc::F_GETFL, libc::F_GETFD]
        .map(|command| unsafe { libc::fcntl(socket.as_raw_fd(), command) });
    assert_eq!((status & libc::O_NONBLOCK, descriptor), (libc::O_NONBLOCK, libc::FD_CLOEXEC));
}

#[test]
fn a_listener_that_somebody_else_closed_ends_it() {
    let server = listener("127.0.0.1:0", 16);
    let fd = server.as_raw_fd();
    let mut drain = begin_at_0(fd);
    // The number now names another listener, at which somebody waits.
    let other = listener("127.0.0.1:0", 16);
    let _client = connect_many(other.local_addr().unwrap(), 1);
    wait_until("the other's queue is filled", || pending(other.as_raw_fd()) == Ok(1));
    // SAFETY: both are descriptors of this test's; `server` goes on to own the duplicate.
    assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), fd) }, fd);
    assert_eq!(step(&mut drain, 0), "Over(Gone)");
    assert_eq!(pending(other.as_raw_fd()), Ok(1), "left alone");
    drop(server);

    let server = listener("127.0.0.1:0", 16);
    let mut drain = begin_at_0(server.as_raw_fd());
    // SAFETY: no preconditions.
    assert_eq!(unsafe { libc::shutdown(server.as_raw_fd(), libc::SHUT_RD) }, 0);
    assert!(matches!(drain.accept(0), Step::Over(Over::Gone)));
}
