//! The watchdog against processes that do not end by themselves. Each dies in a process of its own.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{CString, c_int};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{End, Process};
use lameduck::{Event, JobId, JobSource, Machine, OnDrain, Policy, Settings, Time};
use lameduck_host::clock::now_ns;
use lameduck_host::interposer::Interposer;
use lameduck_host::ledger::{Ledger, Spacing};
use lameduck_host::report_file::ReportFile;
use lameduck_host::watchdog::{Options, REPORT_MAX, ReportTooLong, Watchdog, WatchdogError};

const MS: u64 = 1_000_000;
/// The promise: gone this long after the deadline at the latest.
const PROMISE: u64 = 100 * MS;
const REPORT: &[u8] = br#"{"schema":"lameduck-report/1","phase":"draining"}"#;

fn main() -> ExitCode {
    if !common::is_scenario() {
        std::thread::spawn(measure_oversleep);
    }
    common::run(
        &[
            ("a_spinning_process_is_gone_in_time", || in_time(a_spinning_process_is_gone_in_time)),
            ("a_process_stopped_in_locks_is_gone_in_time", || {
                in_time(a_process_stopped_in_locks_is_gone_in_time)
            }),
            ("a_process_with_a_jammed_allocator_still_reports", || {
                in_time(a_process_with_a_jammed_allocator_still_reports)
            }),
            ("a_full_pipe_does_not_delay_the_end", || in_time(a_full_pipe_does_not_delay_the_end)),
            ("a_full_pipe_does_not_cost_the_file", || in_time(a_full_pipe_does_not_cost_the_file)),
            ("a_process_out_of_descriptors_still_leaves_its_file", || {
                in_time(a_process_out_of_descriptors_still_leaves_its_file)
            }),
            ("a_file_that_blocks_costs_neither_the_print_nor_the_end", || {
                in_time(a_file_that_blocks_costs_neither_the_print_nor_the_end)
            }),
            ("a_full_standard_output_does_not_delay_the_end", || {
                in_time(a_full_standard_output_does_not_delay_the_end)
            }),
            ("a_slow_reader_gets_the_whole_report", || {
                in_time(a_slow_reader_gets_the_whole_report)
            }),
            ("a_reader_that_left_does_not_delay_the_end", || {
                in_time(a_reader_that_left_does_not_delay_the_end)
            }),
            ("the_stacks_come_before_the_report", || in_time(the_stacks_come_before_the_report)),
            ("an_unhandled_signal_sets_the_deadline", || {
                in_time(an_unhandled_signal_sets_the_deadline)
            }),
            ("an_unhandled_signal_is_reported_with_what_serving_knew", || {
                in_time(an_unhandled_signal_is_reported_with_what_serving_knew)
            }),
            ("a_loop_blocked_while_draining_is_named", || {
                in_time(a_loop_blocked_while_draining_is_named)
            }),
            ("a_living_loop_is_not_called_blocked", || {
                in_time(a_living_loop_is_not_called_blocked)
            }),
            ("an_extended_deadline_counts", || in_time(an_extended_deadline_counts)),
            ("a_shortened_deadline_counts", || in_time(a_shortened_deadline_counts)),
            (
                "extending_and_the_deadline_never_both_win",
                extending_and_the_deadline_never_both_win,
            ),
            ("a_deadline_in_the_past_ends_at_once", || {
                in_time(a_deadline_in_the_past_ends_at_once)
            }),
            ("a_process_stopped_across_the_deadline_ends_when_continued", || {
                in_time(a_process_stopped_across_the_deadline_ends_when_continued)
            }),
            ("the_wall_clock_changes_nothing", || in_time(the_wall_clock_changes_nothing)),
            ("a_clean_shutdown_is_never_touched", a_clean_shutdown_is_never_touched),
            (
                "disarming_and_the_deadline_never_both_win",
                disarming_and_the_deadline_never_both_win,
            ),
            (
                "a_signal_does_not_rearm_what_was_called_off",
                a_signal_does_not_rearm_what_was_called_off,
            ),
            ("a_forked_child_is_left_alone", a_forked_child_is_left_alone),
            ("a_forked_child_can_have_its_own", || in_time(a_forked_child_can_have_its_own)),
            ("closed_descriptors_do_not_stop_it", || in_time(closed_descriptors_do_not_stop_it)),
            ("a_closed_standard_error_does_not_stop_it", || {
                in_time(a_closed_standard_error_does_not_stop_it)
            }),
            ("its_threads_take_no_signals", its_threads_take_no_signals),
            ("dropping_takes_no_time", dropping_takes_no_time),
            ("wrong_calls_are_refused", wrong_calls_are_refused),
        ],
        &[
            ("spin", spin),
            ("locks", locks),
            ("jam", jam),
            ("full_pipe", full_pipe),
            ("full_pipe_and_file", full_pipe_and_file),
            ("out_of_descriptors", out_of_descriptors),
            ("blocking_file", blocking_file),
            ("full_stdout", full_stdout),
            ("nonblocking", nonblocking),
            ("broken_pipe", broken_pipe),
            ("stacks", stacks),
            ("no_stacks", no_stacks),
            ("unhandled", unhandled),
            ("unhandled_serving", unhandled_serving),
            ("blocked", blocked),
            ("beating", beating),
            ("extended", extended),
            ("shortened", shortened),
            ("extend_race", extend_race),
            ("stopped", stopped),
            ("stepped", stepped),
            ("past", past),
            ("clean", clean),
            ("race", race),
            ("called_off", called_off),
            ("forked", forked),
            ("forked_own", forked_own),
            ("daemon", daemon),
            ("no_stderr", no_stderr),
        ],
    )
}

/// On a machine with more to do than processors even a thread that only sleeps is late. How late is measured beside each
/// test, and such a test has three tries: what is late by its own fault is late each time.
fn in_time(test: fn()) {
    for _ in 0..2 {
        OVERSLEPT.store(0, SeqCst);
        if catch_unwind(test).is_ok() {
            return;
        }
        println!("  once more");
    }
    OVERSLEPT.store(0, SeqCst);
    test();
}

/// By how much a thread that only sleeps was late at most, in nanoseconds.
static OVERSLEPT: AtomicU64 = AtomicU64::new(0);

fn measure_oversleep() {
    const NAP: Duration = Duration::from_millis(5);
    loop {
        let before = now_ns();
        std::thread::sleep(NAP);
        OVERSLEPT.fetch_max(now_ns() - before - NAP.as_nanos() as u64, SeqCst);
    }
}

/// Between the deadline and what this test sees of the end, four threads are woken one after the other: the killer, the
/// printer, the killer again, this one. (The one that spins has to run too, to notice that it is to end.)
fn machine_is_late_by() -> u64 {
    OVERSLEPT.load(SeqCst) * 4
}

fn options() -> Options {
    Options { exit_code: 3, ..Options::default() }
}

fn say(number: u64) {
    println!("{number}");
}

fn spin_for_ever() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

#[track_caller]
fn assert_gone_in_time(end: &End, deadline: u64) {
    assert_eq!(end.status.code(), Some(3), "{end:?}");
    assert!(end.gone >= deadline, "{} ms too early", (deadline - end.gone) / MS);
    let late = end.gone - deadline;
    let allowed = PROMISE + machine_is_late_by();
    assert!(late <= allowed, "{} ms after the deadline, {} allowed", late / MS, allowed / MS);
    println!("  gone {:.1} ms after the deadline", late as f64 / MS as f64);
}

#[track_caller]
fn assert_printed(end: &End, parts: &[&str]) {
    for part in parts {
        assert!(end.stderr.contains(part), "no {part:?} in {:?}", end.stderr);
    }
    assert!(end.stderr.ends_with("}\n"), "{:?}", end.stderr);
}

/// The number that follows `words` in what was printed.
#[track_caller]
fn printed_number(end: &End, words: &str) -> u64 {
    let rest = end.stderr.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {end:?}")).1;
    rest.split(' ').next().unwrap().parse().unwrap()
}

// Spinning, locked, jammed.

fn spin() {
    let watchdog = Watchdog::start(options()).unwrap();
    let deadline = now_ns() + 300 * MS;
    assert!(watchdog.arm(deadline));
    assert_eq!(watchdog.deadline(), Some(deadline));
    watchdog.render(REPORT).unwrap();
    say(deadline);
    spin_for_ever();
}

fn a_spinning_process_is_gone_in_time() {
    let mut process = Process::start("spin");
    let deadline = process.number();
    let end = process.end();
    assert_gone_in_time(&end, deadline);
    assert_printed(&end, &["lameduck: hard deadline reached: event loop blocked for"]);
    assert!((290..400).contains(&printed_number(&end, "blocked for ")), "{end:?}");
    let report = std::str::from_utf8(REPORT).unwrap().trim_end_matches('}');
    assert!(end.stderr.contains(&format!("{report},\"event_loop_blocked_ms\":")), "{end:?}");
}

/// Holds the locks of standard output and error, and waits for one that nobody releases.
fn locks() {
    static HELD: Mutex<()> = Mutex::new(());
    let watchdog = Watchdog::start(options()).unwrap();
    let deadline = now_ns() + 200 * MS;
    watchdog.arm(deadline);
    say(deadline);
    let _held = HELD.lock().unwrap();
    let _locks = (std::io::stdout().lock(), std::io::stderr().lock());
    drop(std::hint::black_box(&HELD).lock());
}

fn a_process_stopped_in_locks_is_gone_in_time() {
    let mut process = Process::start("locks");
    let deadline = process.number();
    let end = process.end();
    assert_gone_in_time(&end, deadline);
    assert_printed(&end, &["hard deadline reached", "before any report was made"]);
}

/// Stops every thread that allocates or frees once it is jammed, as a lock of the allocator would that the blocked
/// thread holds.
struct Jammable;

static JAMMED: AtomicBool = AtomicBool::new(false);

// SAFETY: all is passed on to the system's allocator, or never returns.
unsafe impl GlobalAlloc for Jammable {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        while JAMMED.load(SeqCst) {
            std::hint::spin_loop();
        }
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        while JAMMED.load(SeqCst) {
            std::hint::spin_loop();
        }
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Jammable = Jammable;

fn jam() {
    extern "C" fn ignore(_: c_int) {}
    // SAFETY: a handler that does nothing is async-signal-safe.
    unsafe { libc::signal(libc::SIGTERM, ignore as *const () as usize) };
    let _interposer = Interposer::chain(libc::SIGTERM).unwrap();
    let ledger = Arc::new(Ledger::new(Spacing::Line));
    ledger.open(0).unwrap();
    let signals = vec![libc::SIGTERM];
    let _watchdog = Watchdog::start(Options {
        signals,
        budget_ns: 100 * MS,
        ledger: Some(ledger),
        ..options()
    })
    .unwrap();
    say(0);
    JAMMED.store(true, SeqCst);
    spin_for_ever();
}

fn a_process_with_a_jammed_allocator_still_reports() {
    let mut process = Process::start("jam");
    process.number();
    let sent = now_ns();
    process.signal(libc::SIGTERM);
    let end = process.end();
    assert_gone_in_time(&end, sent + 100 * MS);
    assert_printed(&end, &["nobody handled it", r#""connections":{"adopted":1,"#]);
}

// Pipes.

fn full_pipe() {
    fill_standard_error();
    let watchdog = Watchdog::start(options()).unwrap();
    let deadline = now_ns() + 200 * MS;
    watchdog.arm(deadline);
    watchdog.render(REPORT).unwrap();
    say(deadline);
    spin_for_ever();
}

/// Until it takes no more; then it blocks as it did before.
fn fill_standard_error() {
    let flags = |set: Option<c_int>| {
        // SAFETY: standard error's flags, in a process with one thread.
        unsafe {
            match set {
                None => libc::fcntl(2, libc::F_GETFL),
                Some(flags) => libc::fcntl(2, libc::F_SETFL, flags),
            }
        }
    };
    let before = flags(None);
    flags(Some(before | libc::O_NONBLOCK));
    let mut stderr = std::io::stderr();
    for size in [4096, 1] {
        while stderr.write(&vec![b'x'; size]).is_ok() {}
    }
    flags(Some(before));
}

fn a_full_pipe_does_not_delay_the_end() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let ours = writer.try_clone().unwrap();
    let child = Process::command("full_pipe").stderr(Stdio::from(OwnedFd::from(writer))).spawn();
    let mut process = Process { child: child.unwrap() };
    let deadline = process.number();
    let end = process.end();
    assert_gone_in_time(&end, deadline);
    assert!(end.gone - deadline >= 40 * MS, "the printer got its time");
    // SAFETY: a descriptor of this test's.
    let flags = unsafe { libc::fcntl(ours.as_raw_fd(), libc::F_GETFL) };
    assert_eq!(flags & libc::O_NONBLOCK, 0, "a shared descriptor was made non-blocking");
    drop(ours);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.bytes().all(|byte| byte == b'x'));
}

// Files.

/// Where a scenario's report goes: beside the test's own files, by the process's number.
fn report_path(process: u32) -> PathBuf {
    std::env::temp_dir().join(format!("lameduck-watchdog-{process}.json"))
}

fn reports_to_file() -> Watchdog {
    let path = report_path(std::process::id());
    let file = ReportFile::open(path.to_str().unwrap()).unwrap();
    let watchdog =
        Watchdog::start(Options { report_file: Some(Arc::new(file)), ..options() }).unwrap();
    watchdog.render(REPORT).unwrap();
    watchdog.heartbeat();
    watchdog
}

/// Arms it, says when, and never comes back.
fn spin_until_the_end(watchdog: &Watchdog) -> ! {
    let deadline = now_ns() + 400 * MS;
    watchdog.arm(deadline);
    say(deadline);
    spin_for_ever();
}

/// The process's report file, which is removed.
fn take_report(process: u32) -> String {
    let path = report_path(process);
    let report = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    report
}

#[track_caller]
fn assert_is_the_report(file: &str) {
    let whole = std::str::from_utf8(REPORT).unwrap().trim_end_matches('}');
    assert!(file.starts_with(&format!("{whole},\"event_loop_blocked_ms\":")), "{file}");
    assert!(file.ends_with("}\n") && file.lines().count() == 1, "{file}");
}

fn full_pipe_and_file() {
    fill_standard_error();
    spin_until_the_end(&reports_to_file());
}

fn a_full_pipe_does_not_cost_the_file() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut command = Process::command("full_pipe_and_file");
    let child = command.stderr(Stdio::from(OwnedFd::from(writer))).spawn();
    let mut process = Process { child: child.unwrap() };
    let (id, deadline) = (process.child.id(), process.number());
    assert_gone_in_time(&process.end(), deadline);
    assert_is_the_report(&take_report(id));
}

fn out_of_descriptors() {
    let watchdog = reports_to_file();
    let mut taken = Vec::new();
    let error = loop {
        match std::fs::File::open("/dev/null") {
            Ok(file) => taken.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    spin_until_the_end(&watchdog);
}

fn a_process_out_of_descriptors_still_leaves_its_file() {
    let mut process = Process::start("out_of_descriptors");
    let (id, deadline) = (process.child.id(), process.number());
    assert_gone_in_time(&process.end(), deadline);
    assert_is_the_report(&take_report(id));
}

/// A pipe that nobody reads in place of the file: opening it waits for ever.
fn blocking_file() {
    let watchdog = reports_to_file();
    let path = report_path(std::process::id());
    let name = path.file_name().unwrap().to_str().unwrap();
    let draft = path.with_file_name(format!(".{name}.{}.watchdog", std::process::id()));
    let draft = CString::new(draft.to_str().unwrap()).unwrap();
    // SAFETY: a text that ends in 0 and lives through the call.
    assert_eq!(unsafe { libc::mkfifo(draft.as_ptr(), 0o600) }, 0);
    spin_until_the_end(&watchdog);
}

fn a_file_that_blocks_costs_neither_the_print_nor_the_end() {
    let mut process = Process::start("blocking_file");
    let (id, deadline) = (process.child.id(), process.number());
    let end = process.end();
    assert_gone_in_time(&end, deadline);
    assert_printed(&end, &["hard deadline reached: event loop blocked for"]);
    assert!(!report_path(id).exists());
    let name = report_path(id).file_name().unwrap().to_str().unwrap().to_owned();
    std::fs::remove_file(report_path(id).with_file_name(format!(".{name}.{id}.watchdog"))).unwrap();
}

/// Blocks in a write to standard output, which nobody reads.
fn full_stdout() {
    let watchdog = Watchdog::start(options()).unwrap();
    let deadline = now_ns() + 200 * MS;
    watchdog.arm(deadline);
    watchdog.render(REPORT).unwrap();
    say(deadline);
    loop {
        std::io::stdout().write_all(&[b'x'; 4096]).unwrap();
    }
}

fn a_full_standard_output_does_not_delay_the_end() {
    let mut process = Process::start("full_stdout");
    let deadline = process.number();
    let end = process.end();
    assert_gone_in_time(&end, deadline);
    assert_printed(&end, &["hard deadline reached", r#""phase":"draining""#]);
    assert!(end.stdout.len() > 4096 && end.stdout.bytes().all(|byte| byte == b'x'));
}

/// Nobody reads standard error any more: writing to it fails, and raises SIGPIPE where that is not blocked.
fn broken_pipe() {
    // SAFETY: the default action, which ends the process, as in a C server.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let watchdog = Watchdog::start(options()).unwrap();
    let deadline = now_ns() + 100 * MS;
    watchdog.arm(deadline);
    watchdog.render(REPORT).unwrap();
    say(deadline);
    spin_for_ever();
}

fn a_reader_that_left_does_not_delay_the_end() {
    let mut process = Process::start("broken_pipe");
    drop(process.child.stderr.take());
    let deadline = process.number();
    assert_gone_in_time(&process.end(), deadline);
}

/// A report much longer than the pipe holds goes to a descriptor that the process has made non-blocking.
fn nonblocking() {
    // SAFETY: standard error's flags, in a process with one thread.
    unsafe {
        libc::fcntl(2, libc::F_SETFL, libc::O_NONBLOCK | libc::fcntl(2, libc::F_GETFL));
        assert_eq!(libc::fcntl(2, libc::F_SETPIPE_SZ, 32_768), 32_768);
    }
    let watchdog = Watchdog::start(options()).unwrap();
    watchdog.render(&vec![b'r'; REPORT_MAX]).unwrap();
    let deadline = now_ns() + 50 * MS;
    watchdog.arm(deadline);
    say(deadline);
    spin_for_ever();
}

fn a_slow_reader_gets_the_whole_report() {
    let mut process = Process::start("nonblocking");
    let deadline = process.number();
    let mut stderr = process.child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let mut piece = [0; 16_384];
        while let Ok(read @ 1..) = stderr.read(&mut piece) {
            text.extend_from_slice(&piece[..read]);
            std::thread::sleep(Duration::from_micros(200)); // the slowness that is tested
        }
        text
    });
    let end = process.end();
    assert_gone_in_time(&end, deadline);
    let text = reader.join().unwrap();
    let (line, report) = text.split_at(text.iter().position(|byte| *byte == b'\n').unwrap());
    assert!(line.starts_with(b"lameduck: hard deadline reached"));
    assert_eq!(report.len(), REPORT_MAX + 2);
    assert!(report[1..=REPORT_MAX].iter().all(|byte| *byte == b'r'));
}

// With the stacks of the threads.

extern "C" fn print_stacks(_: c_int) {
    // SAFETY: the buffer is readable for its length.
    unsafe { libc::write(2, b"stacks\n".as_ptr().cast(), 7) };
}

fn print_with_stacks(signal: c_int) {
    let watchdog = Watchdog::start(Options { stacks: Some(signal), ..options() }).unwrap();
    watchdog.render(REPORT).unwrap();
    let deadline = now_ns() + 50 * MS;
    watchdog.arm(deadline);
    say(deadline);
    spin_for_ever();
}

fn stacks() {
    let signal = libc::SIGRTMAX();
    // SAFETY: the handler is async-signal-safe.
    unsafe { libc::signal(signal, print_stacks as *const () as usize) };
    print_with_stacks(signal);
}

/// By its default action the signal would end the process before the report.
fn no_stacks() {
    print_with_stacks(libc::SIGRTMAX());
}

fn the_stacks_come_before_the_report() {
    for (scenario, begin) in [("stacks", "stacks\nlameduck: hard"), ("no_stacks", "lameduck: hard")]
    {
        let mut process = Process::start(scenario);
        let deadline = process.number();
        let end = process.end();
        assert_gone_in_time(&end, deadline);
        assert!(end.stderr.starts_with(begin), "{end:?}");
        assert_printed(&end, &["hard deadline reached", "lameduck-report/1"]);
    }
}

// Armed by a signal.

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: c_int) {
    HANDLED.fetch_add(1, SeqCst);
}

fn server(budget_ns: u64) -> (Interposer, Watchdog) {
    // SAFETY: the handler is async-signal-safe.
    unsafe { libc::signal(libc::SIGTERM, count as *const () as usize) };
    let interposer = Interposer::chain(libc::SIGTERM).unwrap();
    let ledger = Arc::new(Ledger::new(Spacing::Line));
    for connection in 0..5 {
        let handle = ledger.open(0).unwrap().handle;
        for _ in 0..connection {
            let _ = ledger.begin(handle).unwrap();
        }
    }
    let signals = vec![libc::SIGTERM];
    let ledger = Some(ledger);
    let watchdog = Watchdog::start(Options { signals, budget_ns, ledger, ..options() }).unwrap();
    (interposer, watchdog)
}

fn unhandled() {
    let (_interposer, watchdog) = server(300 * MS);
    watchdog.render(REPORT).unwrap(); // while serving: says nothing about the shutdown
    say(0);
    spin_for_ever();
}

fn an_unhandled_signal_sets_the_deadline() {
    let mut process = Process::start("unhandled");
    process.number();
    let sent = now_ns();
    process.signal(libc::SIGTERM);
    process.signal(libc::SIGTERM);
    let end = process.end();
    assert_gone_in_time(&end, sent + 300 * MS);
    assert_printed(
        &end,
        &[
            "lameduck: hard deadline reached: event loop blocked: SIGTERM came 3",
            "5 connections, 10 requests in flight (ledger)\n",
            r#"{"schema":"lameduck-report/1","phase":"serving","cause":"terminate","took_ms":3"#,
            r#""lost":["event loop blocked: SIGTERM came 3"#,
            r#"ago and nobody handled it","10 requests were cut at the hard deadline"]"#,
            r#""connections":{"adopted":5,"opened":0,"forced":0,"open":5}"#,
            r#""requests":{"adopted":10,"admitted":0"#,
            r#","event_loop_blocked_ms":3"#,
        ],
    );
    assert!((300..400).contains(&printed_number(&end, "SIGTERM came ")), "{end:?}");
}

/// What a driver knows while it serves is kept, whatever it rendered before.
fn unhandled_serving() {
    let (_interposer, watchdog) = server(100 * MS);
    let settings = Settings { window: Some(Duration::from_secs(7)), ..Settings::default() };
    let policy = Policy::resolve(&settings, &Settings::default()).unwrap();
    let mut machine = Machine::new(policy);
    let job = Event::JobStarted {
        job: JobId(1),
        name: "import".to_owned(),
        source: JobSource::Background,
        on_drain: OnDrain::Wait,
    };
    machine.handle(job, Time::from_nanos(now_ns())).unwrap();
    watchdog.render_serving(&machine.report(Time::from_nanos(now_ns()))).unwrap();
    say(0);
    spin_for_ever();
}

fn an_unhandled_signal_is_reported_with_what_serving_knew() {
    let mut process = Process::start("unhandled_serving");
    process.number();
    let sent = now_ns();
    process.signal(libc::SIGTERM);
    let end = process.end();
    assert_gone_in_time(&end, sent + 100 * MS);
    assert_printed(
        &end,
        &[
            r#""exit_code":3,"lost":["event loop blocked: SIGTERM came 1"#,
            r#"{"name":"window","ms":7000,"origin":"code"}"#,
            r#""jobs":{"completed":0,"failed":0,"cancelled":0,"aborted":0,"forced":0,"running":1}"#,
            r#""blockers":{"requests":10,"#,
            r#""name":"import""#,
        ],
    );
}

/// Handles the signal, drains for a while, then blocks.
fn blocked() {
    let (interposer, watchdog) = server(1_000 * MS);
    say(0);
    while HANDLED.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    let arrival = interposer.first_arrival().unwrap();
    watchdog.arm(arrival + 900 * MS); // the driver's own deadline counts
    while now_ns() < arrival + 100 * MS {
        watchdog.render(REPORT).unwrap();
    }
    say(arrival + 900 * MS);
    spin_for_ever();
}

fn a_loop_blocked_while_draining_is_named() {
    let mut process = Process::start("blocked");
    process.number();
    process.signal(libc::SIGTERM);
    let deadline = process.number();
    let end = process.end();
    assert_gone_in_time(&end, deadline);
    assert_printed(&end, &["reached: event loop blocked for", "5 connections, 10 requests"]);
    assert!((200..900).contains(&printed_number(&end, "blocked for ")), "{end:?}");
    let report = r#"{"schema":"lameduck-report/1","phase":"draining","event_loop_blocked_ms":"#;
    assert!(end.stderr.contains(report), "{end:?}");
}

fn beating() {
    let (_interposer, watchdog) = server(200 * MS);
    say(0);
    while HANDLED.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    watchdog.render(REPORT).unwrap();
    loop {
        watchdog.heartbeat();
    }
}

fn a_living_loop_is_not_called_blocked() {
    let mut process = Process::start("beating");
    process.number();
    let sent = now_ns();
    process.signal(libc::SIGTERM);
    let end = process.end();
    assert_gone_in_time(&end, sent + 200 * MS);
    assert_printed(&end, &["hard deadline reached: the process ends now; 5 connections"]);
    assert!(!end.stderr.contains("blocked"));
    assert!(end.stderr.contains(std::str::from_utf8(REPORT).unwrap()), "{end:?}");
}

fn extended() {
    let (_interposer, watchdog) = server(5_000 * MS);
    assert!(!watchdog.extend(now_ns() + MS), "not armed yet");
    // SAFETY: no preconditions.
    unsafe { libc::raise(libc::SIGTERM) };
    let deadline = now_ns() + 150 * MS;
    while !watchdog.extend(deadline) {
        std::thread::yield_now(); // until the signal has armed it
    }
    assert!(watchdog.extend(deadline + 150 * MS));
    say(deadline + 150 * MS);
    spin_for_ever();
}

fn an_extended_deadline_counts() {
    let mut process = Process::start("extended");
    let deadline = process.number();
    assert_gone_in_time(&process.end(), deadline);
}

fn shortened() {
    let watchdog = Watchdog::start(options()).unwrap();
    watchdog.arm(now_ns() + 60_000 * MS);
    // The killer is waiting by now, or about to.
    std::thread::sleep(Duration::from_millis(20));
    let deadline = now_ns() + 100 * MS;
    assert!(watchdog.extend(deadline));
    assert_eq!(watchdog.deadline(), Some(deadline));
    say(deadline);
    spin_for_ever();
}

fn a_shortened_deadline_counts() {
    let mut process = Process::start("shortened");
    let deadline = process.number();
    assert_gone_in_time(&process.end(), deadline);
}

/// Extends as close to the deadline as it can.
fn extend_race() {
    let watchdog = Watchdog::start(options()).unwrap();
    let deadline = now_ns() + 2 * MS;
    watchdog.arm(deadline);
    let moment = deadline + deadline % 10 * 25_000; // 0 to 0.2 ms later
    while now_ns() < moment {}
    if watchdog.extend(deadline + 60_000 * MS) {
        println!("extended");
        while now_ns() < deadline + 20 * MS {} // the time in which nothing may happen
        std::process::exit(7);
    }
    spin_for_ever();
}

fn extending_and_the_deadline_never_both_win() {
    let mut extended = 0;
    for _ in 0..100 {
        let end = Process::start("extend_race").end();
        match end.status.code() {
            Some(7) => assert_eq!((&*end.stdout, &*end.stderr), ("extended\n", ""), "{end:?}"),
            Some(3) => assert_eq!(end.stdout, "", "{end:?}"),
            _ => panic!("{end:?}"),
        }
        extended += u32::from(end.status.code() == Some(7));
    }
    println!("  extended in time {extended} times of 100");
}

// Time itself.

/// Sleeps, as a server does whose event loop waits for something that never comes.
fn stopped() {
    let watchdog = Watchdog::start(options()).unwrap();
    let deadline = now_ns() + 100 * MS;
    watchdog.arm(deadline);
    say(deadline);
    loop {
        std::thread::park();
    }
}

fn a_process_stopped_across_the_deadline_ends_when_continued() {
    let mut process = Process::start("stopped");
    let deadline = process.number();
    process.signal(libc::SIGSTOP);
    while now_ns() < deadline + 150 * MS {
        std::thread::sleep(Duration::from_millis(1)); // across the deadline
    }
    assert!(process.child.try_wait().unwrap().is_none(), "a stopped process does not end");
    process.signal(libc::SIGCONT);
    let continued = now_ns();
    let end = process.end();
    assert_gone_in_time(&end, continued);
    assert_printed(&end, &["hard deadline reached"]);
}

/// By how many seconds the wall clock was set, as far as this process can tell.
static STEP: AtomicI64 = AtomicI64::new(0);
/// How often it was read since.
static WALL_CLOCK_READ: AtomicU32 = AtomicU32::new(0);

/// The C library's, for this whole binary and the standard library in it: the wall clock can be stepped.
///
/// # Safety
/// `time` must point to a writable timespec.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as c_int;
    if clock == libc::CLOCK_REALTIME {
        WALL_CLOCK_READ.fetch_add(1, SeqCst);
        // SAFETY: as above, and written just now.
        unsafe { (*time).tv_sec += STEP.load(SeqCst) };
    }
    result
}

/// Ends this process when it lets the kernel wait by the wall clock: a futex, or a sleep, that says so.
fn forbid_waiting_by_the_wall_clock() {
    const FUTEX_CLOCK_REALTIME: u32 = 256;
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let (equal, bits) = (libc::BPF_JMP | libc::BPF_JEQ, libc::BPF_JMP | libc::BPF_JSET);
    let arguments = std::mem::offset_of!(libc::seccomp_data, args) as u32;
    let low = if cfg!(target_endian = "little") { 0 } else { 4 };
    let jump = |statement, jt, jf| libc::sock_filter { jt, jf, ..statement };
    let mut program = [
        statement(load, std::mem::offset_of!(libc::seccomp_data, nr) as u32),
        jump(statement(equal, libc::SYS_futex as u32), 0, 2),
        statement(load, arguments + 8 + low), // the operation
        jump(statement(bits, FUTEX_CLOCK_REALTIME), 4, 3),
        jump(statement(equal, libc::SYS_clock_nanosleep as u32), 0, 2),
        statement(load, arguments + low), // the clock
        jump(statement(equal, libc::CLOCK_REALTIME as u32), 1, 0),
        statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW),
        statement(libc::BPF_RET, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program outlives the calls, which copy it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let seccomp = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program);
        assert_eq!(seccomp, 0, "{}", std::io::Error::last_os_error());
    }
}

/// A day forwards, then two back, while the watchdog waits. The argument asks for a look at the wall clock.
fn stepped() {
    forbid_waiting_by_the_wall_clock();
    let (_interposer, watchdog) = server(10_000 * MS);
    watchdog.heartbeat();
    let before = WALL_CLOCK_READ.load(SeqCst);
    let day = 24 * 60 * 60;
    STEP.store(day, SeqCst);
    // SAFETY: no preconditions.
    unsafe { libc::raise(libc::SIGTERM) };
    let deadline = now_ns() + 500 * MS;
    watchdog.arm(deadline);
    STEP.store(-day, SeqCst);
    watchdog.render(REPORT).unwrap();
    while now_ns() < deadline - 400 * MS {
        watchdog.heartbeat();
    }
    say(deadline);
    say((WALL_CLOCK_READ.load(SeqCst) - before).into());
    // The counter counts, and the step shows.
    let wall = std::time::SystemTime::now().elapsed().unwrap_or_default();
    STEP.store(0, SeqCst);
    say((WALL_CLOCK_READ.load(SeqCst) - before).into());
    assert!(wall < Duration::from_secs(1));
    spin_for_ever();
}

fn the_wall_clock_changes_nothing() {
    let mut process = Process::start("stepped");
    let deadline = process.number();
    assert_eq!(process.number(), 0, "the watchdog read the wall clock");
    assert_eq!(process.number(), 2, "the test cannot tell whether it did");
    assert_gone_in_time(&process.end(), deadline);
}

fn past() {
    let watchdog = Watchdog::start(options()).unwrap();
    let now = now_ns();
    say(now);
    watchdog.arm(now - 1_000 * MS);
    spin_for_ever();
}

fn a_deadline_in_the_past_ends_at_once() {
    let mut process = Process::start("past");
    let now = process.number();
    assert_gone_in_time(&process.end(), now);
}

// Clean shutdowns.

fn clean() {
    let (_interposer, watchdog) = server(500 * MS);
    // SAFETY: no preconditions.
    unsafe { libc::raise(libc::SIGTERM) };
    watchdog.render(REPORT).unwrap();
    drop(watchdog);
    std::process::exit(7);
}

fn a_clean_shutdown_is_never_touched() {
    let runs = std::env::var("LAMEDUCK_CLEAN_SHUTDOWNS");
    let runs = runs.map_or(500, |runs| runs.parse().unwrap());
    for _ in 0..runs / 2 {
        // Two at a time, one per core.
        for end in [Process::start("clean"), Process::start("clean")].map(Process::end) {
            assert_eq!((end.status.code(), &*end.stderr), (Some(7), ""), "{end:?}");
        }
    }
    println!("  {runs} clean shutdowns");
}

/// Disarms as close to the deadline as it can.
fn race() {
    let watchdog = Watchdog::start(options()).unwrap();
    let deadline = now_ns() + 2 * MS;
    watchdog.arm(deadline);
    let moment = deadline + deadline % 10 * 25_000; // 0 to 0.2 ms later
    while now_ns() < moment {}
    if watchdog.disarm() {
        println!("disarmed");
        std::process::exit(7);
    }
    spin_for_ever();
}

fn disarming_and_the_deadline_never_both_win() {
    let mut disarmed = 0;
    for _ in 0..100 {
        let end = Process::start("race").end();
        match end.status.code() {
            Some(7) => assert_eq!((&*end.stdout, &*end.stderr), ("disarmed\n", ""), "{end:?}"),
            Some(3) => assert_eq!(end.stdout, "", "{end:?}"),
            _ => panic!("{end:?}"),
        }
        disarmed += u32::from(end.status.code() == Some(7));
    }
    println!("  disarmed in time {disarmed} times of 100");
}

fn called_off() {
    let (interposer, watchdog) = server(10 * MS);
    assert!(watchdog.disarm());
    // SAFETY: no preconditions.
    unsafe { libc::raise(libc::SIGTERM) };
    let arrival = interposer.first_arrival().unwrap();
    while now_ns() < arrival + 100 * MS {
        std::thread::sleep(Duration::from_millis(1)); // the time in which nothing may happen
    }
    assert_eq!(watchdog.deadline(), None);
    std::process::exit(7);
}

fn a_signal_does_not_rearm_what_was_called_off() {
    let end = Process::start("called_off").end();
    assert_eq!((end.status.code(), &*end.stderr), (Some(7), ""), "{end:?}");
}

// Forks.

fn fork() -> libc::pid_t {
    // SAFETY: the child uses atomics, system calls, and an allocator that no other thread is in: the only others
    // are the watchdog's, which wait.
    unsafe { libc::fork() }
}

fn forked() {
    let (interposer, watchdog) = server(100 * MS);
    let deadline = now_ns() + 150 * MS;
    watchdog.arm(deadline);
    if fork() != 0 {
        spin_for_ever();
    }
    // SAFETY: no preconditions.
    unsafe { libc::raise(libc::SIGTERM) };
    assert_eq!(HANDLED.load(SeqCst), 1, "in the child the handler chains");
    assert_eq!((interposer.arrivals(), interposer.first_arrival()), (0, None));
    assert!(!watchdog.arm(1) && !watchdog.disarm() && !watchdog.extend(1));
    watchdog.render(REPORT).unwrap();
    watchdog.heartbeat();
    drop(watchdog);
    drop(interposer);
    while now_ns() < deadline + 100 * MS {
        std::thread::sleep(Duration::from_millis(1)); // the time in which nothing may happen
    }
    println!("the child is well");
    std::process::exit(0);
}

fn a_forked_child_is_left_alone() {
    let end = Process::start("forked").end();
    assert_eq!(end.status.code(), Some(3), "{end:?}");
    assert_eq!(end.stdout, "the child is well\n");
}

fn forked_own() {
    let (_interposer, parents) = server(10 * MS);
    let child = fork();
    if child == 0 {
        let _again = Interposer::chain(libc::SIGTERM).unwrap();
        let signals = vec![libc::SIGTERM];
        let own = Options { signals, budget_ns: 50 * MS, exit_code: 4, ..options() };
        let _own = Watchdog::start(own).unwrap();
        // SAFETY: no preconditions.
        unsafe { libc::raise(libc::SIGTERM) };
        spin_for_ever();
    }
    let mut status = 0;
    // SAFETY: the child was forked above; the pointer is to a writable int.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(libc::WEXITSTATUS(status), 4);
    assert_eq!(parents.deadline(), None, "the child's signal is not the parent's");
    std::process::exit(7);
}

fn a_forked_child_can_have_its_own() {
    let end = Process::start("forked_own").end();
    assert_eq!(end.status.code(), Some(7), "{end:?}");
    assert!((50..150).contains(&printed_number(&end, "SIGTERM came ")), "{end:?}");
}

/// Closes all descriptors but the standard ones, as daemons do.
fn daemon() {
    let (_interposer, _watchdog) = server(100 * MS);
    // SAFETY: nothing in this process uses the others but the watchdog, whose case this is.
    assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
    say(0);
    let used = || {
        // SAFETY: zeroed timespec, written to by the call.
        unsafe {
            let mut time: libc::timespec = std::mem::zeroed();
            libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time);
            time.tv_nsec as u64 + time.tv_sec as u64 * 1_000 * MS
        }
    };
    let before = used();
    std::thread::sleep(Duration::from_millis(100)); // the time in which the watchdog may not spin
    say((used() - before) / MS);
    spin_for_ever();
}

fn closed_descriptors_do_not_stop_it() {
    let mut process = Process::start("daemon");
    process.number();
    let used = process.number();
    assert!(used < 50, "the watchdog spun for {used} ms of 100");
    let sent = now_ns();
    process.signal(libc::SIGTERM);
    assert_gone_in_time(&process.end(), sent + 100 * MS);
}

/// Standard error was closed before the watchdog started; the next descriptor that is opened must not be taken for it.
fn no_stderr() {
    // SAFETY: nothing in this process uses it.
    assert_eq!(unsafe { libc::close(2) }, 0);
    let (_interposer, _watchdog) = server(100 * MS);
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(file.as_raw_fd(), 2);
    say(0);
    spin_for_ever();
}

fn a_closed_standard_error_does_not_stop_it() {
    let mut process = Process::start("no_stderr");
    process.number();
    let sent = now_ns();
    process.signal(libc::SIGTERM);
    assert_gone_in_time(&process.end(), sent + 100 * MS);
}

// In this process.

fn its_threads_take_no_signals() {
    let _watchdog = Watchdog::start(options()).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.clear(); // a thread gets its name a moment after its start
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let field = |name| {
                let line = status.lines().find_map(|line: &str| line.strip_prefix(name));
                line.unwrap().trim().to_owned()
            };
            let blocked = u64::from_str_radix(&field("SigBlk:"), 16).unwrap();
            if field("Name:").starts_with("lameduck-") {
                seen.push(blocked & 1 << (libc::SIGTERM - 1) != 0);
            }
        }
    }
    assert_eq!(seen, [true, true]);
    // SAFETY: a zeroed set is valid, and only written to.
    let ours = unsafe {
        let mut ours = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut ours);
        libc::sigismember(&ours, libc::SIGTERM)
    };
    assert_eq!(ours, 0, "the starting thread's mask is as it was");
}

fn dropping_takes_no_time() {
    let mut times: Vec<_> = (0..101)
        .map(|round| {
            let watchdog = Watchdog::start(options()).unwrap();
            if round % 2 == 0 {
                watchdog.arm(now_ns() + 60_000 * MS);
            }
            let before = now_ns();
            drop(watchdog);
            now_ns() - before
        })
        .collect();
    times.sort_unstable();
    let milliseconds = times[50] as f64 / MS as f64;
    assert!(milliseconds < 10.0, "{milliseconds} ms");
    println!("  {milliseconds:.2} ms (median)");
}

fn wrong_calls_are_refused() {
    let closed = Options { descriptor: Some(12_345), ..options() };
    let error = Watchdog::start(closed).unwrap_err();
    assert!(matches!(error, WatchdogError::Descriptor(_)), "{error}");

    let watchdog = Watchdog::start(Options { descriptor: None, ..options() }).unwrap();
    let long = vec![0; REPORT_MAX + 1];
    assert_eq!(watchdog.render(&long), Err(ReportTooLong { bytes: REPORT_MAX + 1 }));

    // Sixteen at a time; then an error, and each that is dropped makes room.
    let mut others: Vec<_> = (0..15).map(|_| Watchdog::start(options()).unwrap()).collect();
    let error = Watchdog::start(options()).unwrap_err();
    assert!(matches!(error, WatchdogError::Resources(_)), "{error}");
    others.pop();
    Watchdog::start(options()).unwrap();
}
