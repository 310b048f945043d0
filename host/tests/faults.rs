//! What goes wrong while a listener is being closed: no descriptors, no right to a fence. In processes of their own,
//! which cannot get back what they give up.

mod common;
mod net;

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use common::{Named, Process};
use lameduck_host::drain::{Drain, Over, Step};
use lameduck_host::fence::{FenceError, Survivors, Way, pending};
use net::*;

fn main() -> ExitCode {
    common::run(TESTS, SCENARIOS)
}

const TESTS: &[Named] = &[
    ("out_of_descriptors_the_queue_is_served_one_by_one", || passes("out_of_descriptors")),
    ("out_of_descriptors_from_the_start_it_waits", || passes("out_of_descriptors_from_the_start")),
    ("without_any_right_the_queue_is_served_all_the_same", || passes("no_fence_at_all")),
    ("an_ordinary_user_has_a_fence", || passes("an_ordinary_user")),
];

const SCENARIOS: &[Named] = &[
    ("an_ordinary_user", an_ordinary_user),
    ("no_fence_at_all", no_fence_at_all),
    ("out_of_descriptors", out_of_descriptors),
    ("out_of_descriptors_from_the_start", out_of_descriptors_from_the_start),
];

/// Runs a scenario in a process of its own.
fn passes(scenario: &str) {
    let end = Process::start(scenario).end();
    eprint!("{}", end.stderr);
    assert!(end.status.success(), "{scenario}: {end:?}");
}

const CLIENTS: usize = 50;
const DEADLINE: u64 = 1_000_000_000;

/// Opens files until the process may have no more.
fn use_up_descriptors() -> Vec<File> {
    let limit = libc::rlimit { rlim_cur: 256, rlim_max: 256 };
    // SAFETY: the pointer is to an rlimit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    let files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!files.is_empty());
    files
}

fn out_of_descriptors() {
    let server = listener("127.0.0.1:0", 64);
    let fd = server.as_raw_fd();
    let clients = connect_many(server.local_addr().unwrap(), CLIENTS);
    wait_until("the queue is filled", || pending(fd) == Ok(CLIENTS as u32));
    let mut drain = Drain::begin(fd, Survivors::None, 0, DEADLINE, 0).unwrap();
    let files = use_up_descriptors();

    // The reserve is good for one connection; then it says for how long to leave the listener alone.
    let first = accepted(drain.accept(0)).expect("the reserve is given up");
    for now in [0, 1] {
        match drain.accept(now) {
            Step::Failed { errno: libc::EMFILE, until } => assert!(until > now && until < DEADLINE),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pending(fd), Ok(CLIENTS as u32 - 1), "nobody was lost");

    // As soon as one is closed, the next is accepted.
    answer([first]);
    for _ in 1..CLIENTS {
        answer([accepted(drain.accept(2)).expect("the reserve is there again")]);
    }
    assert!(matches!(drain.accept(2), Step::Over(Over::Empty)));
    drop((server, files));
    assert_eq!(fates(clients).served, CLIENTS);
}

/// The connection, if it took the last descriptor.
fn accepted(step: Step) -> Option<OwnedFd> {
    match step {
        Step::Accepted { socket, last_descriptor: true } => Some(socket),
        other => panic!("{other:?}"),
    }
}

fn out_of_descriptors_from_the_start() {
    let server = listener("127.0.0.1:0", 64);
    let fd = server.as_raw_fd();
    let clients = connect_many(server.local_addr().unwrap(), 2);
    wait_until("the queue is filled", || pending(fd) == Ok(2));
    let mut files = use_up_descriptors();
    let mut drain = Drain::begin(fd, Survivors::None, 0, DEADLINE, 0).unwrap();
    assert!(matches!(drain.accept(0), Step::Failed { errno: libc::EMFILE, .. }));
    assert!(matches!(drain.accept(DEADLINE), Step::Over(Over::Late { left: 2 })));
    // Whoever has no more time can still count the lost; whoever has goes on when a descriptor is free.
    files.pop();
    answer([accepted(drain.accept(1)).unwrap()]);
    answer([accepted(drain.accept(1)).unwrap()]);
    assert!(matches!(drain.accept(1), Step::Over(Over::Empty)));
    drop((server, files));
    assert_eq!(fates(clients).served, 2);
}

/// Neither kind of fence: the options are refused as a sandbox does.
fn no_fence_at_all() {
    refuse_options(&[libc::SO_ATTACH_FILTER, libc::SO_BINDTOIFINDEX]);
    let denied = Way::Portable(FenceError::Denied { errno: libc::EPERM });
    for survivors in [Survivors::None, Survivors::OwnSockets] {
        let server = listener("127.0.0.1:0", 64);
        let fd = server.as_raw_fd();
        let clients = connect_many(server.local_addr().unwrap(), CLIENTS);
        wait_until("the queue is filled", || pending(fd) == Ok(CLIENTS as u32));
        let (way, mine, over) = drain(fd, survivors, Duration::from_secs(1_000));
        assert_eq!((way, over), (denied, Over::Empty), "and nothing to settle");
        eprintln!("{way}");
        drop(server);
        answer(mine);
        assert_eq!(fates(clients).served, CLIENTS);
    }
}

/// Makes `setsockopt` answer EPERM to these options of the socket level.
fn refuse_options(options: &[i32]) {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |at| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let equal = |to, jt, jf| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, jf, to);
    let end = |with| step(libc::BPF_RET | libc::BPF_K, 0, 0, with);
    // seccomp_data: the number of the call, the architecture, the instruction, then six words of arguments.
    let third = 16 + 2 * 8 + if cfg!(target_endian = "big") { 4 } else { 0 };
    let mut program = vec![
        load(0),
        equal(libc::SYS_setsockopt as u32, 1, 0),
        end(libc::SECCOMP_RET_ALLOW),
        load(third),
    ];
    for option in options {
        program.push(equal(*option as u32, 0, 1));
        program.push(end(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    }
    program.push(end(libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program has as many instructions as it says, which outlive the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let failed = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program);
        assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
    }
}

/// Whoever is nobody in particular may not set a filter on recent systems, and has the other kind of fence.
fn an_ordinary_user() {
    // SAFETY: no preconditions; this process has one thread.
    let dropped = unsafe { libc::setgid(65_534) == 0 && libc::setuid(65_534) == 0 };
    if !dropped {
        eprintln!("as whoever runs this: {}", std::io::Error::last_os_error());
    }
    let server = listener("127.0.0.1:0", 64);
    let fd = server.as_raw_fd();
    let to = server.local_addr().unwrap();
    let early = connect_many(to, CLIENTS);
    wait_until("the queue is filled", || pending(fd) == Ok(CLIENTS as u32));
    let drain = begin(fd, Survivors::None, Duration::from_millis(20));
    eprintln!("{}", drain.way());
    assert!(matches!(drain.way(), Way::Fenced(_)));
    let late = connect_many(to, 5);
    let over = accept_to_the_end(drain, fd, |socket| {
        answer([socket]);
    });
    assert_eq!(over, Over::Empty);
    drop(server);
    assert_eq!((fates(early).served, fates(late).refused), (CLIENTS, 5));
}
