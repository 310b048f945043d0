//! A listener is closed with a full queue and with handshakes under way, against the real kernel: over a link with latency,
//! IPv4 and IPv6, and Unix sockets. Groups that share a port: `group.rs`.

mod net;

use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use lameduck_host::drain::Over;
use lameduck_host::fence::{Arrivals, Survivors, Way, pending, stop_arrivals};
use net::*;

const QUEUED: usize = 1_000;
const UNDER_WAY: usize = 400;
const LATE: usize = 50;
const DELAY: Duration = Duration::from_millis(25);
/// Longer than the 100 ms that suffice on a machine with nothing else to do.
const SETTLE: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// Accepts until nothing is left, and closes.
    Plain,
    /// Fenced in the way that is given, and accepting for so long.
    Fenced(Arrivals, Duration),
}

#[test]
fn a_full_queue_and_handshakes_under_way_are_served_to_the_last() {
    on_a_slow_link(DELAY, |link| {
        for near in NEAR {
            let losses = |closing| {
                // What is to be shown takes less time than the handshakes that are under way. On a busy machine
                // they can be quicker, and then there was nothing to lose.
                let lossy = (0..10).map(|_| close_a_full_listener(link, near, closing));
                let lossy = lossy.inspect(|f| eprintln!("{near} {closing:?}: {:?}", f.0));
                assert!(lossy.into_iter().any(|(f, _)| f.reset > 0), "{closing:?} cannot fail");
            };
            losses(Closing::Plain);
            losses(Closing::Fenced(Arrivals::Dropped, Duration::ZERO));
            losses(Closing::Fenced(Arrivals::Refused, Duration::ZERO));
            for arrivals in [Arrivals::Dropped, Arrivals::Refused] {
                let closing = Closing::Fenced(arrivals, SETTLE);
                let (early, late) = close_a_full_listener(link, near, closing);
                eprintln!("{near} {closing:?}: {early:?}, later {late:?}");
                assert_eq!(early, Fates { served: QUEUED + UNDER_WAY, refused: 0, reset: 0 });
                assert_eq!(late, Fates { served: 0, refused: LATE, reset: 0 });
            }
        }
    });
}

/// The fates of those who came before the end, and of those who came later.
fn close_a_full_listener(link: &Link, near: IpAddr, closing: Closing) -> (Fates, Fates) {
    let server = listener((near, 0), 8_192);
    let to = far(server.local_addr().unwrap());
    let fd = server.as_raw_fd();
    let mut early = connect_many(to, QUEUED);
    wait_until("the queue is full", || pending(fd) == Ok(QUEUED as u32));
    early.extend(connect_many(to, UNDER_WAY));
    // The answers to their SYNs take the link's delay, and the last ACKs once more.
    wait_until("all handshakes are under way", || link.syns(to) >= QUEUED + UNDER_WAY);

    let (accepted, late) = match closing {
        Closing::Plain => (accept_all(&server), vec![]),
        Closing::Fenced(arrivals, settle) => {
            if arrivals == Arrivals::Refused {
                lock_filter(fd);
            }
            let drain = begin(fd, Survivors::None, settle);
            assert_eq!(drain.way(), Way::Fenced(arrivals));
            let late = if settle > Duration::ZERO { connect_many(to, LATE) } else { vec![] };
            let mut accepted = Vec::new();
            assert_eq!(accept_to_the_end(drain, fd, |socket| accepted.push(socket)), Over::Empty);
            (accepted, late)
        }
    };
    drop(server);
    answer(accepted);
    (fates(early), fates(late))
}

/// 1,000 clients in a Unix listener's queue: the drain serves them and refuses the next, closing loses them.
#[test]
fn a_unix_listener_is_emptied_to_the_last() {
    if let Err(why) = allow_descriptors(8_192) {
        return eprintln!("skipped: {why}");
    }
    for drained in [true, false] {
        let path = Path::new(if drained { "drained" } else { "closed" });
        let server = path.listen();
        let clients: Vec<_> = (0..QUEUED).map(|_| path.connect().unwrap()).collect();
        let fd = server.as_raw_fd();
        assert_eq!(pending(fd), Ok(1), "which stands for one or more");
        if !drained {
            drop(server);
            let lost: Vec<_> =
                clients.into_iter().filter_map(|client| served(client).err()).collect();
            assert_eq!(lost, vec![ErrorKind::ConnectionReset; QUEUED]);
            continue;
        }
        let drain = begin(fd, Survivors::None, Duration::ZERO);
        assert_eq!(drain.way(), Way::Fenced(Arrivals::Refused));
        assert_eq!(path.connect().unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let mut accepted = Vec::new();
        assert_eq!(accept_to_the_end(drain, fd, |socket| accepted.push(socket)), Over::Empty);
        drop(server);
        assert_eq!(answer(accepted), QUEUED);
        assert!(clients.into_iter().all(|client| served(client).is_ok()));
    }
}

/// Clients that connect to a Unix socket without pause while it is drained: each is served, or refused.
#[test]
fn a_storm_on_a_unix_listener_meets_no_reset() {
    for round in 0..20 {
        let path = Path::new(&format!("storm{round}"));
        let server = path.listen();
        let answered = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        match path.connect() {
                            Ok(stream) => served(stream).expect("a completed connection was lost"),
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                                return;
                            }
                        }
                        answered.fetch_add(1, SeqCst);
                    }
                });
            }
            wait_until("the storm has risen", || {
                while let Ok((stream, _)) = server.accept() {
                    answer([stream.into()]);
                }
                answered.load(SeqCst) > 200
            });
            let fd = server.as_raw_fd();
            let drain = begin(fd, Survivors::None, Duration::ZERO);
            let over = accept_to_the_end(drain, fd, |socket| {
                answer([socket]);
            });
            assert_eq!(over, Over::Empty);
            drop(server);
        });
    }
}

/// An abstract address would do on Linux; a path does everywhere.
struct Path(std::path::PathBuf);

impl Path {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("lameduck-queue-{}-{name}", std::process::id())))
    }

    fn listen(&self) -> UnixListener {
        let server = UnixListener::bind(&self.0).unwrap();
        server.set_nonblocking(true).unwrap();
        listen_again(server.as_raw_fd(), 4_096);
        server
    }

    fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(&self.0)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A recycled worker shares its listener with one that goes on: nothing is fenced, accepted or lost.
#[test]
fn a_recycled_worker_leaves_a_shared_listener_alone() {
    let survivor = listener("127.0.0.1:0", 64);
    let to = survivor.local_addr().unwrap();
    let recycled = survivor.try_clone().unwrap();
    let early = connect_many(to, 5);
    wait_until("the queue is filled", || pending(survivor.as_raw_fd()) == Ok(5));
    let (way, accepted, over) = drain(recycled.as_raw_fd(), Survivors::SameSocket, SETTLE);
    assert_eq!((way, accepted.len(), over), (Way::Shared, 0, Over::Shared));
    drop(recycled);
    let late = connect_many(to, 5);
    wait_until("new ones still arrive", || pending(survivor.as_raw_fd()) == Ok(10));
    answer(accept_all(&survivor));
    assert_eq!(fates(early.into_iter().chain(late)).served, 10);
}

/// The parent fences, and the workers, who all stop too, find the fence there and accept to the end together.
#[test]
fn whoever_shares_a_fenced_listener_accepts_to_the_end() {
    let parent = listener("127.0.0.1:0", 64);
    let early = connect_many(parent.local_addr().unwrap(), 40);
    wait_until("the queue is filled", || pending(parent.as_raw_fd()) == Ok(40));
    let way = stop_arrivals(parent.as_raw_fd(), Survivors::None).unwrap();
    assert!(matches!(way, Way::Fenced(_)), "{way}");
    let accepted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let worker = parent.try_clone().unwrap();
                let fd = worker.as_raw_fd();
                let (found, mine, over) = drain(fd, Survivors::None, Duration::from_millis(20));
                assert_eq!((found, over), (way, Over::Empty));
                accepted.fetch_add(answer(mine), SeqCst);
            });
        }
    });
    drop(parent);
    assert_eq!(accepted.load(SeqCst), 40);
    assert_eq!(fates(early).served, 40);
}
