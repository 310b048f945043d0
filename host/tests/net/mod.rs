//! Sockets, many of them, and a link with latency: what the tests of listeners and connections share.
#![allow(dead_code)] // not every test binary uses everything

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lameduck_host::clock::now_ns;
use lameduck_host::drain::{Drain, Over, Step};
use lameduck_host::fence::{Survivors, Way};

/// After this a client that waits for an answer asks what is the matter.
const SILENT: Duration = Duration::from_secs(5);

/// Far more than anything here takes: a test that reaches it has failed.
pub const LONG: Duration = Duration::from_secs(20);

pub fn listener(address: impl std::net::ToSocketAddrs, backlog: i32) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    listen_again(listener.as_raw_fd(), backlog);
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Changes the length of a listening socket's queue.
pub fn listen_again(fd: RawFd, backlog: i32) {
    // SAFETY: no preconditions.
    assert_eq!(unsafe { libc::listen(fd, backlog) }, 0);
}

pub fn set_option(fd: RawFd, level: i32, option: i32, value: i32) {
    // SAFETY: the pointer is to an int, of the length given.
    let failed = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), 4) };
    assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
}

/// After this nobody can attach a filter to the socket: no [`Arrivals::Dropped`](lameduck_host::fence::Arrivals).
pub fn lock_filter(fd: RawFd) {
    set_option(fd, libc::SOL_SOCKET, libc::SO_LOCK_FILTER, 1);
}

/// Starts a connect and does not wait for it.
pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::from(socket(to));
    // SAFETY: `connect` reads the address, of the length given.
    let result = with_raw(to, |address, length| unsafe {
        libc::connect(stream.as_raw_fd(), address, length)
    });
    let error = std::io::Error::last_os_error();
    let at_once = [Some(libc::EINPROGRESS), Some(libc::ECONNREFUSED)];
    assert!(result == 0 || at_once.contains(&error.raw_os_error()), "{error}");
    stream
}

/// A fresh TCP socket of the family of `address`, non-blocking.
pub fn socket(address: SocketAddr) -> OwnedFd {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no preconditions.
    let fd = unsafe { libc::socket(family, kind, 0) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a fresh descriptor that nobody else knows of.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Gives `call` an address as the system wants it.
pub fn with_raw<T>(
    address: SocketAddr,
    call: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> T,
) -> T {
    match address {
        SocketAddr::V4(address) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            call((&raw const raw).cast(), size_of_val(&raw) as libc::socklen_t)
        }
        SocketAddr::V6(address) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: 0,
            };
            call((&raw const raw).cast(), size_of_val(&raw) as libc::socklen_t)
        }
    }
}

pub fn connect_many(to: SocketAddr, clients: usize) -> Vec<TcpStream> {
    (0..clients).map(|_| connect(to)).collect()
}

/// Waits until the connect is decided: `None` if it is not within `limit`.
pub fn connected(stream: &TcpStream, limit: Duration) -> Option<std::io::Result<()>> {
    let mut question = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer is to one pollfd, and 1 is how many there are.
    if unsafe { libc::poll(&mut question, 1, limit.as_millis() as i32) } == 0 {
        return None;
    }
    let connected = stream.peer_addr().is_ok();
    Some(match stream.take_error().unwrap() {
        Some(error) => Err(error),
        None if connected => Ok(()),
        // The loopback refuses while `connect` runs, and tells it alone.
        None => Err(ErrorKind::ConnectionRefused.into()),
    })
}

/// Accepts until nothing is left.
pub fn accept_all(listener: &TcpListener) -> Vec<OwnedFd> {
    let mut accepted = Vec::new();
    loop {
        match listener.accept() {
            Ok((stream, _)) => accepted.push(stream.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return accepted,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A server in miniature: says hello, half-closes, and does not wait for the client's end.
pub fn answer(accepted: impl IntoIterator<Item = OwnedFd>) -> usize {
    accepted
        .into_iter()
        .map(|socket| {
            // What is written and half-closed here is the same for every kind of stream.
            let mut stream = UnixStream::from(socket);
            stream.set_nonblocking(false).unwrap();
            stream.write_all(b"hello").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        })
        .count()
}

/// Whether the server answered, or what became of the connection instead.
pub fn served(stream: impl Into<OwnedFd>) -> Result<(), ErrorKind> {
    let mut stream = UnixStream::from(stream.into());
    stream.set_nonblocking(false).unwrap();
    let mut text = String::new();
    stream.set_read_timeout(Some(SILENT)).unwrap();
    let mut read = stream.read_to_string(&mut text);
    if read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
        // When a last ACK meets a listener that is just being closed, the kernel can drop it in silence, and only a client
        // that speaks learns that nobody listens.
        let _ = stream.write_all(b"?");
        stream.set_read_timeout(Some(LONG)).unwrap();
        read = stream.read_to_string(&mut text);
    }
    match read {
        Ok(_) if text == "hello" => Ok(()),
        Ok(_) => Err(ErrorKind::UnexpectedEof),
        Err(error) => Err(error.kind()),
    }
}

/// What became of some clients.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fates {
    pub served: usize,
    pub refused: usize,
    pub reset: usize,
}

pub fn fates(clients: impl IntoIterator<Item = TcpStream>) -> Fates {
    let mut fates = Fates::default();
    for client in clients {
        match connected(&client, LONG).expect("neither connected nor refused") {
            Ok(()) => match served(client) {
                Ok(()) => fates.served += 1,
                Err(ErrorKind::ConnectionReset) => fates.reset += 1,
                Err(kind) => panic!("neither served nor reset: {kind}"),
            },
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

/// Begins to drain, without a deadline that matters.
pub fn begin(fd: RawFd, survivors: Survivors, settle: Duration) -> Drain {
    let now = now_ns();
    let deadline = now + LONG.as_nanos() as u64;
    Drain::begin(fd, survivors, settle.as_nanos() as u64, deadline, now).unwrap()
}

/// What a thread of a driver does: accepts to the end, waiting in between.
pub fn drain(fd: RawFd, survivors: Survivors, settle: Duration) -> (Way, Vec<OwnedFd>, Over) {
    let drain = begin(fd, survivors, settle);
    let (way, mut accepted) = (drain.way(), Vec::new());
    let over = accept_to_the_end(drain, fd, |socket| accepted.push(socket));
    (way, accepted, over)
}

pub fn accept_to_the_end(mut drain: Drain, fd: RawFd, mut serve: impl FnMut(OwnedFd)) -> Over {
    loop {
        match drain.accept(now_ns()) {
            Step::Accepted { socket, .. } => serve(socket),
            Step::Failed { errno, .. } => panic!("{}", std::io::Error::from_raw_os_error(errno)),
            Step::Over(over) => return over,
            Step::Wait { until } => {
                let limit = until.saturating_sub(now_ns()).div_ceil(1_000_000);
                let mut question = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
                // SAFETY: the pointer is to one pollfd, and 1 is how many there are.
                unsafe { libc::poll(&mut question, 1, limit as i32) };
            }
        }
    }
}

/// Lets this process have `count` descriptors, or says why not.
pub fn allow_descriptors(count: u64) -> Result<(), String> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a writable rlimit.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    if limit.rlim_cur >= count {
        return Ok(());
    }
    limit.rlim_cur = count;
    limit.rlim_max = limit.rlim_max.max(count);
    // SAFETY: the pointer is to an rlimit.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => Ok(()),
        _ => Err(format!("{count} descriptors: {}", std::io::Error::last_os_error())),
    }
}

/// Runs `test` in a thread of its own with a network of its own: loopback, and a link with `delay` each way. Says so and
/// passes where that is not allowed.
pub fn on_a_slow_link(delay: Duration, test: impl FnOnce(&Link) + Send) {
    // Its own thread: `unshare` moves only the thread that calls it, and those that it starts.
    let run = || match allow_descriptors(8_192).and_then(|()| slow_link(delay)) {
        Ok(link) => test(&link),
        Err(why) => eprintln!("skipped: {why}"),
    };
    let ended = std::thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

pub const NEAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1)),
];
const FAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 99, 0, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2)),
];

/// Where clients find, over the slow link, what listens at one of [`NEAR`].
pub fn far(near: SocketAddr) -> SocketAddr {
    let side = NEAR.iter().position(|address| *address == near.ip()).unwrap();
    SocketAddr::new(FAR[side], near.port())
}

/// Moves this thread to a network namespace whose only link takes `delay` each way. What is sent to [`FAR`] comes
/// back to [`NEAR`] as if from [`FAR`]: source and destination swapped, which leaves all checksums as they are.
fn slow_link(delay: Duration) -> Result<Link, String> {
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
    for command in [
        "ip link set lo up",
        // Room for a burst, or the link loses packets that no test means to lose.
        "ip link set slow0 txqueuelen 10000 up",
        &format!("ip addr add {}/24 dev slow0", NEAR[0]),
        &format!("ip addr add {}/64 dev slow0 nodad", NEAR[1]),
    ] {
        let mut words = command.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output();
        let output = output.map_err(|error| format!("{command}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    set_sysctl("net/core/somaxconn", "8192")?;
    set_sysctl("net/ipv4/tcp_max_syn_backlog", "8192")?;
    let link = Link::default();
    let counted = link.clone();
    // Both threads run until this process ends.
    let mut to_kernel = from_kernel.try_clone().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        go_first();
        let mut packet = [0; 65_536];
        while let Ok(length) = from_kernel.read(&mut packet) {
            sender.send((Instant::now() + delay, packet[..length].to_vec())).unwrap();
        }
    });
    std::thread::spawn(move || {
        go_first();
        for (due, mut packet) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let (source, destination) = match packet[0] >> 4 {
                4 => packet[12..20].split_at_mut(4),
                6 if packet[6] == libc::IPPROTO_TCP as u8 => packet[8..40].split_at_mut(16),
                _ => continue,
            };
            source.swap_with_slice(destination);
            // The kernel has dealt with the packet when this returns.
            let _ = to_kernel.write_all(&packet);
            counted.count(&packet);
        }
    });
    Ok(link)
}

/// Lets this thread run before all that are not in a hurry, or a busy machine would make the link slower than it says.
fn go_first() {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the pointer is to a sched_param; 0 is this thread. Where it is not allowed, the link is as slow as it is.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &priority) };
}

/// Knows which SYNs have arrived at the end of the slow link.
#[derive(Clone, Default)]
pub struct Link {
    /// By the listener's port: the clients'.
    syns: Arc<Mutex<HashMap<u16, HashSet<u16>>>>,
}

impl Link {
    /// How many clients' SYNs have arrived at `listener`.
    pub fn syns(&self, listener: SocketAddr) -> usize {
        self.syns.lock().unwrap().get(&listener.port()).map_or(0, HashSet::len)
    }

    fn count(&self, packet: &[u8]) {
        let header = if packet[0] >> 4 == 4 { usize::from(packet[0] & 15) * 4 } else { 40 };
        let segment = &packet[header..];
        let port = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
        if segment[13] & 0x12 == 0x02 {
            self.syns.lock().unwrap().entry(port(2)).or_default().insert(port(0));
        }
    }
}

/// Sets a parameter of this thread's network.
pub fn set_sysctl(name: &str, value: &str) -> Result<(), String> {
    std::fs::write(format!("/proc/sys/{name}"), value).map_err(|error| format!("{name}: {error}"))
}

/// Waits until `condition` is true.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}
