//! The signal interposer, each scenario in a process of its own, on its only thread.

mod common;

use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode};
use std::ptr::null;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::{Named, Process};
use lameduck_host::clock::now_ns;
use lameduck_host::interposer::{
    Interposer, InterposerError, MAX_HANDLERS, Mode, Removal, first_arrival,
};
use libc::{SIGCHLD, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

/// Scenarios that check themselves: the test is that they end with status 0.
const SCENARIOS: &[Named] = &[
    ("a_siginfo_handler_still_runs", a_siginfo_handler_still_runs),
    ("a_plain_handler_still_runs", a_plain_handler_still_runs),
    ("an_ignored_signal_stays_ignored", an_ignored_signal_stays_ignored),
    ("a_signal_ignored_by_default_stays_so", a_signal_ignored_by_default_stays_so),
    ("removal_restores_exactly", removal_restores_exactly),
    ("flags_and_mask_are_kept", flags_and_mask_are_kept),
    ("errno_is_kept", errno_is_kept),
    ("two_instances_agree", two_instances_agree),
    ("lost_ownership_is_seen_and_respected", lost_ownership_is_seen_and_respected),
    (
        "what_was_installed_on_top_still_reaches_the_first",
        what_was_installed_on_top_still_reaches_the_first,
    ),
    ("installed_again_on_top_it_never_loops", installed_again_on_top_it_never_loops),
    ("a_slot_is_used_again_for_its_signal", a_slot_is_used_again_for_its_signal),
    ("impossible_signals_are_refused", impossible_signals_are_refused),
    ("a_forked_child_only_chains", a_forked_child_only_chains),
    ("an_executed_program_inherits_nothing", an_executed_program_inherits_nothing),
    ("a_deferred_signal_waits_for_its_delivery", a_deferred_signal_waits_for_its_delivery),
    ("a_delivery_without_a_signal_sends_it", a_delivery_without_a_signal_sends_it),
    ("the_main_thread_gets_the_delivery", the_main_thread_gets_the_delivery),
    (
        "a_main_thread_that_blocks_the_signal_does_not_swallow_it",
        a_main_thread_that_blocks_the_signal_does_not_swallow_it,
    ),
    ("two_that_defer_deliver_once", two_that_defer_deliver_once),
    ("two_modes_exclude_each_other", two_modes_exclude_each_other),
    ("what_is_held_is_never_lost", what_is_held_is_never_lost),
    ("delivered_below_somebody_elses_handler", delivered_below_somebody_elses_handler),
    ("delivered_to_whoever_replaced_it", delivered_to_whoever_replaced_it),
    ("a_deferred_signal_fails_no_blocking_call", a_deferred_signal_fails_no_blocking_call),
    ("a_one_shot_handler_outlasts_the_window", a_one_shot_handler_outlasts_the_window),
    ("a_forked_child_has_the_servers_own_action", a_forked_child_has_the_servers_own_action),
    ("a_cloned_child_chains", a_cloned_child_chains),
    ("giving_up_races_with_arrivals", giving_up_races_with_arrivals),
    ("giving_up_for_good_races_with_an_arrival", giving_up_for_good_races_with_an_arrival),
];

fn main() -> ExitCode {
    // The test of a scenario is to run it elsewhere; its name says which.
    macro_rules! elsewhere {
        ($($name:ident),* $(,)?) => {
            [$((stringify!($name), (|| {
                let end = Process::start(stringify!($name)).end();
                assert!(end.status.success(), "{end:?}");
            }) as fn())),*]
        };
    }
    let mut tests = elsewhere![
        a_siginfo_handler_still_runs,
        a_plain_handler_still_runs,
        an_ignored_signal_stays_ignored,
        a_signal_ignored_by_default_stays_so,
        removal_restores_exactly,
        flags_and_mask_are_kept,
        errno_is_kept,
        two_instances_agree,
        lost_ownership_is_seen_and_respected,
        what_was_installed_on_top_still_reaches_the_first,
        installed_again_on_top_it_never_loops,
        a_slot_is_used_again_for_its_signal,
        impossible_signals_are_refused,
        a_forked_child_only_chains,
        an_executed_program_inherits_nothing,
        a_deferred_signal_waits_for_its_delivery,
        a_delivery_without_a_signal_sends_it,
        the_main_thread_gets_the_delivery,
        a_main_thread_that_blocks_the_signal_does_not_swallow_it,
        two_that_defer_deliver_once,
        two_modes_exclude_each_other,
        what_is_held_is_never_lost,
        delivered_below_somebody_elses_handler,
        delivered_to_whoever_replaced_it,
        a_deferred_signal_fails_no_blocking_call,
        a_one_shot_handler_outlasts_the_window,
        a_forked_child_has_the_servers_own_action,
        a_cloned_child_chains,
        giving_up_races_with_arrivals,
        giving_up_for_good_races_with_an_arrival,
    ]
    .to_vec();
    assert_eq!(tests.len(), SCENARIOS.len());
    tests.push(("the_default_action_is_kept", the_default_action_is_kept));
    tests.push((
        "delivered_by_default_it_ends_the_process",
        delivered_by_default_it_ends_the_process,
    ));
    let mut scenarios = SCENARIOS.to_vec();
    scenarios.push(("wait_by_default", wait_by_default));
    scenarios.push(("deliver_by_default", deliver_by_default));
    common::run(&tests, &scenarios)
}

static RUNS: AtomicU32 = AtomicU32::new(0);
static SENDER: AtomicI32 = AtomicI32::new(0);
static THREAD: AtomicI32 = AtomicI32::new(0);
static OTHER_RUNS: AtomicU32 = AtomicU32::new(0);
static OTHERS_PREVIOUS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn plain(_: c_int) {
    // SAFETY: no preconditions.
    THREAD.store(unsafe { libc::syscall(libc::SYS_gettid) } as i32, SeqCst);
    RUNS.fetch_add(1, SeqCst);
}

extern "C" fn with_info(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    assert!(!context.is_null());
    // SAFETY: the kernel's, passed on by the interposer.
    SENDER.store(unsafe { (*info).si_pid() }, SeqCst);
    RUNS.fetch_add(1, SeqCst);
}

/// What another library installs on top of ours: counts, then runs what was there before.
extern "C" fn other(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    OTHER_RUNS.fetch_add(1, SeqCst);
    let previous = OTHERS_PREVIOUS.load(SeqCst);
    if previous > 1 {
        // SAFETY: the address of a handler that was installed with SA_SIGINFO.
        let previous: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
            unsafe { std::mem::transmute(previous) };
        previous(signal, info, context);
    }
}

fn install(signal: c_int, handler: usize, flags: c_int) -> libc::sigaction {
    // SAFETY: a zeroed sigaction is valid; the handlers of this file are async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        let mut replaced = zeroed();
        assert_eq!(libc::sigaction(signal, &action, &mut replaced), 0);
        replaced
    }
}

fn installed(signal: c_int) -> libc::sigaction {
    // SAFETY: a zeroed sigaction is valid, and is only written to.
    unsafe {
        let mut action = zeroed();
        assert_eq!(libc::sigaction(signal, null(), &mut action), 0);
        action
    }
}

fn signals_of(set: &libc::sigset_t) -> Vec<c_int> {
    // SAFETY: a valid set.
    (1..65).filter(|signal| unsafe { libc::sigismember(set, *signal) } == 1).collect()
}

fn raise(signal: c_int) {
    // SAFETY: no preconditions.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

const PLAIN: fn() -> usize = || plain as *const () as usize;
const WITH_INFO: fn() -> usize = || with_info as *const () as usize;
const OTHER: fn() -> usize = || other as *const () as usize;

fn a_siginfo_handler_still_runs() {
    install(SIGTERM, WITH_INFO(), libc::SA_SIGINFO);
    let interposer = Interposer::chain(SIGTERM).unwrap();
    assert_eq!((interposer.arrivals(), interposer.first_arrival()), (0, None));
    let before = now_ns();
    raise(SIGTERM);
    let between = now_ns();
    raise(SIGTERM);
    assert_eq!(RUNS.load(SeqCst), 2);
    assert_eq!(SENDER.load(SeqCst), std::process::id() as i32);
    let first = interposer.first_arrival().unwrap();
    assert!(before <= first && first <= between);
    assert_eq!(interposer.arrivals(), 2);
    assert_eq!((first_arrival(SIGTERM), first_arrival(SIGINT)), (Some(first), None));
}

fn a_plain_handler_still_runs() {
    install(SIGTERM, PLAIN(), libc::SA_RESTART);
    install(SIGINT, PLAIN(), 0);
    let terminate = Interposer::chain(SIGTERM).unwrap();
    let interrupt = Interposer::chain(SIGINT).unwrap();
    raise(SIGTERM);
    raise(SIGINT);
    assert_eq!(RUNS.load(SeqCst), 2);
    assert_eq!((terminate.arrivals(), interrupt.arrivals()), (1, 1));
}

fn an_ignored_signal_stays_ignored() {
    install(SIGTERM, libc::SIG_IGN, 0);
    let interposer = Interposer::chain(SIGTERM).unwrap();
    raise(SIGTERM);
    assert_eq!(interposer.arrivals(), 1);
    assert_eq!(interposer.remove(), Removal::Restored);
    assert_eq!(installed(SIGTERM).sa_sigaction, libc::SIG_IGN);
}

fn a_signal_ignored_by_default_stays_so() {
    let interposer = Interposer::chain(SIGCHLD).unwrap();
    raise(SIGCHLD);
    raise(SIGCHLD);
    assert_eq!(interposer.arrivals(), 2);
    assert!(interposer.owned());
}

fn wait_by_default() {
    let _interposer = Interposer::chain(SIGTERM).unwrap();
    println!("ready");
    loop {
        // SAFETY: no preconditions.
        unsafe { libc::pause() };
    }
}

fn the_default_action_is_kept() {
    let mut process = Process::start("wait_by_default");
    assert_eq!(process.line(), "ready");
    process.signal(SIGTERM);
    let end = process.end();
    assert_eq!(end.status.signal(), Some(SIGTERM), "{end:?}");
}

fn removal_restores_exactly() {
    // SAFETY: a zeroed sigaction is valid.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = WITH_INFO();
    action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_NOCLDSTOP;
    // SAFETY: valid sets and actions.
    unsafe {
        libc::sigaddset(&mut action.sa_mask, SIGUSR1);
        libc::sigaddset(&mut action.sa_mask, SIGUSR2);
        libc::sigaction(SIGTERM, &action, std::ptr::null_mut());
    }
    let before = installed(SIGTERM);
    let interposer = Interposer::chain(SIGTERM).unwrap();
    assert_ne!(installed(SIGTERM).sa_sigaction, before.sa_sigaction);
    assert_eq!(interposer.remove(), Removal::Restored);
    let after = installed(SIGTERM);
    assert_eq!(after.sa_sigaction, before.sa_sigaction);
    assert_eq!(after.sa_flags, before.sa_flags);
    assert_eq!(signals_of(&after.sa_mask), [SIGUSR1, SIGUSR2]);
    assert_eq!(first_arrival(SIGTERM), None);
    raise(SIGTERM);
    assert_eq!(RUNS.load(SeqCst), 1);
}

fn flags_and_mask_are_kept() {
    install(SIGTERM, PLAIN(), libc::SA_NODEFER);
    install(SIGINT, PLAIN(), libc::SA_RESTART);
    let _both = [Interposer::chain(SIGTERM).unwrap(), Interposer::chain(SIGINT).unwrap()];
    let added = libc::SA_SIGINFO | libc::SA_ONSTACK;
    let flags = |signal| installed(signal).sa_flags & (added | libc::SA_RESTART | libc::SA_NODEFER);
    assert_eq!(flags(SIGTERM), added | libc::SA_NODEFER);
    assert_eq!(flags(SIGINT), added | libc::SA_RESTART);
}

fn errno_is_kept() {
    install(SIGTERM, libc::SIG_IGN, 0);
    let _interposer = Interposer::chain(SIGTERM).unwrap();
    let options = lameduck_host::watchdog::Options { descriptor: None, ..Default::default() };
    let _watchdog = lameduck_host::watchdog::Watchdog::start(options).unwrap();
    for _ in 0..1000 {
        // SAFETY: an impossible descriptor, which sets errno to EBADF.
        unsafe { libc::close(-1) };
        raise(SIGTERM);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
    }
}

fn two_instances_agree() {
    install(SIGTERM, PLAIN(), 0);
    let one = Interposer::chain(SIGTERM).unwrap();
    let two = Interposer::chain(SIGTERM).unwrap();
    raise(SIGTERM);
    assert_eq!(RUNS.load(SeqCst), 1, "one signal, one run");
    assert_eq!((one.arrivals(), two.arrivals()), (1, 1));
    assert_eq!(one.first_arrival(), two.first_arrival());
    assert!(one.owned() && two.owned());
    assert_eq!(one.remove(), Removal::Shared);
    raise(SIGTERM);
    assert_eq!((two.arrivals(), RUNS.load(SeqCst)), (2, 2));
    assert_eq!(two.remove(), Removal::Restored);
    assert_eq!(installed(SIGTERM).sa_sigaction, PLAIN());
}

fn lost_ownership_is_seen_and_respected() {
    install(SIGTERM, PLAIN(), 0);
    let interposer = Interposer::chain(SIGTERM).unwrap();
    assert!(interposer.owned());
    install(SIGTERM, OTHER(), libc::SA_SIGINFO);
    assert!(!interposer.owned());
    assert_eq!(interposer.remove(), Removal::NotOurs);
    assert_eq!(installed(SIGTERM).sa_sigaction, OTHER());
}

fn what_was_installed_on_top_still_reaches_the_first() {
    install(SIGTERM, PLAIN(), 0);
    let interposer = Interposer::chain(SIGTERM).unwrap();
    let ours = install(SIGTERM, OTHER(), libc::SA_SIGINFO);
    OTHERS_PREVIOUS.store(ours.sa_sigaction, SeqCst);
    raise(SIGTERM);
    assert_eq!((OTHER_RUNS.load(SeqCst), RUNS.load(SeqCst), interposer.arrivals()), (1, 1, 1));
    drop(interposer);
    raise(SIGTERM);
    assert_eq!((OTHER_RUNS.load(SeqCst), RUNS.load(SeqCst)), (2, 2), "it chains for ever");
    assert_eq!(first_arrival(SIGTERM), None, "but notes nothing any more");
    // The other one is removed and restores ours: then ours is taken up again.
    install(SIGTERM, ours.sa_sigaction, libc::SA_SIGINFO);
    let again = Interposer::chain(SIGTERM).unwrap();
    raise(SIGTERM);
    assert_eq!((again.arrivals(), RUNS.load(SeqCst)), (1, 3));
    assert_eq!(again.remove(), Removal::Restored);
    assert_eq!(installed(SIGTERM).sa_sigaction, PLAIN());
}

fn installed_again_on_top_it_never_loops() {
    install(SIGTERM, PLAIN(), 0);
    let first = Interposer::chain(SIGTERM).unwrap();
    let ours = install(SIGTERM, OTHER(), libc::SA_SIGINFO);
    OTHERS_PREVIOUS.store(ours.sa_sigaction, SeqCst);
    let second = Interposer::chain(SIGTERM).unwrap();
    assert!(second.owned() && !first.owned());
    raise(SIGTERM);
    assert_eq!((OTHER_RUNS.load(SeqCst), RUNS.load(SeqCst)), (1, 1));
    assert_eq!(first_arrival(SIGTERM), second.first_arrival(), "the earliest counts");
    assert_eq!(second.remove(), Removal::Restored);
    assert_eq!(installed(SIGTERM).sa_sigaction, OTHER());
    assert_eq!(first.remove(), Removal::NotOurs);

    // Somebody keeps installing on top: at some point we give up, with a clear error.
    install(SIGUSR1, OTHER(), libc::SA_SIGINFO);
    OTHERS_PREVIOUS.store(0, SeqCst);
    let mut kept = Vec::new();
    let error = loop {
        match Interposer::chain(SIGUSR1) {
            Ok(interposer) => kept.push(interposer),
            Err(error) => break error,
        }
        install(SIGUSR1, OTHER(), libc::SA_SIGINFO);
    };
    assert_eq!((error, kept.len()), (InterposerError::TooMany, MAX_HANDLERS - 2));
    assert_eq!(installed(SIGUSR1).sa_sigaction, OTHER(), "nothing changed");
}

fn a_slot_is_used_again_for_its_signal() {
    install(SIGTERM, PLAIN(), 0);
    for round in 1..100 {
        let interposer = Interposer::chain(SIGTERM).unwrap();
        raise(SIGTERM);
        assert_eq!((interposer.arrivals(), RUNS.load(SeqCst)), (1, round));
    }
    assert_eq!(installed(SIGTERM).sa_sigaction, PLAIN());
}

fn impossible_signals_are_refused() {
    let refusal = |signal| Interposer::chain(signal).unwrap_err();
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        assert_eq!(refusal(signal), InterposerError::Uncatchable { signal });
    }
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT] {
        let before = installed(signal).sa_sigaction;
        assert_eq!(refusal(signal), InterposerError::Fault { signal });
        assert_eq!(installed(signal).sa_sigaction, before);
    }
    for signal in [-1, 0, 65, 1000, i32::MAX, i32::MIN] {
        assert_eq!(refusal(signal), InterposerError::Unknown { signal });
    }
    println!("{}", refusal(libc::SIGKILL));
}

fn a_forked_child_only_chains() {
    install(SIGTERM, PLAIN(), 0);
    let interposer = Interposer::chain(SIGTERM).unwrap();
    raise(SIGTERM);
    // SAFETY: there is one thread only, so the child may do anything.
    let child = unsafe { libc::fork() };
    if child == 0 {
        raise(SIGTERM);
        assert_eq!(RUNS.load(SeqCst), 2, "the server's own handler runs in the child");
        assert_eq!((interposer.arrivals(), interposer.first_arrival()), (0, None));
        assert_eq!(first_arrival(SIGTERM), None);
        let before = installed(SIGTERM).sa_sigaction;
        assert_eq!(interposer.remove(), Removal::Forked);
        assert_eq!(installed(SIGTERM).sa_sigaction, before);
        // The child may ask for its own.
        let own = Interposer::chain(SIGTERM).unwrap();
        raise(SIGTERM);
        assert_eq!((own.arrivals(), RUNS.load(SeqCst)), (1, 3));
        assert_eq!(own.remove(), Removal::Restored);
        assert_eq!(installed(SIGTERM).sa_sigaction, PLAIN());
        std::process::exit(9);
    }
    let mut status = 0;
    // SAFETY: the child was forked above; the pointer is to a writable int.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(libc::WEXITSTATUS(status), 9);
    assert_eq!((interposer.arrivals(), RUNS.load(SeqCst)), (1, 1));
}

fn an_executed_program_inherits_nothing() {
    let _interposer = Interposer::chain(SIGTERM).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "grep SigCgt /proc/self/status; kill -TERM $$; echo survived"]);
    // SAFETY: does nothing; forces a real fork and exec.
    unsafe { command.pre_exec(|| Ok(())) };
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let caught = text.split_whitespace().nth(1).map(|bits| u64::from_str_radix(bits, 16).unwrap());
    assert_eq!(caught.unwrap_or(0) & (1 << (SIGTERM - 1)), 0);
    assert_eq!(output.status.signal(), Some(SIGTERM), "{text}");
}

/// Exactly the same action: handler, flags, mask.
fn assert_same(one: &libc::sigaction, two: &libc::sigaction) {
    assert_eq!((one.sa_sigaction, one.sa_flags), (two.sa_sigaction, two.sa_flags));
    assert_eq!(signals_of(&one.sa_mask), signals_of(&two.sa_mask));
}

/// Waits until so many handlers ran.
fn await_runs(runs: u32) {
    let limit = now_ns() + 5_000_000_000;
    while RUNS.load(SeqCst) < runs {
        assert!(now_ns() < limit, "{} of {runs} runs", RUNS.load(SeqCst));
        std::thread::yield_now();
    }
    assert_eq!(RUNS.load(SeqCst), runs);
}

fn a_deferred_signal_waits_for_its_delivery() {
    install(SIGTERM, WITH_INFO(), libc::SA_SIGINFO | libc::SA_NODEFER);
    let before = installed(SIGTERM);
    let interposer = Interposer::defer(SIGTERM).unwrap();
    assert!(interposer.owned() && !interposer.holds());
    let sent = now_ns();
    raise(SIGTERM);
    raise(SIGTERM);
    assert_eq!(RUNS.load(SeqCst), 0, "held");
    assert!(interposer.holds() && interposer.first_arrival().unwrap() >= sent);
    assert_eq!(interposer.arrivals(), 2);
    assert_eq!(interposer.deliver(), Removal::Restored);
    assert_eq!(RUNS.load(SeqCst), 1, "delivered, once");
    assert_eq!(SENDER.load(SeqCst), std::process::id() as i32);
    assert_same(&installed(SIGTERM), &before);
    raise(SIGTERM);
    assert_eq!(RUNS.load(SeqCst), 2, "nothing of ours is left");
}

fn a_delivery_without_a_signal_sends_it() {
    install(SIGTERM, PLAIN(), 0);
    assert_eq!(Interposer::defer(SIGTERM).unwrap().deliver(), Removal::Restored);
    assert_eq!(RUNS.load(SeqCst), 1);
}

fn deliver_by_default() {
    let interposer = Interposer::defer(SIGTERM).unwrap();
    raise(SIGTERM);
    println!("held");
    interposer.deliver();
    println!("survived");
}

fn delivered_by_default_it_ends_the_process() {
    let end = Process::start("deliver_by_default").end();
    assert_eq!((end.status.signal(), &*end.stdout), (Some(SIGTERM), "held\n"), "{end:?}");
}

fn the_main_thread_gets_the_delivery() {
    install(SIGTERM, PLAIN(), 0);
    for round in 1..=100 {
        let interposer = Interposer::defer(SIGTERM).unwrap();
        std::thread::spawn(move || {
            raise(SIGTERM);
            assert_eq!(RUNS.load(SeqCst), round - 1);
            interposer.deliver();
        })
        .join()
        .unwrap();
        await_runs(round);
        assert_eq!(THREAD.load(SeqCst), std::process::id() as i32);
    }
}

fn a_main_thread_that_blocks_the_signal_does_not_swallow_it() {
    install(SIGTERM, PLAIN(), 0);
    let interposer = Interposer::defer(SIGTERM).unwrap();
    let (quit, worker) = std::sync::mpsc::channel::<()>();
    // Only this one takes the signal.
    let worker = std::thread::spawn(move || worker.recv());
    // SAFETY: a valid set, and the mask of this thread.
    unsafe {
        let mut set = zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        libc::kill(libc::getpid(), SIGTERM);
    }
    while !interposer.holds() {}
    interposer.deliver();
    await_runs(1);
    drop(quit);
    let _ = worker.join().unwrap();
}

fn two_that_defer_deliver_once() {
    install(SIGTERM, PLAIN(), 0);
    let one = Interposer::defer(SIGTERM).unwrap();
    let two = Interposer::defer(SIGTERM).unwrap();
    raise(SIGTERM);
    assert!(one.holds() && two.holds());
    assert_eq!(one.deliver(), Removal::Shared);
    assert_eq!(RUNS.load(SeqCst), 0, "the other one still holds it");
    assert_eq!(two.remove(), Removal::Restored);
    assert_eq!(RUNS.load(SeqCst), 1);

    let one = Interposer::defer(SIGTERM).unwrap();
    let two = Interposer::defer(SIGTERM).unwrap();
    drop(one);
    assert_eq!(two.deliver(), Removal::Restored);
    assert_eq!((RUNS.load(SeqCst), installed(SIGTERM).sa_sigaction), (2, PLAIN()));
}

fn two_modes_exclude_each_other() {
    type Install = fn(c_int) -> Result<Interposer, InterposerError>;
    install(SIGTERM, PLAIN(), 0);
    let modes: [(Mode, Install); 2] =
        [(Mode::Chain, Interposer::chain), (Mode::Defer, Interposer::defer)];
    for (index, (mode, first)) in modes.into_iter().enumerate() {
        let other = modes[1 - index].1;
        let refused = InterposerError::OtherMode { signal: SIGTERM, mode };
        let interposer = first(SIGTERM).unwrap();
        let before = installed(SIGTERM);
        assert_eq!(other(SIGTERM).unwrap_err(), refused);
        assert_same(&installed(SIGTERM), &before);
        // Below somebody else's handler too.
        let ours = install(SIGTERM, OTHER(), libc::SA_SIGINFO);
        assert_eq!(other(SIGTERM).unwrap_err(), refused);
        assert_eq!(installed(SIGTERM).sa_sigaction, OTHER());
        install(SIGTERM, ours.sa_sigaction, ours.sa_flags);
        raise(SIGTERM);
        assert_eq!((interposer.arrivals(), interposer.holds()), (1, mode == Mode::Defer));
        assert_eq!(interposer.remove(), Removal::Restored);
        println!("{refused}");
    }
    assert_eq!(RUNS.load(SeqCst), 2);
    // And nothing of one is left for the other: the same slot serves both.
    let chain = Interposer::chain(SIGTERM).unwrap();
    raise(SIGTERM);
    assert_eq!((chain.holds(), RUNS.load(SeqCst)), (false, 3));
}

fn what_is_held_is_never_lost() {
    install(SIGTERM, PLAIN(), 0);
    let interposer = Interposer::defer(SIGTERM).unwrap();
    raise(SIGTERM);
    drop(interposer);
    assert_eq!(RUNS.load(SeqCst), 1);
    let interposer = Interposer::defer(SIGTERM).unwrap();
    raise(SIGTERM);
    assert!(interposer.take() && !interposer.take() && !interposer.holds());
    assert_eq!(interposer.remove(), Removal::Restored);
    assert_eq!(RUNS.load(SeqCst), 1, "taken");
}

fn delivered_below_somebody_elses_handler() {
    install(SIGTERM, PLAIN(), 0);
    let interposer = Interposer::defer(SIGTERM).unwrap();
    let ours = install(SIGTERM, OTHER(), libc::SA_SIGINFO);
    OTHERS_PREVIOUS.store(ours.sa_sigaction, SeqCst);
    assert!(!interposer.owned());
    raise(SIGTERM);
    assert_eq!((OTHER_RUNS.load(SeqCst), RUNS.load(SeqCst), interposer.holds()), (1, 0, true));
    assert_eq!(interposer.deliver(), Removal::NotOurs);
    assert_eq!((OTHER_RUNS.load(SeqCst), RUNS.load(SeqCst)), (2, 1), "through the other one");
    assert_eq!(installed(SIGTERM).sa_sigaction, OTHER());
}

fn delivered_to_whoever_replaced_it() {
    install(SIGTERM, PLAIN(), 0);
    let interposer = Interposer::defer(SIGTERM).unwrap();
    raise(SIGTERM);
    install(SIGTERM, OTHER(), libc::SA_SIGINFO);
    assert_eq!(interposer.deliver(), Removal::NotOurs);
    assert_eq!((OTHER_RUNS.load(SeqCst), RUNS.load(SeqCst)), (1, 0));
    assert_eq!(installed(SIGTERM).sa_sigaction, OTHER());
}

fn a_deferred_signal_fails_no_blocking_call() {
    // Without SA_RESTART: with this handler in force the read would fail with EINTR.
    install(SIGTERM, PLAIN(), 0);
    let interposer = Interposer::defer(SIGTERM).unwrap();
    let mut pipe = [0; 2];
    // SAFETY: two writable ints; the child does only what may be done after a fork.
    unsafe {
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        if libc::fork() == 0 {
            let parent = libc::getppid();
            for _ in 0..20 {
                libc::usleep(5_000);
                libc::kill(parent, SIGTERM);
            }
            libc::usleep(5_000);
            libc::write(pipe[1], [7_u8].as_ptr().cast(), 1);
            libc::_exit(0);
        }
    }
    let mut byte = [0_u8];
    // SAFETY: one writable byte.
    let read = unsafe { libc::read(pipe[0], byte.as_mut_ptr().cast(), 1) };
    assert_eq!((read, byte), (1, [7]), "{}", std::io::Error::last_os_error());
    assert!(interposer.arrivals() > 0);
    assert_eq!(interposer.deliver(), Removal::Restored);
    assert_eq!((RUNS.load(SeqCst), installed(SIGTERM).sa_flags & libc::SA_RESTART), (1, 0));
}

fn a_one_shot_handler_outlasts_the_window() {
    install(SIGTERM, PLAIN(), libc::SA_RESETHAND);
    let interposer = Interposer::defer(SIGTERM).unwrap();
    raise(SIGTERM);
    raise(SIGTERM);
    assert!(interposer.owned());
    interposer.deliver();
    assert_eq!(RUNS.load(SeqCst), 1);
    assert_eq!(installed(SIGTERM).sa_sigaction, libc::SIG_DFL, "as it wished");
}

/// Ends the child with status 9 if `check` does not panic, and waits for it.
fn in_child(child: libc::pid_t, check: impl FnOnce()) {
    if child == 0 {
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_ok();
        // SAFETY: no preconditions.
        unsafe { libc::_exit(if passed { 9 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: a child of this process; the pointer is to a writable int.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(libc::WEXITSTATUS(status), 9);
}

fn a_forked_child_has_the_servers_own_action() {
    install(SIGTERM, PLAIN(), libc::SA_NODEFER);
    let own = installed(SIGTERM);
    let interposer = Interposer::defer(SIGTERM).unwrap();
    let kept = Interposer::defer(SIGTERM).unwrap();
    raise(SIGTERM);
    let ours = installed(SIGTERM);
    // SAFETY: there is one thread only, so the child may do anything.
    in_child(unsafe { libc::fork() }, || {
        assert_same(&installed(SIGTERM), &own);
        raise(SIGTERM);
        assert_eq!(RUNS.load(SeqCst), 1, "not held");
        assert!(!interposer.holds() && !interposer.take());
        assert_eq!(interposer.deliver(), Removal::Forked);
        assert_eq!(RUNS.load(SeqCst), 1, "the parent's signal is not the child's");
        // The child may hold its own, in either mode.
        let again = Interposer::defer(SIGTERM).unwrap();
        raise(SIGTERM);
        assert_eq!((again.arrivals(), RUNS.load(SeqCst)), (1, 1));
        assert_eq!(again.deliver(), Removal::Restored);
        assert_eq!(RUNS.load(SeqCst), 2);
        let chain = Interposer::chain(SIGTERM).unwrap();
        raise(SIGTERM);
        assert_eq!((chain.arrivals(), RUNS.load(SeqCst)), (1, 3));
    });
    assert_same(&installed(SIGTERM), &ours);
    assert!(kept.holds() && kept.owned(), "the parent's is untouched");
}

fn a_cloned_child_chains() {
    install(SIGTERM, PLAIN(), 0);
    let interposer = Interposer::defer(SIGTERM).unwrap();
    raise(SIGTERM);
    // SAFETY: there is one thread only; no `pthread_atfork` handler runs.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    in_child(child as libc::pid_t, || {
        raise(SIGTERM);
        assert_eq!(RUNS.load(SeqCst), 1);
        let own = Interposer::defer(SIGTERM).unwrap();
        assert!(!own.holds(), "the parent's signal is not the child's");
        raise(SIGTERM);
        assert_eq!((own.arrivals(), RUNS.load(SeqCst)), (1, 1));
        own.deliver();
        assert_eq!((RUNS.load(SeqCst), installed(SIGTERM).sa_sigaction), (2, PLAIN()));
    });
    assert!(interposer.holds() && interposer.take());
}

fn giving_up_races_with_arrivals() {
    install(SIGTERM, PLAIN(), 0);
    let quit = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !quit.load(SeqCst) {
                drop(Interposer::defer(SIGTERM).unwrap());
            }
        });
        for round in 1..=20_000 {
            raise(SIGTERM);
            await_runs(round);
        }
        quit.store(true, SeqCst);
    });
    assert_eq!(RUNS.load(SeqCst), 20_000, "each signal ran the handler once");
}

/// The one above, without a next interposer that would find what the last one left. For some seconds: how many rounds
/// that is depends on what else wants the processors.
fn giving_up_for_good_races_with_an_arrival() {
    const FOR: Duration = Duration::from_secs(4);
    const OVER: u32 = u32::MAX;
    install(SIGTERM, PLAIN(), 0);
    let began = Instant::now();
    let (round, installed) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1.. {
                while round.load(SeqCst) < number {
                    std::thread::yield_now();
                }
                if round.load(SeqCst) == OVER {
                    break;
                }
                let interposer = Interposer::defer(SIGTERM).unwrap();
                installed.store(number, SeqCst);
                drop(interposer);
            }
        });
        for number in (1..).take_while(|_| began.elapsed() < FOR) {
            round.store(number, SeqCst);
            while installed.load(SeqCst) < number {
                std::thread::yield_now();
            }
            // A little later each time, so that some meet.
            (0..number % 128).for_each(|_| std::hint::spin_loop());
            raise(SIGTERM);
            await_runs(number);
        }
        round.store(OVER, SeqCst);
    });
}
