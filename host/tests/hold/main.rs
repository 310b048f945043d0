//! The hold, around a C server under load and around processes of every other kind. Each scenario is a process of its own.

mod alone;
mod c_server;
#[path = "../common/mod.rs"]
mod common;
mod workers;

use std::ffi::{CString, c_int};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use alone::*;
use c_server::*;
use common::{End, Named, Process};
use lameduck::report::Report;
use lameduck::{
    Cause, Effect, Event, Grace, HookId, JobId, JobSource, OnDrain, Phase, Policy, Refused,
    Settings, Stage,
};
use lameduck_host::fence::Way;
use lameduck_host::hold::{Fencing, Hold, NotTaken, Options, StopFlag};
use lameduck_host::interposer::{Interposer, InterposerError, Mode};
use lameduck_host::ledger::{Ledger, Spacing};
use lameduck_host::start::StartError;
use libc::{SIGINT, SIGTERM};
use workers::*;

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
