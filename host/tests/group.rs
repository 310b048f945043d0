//! Sockets that share a port (`SO_REUSEPORT`), of which one is closed while the others go on.

mod net;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use lameduck_host::drain::Over;
use lameduck_host::fence::{Arrivals, Fence, Survivors, Way, pending};
use net::*;

const CLIENTS: usize = 400;
const LATE: usize = 50;
const DELAY: Duration = Duration::from_millis(25);
/// Longer than the 100 ms that suffice on a machine with nothing else to do.
const SETTLE: Duration = Duration::from_millis(300);

/// One of two sockets that share a port is closed with handshakes under way. Without a fence they are reset; behind one
/// nobody is, and those it holds off reach the other; with `tcp_migrate_req` all go to the other.
#[test]
fn a_member_leaves_its_group_and_nobody_is_reset() {
    on_a_slow_link(DELAY, |link| {
        for near in NEAR {
            set_sysctl("net/ipv4/tcp_migrate_req", "0").unwrap();
            let lost = (0..10).map(|_| leave_a_group(link, near, None, false).0);
            let lost = lost.inspect(|fates| eprintln!("{near} closed: {fates:?}"));
            assert!(lost.into_iter().any(|fates| fates.reset > 0), "the test cannot fail");

            let nobody_is_lost = |way, locked| {
                let (early, late) = leave_a_group(link, near, Some(way), locked);
                assert_eq!(early, Fates { served: CLIENTS, ..Fates::default() });
                assert_eq!(late, Fates { served: LATE, ..Fates::default() });
            };
            nobody_is_lost(Way::Fenced(Arrivals::Dropped), false);
            nobody_is_lost(Way::Fenced(Arrivals::Dropped), true);
            set_sysctl("net/ipv4/tcp_migrate_req", "1").unwrap();
            nobody_is_lost(Way::HandedOver, false);
        }
    });
}

/// The fates of those who came before one of two left, and of those who came while it did. `locked`: no filter can
/// be set.
fn leave_a_group(link: &Link, near: IpAddr, way: Option<Way>, locked: bool) -> (Fates, Fates) {
    let leaving = member(SocketAddr::new(near, 0));
    if locked {
        lock_filter(leaving.as_raw_fd());
    }
    let staying = member(leaving.local_addr().unwrap());
    let to = far(leaving.local_addr().unwrap());
    let early = connect_many(to, CLIENTS);
    wait_until("all handshakes are under way", || link.syns(to) >= CLIENTS);

    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = WhenDropped(&over);
        scope.spawn(|| serve_until(std::slice::from_ref(&staying), &over));
        let (mine, late) = match way {
            None => (accept_all(&leaving), vec![]),
            Some(way) => {
                let fd = leaving.as_raw_fd();
                let drain = begin(fd, Survivors::OwnSockets, SETTLE);
                assert_eq!(drain.way(), way);
                let late = connect_many(to, LATE);
                let mut accepted = Vec::new();
                let drained = accept_to_the_end(drain, fd, |socket| accepted.push(socket));
                assert_eq!(drained, Over::Empty);
                (accepted, late)
            }
        };
        drop(leaving);
        answer(mine);
        (fates(early), fates(late))
    })
}

/// A listener of the group at `address`.
fn member(address: SocketAddr) -> TcpListener {
    let member = TcpListener::from(socket(address));
    let fd = member.as_raw_fd();
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1);
    // SAFETY: `bind` reads the address, of the length given.
    let bound = with_raw(address, |address, length| unsafe { libc::bind(fd, address, length) });
    assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
    listen_again(fd, 8_192);
    member
}

/// What the page of `fence` says of each thing that one of four members can do.
#[test]
fn what_a_member_does_to_its_quarter_of_the_connections() {
    on_a_slow_link(Duration::ZERO, |_| {
        let closed = |leaving: &mut Option<TcpListener>, _: &[TcpListener]| drop(leaving.take());
        let (mine, early) = quarter_of_a_queue(closed);
        assert_eq!((early.served, early.reset), (CLIENTS - mine, mine), "closed");

        let (mine, early) = quarter_of_a_queue(|leaving, _| {
            let nowhere = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
            let fd = leaving.as_ref().unwrap().as_raw_fd();
            // SAFETY: `connect` reads the address, of the length given.
            let failed = unsafe { libc::connect(fd, &nowhere, size_of_val(&nowhere) as u32) };
            assert_eq!(failed, 0);
        });
        assert_eq!((early.served, early.reset), (CLIENTS - mine, mine), "AF_UNSPEC");

        let (mine, early) = quarter_of_a_queue(|leaving, _| {
            // SAFETY: no preconditions.
            let failed =
                unsafe { libc::shutdown(leaving.as_ref().unwrap().as_raw_fd(), libc::SHUT_RD) };
            assert_eq!(failed, 0);
        });
        assert_eq!((early.served, early.reset), (CLIENTS - mine, mine), "SHUT_RD");

        set_sysctl("net/ipv4/tcp_migrate_req", "1").unwrap();
        let (_, early) = quarter_of_a_queue(closed);
        assert_eq!(early.served, CLIENTS, "closed with tcp_migrate_req");
        set_sysctl("net/ipv4/tcp_migrate_req", "0").unwrap();

        let (waiting, late) = quarter_of_the_new(|leaving, _| {
            assert_eq!(raise(leaving), Arrivals::Dropped);
        });
        assert!(waiting > 0, "a filter does not move them");
        assert_eq!(late.served, CLIENTS, "their next SYN arrives");

        let (waiting, late) = quarter_of_the_new(|leaving, _| {
            lock_filter(leaving.as_raw_fd());
            assert_eq!(raise(leaving), Arrivals::Refused);
        });
        assert!(waiting > 0, "the hash chooses a member without an interface");
        assert_eq!(late.served, CLIENTS, "their next SYN arrives");

        let (_, late) = quarter_of_the_new(|leaving, staying| {
            for member in staying.iter().chain([leaving]) {
                lock_filter(member.as_raw_fd());
                assert_eq!(raise(member), Arrivals::Refused);
            }
        });
        assert_eq!(late.refused, CLIENTS, "no member has an interface");

        let (waiting, late) = quarter_of_the_new(|leaving, _| choose_others(leaving));
        assert_eq!((waiting, late.served), (0, CLIENTS), "a program for the group moves them");
    });
}

fn raise(member: &TcpListener) -> Arrivals {
    Fence::raise(member.as_raw_fd()).unwrap().arrivals()
}

/// Four members; it is the first that leaves.
fn group_of_four() -> (TcpListener, Vec<TcpListener>) {
    let leaving = member(SocketAddr::from(([127, 0, 0, 1], 0)));
    let staying = (0..3).map(|_| member(leaving.local_addr().unwrap())).collect();
    (leaving, staying)
}

fn queued(members: &[TcpListener]) -> usize {
    members.iter().map(|member| pending(member.as_raw_fd()).unwrap() as usize).sum()
}

/// How many clients are in the queue of the member that leaves by `leave`, and the fates of all.
fn quarter_of_a_queue(
    leave: impl FnOnce(&mut Option<TcpListener>, &[TcpListener]),
) -> (usize, Fates) {
    let (leaving, staying) = group_of_four();
    let clients = connect_many(leaving.local_addr().unwrap(), CLIENTS);
    let mine = || pending(leaving.as_raw_fd()).unwrap() as usize;
    wait_until("the queues are filled", || mine() + queued(&staying) == CLIENTS);
    let mine = mine();
    leave(&mut Some(leaving), &staying);
    for member in &staying {
        answer(accept_all(member));
    }
    (mine, fates(clients))
}

/// How many clients wait that connect after `leave`, and the fates of all when the member has closed.
fn quarter_of_the_new(leave: impl FnOnce(&TcpListener, &[TcpListener])) -> (usize, Fates) {
    let (leaving, staying) = group_of_four();
    leave(&leaving, &staying);
    let clients = connect_many(leaving.local_addr().unwrap(), CLIENTS);
    let undecided = |client: &&TcpStream| connected(client, Duration::ZERO).is_none();
    // The loopback takes no time: who is not connected by now waits for the next SYN.
    let waiting = clients.iter().filter(undecided).count();
    assert_eq!(pending(leaving.as_raw_fd()), Ok(0));
    drop(leaving);
    let over = AtomicBool::new(false);
    let fates = std::thread::scope(|scope| {
        let _over = WhenDropped(&over);
        scope.spawn(|| serve_until(&staying, &over));
        fates(clients)
    });
    (waiting, fates)
}

/// A program for the whole group that chooses any member but the first: a random number modulo 3, plus 1.
fn choose_others(leaving: &TcpListener) {
    const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;
    let step = |code: u32, k| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, RANDOM),
        step(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 3),
        step(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, 1),
        step(libc::BPF_RET | 0x10, 0), // of the accumulator
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the program has as many instructions as it says, which outlive the call.
    let failed = unsafe {
        libc::setsockopt(
            leaving.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of_val(&program) as u32,
        )
    };
    assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
}

/// What those do who go on.
fn serve_until(members: &[TcpListener], over: &AtomicBool) {
    while !over.load(SeqCst) {
        for member in members {
            answer(accept_all(member));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ends what waits for it, also when a test fails.
struct WhenDropped<'a>(&'a AtomicBool);

impl Drop for WhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
