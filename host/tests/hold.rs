//! The hold, around a C server under load and around processes of every other kind. Each scenario is a process of its own.

mod common;

use std::ffi::{CString, c_int};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use common::{End, Named, Process};
use lameduck::report::Report;
use lameduck::{
    Cause, Effect, Event, Grace, HookId, JobId, JobSource, OnDrain, Phase, Policy, Refused,
    Settings, Stage,
};
use lameduck_host::fence::Way;
use lameduck_host::hold::{Fencing, Hold, HoldError, NotTaken, Options, StopFlag};
use lameduck_host::interposer::{Interposer, InterposerError, Mode};
use lameduck_host::ledger::{Ledger, Spacing};
use libc::{SIGINT, SIGTERM};

const WINDOW: Duration = Duration::from_millis(600);
const GRACE: Duration = Duration::from_secs(10);
const CLIENTS: usize = 40;
/// What the system may add to anything on a busy machine.
const SLACK: Duration = Duration::from_millis(900);
/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(15);

const TESTS: &[Named] = &[
    ("without_a_hold_the_c_server_loses_requests", without_a_hold_the_c_server_loses_requests),
    ("held_the_c_server_loses_none", held_the_c_server_loses_none),
    (
        "by_default_it_dies_of_the_signal_after_the_window",
        by_default_it_dies_of_the_signal_after_the_window,
    ),
    (
        "a_blocked_main_thread_is_gone_at_the_deadline",
        a_blocked_main_thread_is_gone_at_the_deadline,
    ),
    ("a_blocked_embedder_is_gone_at_the_deadline", a_blocked_embedder_is_gone_at_the_deadline),
    ("a_blocked_loop_is_said_to_be_blocked", a_blocked_loop_is_said_to_be_blocked),
    ("an_interrupt_ends_the_window_at_once", an_interrupt_ends_the_window_at_once),
    ("two_interrupts_end_the_window_at_once", two_interrupts_end_the_window_at_once),
    ("a_second_terminate_changes_nothing", a_second_terminate_changes_nothing),
    ("a_recycled_worker_fences_nobody", a_recycled_worker_fences_nobody),
    ("workers_whose_parent_let_go_fence", workers_whose_parent_let_go_fence),
    ("workers_whose_parent_ends_with_them_fence", workers_whose_parent_ends_with_them_fence),
    (
        "workers_whose_parent_told_them_and_waits_for_any_fence",
        workers_whose_parent_told_them_and_waits_for_any_fence,
    ),
    ("workers_whose_parent_replaces_them_do_not", workers_whose_parent_replaces_them_do_not),
    ("a_worker_that_stops_alone_does_not", a_worker_that_stops_alone_does_not),
    (
        "below_another_user_only_what_it_opened_is_fenced",
        below_another_user_only_what_it_opened_is_fenced,
    ),
];

/// Scenarios that check themselves: the test is that they end with status 0.
const SCENARIOS: &[Named] = &[
    ("close_hooks_wait_for_the_servers_own_end", close_hooks_wait_for_the_servers_own_end),
    ("the_program_may_ask_for_the_signal", the_program_may_ask_for_the_signal),
    ("a_server_that_stops_of_itself_has_no_window", a_server_that_stops_of_itself_has_no_window),
    ("closing_comes_even_if_the_server_never_stops", closing_comes_even_if_the_server_never_stops),
    ("a_handler_installed_late_is_held_too", a_handler_installed_late_is_held_too),
    ("dropped_it_delivers_at_once", dropped_it_delivers_at_once),
    (
        "two_holds_deliver_once_after_the_longer_window",
        two_holds_deliver_once_after_the_longer_window,
    ),
    ("in_a_forked_child_it_is_inert", in_a_forked_child_it_is_inert),
    ("the_ledger_is_handed_over", the_ledger_is_handed_over),
    ("an_embedder_that_panics_stops_nothing", an_embedder_that_panics_stops_nothing),
    ("the_embedder_may_end_the_hold", the_embedder_may_end_the_hold),
    ("what_is_ignored_is_left_alone", what_is_ignored_is_left_alone),
    ("a_signal_in_another_mode_is_refused", a_signal_in_another_mode_is_refused),
    ("announcing_begins_in_the_middle", announcing_begins_in_the_middle),
    ("each_peer_is_told_at_its_own_moment", each_peer_is_told_at_its_own_moment),
    ("what_was_not_accepted_or_read_is_waited_for", what_was_not_accepted_or_read_is_waited_for),
    ("a_server_that_never_accepts_gets_the_signal", a_server_that_never_accepts_gets_the_signal),
    ("an_interrupt_that_ends_the_window_is_used_up", an_interrupt_that_ends_the_window_is_used_up),
    ("another_signal_is_delivered_with_the_first", another_signal_is_delivered_with_the_first),
];

fn main() -> ExitCode {
    // The test of a scenario is to run it elsewhere; its name says which.
    macro_rules! elsewhere {
        ($($index:literal)*) => {
            [$((SCENARIOS[$index].0, (|| {
                let end = Process::start(SCENARIOS[$index].0).end();
                assert!(end.status.success(), "{end:?}");
            }) as fn())),*]
        };
    }
    let checked = elsewhere![0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18];
    assert_eq!(checked.len(), SCENARIOS.len());
    let tests = [TESTS, &checked[..]].concat();
    let mut scenarios = SCENARIOS.to_vec();
    scenarios.extend([
        ("serve_plain", serve_plain as fn()),
        ("serve_held", serve_held),
        ("serve_held_by_default", serve_held_by_default),
        ("block_held", block_held),
        ("block_the_embedder", block_the_embedder),
        ("recycle_a_worker", recycle_a_worker),
        ("an_embedder_that_does_not_beat", an_embedder_that_does_not_beat),
        ("stop_one_of_two_workers", stop_one_of_two_workers),
        ("stop_two_workers", stop_two_workers),
        ("stop_two_workers_of_a_parent_that_ends", stop_two_workers_of_a_parent_that_ends),
        (
            "stop_the_workers_of_a_parent_that_told_them",
            stop_the_workers_of_a_parent_that_told_them,
        ),
        (
            "replace_the_workers_of_a_parent_that_told_them",
            replace_the_workers_of_a_parent_that_told_them,
        ),
        (
            "stop_workers_of_a_parent_that_waits_for_any",
            stop_workers_of_a_parent_that_waits_for_any,
        ),
        ("give_up_rights", give_up_rights),
    ]);
    common::run(&tests, &scenarios)
}

// ---- the C server ----

type Serve =
    extern "C" fn(c_int, c_int, Option<extern "C" fn()>, Option<extern "C" fn() -> c_int>) -> c_int;

const SERVER: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/server.so");

/// Compiles the server, once.
fn compile_server() {
    static COMPILED: OnceLock<()> = OnceLock::new();
    COMPILED.get_or_init(|| {
        // Moved into place whole: another run of the tests may be loading it.
        let own = format!("{SERVER}.{}", std::process::id());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hold/server.c");
        let compiled = Command::new("cc")
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", &own, source])
            .status()
            .expect("this test needs a C compiler, as `cc`");
        assert!(compiled.success());
        std::fs::rename(own, SERVER).unwrap();
    });
}

/// Loads the server into this process.
fn load_server() -> Serve {
    let path = CString::new(SERVER).unwrap();
    // SAFETY: C strings; the library has no initialiser, and `serve` has this very type.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null());
        let symbol = libc::dlsym(handle, c"serve".as_ptr());
        assert!(!symbol.is_null());
        std::mem::transmute::<*mut libc::c_void, Serve>(symbol)
    }
}

static HOLD: OnceLock<Hold> = OnceLock::new();

fn the_hold() -> &'static Hold {
    HOLD.get().expect("started")
}

extern "C" fn hold_the_c_server() {
    assert!(HOLD.set(Hold::start(Options::new(policy(WINDOW, GRACE)), |_| ()).unwrap()).is_ok());
    println!("ready");
}

extern "C" fn ready() {
    println!("ready");
}

extern "C" fn announcing() -> c_int {
    the_hold().announcing().into()
}

fn bind() -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    listener
}

fn serve_plain() {
    let serve = load_server();
    let handled = serve(bind().into_raw_fd(), 1, Some(ready), None);
    println!("{handled}");
}

fn serve_held() {
    let serve = load_server();
    let handled = serve(bind().into_raw_fd(), 1, Some(hold_the_c_server), Some(announcing));
    println!("{handled}");
    // The server's own end.
    let hold = the_hold();
    hold.server_stopped();
    await_phase(hold, Phase::Done);
    println!("{}", hold.report().unwrap().to_json());
}

fn serve_held_by_default() {
    let serve = load_server();
    serve(bind().into_raw_fd(), 0, Some(hold_the_c_server), Some(announcing));
}

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    answered: AtomicU32,
    lost_fresh: AtomicU32,
    lost_reused: AtomicU32,
}

/// A closed loop over one keep-alive connection after another, until nobody listens any more.
fn client(to: SocketAddr, seen: &Seen) {
    let limit = Instant::now() + LONG;
    while Instant::now() < limit {
        match TcpStream::connect_timeout(&to, LONG) {
            Ok(stream) => exchange(stream, seen),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
            Err(_) => {
                seen.lost_fresh.fetch_add(1, SeqCst);
            }
        }
    }
    panic!("the server never went away");
}

fn exchange(mut stream: TcpStream, seen: &Seen) {
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut lost = &seen.lost_fresh;
    loop {
        match request(&mut stream) {
            Some(closes) => {
                seen.answered.fetch_add(1, SeqCst);
                if closes {
                    return;
                }
            }
            None => {
                lost.fetch_add(1, SeqCst);
                return;
            }
        }
        lost = &seen.lost_reused;
    }
}

/// One request and its answer: whether it announced the connection's end. `None` when there was none.
fn request(stream: &mut TcpStream) -> Option<bool> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhello") {
        let mut bytes = [0; 512];
        let read = stream.read(&mut bytes).ok().filter(|read| *read > 0)?;
        answer.extend_from_slice(&bytes[..read]);
    }
    Some(String::from_utf8(answer).unwrap().contains("Connection: close"))
}

/// Starts a scenario that serves, and says where.
fn start_server(scenario: &str) -> (Process, SocketAddr) {
    compile_server();
    let mut process = Process::start(scenario);
    let port = u16::try_from(process.number()).unwrap();
    assert_eq!(process.line(), "ready");
    (process, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// Sends a server SIGTERM in mid load, and waits for its end and the clients'.
fn stopped_under_load(scenario: &str) -> (End, Duration, Seen) {
    let (process, to) = start_server(scenario);
    let seen = Seen::default();
    let (end, took) = std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| client(to, &seen));
        }
        std::thread::sleep(Duration::from_millis(300));
        let asked = Instant::now();
        process.signal(SIGTERM);
        let end = process.end();
        (end, asked.elapsed())
    });
    assert!(seen.answered.load(SeqCst) > 100, "no load: {seen:?}");
    (end, took, seen)
}

fn without_a_hold_the_c_server_loses_requests() {
    let loses = (0..5).any(|_| {
        let (end, took, seen) = stopped_under_load("serve_plain");
        assert!(end.status.success() && took < SLACK, "{end:?} {took:?}");
        seen.lost_fresh.load(SeqCst) + seen.lost_reused.load(SeqCst) > 0
    });
    assert!(loses, "the same race with a hold proves nothing");
}

/// What a report tells of a held server that stopped in order.
const STORY: [&str; 6] =
    ["shutdown requested", "window ended", "handed over", "drained", "close hooks ended", "done"];

fn assert_nothing_lost(seen: &Seen) {
    assert_eq!((seen.lost_reused.load(SeqCst), seen.lost_fresh.load(SeqCst)), (0, 0), "{seen:?}");
}

fn held_the_c_server_loses_none() {
    for _ in 0..2 {
        let (end, took, seen) = stopped_under_load("serve_held");
        assert_nothing_lost(&seen);
        assert_eq!(end.status.code(), Some(0), "{end:?}");
        assert!(took >= WINDOW && took < WINDOW + LONG / 5, "{took:?}");
        let (handled, report) = end.stdout.split_once('\n').unwrap();
        assert_eq!(handled, "1", "its handler ran once");
        let places: Vec<_> =
            STORY.iter().map(|what| report.find(&format!("\"what\":\"{what}\""))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{report}");
        assert_eq!(end.stderr, "");
    }
}

fn by_default_it_dies_of_the_signal_after_the_window() {
    let (end, took, seen) = stopped_under_load("serve_held_by_default");
    assert_nothing_lost(&seen);
    assert_eq!(end.status.signal(), Some(SIGTERM), "{end:?}");
    assert!(took >= WINDOW && took < WINDOW + LONG / 5, "{took:?}");
}

/// The second comes early in the window.
fn second_signal(first: c_int, second: c_int) -> (End, Duration) {
    let (process, _) = start_server("serve_held");
    let asked = Instant::now();
    process.signal(first);
    std::thread::sleep(Duration::from_millis(50));
    process.signal(second);
    let end = process.end();
    assert_eq!(end.status.code(), Some(0), "{end:?}");
    (end, asked.elapsed())
}

fn an_interrupt_ends_the_window_at_once() {
    let (end, _) = second_signal(SIGTERM, SIGINT);
    assert!(end.stdout.contains("escalated"), "{end:?}");
    // As long as it took until then, not the 600 ms of the policy.
    let window_ended = moment(&end.stdout, "window ended");
    assert!(window_ended < WINDOW.as_secs_f64() * 1e3, "{end:?}");
    assert!(end.stdout.starts_with("1\n"), "the server saw only the first: {end:?}");
}

fn two_interrupts_end_the_window_at_once() {
    let (end, _) = second_signal(SIGINT, SIGINT);
    assert!(end.stdout.contains("escalated"), "{end:?}");
    assert!(moment(&end.stdout, "window ended") < WINDOW.as_secs_f64() * 1e3, "{end:?}");
    assert!(end.stdout.starts_with("1\n"), "{end:?}");
}

fn a_second_terminate_changes_nothing() {
    let (end, took) = second_signal(SIGTERM, SIGTERM);
    assert!(took >= WINDOW, "{took:?}");
    assert!(!end.stdout.contains("escalated"), "{end:?}");
    assert!(end.stdout.starts_with("1\n"), "delivered once: {end:?}");
}

/// When the timeline of a report has `what`, in milliseconds.
fn moment(report: &str, what: &str) -> f64 {
    let mark = report.split("{\"at_ms\":").find(|mark| mark.contains(what)).expect(what);
    mark.split(',').next().unwrap().parse().unwrap()
}

fn block_held() {
    install(SIGTERM);
    let policy = policy(Duration::from_millis(200), Duration::from_secs(1));
    let _hold = Hold::start(Options::new(policy), |_| ()).unwrap();
    let _listener = bind();
    loop {
        std::thread::park();
    }
}

/// As an embedder is that waits for an interpreter's lock.
fn block_the_embedder() {
    install(SIGTERM);
    let policy = policy(Duration::from_millis(200), Duration::from_secs(1));
    let wait = |_| loop {
        std::thread::park();
    };
    let hold = Hold::start(Options::new(policy), wait).unwrap();
    let _listener = bind();
    let (source, on_drain) = (JobSource::Background, OnDrain::Wait);
    let name = "export".to_owned();
    let _ = hold.handle(Event::JobStarted { job: JobId(1), name, source, on_drain });
    loop {
        std::thread::park();
    }
}

/// Stops what is blocked, and returns what it left behind.
fn gone_at_the_deadline(scenario: &str) -> String {
    let mut process = Process::start(scenario);
    process.number();
    std::thread::sleep(Duration::from_millis(100));
    let asked = Instant::now();
    process.signal(SIGTERM);
    let end = process.end();
    let took = asked.elapsed();
    assert_eq!(end.status.code(), Some(1), "{end:?}");
    // T is grace less the margin of a tenth.
    let deadline = Duration::from_millis(900);
    assert!(took >= deadline && took < deadline + SLACK, "{took:?}");
    end.stderr
}

/// On a machine so busy that the printer missed its 50 ms, another try.
fn left_behind(scenario: &str) -> String {
    let report = (0..5).map(|_| gone_at_the_deadline(scenario)).find(|report| !report.is_empty());
    let report = report.expect("no report");
    assert!(report.contains("hard deadline"), "{report}");
    report
}

fn a_blocked_main_thread_is_gone_at_the_deadline() {
    let report = left_behind("block_held");
    assert!(report.contains("handed over"), "{report}");
}

fn a_blocked_embedder_is_gone_at_the_deadline() {
    let report = left_behind("block_the_embedder");
    assert!(report.contains("export") && !report.contains("handed over"), "{report}");
}

// ---- several processes ----

/// The parent keeps its listener and has one worker recycled.
fn recycle_a_worker() {
    let listener = bind();
    // SAFETY: there is one thread only, so the child may do anything.
    let worker = unsafe { libc::fork() };
    if worker == 0 {
        let serve = load_server();
        serve(listener.into_raw_fd(), 1, Some(hold_the_c_server), Some(announcing));
        std::process::exit(0);
    }
    let mut status = 0;
    // SAFETY: a child of this process; a writable int.
    unsafe { libc::waitpid(worker, &mut status, 0) };
    // The next worker.
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = [0; 64];
    let read = stream.read(&mut bytes).unwrap();
    stream.write_all(&bytes[..read]).unwrap();
    println!("{status}");
}

fn a_recycled_worker_fences_nobody() {
    let (mut process, to) = start_server("recycle_a_worker");
    let worker = children(process.child.id())[0];
    assert_eq!(request(&mut TcpStream::connect(to).unwrap()), Some(false));
    // SAFETY: no preconditions; a grandchild of this test.
    unsafe { libc::kill(worker, SIGTERM) };
    // Until the worker is gone, which the parent is waiting for.
    let limit = Instant::now() + LONG;
    while !children(process.child.id()).is_empty() && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(5));
    }
    // A SYN that a fence dropped would be repeated after a second.
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(900)).unwrap();
    stream.write_all(b"next").unwrap();
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(process.line(), "0");
    assert!(process.end().status.success());
}

fn children(process: u32) -> Vec<libc::pid_t> {
    let path = format!("/proc/{process}/task/{process}/children");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// As gunicorn does: the parent closes its listener first and then tells both workers.
fn stop_two_workers() {
    stop_workers(Fencing::Auto, true, 2, Parent::Silent);
}

/// As uvicorn does: the parent keeps its listener until both workers are gone.
fn stop_two_workers_of_a_parent_that_ends() {
    stop_workers(Fencing::Siblings, false, 2, Parent::Silent);
}

/// As uvicorn does with a worker that it replaces.
fn stop_one_of_two_workers() {
    stop_workers(Fencing::Siblings, false, 1, Parent::Silent);
}

/// As hypercorn does on SIGTERM: the parent keeps its listener, and waits until any worker is gone.
fn stop_the_workers_of_a_parent_that_told_them() {
    stop_workers(Fencing::Auto, false, 2, Parent::ToldAndWaitsForAny);
}

/// As hypercorn does on SIGHUP: the parent keeps its listener for those that come after.
fn replace_the_workers_of_a_parent_that_told_them() {
    stop_workers(Fencing::Auto, false, 2, Parent::Told);
}

/// As hypercorn does when one of its workers gets a signal from elsewhere.
fn stop_workers_of_a_parent_that_waits_for_any() {
    stop_workers(Fencing::Auto, false, 2, Parent::WaitsForAny);
}

#[derive(Clone, Copy, PartialEq)]
enum Parent {
    Silent,
    Told,
    ToldAndWaitsForAny,
    WaitsForAny,
}

/// Tells the first `stopped` of two workers to stop; they say whether they fenced.
fn stop_workers(fencing: Fencing, lets_go: bool, stopped: usize, parent: Parent) {
    let listener = bind();
    let (alive, held_by_workers) = std::io::pipe().unwrap();
    let semaphore = shared_semaphore();
    // SAFETY: it is never freed.
    let flag = unsafe { StopFlag::new(semaphore) };
    let (mut read_ready, mut ready) = std::io::pipe().unwrap();
    let workers = [0; 2].map(|_| {
        // SAFETY: there is one thread only, so the child may do anything.
        let worker = unsafe { libc::fork() };
        if worker == 0 {
            install(SIGTERM);
            let stop_flag = (parent != Parent::Silent).then_some(flag);
            let options = Options { fencing, stop_flag, ..Options::new(policy(WINDOW, GRACE)) };
            let hold = Hold::start(options, |_| ()).unwrap();
            println!("held");
            ready.write_all(&[0]).unwrap();
            await_runs(1);
            let ways = hold.ways();
            let told = matches!(ways[..], [(_, Ok(Way::Fenced(_)))]);
            println!("{}", told && is_fenced(&listener));
            drop(hold);
            std::process::exit(0);
        }
        worker
    });
    let _kept = (!lets_go).then_some(listener);
    read_ready.read_exact(&mut [0; 2]).unwrap();
    if matches!(parent, Parent::Told | Parent::ToldAndWaitsForAny) {
        // SAFETY: it was initialised.
        assert_eq!(unsafe { libc::sem_post(semaphore) }, 0);
    } else {
        for worker in &workers[..stopped] {
            // SAFETY: children of this process.
            unsafe { libc::kill(*worker, SIGTERM) };
        }
    }
    drop(held_by_workers);
    if matches!(parent, Parent::WaitsForAny | Parent::ToldAndWaitsForAny) {
        let mut end = libc::pollfd { fd: alive.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one pollfd, and 1 is how many there are.
        assert_eq!(unsafe { libc::poll(&mut end, 1, -1) }, 1);
    }
    for worker in &workers[..stopped] {
        let mut status = 0;
        // SAFETY: a child of this process; a writable int.
        unsafe { libc::waitpid(*worker, &mut status, 0) };
        assert_eq!(status, 0);
    }
    for worker in &workers[stopped..] {
        // SAFETY: children of this process.
        unsafe { libc::kill(*worker, libc::SIGKILL) };
    }
}

/// Zero, and the same one in children.
fn shared_semaphore() -> *mut libc::sem_t {
    let length = size_of::<libc::sem_t>();
    let (may, how) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: new memory, long enough for a semaphore.
    unsafe {
        let memory = libc::mmap(std::ptr::null_mut(), length, may, how, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        let semaphore = memory.cast::<libc::sem_t>();
        assert_eq!(libc::sem_init(semaphore, 1, 0), 0);
        semaphore
    }
}

fn workers_whose_parent_let_go_fence() {
    assert_eq!(said_by_workers("stop_two_workers"), ["held", "held", "true", "true"]);
}

fn workers_whose_parent_ends_with_them_fence() {
    let said = said_by_workers("stop_two_workers_of_a_parent_that_ends");
    assert_eq!(said, ["held", "held", "true", "true"]);
}

fn workers_whose_parent_told_them_and_waits_for_any_fence() {
    let said = said_by_workers("stop_the_workers_of_a_parent_that_told_them");
    assert_eq!(said, ["held", "held", "true", "true"]);
}

fn workers_whose_parent_replaces_them_do_not() {
    for scenario in [
        "replace_the_workers_of_a_parent_that_told_them",
        "stop_workers_of_a_parent_that_waits_for_any",
    ] {
        assert_eq!(said_by_workers(scenario), ["held", "held", "false", "false"], "{scenario}");
    }
}

fn a_worker_that_stops_alone_does_not() {
    assert_eq!(said_by_workers("stop_one_of_two_workers"), ["held", "held", "false"]);
}

fn said_by_workers(scenario: &str) -> Vec<String> {
    let end = Process::start(scenario).end();
    assert!(end.status.success(), "{end:?}");
    end.stdout.lines().skip(1).map(str::to_owned).collect()
}

/// A parent of another user, which may or may not hold a listener: its child cannot see.
fn give_up_rights() {
    const NOBODY: libc::uid_t = 65534;
    let parents = bind();
    // SAFETY: there is one thread only, so the child may do anything.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: no preconditions.
        assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
        let own = bind();
        install(SIGTERM);
        let hold = Hold::start(short(), |_| ()).unwrap();
        raise(SIGTERM);
        await_runs(1);
        println!("{} {}", is_fenced(&parents), is_fenced(&own));
        drop(hold);
        std::process::exit(0);
    }
    let mut status = 0;
    // SAFETY: a child of this process; a writable int.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
}

fn below_another_user_only_what_it_opened_is_fenced() {
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        println!("not root: nothing to give up");
        return;
    }
    let end = Process::start("give_up_rights").end();
    assert!(end.status.success(), "{end:?}");
    assert_eq!(end.stdout.lines().last(), Some("false true"), "{end:?}");
}

/// Whether the listener is fenced, by a filter or by an interface.
fn is_fenced(listener: &TcpListener) -> bool {
    const SO_GET_FILTER: c_int = libc::SO_ATTACH_FILTER;
    let ask = |option: c_int, value: *mut libc::c_void, length: &mut libc::socklen_t| {
        // SAFETY: the value has the length that is passed with it.
        let failed = unsafe {
            libc::getsockopt(listener.as_raw_fd(), libc::SOL_SOCKET, option, value, length)
        };
        assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
    };
    // Asked for nothing, the system tells the filter's length.
    let (mut steps, mut interface, mut length) = (0, 0_i32, 4);
    ask(SO_GET_FILTER, std::ptr::null_mut(), &mut steps);
    ask(libc::SO_BINDTOIFINDEX, (&raw mut interface).cast(), &mut length);
    steps > 0 || interface != 0
}

// ---- one process, no load ----

static RUNS: AtomicU32 = AtomicU32::new(0);

static LAST_SIGNAL: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_signal(signal: c_int) {
    LAST_SIGNAL.store(signal, SeqCst);
    RUNS.fetch_add(1, SeqCst);
}

fn install(signal: c_int) {
    // SAFETY: a zeroed sigaction is valid; the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

fn raise(signal: c_int) {
    // SAFETY: no preconditions.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

fn policy(window: Duration, grace: Duration) -> Policy {
    let settings = Settings {
        window: Some(window),
        grace: Some(Grace::Limited(grace)),
        ..Settings::default()
    };
    Policy::resolve(&settings, &Settings::default()).unwrap()
}

const SHORT: Duration = Duration::from_millis(150);

fn short() -> Options {
    Options::new(policy(SHORT, GRACE))
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let limit = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn await_runs(runs: u32) {
    wait_until("the server's handler", || RUNS.load(SeqCst) >= runs);
    assert_eq!(RUNS.load(SeqCst), runs);
}

fn await_phase(hold: &Hold, phase: Phase) {
    wait_until(phase.name(), || hold.phase() >= phase);
}

fn marks(report: &Report) -> Vec<&'static str> {
    report.timeline.iter().map(|mark| mark.what).collect()
}

/// Everything that the embedder was told, in order.
type Log = Arc<Mutex<Vec<Effect>>>;

fn log() -> (Log, impl FnMut(Effect) + Send + 'static) {
    let log = Log::default();
    let copy = Arc::clone(&log);
    (log, move |effect| copy.lock().unwrap().push(effect))
}

fn told(log: &Log, effect: Effect) -> bool {
    log.lock().unwrap().contains(&effect)
}

fn register(hold: &Hold, hook: u32, stage: Stage) {
    let (name, hook) = ("pool".to_owned(), HookId(hook));
    hold.handle(Event::HookRegistered { hook, stage, name, order: 0, timeout: None }).unwrap();
}

fn close_hooks_wait_for_the_servers_own_end() {
    install(SIGTERM);
    let _listener = bind();
    let (log, embedder) = log();
    let hold = Hold::start(short(), embedder).unwrap();
    register(&hold, 1, Stage::Close);
    register(&hold, 2, Stage::Flush);
    let asked = Instant::now();
    raise(SIGTERM);
    await_runs(1);
    assert!(asked.elapsed() >= SHORT);
    assert!(told(&log, Effect::SetReadiness { ready: false }));
    // The server drains for as long as it likes.
    std::thread::sleep(Duration::from_millis(300));
    let hook = |hook| Effect::RunHook { hook: HookId(hook) };
    assert_eq!(hold.phase(), Phase::Draining);
    assert!(!told(&log, hook(1)));
    hold.server_stopped();
    wait_until("the close hook", || told(&log, hook(1)));
    assert!(!told(&log, hook(2)));
    hold.handle(Event::HookFinished { hook: HookId(1), error: None }).unwrap();
    wait_until("the flush hook", || told(&log, hook(2)));
    hold.handle(Event::HookFinished { hook: HookId(2), error: None }).unwrap();
    wait_until("the end", || told(&log, Effect::Exit { code: 0 }));
    let report = hold.report().unwrap();
    assert_eq!(marks(&report), STORY);
    assert_eq!((report.exit_code, report.listeners.open), (0, 0));
    let done = hold.handle(Event::HookFinished { hook: HookId(2), error: None });
    assert_eq!(done, Err(NotTaken::Refused(Refused::Done)));
}

fn the_program_may_ask_for_the_signal() {
    install(SIGTERM);
    let hold = Hold::start(short(), |_| ()).unwrap();
    let asked = Instant::now();
    hold.handle(Event::Shutdown { cause: Cause::Programmatic, ever_accepted: true }).unwrap();
    await_runs(1);
    assert!(asked.elapsed() >= SHORT);
    assert_eq!(hold.report().unwrap().cause, Some("programmatic"));
}

fn a_server_that_stops_of_itself_has_no_window() {
    install(SIGTERM);
    let _listener = bind();
    let (log, embedder) = log();
    let hold = Hold::start(Options::new(policy(LONG, LONG * 3)), embedder).unwrap();
    register(&hold, 1, Stage::Close);
    let asked = Instant::now();
    hold.server_stopped();
    wait_until("the hook", || told(&log, Effect::RunHook { hook: HookId(1) }));
    // A signal that comes now is for whatever comes after.
    raise(SIGTERM);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!((hold.phase(), RUNS.load(SeqCst)), (Phase::Closing, 0));
    hold.handle(Event::HookFinished { hook: HookId(1), error: None }).unwrap();
    await_phase(&hold, Phase::Done);
    await_runs(1);
    assert!(asked.elapsed() < LONG / 3);
    raise(SIGTERM);
    await_runs(2);
}

fn closing_comes_even_if_the_server_never_stops() {
    install(SIGTERM);
    let (log, embedder) = log();
    // The drain deadline comes after a second, T much later.
    let settings = Settings {
        window: Some(SHORT),
        grace: Some(Grace::Limited(GRACE)),
        reserve: Some(Duration::from_secs(8)),
        ..Settings::default()
    };
    let policy = Policy::resolve(&settings, &Settings::default()).unwrap();
    let hold = Hold::start(Options { descriptor: None, ..Options::new(policy) }, embedder).unwrap();
    register(&hold, 1, Stage::Flush);
    raise(SIGTERM);
    wait_until("the flush hook", || told(&log, Effect::RunHook { hook: HookId(1) }));
    let report = hold.report().unwrap();
    assert!(marks(&report).contains(&"drain deadline"), "{:?}", marks(&report));
    assert_eq!(report.blocked_at[0].blockers.listeners, 1, "the server itself");
    await_runs(1);
}

fn a_handler_installed_late_is_held_too() {
    let hold = Hold::start(short(), |_| ()).unwrap();
    assert!(hold.owned());
    install(SIGTERM);
    install(SIGINT);
    wait_until("it goes on top", || hold.owned());
    raise(SIGTERM);
    assert_eq!(RUNS.load(SeqCst), 0);
    await_runs(1);

    // After the first seconds, when asked.
    drop(hold);
    let hold = Hold::start(short(), |_| ()).unwrap();
    install(SIGTERM);
    hold.reclaim().unwrap();
    assert!(hold.owned());
    raise(SIGTERM);
    assert_eq!(RUNS.load(SeqCst), 1);
    await_runs(2);
    assert!(!hold.owned(), "it is the server's now");
}

fn dropped_it_delivers_at_once() {
    install(SIGTERM);
    let hold = Hold::start(Options::new(policy(LONG, LONG * 3)), |_| ()).unwrap();
    raise(SIGTERM);
    await_phase(&hold, Phase::Draining);
    assert_eq!(RUNS.load(SeqCst), 0);
    drop(hold);
    assert_eq!(RUNS.load(SeqCst), 1);
}

fn two_holds_deliver_once_after_the_longer_window() {
    install(SIGTERM);
    let one = Hold::start(short(), |_| ()).unwrap();
    let two = Hold::start(Options::new(policy(SHORT * 4, GRACE)), |_| ()).unwrap();
    let asked = Instant::now();
    raise(SIGTERM);
    wait_until("the first agrees", || marks(&one.report().unwrap()).contains(&"handed over"));
    assert!(asked.elapsed() >= SHORT);
    await_runs(1);
    assert!(asked.elapsed() >= SHORT * 4);
    drop((one, two));
    std::thread::sleep(Duration::from_millis(50));
    await_runs(1);
}

fn in_a_forked_child_it_is_inert() {
    install(SIGTERM);
    let hold = Hold::start(short(), |_| ()).unwrap();
    // SAFETY: the hold's threads keep no lock of the C library for long, and the allocator's is safe to use after a fork.
    let child = unsafe { libc::fork() };
    if child == 0 {
        raise(SIGTERM);
        assert_eq!(RUNS.load(SeqCst), 1, "at once");
        assert_eq!(hold.handle(Event::Escalate), Err(NotTaken::Forked));
        assert!(!hold.announcing() && !hold.owned() && hold.report().is_none());
        assert_eq!(hold.phase(), Phase::Serving);
        hold.server_stopped();
        drop(hold);
        // Each worker starts its own.
        let own = Hold::start(short(), |_| ()).unwrap();
        let asked = Instant::now();
        raise(SIGTERM);
        assert_eq!(RUNS.load(SeqCst), 1);
        await_runs(2);
        assert!(asked.elapsed() >= SHORT);
        own.server_stopped();
        await_phase(&own, Phase::Done);
        std::process::exit(9);
    }
    let mut status = 0;
    // SAFETY: a child of this process; a writable int.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(libc::WEXITSTATUS(status), 9);
    assert_eq!((hold.phase(), RUNS.load(SeqCst)), (Phase::Serving, 0));
    assert!(hold.owned());
}

fn the_ledger_is_handed_over() {
    install(SIGTERM);
    let ledger = Arc::new(Ledger::new(Spacing::Line));
    let busy = ledger.open(lameduck::ledger::HTTP1).unwrap().handle;
    ledger.open(lameduck::ledger::HTTP1).unwrap();
    let _ = ledger.begin(busy).unwrap();
    let options = Options { ledger: Some(Arc::clone(&ledger)), ..short() };
    let hold = Hold::start(options, |_| ()).unwrap();
    raise(SIGTERM);
    await_phase(&hold, Phase::Draining);
    let report = hold.report().unwrap();
    assert_eq!((report.connections.adopted, report.requests.adopted), (2, 1));
    assert!(ledger.is_handed_over());
}

fn an_embedder_that_panics_stops_nothing() {
    install(SIGTERM);
    let hold = Hold::start(short(), |_| panic!("the embedder's")).unwrap();
    raise(SIGTERM);
    await_runs(1);
    hold.server_stopped();
    await_phase(&hold, Phase::Done);
}

fn the_embedder_may_end_the_hold() {
    install(SIGTERM);
    static PANICS: AtomicU32 = AtomicU32::new(0);
    std::panic::set_hook(Box::new(|_| {
        PANICS.fetch_add(1, SeqCst);
    }));
    let place: Arc<Mutex<Option<Hold>>> = Arc::default();
    let copy = Arc::clone(&place);
    // Dropped on its own thread, at the first effect: it must not wait for itself.
    let hold = Hold::start(short(), move |_| drop(copy.lock().unwrap().take())).unwrap();
    *place.lock().unwrap() = Some(hold);
    raise(SIGTERM);
    await_runs(1);
    // Not even inside the embedder, where it would be caught.
    if PANICS.load(SeqCst) != 0 {
        std::process::exit(1);
    }
}

fn what_is_ignored_is_left_alone() {
    // SAFETY: no preconditions.
    unsafe { libc::signal(SIGINT, libc::SIG_IGN) };
    install(SIGTERM);
    let hold = Hold::start(short(), |_| ()).unwrap();
    raise(SIGINT);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(hold.phase(), Phase::Serving);
}

fn a_signal_in_another_mode_is_refused() {
    let chain = Interposer::chain(SIGINT).unwrap();
    match Hold::start(short(), |_| ()) {
        Err(HoldError::Interposer(error)) => {
            assert_eq!(error, InterposerError::OtherMode { signal: SIGINT, mode: Mode::Chain });
        }
        other => panic!("{other:?}"),
    }
    // Nothing changed: SIGTERM is free for either mode.
    drop((Interposer::chain(SIGTERM).unwrap(), chain));
}

fn announcing_begins_in_the_middle() {
    install(SIGTERM);
    let window = Duration::from_millis(600);
    let hold = Hold::start(Options::new(policy(window, GRACE)), |_| ()).unwrap();
    assert!(!hold.announcing());
    let asked = Instant::now();
    raise(SIGTERM);
    await_phase(&hold, Phase::Draining);
    let begun = loop {
        let before = asked.elapsed();
        if hold.announcing() {
            break before;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(asked.elapsed() >= window / 2 && begun < window + SLACK, "{begun:?}");
    await_runs(1);
    assert!(hold.announcing());
}

fn each_peer_is_told_at_its_own_moment() {
    install(SIGTERM);
    let window = Duration::from_secs(2);
    let hold = Hold::start(Options::new(policy(window, GRACE)), |_| ()).unwrap();
    let told = || (0..200).filter(|peer| hold.announcing_to(*peer)).count();
    assert_eq!(told(), 0);
    raise(SIGTERM);
    wait_until("half of the peers are told", || (60..140).contains(&told()));
    assert!(!hold.announcing(), "the first half of the window is not over");
    wait_until("the middle of the window", || hold.announcing());
    assert_eq!(told(), 200);
}

/// An embedder whose loop is blocked is found out only if the hold does not beat in its place.
fn an_embedder_that_does_not_beat() {
    install(SIGTERM);
    let policy = policy(Duration::from_millis(200), Duration::from_secs(1));
    let options = Options { embedder_beats: true, ..Options::new(policy) };
    let _hold = Hold::start(options, |_| ()).unwrap();
    let _listener = bind();
    loop {
        std::thread::park();
    }
}

fn a_blocked_loop_is_said_to_be_blocked() {
    assert!(left_behind("an_embedder_that_does_not_beat").contains("event loop blocked for 9"));
    assert!(left_behind("block_held").contains("hard deadline reached: the process ends now"));
}

/// Connects and sends a request, during the window.
fn early_client(listener: &TcpListener) -> TcpStream {
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    client
}

fn what_was_not_accepted_or_read_is_waited_for() {
    install(SIGTERM);
    let listener = bind();
    let hold = Hold::start(short(), |_| ()).unwrap();
    let _client = early_client(&listener);
    raise(SIGTERM);
    wait_until("the window's end", || marks(&hold.report().unwrap()).contains(&"window ended"));
    // Far longer than `settle`.
    let pause = Duration::from_millis(400);
    std::thread::sleep(pause);
    assert_eq!(RUNS.load(SeqCst), 0, "one is in the queue");
    let (mut stream, _) = listener.accept().unwrap();
    std::thread::sleep(pause);
    assert_eq!(RUNS.load(SeqCst), 0, "its request is unread");
    let mut bytes = [0; 64];
    assert!(stream.read(&mut bytes).unwrap() > 0);
    let read = Instant::now();
    await_runs(1);
    assert!(read.elapsed() < pause, "the server has it now");
}

fn a_server_that_never_accepts_gets_the_signal() {
    install(SIGTERM);
    let listener = bind();
    let _hold = Hold::start(short(), |_| ()).unwrap();
    let _client = early_client(&listener);
    let asked = Instant::now();
    raise(SIGTERM);
    await_runs(1);
    let took = asked.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(2) + SLACK, "{took:?}");
}

fn an_interrupt_that_ends_the_window_is_used_up() {
    install(SIGTERM);
    install(SIGINT);
    let hold = Hold::start(Options::new(policy(LONG, LONG * 3)), |_| ()).unwrap();
    raise(SIGTERM);
    await_phase(&hold, Phase::Draining);
    raise(SIGINT);
    await_runs(1);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((RUNS.load(SeqCst), LAST_SIGNAL.load(SeqCst)), (1, SIGTERM));
    // The next is the server's.
    raise(SIGINT);
    await_runs(2);
}

fn another_signal_is_delivered_with_the_first() {
    install(SIGTERM);
    install(SIGINT);
    let hold = Hold::start(short(), |_| ()).unwrap();
    let asked = Instant::now();
    raise(SIGINT);
    await_phase(&hold, Phase::Draining);
    raise(SIGTERM);
    raise(SIGTERM);
    wait_until("both", || RUNS.load(SeqCst) == 2);
    assert!(asked.elapsed() >= SHORT, "an interrupt alone does not escalate");
    assert_eq!(LAST_SIGNAL.load(SeqCst), SIGTERM, "in the order in which they came");
}
