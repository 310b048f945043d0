//! A parent with real forked workers that share one listener, under load. The parent is a process of its own; this one
//! is its clients and its operator.

mod common;

use std::ffi::c_int;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use common::{End, Process};
use lameduck::{Grace, Policy, Settings};
use lameduck_host::clock::now_ns;
use lameduck_host::drain::{Drain, Step};
use lameduck_host::fence::{Survivors, Way};
use lameduck_host::tree::{How, Page, Seat, Tree, TreeError, WorkerId, grace_variable};

const MS: u64 = 1_000_000;
/// Longer than a round trip on loopback, even on a busy machine.
const SETTLE: u64 = 100 * MS;
const CLIENTS: usize = 6;
const WORKERS: usize = 3;

fn main() -> ExitCode {
    common::run(
        &[
            (
                "a_tree_that_stops_under_load_loses_nobody",
                a_tree_that_stops_under_load_loses_nobody,
            ),
            ("without_the_fence_it_loses_somebody", without_the_fence_it_loses_somebody),
            (
                "a_recycled_worker_loses_nobody_and_fences_nothing",
                a_recycled_worker_loses_nobody_and_fences_nothing,
            ),
            (
                "a_worker_that_hangs_is_killed_at_its_budget_and_named",
                a_worker_that_hangs_is_killed_at_its_budget_and_named,
            ),
            (
                "a_worker_that_crashes_is_reported_with_what_it_lost",
                a_worker_that_crashes_is_reported_with_what_it_lost,
            ),
            ("a_moved_deadline_moves_the_budget", a_moved_deadline_moves_the_budget),
            ("an_embedder_collects_its_own_children", an_embedder_collects_its_own_children),
            ("somebody_elses_child_can_be_watched", somebody_elses_child_can_be_watched),
            ("an_owned_child_is_collected", an_owned_child_is_collected),
            ("what_is_no_worker_is_refused", what_is_no_worker_is_refused),
            ("a_child_is_told_its_grace", a_child_is_told_its_grace),
        ],
        &[
            ("prefork", || parent(&Plan::default())),
            ("unfenced", || parent(&Plan { fence: false, ..Plan::default() })),
            ("hanging", || parent(&Plan { hanging: Some(1), grace_ms: 400, ..Plan::default() })),
            ("uncounted", || parent(&Plan { counts: false, ..Plan::default() })),
        ],
    )
}

// The parent and its workers.

struct Plan {
    fence: bool,
    /// Whether workers count in their seats.
    counts: bool,
    /// Which worker stops for nothing.
    hanging: Option<usize>,
    grace_ms: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { fence: true, counts: true, hanging: None, grace_ms: 10_000 }
    }
}

static STOP: AtomicBool = AtomicBool::new(false);
static RECYCLE: AtomicBool = AtomicBool::new(false);

extern "C" fn note(signal: c_int) {
    let flag = if signal == libc::SIGHUP { &RECYCLE } else { &STOP };
    flag.store(true, SeqCst);
}

fn parent(plan: &Plan) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: listening again only changes the queue's length.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 1024) }, 0);
    listener.set_nonblocking(true).unwrap();
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler is async-signal-safe. Without SA_RESTART, so that waiting ends.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as *const () as usize;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
    let page = Page::new(WORKERS).unwrap();
    let mut tree = Tree::new();
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let seat = page.seat(number).unwrap();
        // SAFETY: this process has one thread.
        let child = unsafe { libc::fork() };
        if child == 0 {
            worker(plan, number, &listener, &seat);
        }
        workers.push(tree.watch(&format!("web-{number}"), child, Some(seat)).unwrap());
    }
    println!("{}", listener.local_addr().unwrap().port());
    let mut asked = false;
    while !tree.is_empty() {
        for ended in tree.poll(now_ns()) {
            println!("{} loss={} {ended}", now_ns(), ended.is_loss());
        }
        if RECYCLE.swap(false, SeqCst) {
            let grace = Some(Duration::from_millis(plan.grace_ms));
            assert!(tree.recycle(workers[0], libc::SIGTERM, grace, now_ns()));
        }
        if STOP.load(SeqCst) && !asked {
            asked = true;
            let listeners: &[RawFd] = if plan.fence { &[listener.as_raw_fd()] } else { &[] };
            let grace = Some(Duration::from_millis(plan.grace_ms));
            let now = now_ns();
            for way in tree.stop(listeners, libc::SIGTERM, grace, now) {
                assert!(matches!(way, Ok(Way::Fenced(_))), "{way:?}");
            }
            println!("{now} stop");
        }
        tree.wait(now_ns() + 20 * MS);
    }
}

/// Accepts, answers each connection's one request, and stops as it was asked to.
fn worker(plan: &Plan, number: usize, listener: &TcpListener, seat: &Seat) -> ! {
    if plan.counts {
        seat.sit();
    }
    while !STOP.load(SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => serve(plan, number, stream, seat),
            Err(_) => wait_readable(listener.as_raw_fd(), 5),
        }
    }
    while plan.hanging == Some(number) {
        std::thread::sleep(Duration::from_secs(1)); // the hanging that is tested
    }
    let asked = seat.asked().expect("the parent says what it wants before it signals");
    assert!(asked.deadline.is_some());
    if asked.everybody && plan.fence {
        let deadline = asked.deadline.unwrap();
        let fd = listener.as_raw_fd();
        let mut drain = Drain::begin(fd, Survivors::None, SETTLE, deadline, now_ns()).unwrap();
        loop {
            match drain.accept(now_ns()) {
                Step::Accepted { socket, .. } => serve(plan, number, TcpStream::from(socket), seat),
                Step::Wait { until } | Step::Failed { until, .. } => {
                    wait_readable(fd, (until.saturating_sub(now_ns()) / MS + 1) as c_int);
                }
                _ => break,
            }
        }
    }
    // SAFETY: no preconditions; the parent's exit handlers are not the worker's.
    unsafe { libc::_exit(0) }
}

fn wait_readable(fd: RawFd, milliseconds: c_int) {
    let mut question = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one pollfd, and 1 is how many there are.
    unsafe { libc::poll(&mut question, 1, milliseconds) };
}

fn serve(plan: &Plan, number: usize, mut stream: TcpStream, seat: &Seat) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut byte = [0];
    if !matches!(stream.read(&mut byte), Ok(1)) {
        return; // the client left before it asked
    }
    seat.begin();
    match byte[0] {
        b'a' => std::process::abort(),
        // Half an answer, then for ever.
        b'h' if plan.hanging == Some(number) => {
            stream.write_all(&[b'0' + number as u8]).unwrap();
            while !STOP.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::mem::forget(stream);
            return;
        }
        _ => std::thread::sleep(Duration::from_millis(1)), // the work
    }
    let _ = stream.write_all(&[b'0' + number as u8, b'\n']);
    seat.end();
}

// Its clients and its operator.

struct Load {
    stop: &'static AtomicBool,
    clients: Vec<std::thread::JoinHandle<(u32, Vec<String>)>>,
}

/// One request on a connection of its own: which worker answered, nobody there, or how it was lost.
fn ask(to: SocketAddr, what: u8) -> Result<Option<u8>, String> {
    let mut stream = match TcpStream::connect_timeout(&to, Duration::from_millis(300)) {
        Ok(stream) => stream,
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::TimedOut) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(format!("connect: {error}")),
    };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let lost = |error: std::io::Error| format!("connected, then: {error}");
    stream.write_all(&[what]).map_err(lost)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(lost)?;
    match answer[..] {
        [worker, b'\n'] => Ok(Some(worker)),
        _ => Err(format!("connected, then: {answer:?}")),
    }
}

impl Load {
    fn start(port: u16) -> Self {
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let stop: &AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let client = move || {
            let (mut answered, mut lost) = (0, Vec::new());
            while !stop.load(SeqCst) {
                match ask(to, b'x') {
                    Ok(Some(_)) => answered += 1,
                    Ok(None) => break,
                    Err(how) => lost.push(how),
                }
            }
            (answered, lost)
        };
        Self { stop, clients: (0..CLIENTS).map(|_| std::thread::spawn(client)).collect() }
    }

    /// Ends when told to, or when nobody is there any more.
    fn end(self, now: bool) -> (u32, Vec<String>) {
        self.stop.store(now, SeqCst);
        let (mut answered, mut lost) = (0, Vec::new());
        for client in self.clients {
            let (more, others) = client.join().unwrap();
            answered += more;
            lost.extend(others);
        }
        (answered, lost)
    }
}

fn let_it_run() {
    std::thread::sleep(Duration::from_millis(300)); // the load's time
}

/// The lines in which the parent names this worker's end.
fn of<'a>(end: &'a End, worker: &str) -> Vec<&'a str> {
    let name = format!("worker '{worker}'");
    end.stdout.lines().filter(|line| line.contains(&name)).collect()
}

fn stop_under_load(scenario: &str) -> (End, u32, Vec<String>) {
    let mut process = Process::start(scenario);
    let load = Load::start(process.number() as u16);
    let_it_run();
    process.signal(libc::SIGTERM);
    let (answered, lost) = load.end(false);
    (process.end(), answered, lost)
}

fn a_tree_that_stops_under_load_loses_nobody() {
    for _ in 0..3 {
        let (end, answered, lost) = stop_under_load("prefork");
        assert_eq!(end.status.code(), Some(0), "{end:?}");
        assert_eq!(lost, Vec::<String>::new(), "of {answered}");
        assert!(answered > 50, "{answered}");
        for number in 0..WORKERS {
            let lines = of(&end, &format!("web-{number}"));
            assert_eq!(lines.len(), 1, "{end:?}");
            assert!(
                lines[0].contains("loss=false") && lines[0].contains("exited with status 0"),
                "{lines:?}"
            );
            assert!(lines[0].ends_with("; no request was lost"), "{lines:?}");
        }
        println!("  {answered} answered, 0 lost");
    }
}

/// The other way round, so that the test above is known to see a loss.
fn without_the_fence_it_loses_somebody() {
    for _ in 0..20 {
        let (_, answered, lost) = stop_under_load("unfenced");
        if !lost.is_empty() {
            println!("  {answered} answered, {} lost", lost.len());
            return;
        }
    }
    panic!("20 runs without a loss");
}

fn a_recycled_worker_loses_nobody_and_fences_nothing() {
    let mut process = Process::start("prefork");
    let port = process.number() as u16;
    let load = Load::start(port);
    let_it_run();
    process.signal(libc::SIGHUP);
    let line = process.line();
    assert!(line.contains("loss=false worker 'web-0'"), "{line}");
    let_it_run();
    // Fenced clients would have broken off: everybody is still served, by the others.
    let (answered, lost) = load.end(true);
    assert_eq!(lost, Vec::<String>::new(), "of {answered}");
    for _ in 0..20 {
        let worker = ask(([127, 0, 0, 1], port).into(), b'x').unwrap();
        assert!(matches!(worker, Some(b'1' | b'2')), "{worker:?}");
    }
    process.signal(libc::SIGTERM);
    let end = process.end();
    assert_eq!(
        (of(&end, "web-0").len(), of(&end, "web-1").len(), of(&end, "web-2").len()),
        (0, 1, 1)
    );
}

fn a_worker_that_hangs_is_killed_at_its_budget_and_named() {
    let mut process = Process::start("hanging");
    let to = SocketAddr::from(([127, 0, 0, 1], process.number() as u16));
    let (hangs, lost) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        // Until the one that hangs has got one.
        while !hangs.load(SeqCst) {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(to).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                stream.write_all(b"h").unwrap();
                let mut first = [0];
                stream.read_exact(&mut first).unwrap();
                hangs.fetch_or(first[0] == b'1', SeqCst);
                let mut rest = Vec::new();
                let ended = stream.read_to_end(&mut rest);
                lost.fetch_add(u32::from(ended.is_err() || rest != *b"\n"), SeqCst);
            });
            std::thread::sleep(Duration::from_millis(5)); // one client at a time
        }
        process.signal(libc::SIGTERM);
    });
    let end = process.end();
    let at = |line: &str| line.split(' ').next().unwrap().parse::<u64>().unwrap();
    let asked = at(end.stdout.lines().find(|line| line.ends_with(" stop")).unwrap());
    let line = of(&end, "web-1")[0];
    assert!(line.contains("was killed, having outlived its budget"), "{line}");
    assert!(
        line.contains("loss=true") && line.ends_with("; 1 request in flight was lost"),
        "{line}"
    );
    assert_eq!(lost.load(SeqCst), 1, "as its client saw it");
    assert!(at(line) >= asked + 400 * MS, "before its budget was over");
    for good in ["web-0", "web-2"] {
        assert!(of(&end, good)[0].contains("loss=false"), "{end:?}");
    }
    println!("  gone {:.1} ms after its budget", (at(line) - asked - 400 * MS) as f64 / MS as f64);
}

fn a_worker_that_crashes_is_reported_with_what_it_lost() {
    for (scenario, lost) in [
        ("prefork", "; 1 request in flight was lost"),
        ("uncounted", "; how many requests were lost with it nobody knows"),
    ] {
        let mut process = Process::start(scenario);
        let to = SocketAddr::from(([127, 0, 0, 1], process.number() as u16));
        assert!(ask(to, b'x').unwrap().is_some());
        ask(to, b'a').unwrap_err();
        let line = process.line();
        assert!(line.contains("died of signal 6 without being asked to"), "{line}");
        assert!(line.contains("loss=true") && line.ends_with(lost), "{line}");
        // The others go on, and stop in order: to exit with status 0 is to have lost nobody.
        for _ in 0..10 {
            assert!(ask(to, b'x').unwrap().is_some());
        }
        process.signal(libc::SIGTERM);
        let end = process.end();
        let good = end.stdout.lines().filter(|line| line.contains("loss=false")).count();
        assert_eq!(good, WORKERS - 1, "{end:?}");
    }
}

// In this process.

fn stubborn() -> std::process::Child {
    let mut child = Command::new("sh");
    // Not for ever: a test that fails must not leave it behind.
    child.args(["-c", "trap '' TERM; echo ready; for i in 1 2 3 4 5 6 7 8 9; do sleep 1; done"]);
    let mut child = child.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    child
}

fn all(tree: &mut Tree) -> Vec<lameduck_host::tree::Ended> {
    let mut ended = Vec::new();
    tree.wait_for_all(|end| ended.push(end));
    ended
}

fn a_moved_deadline_moves_the_budget() {
    let mut tree = Tree::new();
    let seat = Page::new(1).unwrap().seat(0).unwrap();
    tree.own("stubborn", stubborn(), Some(seat.clone())).map_err(|(error, _)| error).unwrap();
    assert_eq!(tree.next_wake(), None, "nobody was asked");
    let now = now_ns();
    tree.stop(&[], libc::SIGTERM, Some(Duration::from_secs(3600)), now);
    assert_eq!(tree.next_wake(), Some(now + 3_600_000 * MS));
    tree.extend(None, now);
    assert_eq!((tree.next_wake(), seat.asked().unwrap().deadline), (None, None));
    let later = now_ns();
    tree.extend(Some(Duration::from_millis(100)), later);
    assert_eq!(seat.asked().unwrap().deadline, Some(later + 100 * MS));
    let ended = all(&mut tree);
    assert_eq!(ended[0].how, How::Outlived);
    assert!(now_ns() >= later + 100 * MS);
    // It never counted in its seat, and did not end by itself.
    assert_eq!((ended[0].lost, ended[0].is_loss()), (None, true));
}

fn an_embedder_collects_its_own_children() {
    let mut child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
    let mut tree = Tree::new();
    tree.watch("seven", child.id().cast_signed(), None).unwrap();
    assert_eq!(all(&mut tree)[0].how, How::Exited(7));
    assert_eq!(child.wait().unwrap().code(), Some(7), "it was left to its parent");

    // Collected before the tree looks: it is gone, and nothing is asked of whoever has its number now.
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    tree.watch("collected", child.id().cast_signed(), None).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    tree.stop(&[], libc::SIGTERM, Some(Duration::ZERO), now_ns());
    let ended = all(&mut tree);
    assert_eq!((ended[0].how, ended[0].lost), (How::Gone, None));
    let sentence = ended[0].to_string();
    assert!(sentence.contains("with a status that somebody else collected"), "{sentence}");
}

fn somebody_elses_child_can_be_watched() {
    // As the worker of a fork server: a grandchild, which nobody here can collect.
    let mut server = Command::new("sh");
    server.args(["-c", "sleep 60 & echo $!; wait"]);
    let mut server = server.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    while server.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    let grandchild: i32 = String::from_utf8(line).unwrap().parse().unwrap();
    let mut tree = Tree::new();
    tree.watch("grandchild", grandchild, None).unwrap();
    assert_eq!(tree.descriptors().count(), 1);
    assert!(tree.poll(now_ns()).is_empty());
    tree.stop(&[], libc::SIGTERM, Some(Duration::from_secs(10)), now_ns());
    let ended = all(&mut tree);
    assert_eq!(ended[0].how, How::Gone);
    assert!(ended[0].took.unwrap() < Duration::from_secs(9));
    server.wait().unwrap();
}

fn an_owned_child_is_collected() {
    let child = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
    let number = child.id().cast_signed();
    let mut tree = Tree::new();
    tree.own("three", child, None).map_err(|(error, _)| error).unwrap();
    let ended = all(&mut tree);
    assert_eq!((ended[0].how, ended[0].lost), (How::Exited(3), None));
    let sentence = ended[0].to_string();
    assert!(
        sentence.starts_with(&format!(
            "worker 'three' (process {number}) exited with status 3 without"
        )),
        "{sentence}"
    );
    let mut status = 0;
    // SAFETY: the pointer is to a writable int; the number is no child's any more, which is what is tested.
    assert_eq!(unsafe { libc::waitpid(number, &mut status, libc::WNOHANG) }, -1);

    // One that is no process any more cannot be owned either, and is given back.
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let (error, mut child) = tree.own("late", child, None).unwrap_err();
    assert!(matches!(error, TreeError::NoProcess { .. }), "{error}");
    assert_eq!(child.wait().unwrap().into_raw(), 0);
}

fn what_is_no_worker_is_refused() {
    let mut tree = Tree::new();
    for number in [0, -1, std::process::id().cast_signed()] {
        let error = tree.watch("nobody", number, None).unwrap_err();
        assert!(matches!(error, TreeError::NoProcess { process } if process == number), "{error}");
    }
    assert!(tree.is_empty());
    tree.wait(u64::MAX); // nobody to wait for
    let child = Command::new("true").spawn().unwrap();
    let id: WorkerId = tree.own("true", child, None).map_err(|(error, _)| error).unwrap();
    assert_eq!(tree.len(), 1);
    all(&mut tree);
    assert!(!tree.recycle(id, libc::SIGTERM, None, now_ns()), "it has ended");
    // A descriptor that is no listener: said, and the workers are asked all the same.
    let ways = tree.stop(&[RawFd::MAX], libc::SIGTERM, None, now_ns());
    assert!(ways[0].is_err());
}

fn a_child_is_told_its_grace() {
    let policy = |settings: Settings| Policy::resolve(&settings, &Settings::default()).unwrap();
    // 30 s less a second of margin and five of reserve.
    assert_eq!(
        grace_variable(&policy(Settings::default())),
        ("LAMEDUCK_GRACE", String::from("24"))
    );
    let unlimited = Settings { grace: Some(Grace::Unlimited), ..Settings::default() };
    assert_eq!(grace_variable(&policy(unlimited)).1, "unlimited");
    let short = Settings {
        grace: Some(Grace::Limited(Duration::from_millis(1_600))),
        ..Settings::default()
    };
    let (name, value) = grace_variable(&policy(short));
    // What the child makes of it.
    let read =
        lameduck::environment::settings(|asked| (asked == name).then(|| value.clone())).unwrap();
    assert_eq!(read.grace, Some(Grace::Limited(Duration::from_millis(1_120))));
}
