//! The signal interposer, each scenario in a process of its own, on its only thread.

mod common;

use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode};
use std::ptr::null;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};

use common::{Named, Process};
use lameduck_host::clock::now_ns;
use lameduck_host::interposer::{
    Interposer, InterposerError, MAX_HANDLERS, Removal, first_arrival,
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
    ]
    .to_vec();
    assert_eq!(tests.len(), SCENARIOS.len());
    tests.push(("the_default_action_is_kept", the_default_action_is_kept));
    let mut scenarios = SCENARIOS.to_vec();
    scenarios.push(("wait_by_default", wait_by_default));
    common::run(&tests, &scenarios)
}

static RUNS: AtomicU32 = AtomicU32::new(0);
static SENDER: AtomicI32 = AtomicI32::new(0);
static OTHER_RUNS: AtomicU32 = AtomicU32::new(0);
static OTHERS_PREVIOUS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn plain(_: c_int) {
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
