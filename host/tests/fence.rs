//! The listener fence against the real kernel, over loopback. Over a link with latency: `queue.rs`.

mod net;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use lameduck_host::drain::{Drain, Over};
use lameduck_host::fence::{Arrivals, Fence, FenceError, Survivors, Way, pending, stop_arrivals};
use lameduck_host::listeners::{ListenerAddress, listeners};
use net::*;

const CLIENTS: usize = 300;

/// Both kinds of fence, or the only one that this process may raise. The filter needs `CAP_NET_ADMIN`; the other kind
/// is what is left when the filter is locked.
fn kinds() -> Vec<Arrivals> {
    let scratch = listener("127.0.0.1:0", 16);
    if Fence::raise(scratch.as_raw_fd()).unwrap().arrivals() == Arrivals::Dropped {
        return vec![Arrivals::Dropped, Arrivals::Refused];
    }
    eprintln!("partly skipped: no right to set a filter (CAP_NET_ADMIN)");
    vec![Arrivals::Refused]
}

fn raise(arrivals: Arrivals, fd: RawFd) -> Fence {
    if arrivals == Arrivals::Refused {
        lock_filter(fd);
    }
    let fence = Fence::raise(fd).unwrap();
    assert_eq!(fence.arrivals(), arrivals);
    fence
}

/// Closes the listener at `address` when clients wait that came by way of `host`. Returns how many were served.
fn close_with_a_full_queue(address: &str, host: &str, fenced: Option<Arrivals>) -> usize {
    let server = listener(address, 4096);
    let to = SocketAddr::new(host.parse().unwrap(), server.local_addr().unwrap().port());
    let fd = server.as_raw_fd();
    let early = connect_many(to, CLIENTS);
    wait_until("the queue is filled", || pending(fd) == Ok(CLIENTS as u32));

    if let Some(arrivals) = fenced {
        let _fence = raise(arrivals, fd);
        let late = connect(to);
        let fate = connected(&late, Duration::from_millis(100));
        match arrivals {
            Arrivals::Dropped => assert!(fate.is_none(), "a SYN got through"),
            Arrivals::Refused => {
                assert_eq!(fate.unwrap().unwrap_err().kind(), ErrorKind::ConnectionRefused);
            }
        }
        assert_eq!(pending(fd), Ok(CLIENTS as u32));
        assert_eq!(answer(accept_all(&server)), CLIENTS);
        assert_eq!(pending(fd), Ok(0));
        drop(server);
        assert_eq!(fates([late]).refused, 1);
    } else {
        drop(server);
    }
    let fates = fates(early);
    assert_eq!(fates.served + fates.reset, CLIENTS);
    fates.served
}

#[test]
fn a_queue_is_served_to_its_end_behind_the_fence() {
    // The last is a listener for both families.
    let v6 = [("[::1]:0", "::1"), ("[::]:0", "::1"), ("[::]:0", "127.0.0.1")];
    for (address, host) in [("127.0.0.1:0", "127.0.0.1")].into_iter().chain(v6) {
        if address.starts_with('[') && TcpListener::bind(address).is_err() {
            eprintln!("skipped {address}: no IPv6 here");
            continue;
        }
        for kind in kinds() {
            let served = close_with_a_full_queue(address, host, Some(kind));
            assert_eq!(served, CLIENTS, "{address} {host} {kind:?}");
        }
    }
}

#[test]
fn without_it_the_queue_is_reset() {
    assert_eq!(close_with_a_full_queue("127.0.0.1:0", "127.0.0.1", None), 0);
}

/// Go's listeners are of this kind, if nobody says otherwise.
#[test]
fn a_listener_for_multipath_tcp_is_fenced() {
    // SAFETY: a fresh descriptor or -1.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) };
    if fd == -1 {
        return eprintln!("skipped: no MPTCP: {}", std::io::Error::last_os_error());
    }
    // SAFETY: nobody else owns it.
    let server = TcpListener::from(unsafe { OwnedFd::from_raw_fd(fd) });
    listen_again(fd, 64); // at a port of the system's choice
    server.set_nonblocking(true).unwrap();
    let to = SocketAddr::new([127, 0, 0, 1].into(), server.local_addr().unwrap().port());
    let early = connect_many(to, 20);
    wait_until("the queue is filled", || pending(fd) == Ok(20));
    assert_eq!(Fence::raise(fd).unwrap().arrivals(), Arrivals::Refused);
    let again = FenceError::AlreadyFenced { arrivals: Arrivals::Refused };
    assert_eq!(Fence::raise(fd).unwrap_err(), again);
    let late = connect_many(to, 5);
    answer(accept_all(&server));
    drop(server);
    assert_eq!((fates(early).served, fates(late).refused), (20, 5));
}

/// Clients that connect without pause while the listener is fenced, emptied and closed: each is served, or
/// refused before it sent anything; none is reset.
#[test]
fn a_storm_of_clients_meets_no_reset() {
    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let rounds: Vec<_> = kinds().into_iter().flat_map(|kind| [kind; 3]).collect();
    for kind in &rounds {
        let server = listener("127.0.0.1:0", 4096);
        let to = server.local_addr().unwrap();
        let closing = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let stream = connect(to);
                        // The server is single-handed, so a SYN may also wait for its retransmission.
                        match connected(&stream, LONG).expect("neither connected nor refused") {
                            Ok(()) => served(stream).expect("a completed connection was lost"),
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                                assert!(closing.load(SeqCst));
                                refused.fetch_add(1, SeqCst);
                                return;
                            }
                        }
                        answered.fetch_add(1, SeqCst);
                    }
                });
            }
            let enough = answered.load(SeqCst) + 300;
            while answered.load(SeqCst) < enough {
                answer(accept_all(&server));
            }
            closing.store(true, SeqCst);
            let fd = server.as_raw_fd();
            if *kind == Arrivals::Refused {
                lock_filter(fd);
            }
            let drain = begin(fd, Survivors::None, Duration::from_millis(20));
            assert_eq!(drain.way(), Way::Fenced(*kind));
            let over = accept_to_the_end(drain, fd, |socket| {
                answer([socket]);
            });
            assert_eq!(over, Over::Empty);
            drop(server);
        });
    }
    assert_eq!(refused.load(SeqCst), 4 * rounds.len());
}

#[test]
fn a_lifted_fence_lets_everybody_in_again() {
    for kind in kinds() {
        let server = listener("127.0.0.1:0", 16);
        let to = server.local_addr().unwrap();
        let fence = raise(kind, server.as_raw_fd());
        let early = connect(to);
        match fence.lift() {
            Err(FenceError::Denied { errno: libc::EPERM }) => {
                eprintln!("skipped: no right to bind to another interface (CAP_NET_RAW)");
                continue;
            }
            lifted => lifted.unwrap(),
        }
        connected(&connect(to), LONG).unwrap().unwrap();
        match (kind, connected(&early, LONG).unwrap()) {
            (Arrivals::Dropped, fate) => fate.expect("the next SYN of the dropped one arrives"),
            (Arrivals::Refused, fate) => assert!(fate.is_err()),
        }
    }
}

#[test]
fn a_fence_is_never_lifted_from_another_socket() {
    for arrivals in kinds() {
        let first = listener("127.0.0.1:0", 16);
        let fd = first.as_raw_fd();
        let stale = raise(arrivals, fd);
        // The number now names another listener, with a fence of its own.
        let second = listener("127.0.0.1:0", 16);
        // SAFETY: both are descriptors of this test's; `first` goes on to own the duplicate.
        assert_eq!(unsafe { libc::dup2(second.as_raw_fd(), fd) }, fd);
        let _seconds = raise(arrivals, fd);
        assert_eq!(stale.lift(), Err(FenceError::Closed));
        let still_there = FenceError::AlreadyFenced { arrivals };
        assert_eq!(Fence::raise(second.as_raw_fd()).unwrap_err(), still_there);
    }
}

/// A number that no descriptor has, whatever the other tests open.
const CLOSED: RawFd = 1_000_000;

#[test]
fn what_is_no_listener_is_refused_and_unchanged() {
    let all = |fd| {
        let raised = Fence::raise(fd).map(drop).unwrap_err();
        assert_eq!(pending(fd).unwrap_err(), raised);
        for survivors in [Survivors::None, Survivors::OwnSockets, Survivors::SameSocket] {
            assert_eq!(stop_arrivals(fd, survivors), Err(raised));
            assert_eq!(Drain::begin(fd, survivors, 0, u64::MAX, 0).unwrap_err(), raised);
        }
        raised
    };
    assert_eq!(all(CLOSED), FenceError::Closed);
    assert_eq!(all(-1), FenceError::Closed);
    assert_eq!(all(std::fs::File::open("/dev/null").unwrap().as_raw_fd()), FenceError::NotASocket);
    assert_eq!(all(UdpSocket::bind("127.0.0.1:0").unwrap().as_raw_fd()), FenceError::NotListening);

    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let (mut accepted, _) = server.accept().unwrap();
    assert_eq!(all(accepted.as_raw_fd()), FenceError::NotListening);
    client.write_all(b"still").unwrap();
    accepted.read_exact(&mut [0; 5]).expect("still blocking, and connected");
}

#[test]
fn listening_sockets_are_found_and_no_others() {
    let path = std::env::temp_dir().join(format!("lameduck-fence-{}", std::process::id()));
    let unix = UnixListener::bind(&path).unwrap();
    let server = listener("127.0.0.1:0", 16);
    let client = connect(server.local_addr().unwrap());
    let found = listeners().unwrap();
    let address = |fd: RawFd| found.iter().find(|l| l.fd == fd).map(|l| l.address.clone());
    assert_eq!(address(unix.as_raw_fd()), Some(ListenerAddress::Unix(Some(path.clone()))));
    let tcp = server.local_addr().unwrap();
    assert_eq!(address(server.as_raw_fd()), Some(ListenerAddress::Inet(tcp)));
    assert_eq!(address(client.as_raw_fd()), None);
    std::fs::remove_file(path).unwrap();
}

/// A driver whose server accepts for itself fences a Unix listener not at all: whoever polls it would find it
/// readable for ever.
#[test]
fn a_unix_listener_has_no_fence_but_its_queue_is_seen() {
    let path = std::env::temp_dir().join(format!("lameduck-unix-{}", std::process::id()));
    let unix = UnixListener::bind(&path).unwrap();
    let fd = unix.as_raw_fd();
    let unsupported = FenceError::Unsupported { what: "a Unix socket" };
    assert_eq!(Fence::raise(fd).unwrap_err(), unsupported);
    assert_eq!(stop_arrivals(fd, Survivors::None), Ok(Way::Portable(unsupported)));
    assert_eq!(pending(fd), Ok(0));
    let _client = UnixStream::connect(&path).unwrap();
    assert_eq!(pending(fd), Ok(1));
    let _accepted = unix.accept().unwrap();
    assert_eq!(pending(fd), Ok(0));
    std::fs::remove_file(path).unwrap();
}

/// A filter that somebody else attached stays, and the listener is fenced all the same.
#[test]
fn a_strangers_filter_is_left_alone() {
    let everything =
        libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: u32::MAX };
    let program = libc::sock_fprog { len: 1, filter: (&raw const everything).cast_mut() };
    let server = listener("127.0.0.1:0", 16);
    let fd = server.as_raw_fd();
    // SAFETY: the program has one instruction, which outlives the call.
    let failed = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as u32,
        )
    };
    if failed != 0 {
        return eprintln!("skipped: no right to set a filter (CAP_NET_ADMIN)");
    }
    assert_eq!(Fence::raise(fd).unwrap().arrivals(), Arrivals::Refused);
    let mut instructions: libc::socklen_t = 0;
    // SAFETY: with a length of 0 nothing is written but the length.
    let failed = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_GET_FILTER,
            std::ptr::null_mut(),
            &mut instructions,
        )
    };
    assert_eq!((failed, instructions), (0, 1));
}
