//! A named test for each edge case of the design that the machine can express.

mod support;

use std::time::Duration;

use lameduck::{
    Cause, ConnectionId, Effect, Event, Grace, HookId, JobId, JobOutcome, JobSource, ListenerId,
    NewRequests, OnDrain, Outcome, Phase, Protocol, Readiness, Refused, RequestId, RequestKind,
    Settings, Stage, Time,
};

use support::driver::{Driver, finished, job_ended, job_started, registered, resolve, started};

const C1: ConnectionId = ConnectionId(1);
const R0: RequestId = RequestId(0);
const L1: ListenerId = ListenerId(1);

fn has(effects: &[Effect], wanted: Effect) -> bool {
    effects.contains(&wanted)
}

// Signals

#[test]
fn second_sigterm_changes_nothing() {
    let mut driver = Driver::draining();
    let wake = driver.machine.next_wake();
    driver.effects();
    driver.run(1_000);
    driver.stop(Cause::Terminate);
    assert_eq!(driver.machine.next_wake(), wake);
    assert_eq!(driver.effects(), []);
    assert!(driver.report().raised_by.is_empty());
}

#[test]
fn sigint_during_drain_ends_the_window() {
    let mut driver = Driver::draining();
    driver.run(1_000);
    driver.stop(Cause::Interrupt);
    driver.run(1_000);
    assert_eq!(driver.when(Effect::FenceListener { listener: L1 }), Some(1_000.0));
    let report = driver.finished();
    assert_eq!((report.cause, report.exit_code), (Some("terminate"), 0));
    assert_eq!(report.raised_by, ["interrupt"]);
}

#[test]
fn severity_only_rises() {
    let mut driver = Driver::serving();
    driver.stop(Cause::UncaughtException);
    driver.stop(Cause::Interrupt);
    driver.stop(Cause::Terminate);
    assert!(driver.report().raised_by.is_empty());
    assert_eq!(driver.finished().exit_code, 1);
}

#[test]
fn signal_before_any_listener_never_opens_it() {
    let mut driver = Driver::under(Settings::default());
    driver.stop(Cause::Terminate);
    assert_eq!(driver.refusal(Event::ListenerOpened { listener: L1 }), Refused::Draining);
    assert_eq!(driver.finished().exit_code, 0);
}

#[test]
fn listener_added_after_drain_is_refused() {
    let mut driver = Driver::draining();
    let late = Event::ListenerOpened { listener: ListenerId(2) };
    assert_eq!(driver.refusal(late), Refused::Draining);
}

#[test]
fn listener_error_holds_nothing_up() {
    let mut driver = Driver::draining();
    driver.take(Event::ListenerFailed { listener: L1, error: "EIO".into() });
    let report = driver.finished();
    assert_eq!(report.took_ms.0, Duration::from_secs(5));
    assert!(!has(&driver.effects(), Effect::FenceListener { listener: L1 }));
}

// Accepting

#[test]
fn backlog_at_close_is_accepted_and_served() {
    let mut driver = Driver::draining();
    driver.run(5_050);
    driver.open(1);
    driver.start(1, 0);
    driver.run(5_060);
    assert!(has(&driver.effects(), Effect::AnnounceClose { connection: C1 }));
    driver.headers(1, 0, true);
    driver.finish(1, 0);
    assert_eq!(driver.finished().requests.completed, 1);
}

#[test]
fn accept_returning_just_as_the_listener_closes_is_served() {
    let mut driver = Driver::draining();
    driver.obedient = false;
    driver.run(5_100);
    driver.open(1);
    driver.take(Event::ListenerClosed { listener: L1 });
    driver.obedient = true;
    driver.start(1, 0);
    driver.run(6_000);
    assert_eq!(driver.phase(), Phase::Draining);
    driver.finish(1, 0);
    let report = driver.finished();
    assert_eq!((report.requests.completed, report.exit_code), (1, 0));
}

#[test]
fn connected_and_silent_is_idle() {
    let mut driver = Driver::draining();
    driver.run(4_900);
    driver.open(1);
    driver.run(7_000);
    let closed = driver.when(Effect::CloseIdle { connection: C1, look: true }).expect("closed");
    assert!((5_400.0..6_500.0).contains(&closed), "{closed}");
    assert_eq!(driver.finished().exit_code, 0);
}

#[test]
fn half_read_headers_are_bounded_and_progress_does_not_extend_them() {
    let mut driver = Driver::draining();
    driver.obedient = false;
    driver.adopt(1, Protocol::Http1, 0);
    driver.run(6_000);
    driver.take(Event::ConnectionBusy { connection: C1 });
    driver.run(8_000);
    let more = Event::ConnectionBusy { connection: C1 };
    assert_eq!(driver.refusal(more), Refused::AllowanceSpent);
    driver.run(12_000);
    let over = Effect::CloseIdle { connection: C1, look: false };
    assert_eq!(driver.when(over), Some(11_000.0));
}

#[test]
fn a_busy_connection_that_completes_its_head_is_served() {
    let mut driver = Driver::draining();
    driver.obedient = false;
    driver.adopt(1, Protocol::Http1, 0);
    driver.run(6_000);
    driver.take(Event::ConnectionBusy { connection: C1 });
    driver.start(1, 0);
    driver.run(20_000);
    driver.headers(1, 0, true);
    driver.finish(1, 0);
    driver.run(20_000);
    assert_eq!(driver.report().requests.completed, 1);
}

#[test]
fn headers_complete_and_body_still_uploading_is_in_flight() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 1);
    driver.take(described(RequestKind::Upload, "PUT /file"));
    driver.run(20_000);
    assert_eq!(driver.machine.blockers(Time::default(), 10).requests, 1);
    driver.finish(1, 0);
    assert_eq!(driver.finished().requests.completed, 1);
}

fn described(kind: RequestKind, label: &str) -> Event {
    let since = Time::from_nanos(59_000_000_000);
    Event::RequestDescribed { connection: C1, request: R0, kind, label: label.into(), since }
}

#[test]
fn pipelined_requests_all_get_their_answer() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 3);
    for request in 0..3 {
        driver.headers(1, request, request == 2);
        driver.finish(1, request);
        assert_eq!(driver.report().connections.open, 1);
    }
    driver.run(10);
    assert_eq!(driver.report().connections.open, 0);
    assert_eq!(driver.finished().requests.completed, 3);
}

#[test]
fn bytes_after_the_announcing_response_are_not_processed() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 1);
    driver.headers(1, 0, true);
    driver.start(1, 1);
    let in_flight =
        |driver: &Driver, request| driver.machine.is_in_flight(ConnectionId(1), RequestId(request));
    assert!(in_flight(&driver, 0) && !in_flight(&driver, 1), "the driver is not to process it");
    assert_eq!(driver.refusal(started(1, 0)), Refused::AlreadyKnown);
    driver.finish(1, 0);
    assert!(!in_flight(&driver, 0));
    let report = driver.finished();
    assert_eq!((report.requests.not_processed, report.requests.admitted), (1, 0));
}

#[test]
fn request_started_in_the_window_is_served() {
    let mut driver = Driver::draining();
    driver.run(2_000);
    driver.open(1);
    driver.start(1, 0);
    driver.run(3_000);
    driver.finish(1, 0);
    assert_eq!(driver.finished().requests.completed, 1);
}

#[test]
fn request_started_while_emptying_is_served() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 0);
    driver.run(5_200);
    driver.start(1, 0);
    driver.run(9_000);
    driver.finish(1, 0);
    let report = driver.finished();
    assert_eq!((report.requests.completed, report.exit_code), (1, 0));
}

#[test]
fn request_started_in_closing_is_refused() {
    let mut driver = Driver::serving();
    driver.hook(1, Stage::Close, None);
    driver.stop(Cause::Terminate);
    driver.run(6_000);
    assert_eq!(driver.phase(), Phase::Closing);
    assert_eq!(driver.refusal(started(1, 0)), Refused::Closing);
}

#[test]
fn new_requests_refuse_spares_what_was_in_flight() {
    let refuse = Settings { new_requests: Some(NewRequests::Refuse), ..Settings::default() };
    let mut driver = Driver::under(refuse);
    driver.stop(Cause::Terminate);
    driver.adopt(1, Protocol::Http1, 1);
    driver.start(1, 1);
    let refused = |request| Effect::RefuseRequest { connection: C1, request: RequestId(request) };
    let effects = driver.effects();
    assert!(has(&effects, refused(1)) && !has(&effects, refused(0)));
    driver.finish(1, 0);
    driver.take(Event::RequestFinished {
        connection: C1,
        request: RequestId(1),
        outcome: Outcome::Refused,
        flushed: true,
    });
    let report = driver.finished();
    let requests = &report.requests;
    assert_eq!((requests.completed, requests.refused, report.exit_code), (1, 1, 0));
}

#[test]
fn headers_flushed_before_drain_need_the_full_quiet_period() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 1);
    driver.headers(1, 0, false);
    driver.run(8_000);
    driver.finish(1, 0);
    driver.run(10_000);
    let close = Effect::CloseIdle { connection: C1, look: true };
    assert_eq!(driver.when(close), Some(8_500.0));
}

#[test]
fn idle_means_flushed() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 1);
    driver.headers(1, 0, true);
    let outcome = Outcome::Completed;
    driver.take(Event::RequestFinished { connection: C1, request: R0, outcome, flushed: false });
    driver.run(15_000);
    assert_eq!(driver.report().connections.open, 1);
    driver.take(Event::RequestFlushed { connection: C1, request: R0 });
    driver.run(15_000);
    assert_eq!(driver.report().connections.open, 0);
}

#[test]
fn a_connection_that_was_cut_is_no_idle_connection_that_holds_anything_up() {
    let mut driver = Driver::draining();
    driver.obedient = false;
    driver.adopt(1, Protocol::Http1, 0);
    driver.adopt(2, Protocol::Http1, 1);
    assert_eq!(driver.machine.blockers(Time::default(), 10).idle_connections, 1);
    driver.run(20_000);
    assert!(driver.when(Effect::ForceConnection { connection: C1, unanswered: 0 }).is_some());
    assert_eq!(driver.phase(), Phase::Draining);
    assert_eq!(driver.machine.blockers(Time::default(), 10).idle_connections, 0);
}

#[test]
fn closing_does_not_wait_for_a_connection_that_was_cut_long_before() {
    let mut driver = Driver::serving();
    driver.obedient = false;
    driver.job(1);
    driver.stop(Cause::Terminate);
    driver.adopt(1, Protocol::Http1, 0);
    driver.run(10_000);
    driver.take(Event::ListenerClosed { listener: L1 });
    assert!(driver.when(Effect::ForceConnection { connection: C1, unanswered: 0 }).is_some());
    // The job holds it up to t2.
    driver.run(24_500);
    assert_eq!(driver.phase(), Phase::Done);
}

#[test]
fn half_a_head_may_take_half_of_what_is_left_when_that_is_little() {
    let grace = Some(Grace::Limited(Duration::from_secs(6)));
    let mut driver = Driver::under(Settings { grace, ..Settings::default() });
    driver.obedient = false;
    driver.stop(Cause::Terminate);
    driver.adopt(1, Protocol::Http1, 0);
    // t1 is 1.5 s, t2 is 4.2 s.
    driver.run(1_500);
    driver.take(Event::ConnectionBusy { connection: C1 });
    driver.run(4_000);
    let closed = Effect::CloseIdle { connection: C1, look: false };
    assert_eq!(driver.when(closed), Some(1_500.0 + 2_700.0 / 2.0));
}

#[test]
fn a_client_that_goes_before_the_last_byte_is_gone() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http2, 1);
    let finish =
        |outcome, flushed| Event::RequestFinished { connection: C1, request: R0, outcome, flushed };
    driver.take(finish(Outcome::Completed, false));
    assert_eq!(driver.refusal(finish(Outcome::Completed, true)), Refused::NotInFlight);
    driver.take(finish(Outcome::ClientGone, false));
    assert_eq!(driver.refusal(finish(Outcome::ClientGone, true)), Refused::NotInFlight);
    driver.take(Event::RequestFlushed { connection: C1, request: R0 });
    let report = driver.finished();
    assert_eq!((report.requests.client_gone, report.requests.completed), (1, 0));
}

#[test]
fn client_gone_mid_request_is_no_loss() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 2);
    driver.take(Event::ConnectionClosed { connection: C1 });
    let report = driver.finished();
    assert_eq!((report.requests.client_gone, report.exit_code), (2, 0));
}

#[test]
fn end_without_begin_and_double_end_are_refused() {
    let mut driver = Driver::draining();
    assert_eq!(driver.refusal(finished(1, 0)), Refused::UnknownConnection);
    driver.adopt(1, Protocol::Http1, 1);
    assert_eq!(driver.refusal(finished(1, 7)), Refused::UnknownRequest);
    driver.finish(1, 0);
    assert_eq!(driver.refusal(finished(1, 0)), Refused::UnknownRequest);
}

#[test]
fn upgrade_in_mid_drain_has_no_gap_at_zero() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 1);
    driver.run(1_000);
    let protocol = Protocol::Websocket;
    driver.take(Event::ConnectionUpgraded { connection: C1, protocol });
    assert_eq!(driver.report().requests.in_flight, 1);
    let effects = driver.effects();
    assert!(has(&effects, Effect::NotifyLongLived { connection: C1, request: None }));
    driver.run(5_000);
    let ended = driver.when(Effect::CloseLongLived { connection: C1, request: None });
    assert!((2_500.0..5_000.0).contains(&ended.expect("ended")));
    assert_eq!(driver.finished().requests.ended, 1);
}

#[test]
fn a_leaked_request_is_reported_by_label_and_age() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 1);
    driver.take(Event::ConnectionDescribed { connection: C1, peer: "10.0.0.1:9".into() });
    driver.take(described(RequestKind::Ordinary, "GET /leak"));
    let report = driver.finished();
    assert_eq!(report.exit_code, 1);
    let forced = serde_json::to_value(&report.forced).expect("is JSON");
    assert_eq!(forced[0]["label"], "GET /leak");
    assert_eq!(forced[0]["peer"], "10.0.0.1:9");
    assert_eq!(forced[0]["age_ms"], 25_000);
}

// Hooks and jobs

#[test]
fn a_hook_that_throws_is_reported_and_the_rest_runs() {
    let mut driver = Driver::serving();
    driver.hook(1, Stage::Close, None);
    driver.hook(2, Stage::Flush, None);
    driver.stop(Cause::Terminate);
    driver.run(6_000);
    driver.hook_ended(1, Some("boom"));
    driver.run(6_000);
    driver.hook_ended(2, None);
    let report = driver.finished();
    assert_eq!(report.lost, ["close hook 'hook 1' failed: boom"]);
    assert_eq!(report.hooks[1].result, "ok");
}

#[test]
fn a_hook_that_hangs_does_not_cost_the_flush_hooks() {
    let mut driver = Driver::serving();
    driver.hook(1, Stage::Close, None);
    driver.hook(2, Stage::Flush, None);
    driver.stop(Cause::Terminate);
    driver.run(30_000);
    assert_eq!(driver.when(Effect::AbandonHook { hook: HookId(1) }), Some(28_000.0));
    assert_eq!(driver.when(Effect::RunHook { hook: HookId(2) }), Some(28_000.0));
    assert_eq!(driver.when(Effect::Exit { code: 1 }), Some(28_900.0));
}

#[test]
fn a_drain_hooks_timeout_counts_from_the_request_to_stop() {
    let mut driver = Driver::serving();
    driver.hook(1, Stage::Drain, Some(2_000));
    driver.stop(Cause::Terminate);
    driver.run(3_000);
    assert_eq!(driver.when(Effect::AbandonHook { hook: HookId(1) }), Some(2_000.0));
}

#[test]
fn a_hook_that_awaits_shutdown_is_abandoned_not_deadlocked() {
    let mut driver = Driver::serving();
    driver.hook(1, Stage::Drain, None);
    driver.stop(Cause::Terminate);
    driver.run(24_000);
    assert_eq!(driver.when(Effect::AbandonHook { hook: HookId(1) }), Some(24_000.0));
    let late = Event::HookFinished { hook: HookId(1), error: None };
    assert!(matches!(driver.refusal(late), Refused::NotRunning | Refused::Done));
}

#[test]
fn a_hook_that_reenters_shutdown_changes_nothing() {
    let mut driver = Driver::serving();
    driver.hook(1, Stage::Close, None);
    driver.stop(Cause::Terminate);
    driver.run(6_000);
    let wake = driver.machine.next_wake();
    driver.stop(Cause::Programmatic);
    assert_eq!((driver.phase(), driver.machine.next_wake()), (Phase::Closing, wake));
}

#[test]
fn a_hook_registered_in_closing_is_refused() {
    let mut driver = Driver::serving();
    driver.hook(1, Stage::Close, None);
    driver.stop(Cause::Terminate);
    driver.run(6_000);
    assert_eq!(driver.refusal(registered(2, Stage::Flush, None)), Refused::Closing);
}

#[test]
fn a_drain_hook_registered_while_draining_is_refused() {
    let mut driver = Driver::draining();
    assert_eq!(driver.refusal(registered(1, Stage::Drain, None)), Refused::Draining);
    driver.hook(1, Stage::Close, None);
}

#[test]
fn a_job_aborted_while_serving_is_not_the_shutdowns_loss() {
    let mut driver = Driver::serving();
    driver.job(1);
    driver.take(Event::JobFinished { job: JobId(1), outcome: JobOutcome::Aborted });
    driver.stop(Cause::Terminate);
    assert_eq!(driver.finished().exit_code, 0);
}

#[test]
fn while_draining_only_what_a_request_began_is_taken() {
    let mut driver = Driver::serving();
    driver.take(job_started(1, JobSource::Background, OnDrain::Wait));
    driver.stop(Cause::Terminate);
    let background = job_started(2, JobSource::Background, OnDrain::Wait);
    assert_eq!(driver.refusal(background), Refused::Draining);
    // The one that began it may be answered by now, and nothing else is in flight.
    driver.run(6_000);
    driver.take(job_started(2, JobSource::Request, OnDrain::Wait));
    driver.take(job_ended(1, JobOutcome::Completed));
    driver.run(10_000);
    assert_eq!(driver.phase(), Phase::Draining, "the job is waited for");
    driver.take(job_ended(2, JobOutcome::Completed));
    let report = driver.finished();
    assert_eq!((report.jobs.completed, report.exit_code), (2, 0));
}

#[test]
fn a_job_that_yields_is_cancelled_when_draining_begins_and_no_loss() {
    let mut driver = Driver::serving();
    let yields = |job| job_started(job, JobSource::Request, OnDrain::Cancel);
    driver.take(yields(1));
    driver.take(yields(2));
    driver.job(3);
    driver.stop(Cause::Terminate);
    driver.take(yields(4));
    let cancelled = |driver: &Driver, job| driver.when(Effect::CancelJob { job: JobId(job) });
    for job in [1, 2, 4] {
        assert_eq!(cancelled(&driver, job), Some(0.0));
    }
    assert_eq!(cancelled(&driver, 3), None);
    let outcomes = [JobOutcome::Aborted, JobOutcome::Completed, JobOutcome::Completed];
    for (job, outcome) in (1..).zip(outcomes) {
        driver.take(job_ended(job, outcome));
    }
    driver.take(job_ended(4, JobOutcome::Failed));
    let report = driver.finished();
    let jobs = &report.jobs;
    assert_eq!((jobs.cancelled, jobs.completed, jobs.failed, jobs.aborted), (1, 2, 1, 0));
    assert_eq!(report.exit_code, 0, "{:?}", report.lost);

    // One that does not heed it is forced like any other.
    let mut driver = Driver::serving();
    driver.take(yields(1));
    driver.stop(Cause::Terminate);
    assert_eq!(driver.finished().jobs.forced, 1);
}

#[test]
fn each_job_is_cancelled_once() {
    let mut driver = Driver::serving();
    driver.job(1);
    driver.stop(Cause::Terminate);
    driver.run(23_500);
    driver.take(Event::DeadlineChanged { grace: Duration::from_secs(40) });
    driver.finished();
    let cancels = driver.effects().iter().filter(|e| matches!(e, Effect::CancelJob { .. })).count();
    assert_eq!(cancels, 1);
}

// Fatal errors, exit codes, readiness

#[test]
fn fatal_error_during_drain_ends_the_window_and_exits_1() {
    let mut driver = Driver::draining();
    driver.run(1_000);
    driver.stop(Cause::UnhandledRejection);
    let report = driver.finished();
    assert_eq!(report.lost, ["fatal error: unhandled_rejection"]);
    assert!(report.took_ms.0 < Duration::from_secs(2));
}

#[test]
fn fatal_error_in_closing_exits_1() {
    let mut driver = Driver::serving();
    driver.hook(1, Stage::Close, None);
    driver.stop(Cause::Terminate);
    driver.run(6_000);
    driver.stop(Cause::UncaughtException);
    driver.hook_ended(1, None);
    assert_eq!(driver.finished().exit_code, 1);
}

#[test]
fn exit_codes_say_whether_anything_was_lost() {
    let code = |prepare: &dyn Fn(&mut Driver)| {
        let mut driver = Driver::serving();
        driver.job(1);
        driver.stop(Cause::Terminate);
        prepare(&mut driver);
        driver.finished().exit_code
    };
    let job = |outcome| Event::JobFinished { job: JobId(1), outcome };
    assert_eq!(code(&|driver| driver.take(job(JobOutcome::Completed))), 0);
    assert_eq!(code(&|driver| driver.take(job(JobOutcome::Failed))), 0);
    assert_eq!(code(&|driver| driver.take(job(JobOutcome::Aborted))), 1);
    assert_eq!(code(&|_| ()), 1);
}

#[test]
fn readiness_keep_stays_ready_until_the_window_ends() {
    let keep = Settings { readiness: Some(Readiness::Keep), ..Settings::default() };
    let mut driver = Driver::under(keep);
    driver.stop(Cause::Terminate);
    driver.run(30_000);
    assert_eq!(driver.when(Effect::SetReadiness { ready: false }), Some(5_000.0));
    let mut driver = Driver::draining();
    assert_eq!(driver.when(Effect::SetReadiness { ready: false }), Some(0.0));
    driver.finished();
}

#[test]
fn the_503_of_the_drain_deadline_gets_time_to_leave() {
    let mut driver = Driver::draining();
    driver.obedient = false;
    driver.adopt(1, Protocol::Http1, 1);
    driver.run(5_200);
    driver.take(Event::ListenerClosed { listener: L1 });
    driver.run(24_500);
    assert_eq!(driver.phase(), Phase::Closing);
    driver.take(Event::ConnectionClosed { connection: C1 });
    driver.run(24_500);
    assert_eq!(driver.when(Effect::Exit { code: 1 }), Some(24_500.0));
}

#[test]
fn an_impossible_number_of_requests_is_refused_not_allocated() {
    let mut driver = Driver::draining();
    let many = Event::ConnectionAdopted {
        connection: C1,
        protocol: Protocol::Http1,
        in_flight: u32::MAX,
        announced: false,
    };
    assert_eq!(driver.refusal(many), Refused::TooMany);
}

#[test]
fn without_hooks_or_work_the_whole_takes_window_and_settle() {
    let mut driver = Driver::draining();
    assert_eq!(driver.finished().took_ms.0, Duration::from_millis(5_100));
    assert_eq!(resolve(Settings::default()).settle.value, Duration::from_millis(100));
}
