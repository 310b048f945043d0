//! A C server that knows nothing of the hold, under load.

use super::*;

pub type Serve =
    extern "C" fn(c_int, c_int, Option<extern "C" fn()>, Option<extern "C" fn() -> c_int>) -> c_int;

pub const SERVER: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/server.so");

/// Compiles the server, once.
pub fn compile_server() {
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
pub fn load_server() -> Serve {
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

pub static HOLD: OnceLock<Hold> = OnceLock::new();

pub fn the_hold() -> &'static Hold {
    HOLD.get().expect("started")
}

pub extern "C" fn hold_the_c_server() {
    assert!(HOLD.set(Hold::start(Options::new(policy(WINDOW, GRACE)), |_| ()).unwrap()).is_ok());
    println!("ready");
}

pub extern "C" fn ready() {
    println!("ready");
}

pub extern "C" fn announcing() -> c_int {
    the_hold().announcing().into()
}

pub fn bind() -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    listener
}

pub fn serve_plain() {
    let serve = load_server();
    let handled = serve(bind().into_raw_fd(), 1, Some(ready), None);
    println!("{handled}");
}

pub fn serve_held() {
    let serve = load_server();
    let handled = serve(bind().into_raw_fd(), 1, Some(hold_the_c_server), Some(announcing));
    println!("{handled}");
    // The server's own end.
    let hold = the_hold();
    hold.server_stopped();
    await_phase(hold, Phase::Done);
    println!("{}", hold.report().unwrap().to_json());
}

pub fn serve_held_by_default() {
    let serve = load_server();
    serve(bind().into_raw_fd(), 0, Some(hold_the_c_server), Some(announcing));
}

/// What the clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    answered: AtomicU32,
    lost_fresh: AtomicU32,
    lost_reused: AtomicU32,
}

/// A closed loop over one keep-alive connection after another, until nobody listens any more.
pub fn client(to: SocketAddr, seen: &Seen) {
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

pub fn exchange(mut stream: TcpStream, seen: &Seen) {
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
pub fn request(stream: &mut TcpStream) -> Option<bool> {
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
pub fn start_server(scenario: &str) -> (Process, SocketAddr) {
    compile_server();
    let mut process = Process::start(scenario);
    let port = u16::try_from(process.number()).unwrap();
    assert_eq!(process.line(), "ready");
    (process, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// Sends a server SIGTERM in mid load, and waits for its end and the clients'.
pub fn stopped_under_load(scenario: &str) -> (End, Duration, Seen) {
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

pub fn without_a_hold_the_c_server_loses_requests() {
    let loses = (0..5).any(|_| {
        let (end, took, seen) = stopped_under_load("serve_plain");
        assert!(end.status.success() && took < SLACK, "{end:?} {took:?}");
        seen.lost_fresh.load(SeqCst) + seen.lost_reused.load(SeqCst) > 0
    });
    assert!(loses, "the same race with a hold proves nothing");
}

/// What a report tells of a held server that stopped in order.
pub const STORY: [&str; 6] =
    ["shutdown requested", "window ended", "handed over", "drained", "close hooks ended", "done"];

pub fn assert_nothing_lost(seen: &Seen) {
    assert_eq!((seen.lost_reused.load(SeqCst), seen.lost_fresh.load(SeqCst)), (0, 0), "{seen:?}");
}

pub fn held_the_c_server_loses_none() {
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

pub fn by_default_it_dies_of_the_signal_after_the_window() {
    let (end, took, seen) = stopped_under_load("serve_held_by_default");
    assert_nothing_lost(&seen);
    assert_eq!(end.status.signal(), Some(SIGTERM), "{end:?}");
    assert!(took >= WINDOW && took < WINDOW + LONG / 5, "{took:?}");
}

/// The second comes early in the window.
pub fn second_signal(first: c_int, second: c_int) -> (End, Duration) {
    let (process, _) = start_server("serve_held");
    let asked = Instant::now();
    process.signal(first);
    std::thread::sleep(Duration::from_millis(50));
    process.signal(second);
    let end = process.end();
    assert_eq!(end.status.code(), Some(0), "{end:?}");
    (end, asked.elapsed())
}

pub fn an_interrupt_ends_the_window_at_once() {
    let (end, _) = second_signal(SIGTERM, SIGINT);
    assert!(end.stdout.contains("escalated"), "{end:?}");
    // As long as it took until then, not the 600 ms of the policy.
    let window_ended = moment(&end.stdout, "window ended");
    assert!(window_ended < WINDOW.as_secs_f64() * 1e3, "{end:?}");
    assert!(end.stdout.starts_with("1\n"), "the server saw only the first: {end:?}");
}

pub fn two_interrupts_end_the_window_at_once() {
    let (end, _) = second_signal(SIGINT, SIGINT);
    assert!(end.stdout.contains("escalated"), "{end:?}");
    assert!(moment(&end.stdout, "window ended") < WINDOW.as_secs_f64() * 1e3, "{end:?}");
    assert!(end.stdout.starts_with("1\n"), "{end:?}");
}

pub fn a_second_terminate_changes_nothing() {
    let (end, took) = second_signal(SIGTERM, SIGTERM);
    assert!(took >= WINDOW, "{took:?}");
    assert!(!end.stdout.contains("escalated"), "{end:?}");
    assert!(end.stdout.starts_with("1\n"), "delivered once: {end:?}");
}

/// When the timeline of a report has `what`, in milliseconds.
pub fn moment(report: &str, what: &str) -> f64 {
    let mark = report.split("{\"at_ms\":").find(|mark| mark.contains(what)).expect(what);
    mark.split(',').next().unwrap().parse().unwrap()
}

pub fn block_held() {
    install(SIGTERM);
    let policy = policy(Duration::from_millis(200), Duration::from_secs(1));
    let _hold = Hold::start(Options::new(policy), |_| ()).unwrap();
    let _listener = bind();
    loop {
        std::thread::park();
    }
}

/// As an embedder is that waits for an interpreter's lock.
pub fn block_the_embedder() {
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
pub fn gone_at_the_deadline(scenario: &str) -> String {
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
pub fn left_behind(scenario: &str) -> String {
    let report = (0..5).map(|_| gone_at_the_deadline(scenario)).find(|report| !report.is_empty());
    let report = report.expect("no report");
    assert!(report.contains("hard deadline"), "{report}");
    report
}

pub fn a_blocked_main_thread_is_gone_at_the_deadline() {
    let report = left_behind("block_held");
    assert!(report.contains("handed over"), "{report}");
}

pub fn a_blocked_embedder_is_gone_at_the_deadline() {
    let report = left_behind("block_the_embedder");
    assert!(report.contains("export") && !report.contains("handed over"), "{report}");
}
