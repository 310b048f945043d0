//! The last look and the lingering close against the real kernel: what a reset would have eaten.

mod net;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use lameduck_host::clock::now_ns;
use lameduck_host::last_look::unread;
use lameduck_host::linger::{self, End, Linger};
use net::{LONG, allow_descriptors, set_option, wait_until};

fn pair() -> (TcpStream, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let connection = server.accept().unwrap().0;
    for socket in [&connection, &client] {
        socket.set_read_timeout(Some(LONG)).unwrap();
    }
    (connection, client)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    Plain,
    LookedAndLingering,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Answers {
    answered: usize,
    /// The server ended the stream before the first byte of an answer: the client may ask another one.
    ended: usize,
    reset: usize,
}

const IDLE: usize = 1_000;
const REQUESTS: usize = 100;

/// 1,000 idle keep-alive connections are closed, when 100 requests have just arrived or within the millisecond in which they do.
#[test]
fn no_request_on_an_idle_connection_is_reset() {
    if let Err(why) = allow_descriptors(4_096) {
        return eprintln!("skipped: {why}");
    }
    let before = |closing| close_idle(closing, Duration::ZERO);
    let answers = before(Closing::Plain);
    assert_eq!(answers, Answers { reset: REQUESTS, ..Answers::default() }, "the test cannot fail");
    let answers = before(Closing::LookedAndLingering);
    assert_eq!(answers, Answers { answered: REQUESTS, ..Answers::default() });

    let meanwhile = |closing| close_idle(closing, Duration::from_millis(1));
    let plain: Vec<_> = (0..5).map(|_| meanwhile(Closing::Plain)).collect();
    eprintln!("plain: {plain:?}");
    assert!(plain.iter().any(|answers| answers.reset > 0), "the test cannot fail");
    let lingering: Vec<_> = (0..5).map(|_| meanwhile(Closing::LookedAndLingering)).collect();
    eprintln!("looked and lingering: {lingering:?}");
    assert!(lingering.iter().all(|answers| answers.reset == 0));
}

/// Closes the connections while the requests arrive, spread over `during`, or just after they have.
fn close_idle(closing: Closing, during: Duration) -> Answers {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut connections, mut clients): (Vec<_>, Vec<_>) = (0..IDLE)
        .map(|_| {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (listener.accept().unwrap().0, client)
        })
        .unzip();
    for (connection, client) in connections.iter_mut().zip(&mut clients) {
        client.write_all(b"ping").unwrap();
        serve(connection);
        client.read_exact(&mut [0; 4]).unwrap();
    }

    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        let fates = scope.spawn(|| {
            // In another order than the server's, so that some come before their connection is closed, some after.
            let asking = (0..REQUESTS).map(|i| i * 37 % REQUESTS * (IDLE / REQUESTS));
            if during > Duration::ZERO {
                start.wait();
            }
            let begin = Instant::now();
            let asked: Vec<_> = asking
                .enumerate()
                .map(|(i, client)| {
                    let due = during.mul_f64(i as f64 / REQUESTS as f64);
                    while begin.elapsed() < due {
                        std::hint::spin_loop();
                    }
                    (client, (&clients[client]).write_all(b"ping"))
                })
                .collect();
            if during == Duration::ZERO {
                start.wait();
            }
            let mut answers = Answers::default();
            for (client, asked) in asked {
                match asked.and_then(|()| rest(&clients[client])) {
                    Ok(text) if text == b"pong" => answers.answered += 1,
                    Ok(text) => {
                        assert!(text.is_empty());
                        answers.ended += 1;
                    }
                    Err(error) => {
                        let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                        assert!(kinds.contains(&error.kind()), "{error}");
                        answers.reset += 1;
                    }
                }
            }
            drop(clients);
            answers
        });
        start.wait();
        match closing {
            Closing::Plain => drop(connections),
            Closing::LookedAndLingering => {
                let deadline = now_ns() + LONG.as_nanos() as u64;
                let lingering = connections.into_iter().map(|mut connection| {
                    if unread(connection.as_raw_fd()).unwrap() > 0 {
                        serve(&mut connection);
                    }
                    let linger = Linger::begin(&connection, 1_000, deadline).unwrap();
                    (connection, linger)
                });
                linger_on(lingering.collect());
            }
        }
        fates.join().unwrap()
    })
}

fn serve(connection: &mut TcpStream) {
    connection.read_exact(&mut [0; 4]).unwrap();
    connection.write_all(b"pong").unwrap();
}

fn rest(mut client: &TcpStream) -> std::io::Result<Vec<u8>> {
    client.set_read_timeout(Some(LONG)).unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).map(|_| bytes)
}

/// An event loop in miniature.
fn linger_on(mut lingering: Vec<(TcpStream, Linger)>) {
    while !lingering.is_empty() {
        let question = |(connection, _): &(TcpStream, Linger)| libc::pollfd {
            fd: connection.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut questions: Vec<_> = lingering.iter().map(question).collect();
        // SAFETY: the pointer is to as many pollfds as are said.
        let ready =
            unsafe { libc::poll(questions.as_mut_ptr(), questions.len() as libc::nfds_t, 20_000) };
        assert!(ready > 0, "{} never closed", lingering.len());
        lingering.retain_mut(|(connection, linger)| match linger.read(connection, now_ns()) {
            Some(end) => {
                assert_eq!(end, End::Closed);
                false
            }
            None => true,
        });
    }
}

/// A response of 5 MB, and a second request in the receive buffer that nobody will read.
#[test]
fn a_lingering_close_truncates_no_response() {
    let truncated = |runs, close: fn(TcpStream)| {
        (0..runs).filter(|_| answer_the_first_of_two(close) < RESPONSE).count()
    };
    let plain = truncated(20, drop);
    let lingering = truncated(100, |connection| {
        let end = linger::close(connection, 1_000, LONG.as_nanos() as u64).unwrap();
        assert_eq!(end, End::Closed);
    });
    eprintln!("truncated: {plain} of 20 by a plain close, {lingering} of 100 by a lingering one");
    assert!(plain > 0, "the test cannot fail");
    assert_eq!(lingering, 0);
}

const RESPONSE: usize = 5_000_000;

/// Returns how many bytes of the response the client received.
fn answer_the_first_of_two(close: fn(TcpStream)) -> usize {
    let (mut connection, mut client) = pair();
    // So that part of the response is still here when all of it has been written.
    set_option(client.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 65_536);
    let reader = std::thread::spawn(move || {
        client.write_all(b"pingping").unwrap();
        let mut received = 0;
        let mut buffer = [0; 16_384];
        while let Ok(bytes @ 1..) = client.read(&mut buffer) {
            received += bytes;
        }
        received
    });
    connection.read_exact(&mut [0; 4]).unwrap();
    wait_until("the second request is here", || unread(connection.as_raw_fd()).unwrap() == 4);
    connection.write_all(&vec![b'x'; RESPONSE]).unwrap();
    close(connection);
    reader.join().unwrap()
}

#[test]
fn the_client_sees_the_end_at_once_and_may_take_its_time() {
    let (connection, mut client) = pair();
    let begin = Instant::now();
    let mut linger = Linger::begin(&connection, 10, 1_000).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the half-close");
    assert_eq!(linger.read(&connection, 0), None);
    assert!(begin.elapsed() < LONG, "it blocked");
    client.write_all(b"0123456789").unwrap();
    wait_until("the bytes are here", || unread(connection.as_raw_fd()).unwrap() == 10);
    assert_eq!(linger.read(&connection, 999), None);
    assert_eq!(unread(connection.as_raw_fd()).unwrap(), 0);
    client.shutdown(Shutdown::Write).unwrap();
    wait_until("the client has closed", || linger.read(&connection, 999) == Some(End::Closed));
}

#[test]
fn who_sends_more_than_allowed_is_not_waited_for() {
    let (connection, mut client) = pair();
    let mut linger = Linger::begin(&connection, 10, u64::MAX).unwrap();
    client.write_all(&[0; 11]).unwrap();
    let mut end = None;
    wait_until("too much", || {
        end = linger.read(&connection, 0);
        end.is_some()
    });
    assert!(matches!(end, Some(End::TooMuch { .. })), "{end:?}");
}

#[test]
fn who_takes_longer_than_allowed_is_not_waited_for() {
    let (connection, _client) = pair();
    let mut linger = Linger::begin(&connection, 10, 1_000).unwrap();
    assert_eq!(linger.deadline(), 1_000);
    assert_eq!(linger.read(&connection, 999), None);
    let acknowledged = if cfg!(target_os = "linux") { Some(true) } else { None };
    let late = Some(End::TooLong { acknowledged });
    wait_until("the end is acknowledged", || linger.read(&connection, 1_000) == late);

    let limit = Duration::from_millis(20);
    let begin = Instant::now();
    let end = linger::close(connection, 10, limit.as_nanos() as u64).unwrap();
    assert_eq!(Some(end), late);
    assert!(begin.elapsed() >= limit);
}

#[test]
fn a_response_that_was_not_received_is_reported() {
    let (mut connection, _client) = pair();
    connection.set_nonblocking(true).unwrap();
    while connection.write(&[0; 65_536]).is_ok() {}
    let mut linger = Linger::begin(&connection, 10, 1_000).unwrap();
    let acknowledged = if cfg!(target_os = "linux") { Some(false) } else { None };
    assert_eq!(linger.read(&connection, 1_000), Some(End::TooLong { acknowledged }));
}

#[test]
fn a_broken_connection_is_not_waited_for() {
    let (connection, client) = pair();
    let mut linger = Linger::begin(&connection, 10, u64::MAX).unwrap();
    let off = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the pointer is to a linger, of the length given. It makes closing a reset.
    let failed = unsafe {
        libc::setsockopt(
            client.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const off).cast(),
            size_of_val(&off) as u32,
        )
    };
    assert_eq!(failed, 0);
    drop(client);
    let broken = Some(End::Failed { errno: libc::ECONNRESET });
    wait_until("the reset is here", || linger.read(&connection, 0) == broken);
    let again = Linger::begin(&connection, 10, u64::MAX).unwrap_err();
    assert_eq!(again.raw_os_error(), Some(libc::ENOTCONN));
    let again = linger::close(OwnedFd::from(connection), 10, 0).unwrap_err();
    assert_eq!(again.raw_os_error(), Some(libc::ENOTCONN));
}

#[test]
fn unread_bytes_are_seen() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let (mut accepted, _) = server.accept().unwrap();
    let fd = accepted.as_raw_fd();
    assert_eq!(unread(fd).unwrap(), 0);
    client.write_all(b"GET /").unwrap();
    accepted.peek(&mut [0]).unwrap(); // until it has arrived
    assert_eq!(unread(fd).unwrap(), 5);
    accepted.read_exact(&mut [0; 3]).unwrap();
    assert_eq!(unread(fd).unwrap(), 2);
    accepted.read_exact(&mut [0; 2]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
    assert_eq!(unread(fd).unwrap(), 0, "the end of the stream is no byte");

    assert_eq!(unread(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
    // SAFETY: a fresh eventfd, owned here.
    let other = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, 0)) };
    assert!(unread(other.as_raw_fd()).is_err());
}
