//! One process, no load.

use super::*;

pub static RUNS: AtomicU32 = AtomicU32::new(0);

pub static LAST_SIGNAL: AtomicI32 = AtomicI32::new(0);

pub extern "C" fn on_signal(signal: c_int) {
    LAST_SIGNAL.store(signal, SeqCst);
    RUNS.fetch_add(1, SeqCst);
}

pub fn install(signal: c_int) {
    // SAFETY: a zeroed sigaction is valid; the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

pub fn raise(signal: c_int) {
    // SAFETY: no preconditions.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

pub fn policy(window: Duration, grace: Duration) -> Policy {
    let settings = Settings {
        window: Some(window),
        grace: Some(Grace::Limited(grace)),
        ..Settings::default()
    };
    Policy::resolve(&settings, &Settings::default()).unwrap()
}

pub const SHORT: Duration = Duration::from_millis(150);

pub fn short() -> Options {
    Options::new(policy(SHORT, GRACE))
}

pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let limit = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn await_runs(runs: u32) {
    wait_until("the server's handler", || RUNS.load(SeqCst) >= runs);
    assert_eq!(RUNS.load(SeqCst), runs);
}

pub fn await_phase(hold: &Hold, phase: Phase) {
    wait_until(phase.name(), || hold.phase() >= phase);
}

pub fn marks(report: &Report) -> Vec<&'static str> {
    report.timeline.iter().map(|mark| mark.what).collect()
}

/// Everything that the embedder was told, in order.
pub type Log = Arc<Mutex<Vec<Effect>>>;

pub fn log() -> (Log, impl FnMut(Effect) + Send + 'static) {
    let log = Log::default();
    let copy = Arc::clone(&log);
    (log, move |effect| copy.lock().unwrap().push(effect))
}

pub fn told(log: &Log, effect: Effect) -> bool {
    log.lock().unwrap().contains(&effect)
}

pub fn register(hold: &Hold, hook: u32, stage: Stage) {
    let (name, hook) = ("pool".to_owned(), HookId(hook));
    hold.handle(Event::HookRegistered { hook, stage, name, order: 0, timeout: None }).unwrap();
}

pub fn close_hooks_wait_for_the_servers_own_end() {
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

pub fn the_program_may_ask_for_the_signal() {
    install(SIGTERM);
    let hold = Hold::start(short(), |_| ()).unwrap();
    let asked = Instant::now();
    hold.handle(Event::Shutdown { cause: Cause::Programmatic, ever_accepted: true }).unwrap();
    await_runs(1);
    assert!(asked.elapsed() >= SHORT);
    assert_eq!(hold.report().unwrap().cause, Some("programmatic"));
}

pub fn a_server_that_stops_of_itself_has_no_window() {
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

pub fn closing_comes_even_if_the_server_never_stops() {
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

pub fn a_handler_installed_late_is_held_too() {
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

pub fn dropped_it_delivers_at_once() {
    install(SIGTERM);
    let hold = Hold::start(Options::new(policy(LONG, LONG * 3)), |_| ()).unwrap();
    raise(SIGTERM);
    await_phase(&hold, Phase::Draining);
    assert_eq!(RUNS.load(SeqCst), 0);
    drop(hold);
    assert_eq!(RUNS.load(SeqCst), 1);
}

pub fn two_holds_deliver_once_after_the_longer_window() {
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

pub fn in_a_forked_child_it_is_inert() {
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

pub fn the_ledger_is_handed_over() {
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

pub fn an_embedder_that_panics_stops_nothing() {
    install(SIGTERM);
    let hold = Hold::start(short(), |_| panic!("the embedder's")).unwrap();
    raise(SIGTERM);
    await_runs(1);
    hold.server_stopped();
    await_phase(&hold, Phase::Done);
}

pub fn the_embedder_may_end_the_hold() {
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

pub fn what_is_ignored_is_left_alone() {
    // SAFETY: no preconditions.
    unsafe { libc::signal(SIGINT, libc::SIG_IGN) };
    install(SIGTERM);
    let hold = Hold::start(short(), |_| ()).unwrap();
    raise(SIGINT);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(hold.phase(), Phase::Serving);
}

pub fn a_signal_in_another_mode_is_refused() {
    let chain = Interposer::chain(SIGINT).unwrap();
    match Hold::start(short(), |_| ()) {
        Err(StartError::Interposer(error)) => {
            assert_eq!(error, InterposerError::OtherMode { signal: SIGINT, mode: Mode::Chain });
        }
        other => panic!("{other:?}"),
    }
    // Nothing changed: SIGTERM is free for either mode.
    drop((Interposer::chain(SIGTERM).unwrap(), chain));
}

pub fn announcing_begins_in_the_middle() {
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

pub fn each_peer_is_told_at_its_own_moment() {
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
pub fn an_embedder_that_does_not_beat() {
    install(SIGTERM);
    let policy = policy(Duration::from_millis(200), Duration::from_secs(1));
    let options = Options { embedder_beats: true, ..Options::new(policy) };
    let _hold = Hold::start(options, |_| ()).unwrap();
    let _listener = bind();
    loop {
        std::thread::park();
    }
}

pub fn a_blocked_loop_is_said_to_be_blocked() {
    assert!(left_behind("an_embedder_that_does_not_beat").contains("event loop blocked for 9"));
    assert!(left_behind("block_held").contains("hard deadline reached: the process ends now"));
}

/// Connects and sends a request, during the window.
pub fn early_client(listener: &TcpListener) -> TcpStream {
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    client
}

pub fn what_was_not_accepted_or_read_is_waited_for() {
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

pub fn a_server_that_never_accepts_gets_the_signal() {
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

pub fn an_interrupt_that_ends_the_window_is_used_up() {
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

pub fn another_signal_is_delivered_with_the_first() {
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
