//! The listener fence and its neighbours against the real kernel, over loopback and over a link with latency.

use std::io::{ErrorKind, Read, Write};
use std::mem::ManuallyDrop;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use lameduck_host::fence::{self, Fence, FenceError};
use lameduck_host::last_look::unread;
use lameduck_host::listeners::{ListenerAddress, listeners};

/// Far more than anything here takes: a test that reaches it has failed.
const LONG: Duration = Duration::from_secs(20);

fn listener(address: &str, backlog: i32) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    // SAFETY: listening again only changes the queue's length.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), backlog) }, 0);
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Starts a connect and does not wait for it.
fn connect(to: SocketAddr) -> TcpStream {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: a fresh socket, owned by the stream; then a connect with an address of the right size.
    unsafe {
        let fd = libc::socket(family, kind, 0);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        let stream = TcpStream::from_raw_fd(fd);
        let result = match to {
            SocketAddr::V4(to) => {
                let address = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: to.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
                    sin_zero: [0; 8],
                };
                libc::connect(fd, (&raw const address).cast(), size_of_val(&address) as u32)
            }
            SocketAddr::V6(to) => {
                let address = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: to.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: to.ip().octets() },
                    sin6_scope_id: 0,
                };
                libc::connect(fd, (&raw const address).cast(), size_of_val(&address) as u32)
            }
        };
        let error = std::io::Error::last_os_error().raw_os_error();
        assert!(result == 0 || error == Some(libc::EINPROGRESS), "{error:?}");
        stream
    }
}

/// Waits until the connect is decided: `None` if it is not within `limit`.
fn connected(stream: &TcpStream, limit: Duration) -> Option<std::io::Result<()>> {
    let mut question = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer is to one pollfd, and 1 is how many there are.
    if unsafe { libc::poll(&mut question, 1, limit.as_millis() as i32) } == 0 {
        return None;
    }
    Some(stream.take_error().unwrap().map_or(Ok(()), Err))
}

/// Accepts until nothing is left, and answers each.
fn accept_all(listener: &TcpListener) -> u32 {
    let mut accepted = 0;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                answer(stream);
                accepted += 1;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return accepted,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A server in miniature: says hello, half-closes, and does not wait for the client's end.
fn answer(mut stream: TcpStream) {
    stream.set_nonblocking(false).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Whether the server answered, or what became of the connection instead.
fn served(mut stream: TcpStream) -> Result<(), ErrorKind> {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Ok(_) if text == "hello" => Ok(()),
        Ok(_) => Err(ErrorKind::UnexpectedEof),
        Err(error) => Err(error.kind()),
    }
}

fn close_with_a_full_queue(address: &str, fenced: bool) -> (u32, Vec<ErrorKind>) {
    const CLIENTS: usize = 300;
    let server = listener(address, 4096);
    let to = server.local_addr().unwrap();
    let fd = server.as_raw_fd();
    let early: Vec<_> = (0..CLIENTS).map(|_| connect(to)).collect();
    for stream in &early {
        connected(stream, LONG).unwrap().unwrap();
    }
    assert_eq!(fence::pending(fd), Ok(CLIENTS as u32), "tcpi_unacked is the queue's length");

    let mut late = None;
    if fenced {
        let _fence = Fence::raise(fd).unwrap();
        let stream = connect(to);
        assert!(connected(&stream, Duration::from_millis(100)).is_none(), "a SYN got through");
        assert_eq!(fence::pending(fd), Ok(CLIENTS as u32));
        assert_eq!(accept_all(&server), CLIENTS as u32);
        assert_eq!(fence::pending(fd), Ok(0));
        late = Some(stream);
    }
    drop(server);
    let lost: Vec<_> = early.into_iter().filter_map(|stream| served(stream).err()).collect();
    if let Some(late) = late {
        let refused = connected(&late, LONG).unwrap().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    ((CLIENTS - lost.len()) as u32, lost)
}

#[test]
fn a_queue_is_served_to_its_end_behind_the_fence() {
    for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        if address.starts_with('[') && TcpListener::bind(address).is_err() {
            eprintln!("skipped {address}: no IPv6 here");
            continue;
        }
        assert_eq!(close_with_a_full_queue(address, true), (300, vec![]), "{address}");
    }
}

#[test]
fn without_it_the_queue_is_reset() {
    let (served, lost) = close_with_a_full_queue("127.0.0.1:0", false);
    assert_eq!((served, lost.len()), (0, 300));
    assert!(lost.iter().all(|kind| *kind == ErrorKind::ConnectionReset), "{lost:?}");
}

/// Clients that connect without pause while the listener is fenced, emptied and closed: each is served, or
/// refused before it sent anything; none is reset.
#[test]
fn a_storm_of_clients_meets_no_reset() {
    let (answered, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    for _ in 0..5 {
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
                accept_all(&server);
            }
            closing.store(true, SeqCst);
            close_behind_the_fence(server, Duration::from_millis(10));
        });
    }
    assert_eq!(refused.load(SeqCst), 20);
}

/// What a driver does: fence, accept for `settle` and until the queue is empty, close.
fn close_behind_the_fence(server: TcpListener, settle: Duration) {
    let fd = server.as_raw_fd();
    let _fence = Fence::raise(fd).unwrap();
    let settled = Instant::now() + settle;
    while Instant::now() < settled || fence::pending(fd).unwrap() > 0 {
        accept_all(&server);
        std::thread::yield_now();
    }
}

/// 400 connects under way over a link with 50 ms of round trip when the listener closes. Needs the right to make a
/// network namespace and a tunnel device; says so and passes otherwise.
#[test]
fn handshakes_under_way_need_the_fence_and_the_settle_time() {
    // Its own thread: `unshare` moves only the thread that calls it.
    let run = || {
        if let Err(why) = slow_link(Duration::from_millis(25)) {
            eprintln!("skipped: {why}");
            return;
        }
        let plain = close_over_slow_link(None);
        let unsettled = close_over_slow_link(Some(Duration::ZERO));
        let settled = close_over_slow_link(Some(Duration::from_millis(100)));
        eprintln!("no fence {plain:?}\nno settle {unsettled:?}\nboth {settled:?}");
        assert_eq!(settled.reset, 0, "a completed connection was lost");
        assert!(settled.served > 100);
        assert!(plain.reset > 0 && unsettled.reset > 0, "the test cannot show what it should");
    };
    std::thread::spawn(run).join().unwrap();
}

#[derive(Debug, Default)]
struct Fates {
    served: u32,
    refused: u32,
    reset: u32,
}

/// The server and its clients are at [`NEAR`]; clients connect to [`FAR`], where the link turns packets round.
fn close_over_slow_link(fence_and_settle: Option<Duration>) -> Fates {
    let server = listener(&format!("{NEAR}:0"), 4096);
    let port = server.local_addr().unwrap().port();
    // Spread over more than a round trip, so that some have completed, some have sent their last ACK, some have
    // sent a SYN.
    let clients: Vec<_> = (0..400)
        .map(|_| {
            std::thread::sleep(Duration::from_micros(150));
            accept_all(&server);
            connect(format!("{FAR}:{port}").parse().unwrap())
        })
        .collect();
    match fence_and_settle {
        Some(settle) => close_behind_the_fence(server, settle),
        None => {
            accept_all(&server);
            drop(server);
        }
    }
    let mut fates = Fates::default();
    for client in clients {
        match connected(&client, LONG).expect("neither connected nor refused") {
            Ok(()) if served(client).is_ok() => fates.served += 1,
            Ok(()) => fates.reset += 1,
            // Completed, and cut before we looked.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => fates.reset += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                fates.refused += 1;
            }
        }
    }
    fates
}

const NEAR: &str = "10.99.0.1";
const FAR: &str = "10.99.0.2";

/// Moves this thread to a network namespace whose only link takes `delay` each way. What is sent to [`FAR`] comes
/// back to [`NEAR`] as if from [`FAR`]: source and destination swapped, which leaves all checksums as they are.
fn slow_link(delay: Duration) -> Result<(), String> {
    let denied = |what: &str| format!("{what}: {}", std::io::Error::last_os_error());
    // SAFETY: no preconditions; moves this thread alone to a new network namespace.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(denied("no network namespace"));
    }
    let options = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    let mut from_kernel = options.map_err(|error| format!("no tunnel device: {error}"))?;
    // SAFETY: an ifreq consists of integers and a union of such, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"slow0") {
        *to = *from as _;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    // SAFETY: TUNSETIFF reads and writes an ifreq.
    if unsafe { libc::ioctl(from_kernel.as_raw_fd(), libc::TUNSETIFF as _, &mut request) } != 0 {
        return Err(denied("no tunnel device"));
    }
    for command in [&format!("ip addr add {NEAR}/24 dev slow0"), "ip link set slow0 up"] {
        let mut words = command.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output();
        let output = output.map_err(|error| format!("{command}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    // Both threads run until this process ends.
    let mut to_kernel = from_kernel.try_clone().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut packet = [0; 2048];
        while let Ok(length) = from_kernel.read(&mut packet) {
            sender.send((Instant::now() + delay, packet[..length].to_vec())).unwrap();
        }
    });
    std::thread::spawn(move || {
        for (due, mut packet) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if packet[0] >> 4 == 4 {
                let (source, destination) = packet[12..20].split_at_mut(4);
                source.swap_with_slice(destination);
                let _ = to_kernel.write_all(&packet);
            }
        }
    });
    Ok(())
}

#[test]
fn a_lifted_fence_lets_everybody_in_again() {
    let server = listener("127.0.0.1:0", 16);
    let to = server.local_addr().unwrap();
    let fence = Fence::raise(server.as_raw_fd()).unwrap();
    let waiting = connect(to);
    fence.lift().unwrap();
    connected(&connect(to), LONG).unwrap().unwrap();
    connected(&waiting, LONG).unwrap().expect("the next SYN of the dropped one gets through");
}

#[test]
fn a_fence_is_never_lifted_from_another_socket() {
    let first = listener("127.0.0.1:0", 16);
    let fd = first.as_raw_fd();
    let stale = Fence::raise(fd).unwrap();
    // The number now names another listener, with a fence of its own.
    let second = listener("127.0.0.1:0", 16);
    // SAFETY: both are descriptors of this test's; `first` goes on to own the duplicate.
    assert_eq!(unsafe { libc::dup2(second.as_raw_fd(), fd) }, fd);
    let _seconds = Fence::raise(fd).unwrap();
    assert_eq!(stale.lift(), Err(FenceError::Closed));
    assert_eq!(Fence::raise(second.as_raw_fd()).unwrap_err(), FenceError::Occupied, "still there");
}

/// A number that no descriptor has, whatever the other tests open.
const CLOSED: RawFd = 1_000_000;

#[test]
fn what_is_no_tcp_listener_is_refused_and_unchanged() {
    let both = |fd| {
        let raised = Fence::raise(fd).map(drop).unwrap_err();
        assert_eq!(fence::pending(fd).unwrap_err(), raised);
        raised
    };
    assert_eq!(both(CLOSED), FenceError::Closed);
    assert_eq!(both(-1), FenceError::Closed);
    assert_eq!(both(std::fs::File::open("/dev/null").unwrap().as_raw_fd()), FenceError::NotASocket);
    assert_eq!(both(UdpSocket::bind("127.0.0.1:0").unwrap().as_raw_fd()), FenceError::NotListening);
    let server = listener("127.0.0.1:0", 16);
    let client = connect(server.local_addr().unwrap());
    connected(&client, LONG).unwrap().unwrap();
    assert_eq!(both(client.as_raw_fd()), FenceError::NotListening);
    let folder = std::env::temp_dir().join(format!("lameduck-fence-{}", std::process::id()));
    let unix = UnixListener::bind(&folder).unwrap();
    assert!(matches!(both(unix.as_raw_fd()), FenceError::Unsupported { .. }));
    let found = listeners().unwrap();
    let address = |fd: RawFd| found.iter().find(|l| l.fd == fd).map(|l| l.address.clone());
    assert_eq!(address(unix.as_raw_fd()), Some(ListenerAddress::Unix(Some(folder.clone()))));
    let tcp = server.local_addr().unwrap();
    assert_eq!(address(server.as_raw_fd()), Some(ListenerAddress::Inet(tcp)));
    assert_eq!(address(client.as_raw_fd()), None);
    std::fs::remove_file(folder).unwrap();
}

#[test]
fn a_locked_filter_and_a_strangers_filter_are_respected() {
    let set = |fd, option, value: i32| {
        // SAFETY: the pointer is to an int, of the length given.
        let failed =
            unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const value).cast(), 4) };
        assert_eq!(failed, 0);
    };
    let locked = listener("127.0.0.1:0", 16);
    set(locked.as_raw_fd(), libc::SO_LOCK_FILTER, 1);
    let error = Fence::raise(locked.as_raw_fd()).unwrap_err();
    assert_eq!(error, FenceError::Denied { errno: libc::EPERM }, "{error}");

    let fenced = listener("127.0.0.1:0", 16);
    let _fence = Fence::raise(fenced.as_raw_fd()).unwrap();
    assert_eq!(Fence::raise(fenced.as_raw_fd()).unwrap_err(), FenceError::Occupied);
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

    assert_eq!(unread(CLOSED).unwrap_err().raw_os_error(), Some(libc::EBADF));
    // SAFETY: an eventfd, owned here.
    let other = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, 0)) });
    assert!(unread(other.as_raw_fd()).is_err());
    drop(ManuallyDrop::into_inner(other));
}
