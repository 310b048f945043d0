//! How each protocol and kind of request is brought to its end, on a virtual clock.

mod support;

use std::time::Duration;

use lameduck::{
    Cause, ConnectionId, Effect, Event, Grace, JobId, JobSource, OnDrain, Outcome, Phase, Protocol,
    Refused, RequestId, RequestKind, Settings, Stage, Time,
};

use support::driver::{Driver, finished, job_started, started};

const C1: ConnectionId = ConnectionId(1);
const R0: RequestId = RequestId(0);

fn kind(request: u32, kind: RequestKind) -> Event {
    Event::RequestStarted { connection: C1, request: RequestId(request), kind }
}

fn at(driver: &Driver, effect: Effect) -> f64 {
    driver.when(effect).unwrap_or_else(|| panic!("{effect:?} never came"))
}

/// Lets time pass until the effect comes.
fn run_until(driver: &mut Driver, effect: Effect) -> f64 {
    for ms in (0..30_000).step_by(10) {
        driver.run(ms);
        if let Some(at) = driver.when(effect) {
            return at;
        }
    }
    panic!("{effect:?} never came")
}

#[test]
fn http2_is_told_twice_and_serves_between() {
    let mut driver = Driver::draining();
    driver.obedient = false;
    driver.adopt(1, Protocol::Http2, 0);
    let first = run_until(&mut driver, Effect::AnnounceClose { connection: C1 });
    assert!(first < 2_500.0);
    driver.start(1, 7);
    let last = run_until(&mut driver, Effect::RefuseStreams { connection: C1 });
    assert!((last - first - 500.0).abs() < 0.001, "{first} {last}");
    driver.start(1, 9);
    assert_eq!(driver.refusal(finished(1, 9)), Refused::UnknownRequest);
    assert_eq!(driver.when(Effect::CloseIdle { connection: C1, look: false }), None);
    driver.run(3_000);
    driver.finish(1, 7);
    driver.run(3_001);
    let closed = Effect::CloseIdle { connection: C1, look: false };
    assert_eq!(
        driver.when(closed),
        Some(3_000.0),
        "idle after the final GOAWAY, it closes at once"
    );
    let report = driver.finished();
    assert_eq!((report.requests.completed, report.requests.not_processed), (1, 1));
}

#[test]
fn http2_that_comes_after_the_window_is_told_before_it_closes() {
    let mut driver = Driver::draining();
    driver.run(5_050);
    driver.take(Event::ConnectionOpened { connection: C1, protocol: Protocol::Http2 });
    driver.finished();
    let order: Vec<f64> = [
        Effect::AnnounceClose { connection: C1 },
        Effect::RefuseStreams { connection: C1 },
        Effect::CloseIdle { connection: C1, look: false },
    ]
    .map(|effect| at(&driver, effect))
    .to_vec();
    assert_eq!(order, [5_050.0, 5_550.0, 5_550.0]);
}

#[test]
fn a_long_poll_is_told_to_answer_in_the_first_half() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 0);
    driver.take(kind(0, RequestKind::LongPoll));
    driver.run(2_500);
    let told = at(&driver, Effect::NotifyLongLived { connection: C1, request: Some(R0) });
    let announced = at(&driver, Effect::AnnounceClose { connection: C1 });
    assert_eq!(told.to_bits(), announced.to_bits(), "at its connection's moment");
    driver.effects();
    driver.run(20_000);
    assert_eq!(driver.when(Effect::NotifyLongLived { connection: C1, request: Some(R0) }), None);
    driver.finish(1, 0);
    assert_eq!(driver.finished().requests.completed, 1);
}

#[test]
fn a_long_poll_that_begins_later_is_told_at_once() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 0);
    driver.run(4_000);
    driver.take(kind(0, RequestKind::LongPoll));
    driver.run(4_001);
    let told = Effect::NotifyLongLived { connection: C1, request: Some(R0) };
    assert_eq!(driver.when(told), Some(4_000.0));
}

#[test]
fn a_long_poll_on_a_connection_that_was_told_is_told_at_once() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 0);
    let announced = run_until(&mut driver, Effect::AnnounceClose { connection: C1 });
    assert!(announced < 2_000.0, "long before the half: {announced}");
    driver.run(2_000);
    driver.take(kind(0, RequestKind::LongPoll));
    driver.run(2_000);
    let told = Effect::NotifyLongLived { connection: C1, request: Some(R0) };
    assert_eq!(driver.when(told), Some(2_000.0));
}

#[test]
fn without_a_window_websockets_end_spread_over_the_first_second() {
    let mut driver =
        Driver::under(Settings { window: Some(Duration::ZERO), ..Settings::default() });
    driver.stop(Cause::Terminate);
    for slot in 0..100 {
        driver.adopt(slot, Protocol::Websocket, 0);
    }
    driver.run(2_000);
    let mut ended = [0; 4];
    for slot in 0..100 {
        let connection = ConnectionId(slot);
        let ms = at(&driver, Effect::CloseLongLived { connection, request: None });
        ended
            [[250.0, 500.0, 750.0, 1_000.0].iter().position(|end| ms < *end).expect("a second")] +=
            1;
    }
    assert!(ended.iter().all(|share| (15..35).contains(share)), "{ended:?}");
}

#[test]
fn a_tunnel_goes_on_until_shortly_before_the_abort_signals() {
    for protocol in [Protocol::Tunnel, Protocol::Other] {
        let mut driver = Driver::draining();
        driver.adopt(1, protocol, 1);
        assert_eq!(
            driver.when(Effect::NotifyLongLived { connection: C1, request: None }),
            Some(0.0)
        );
        let report = driver.finished();
        let ended = at(&driver, Effect::CloseLongLived { connection: C1, request: None });
        assert!((22_000.0..23_000.0).contains(&ended), "{ended}");
        assert_eq!((report.requests.ended, report.exit_code), (1, 0));
    }
}

#[test]
fn a_tunnel_follows_the_deadline() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Tunnel, 0);
    driver.take(Event::DeadlineChanged { grace: Duration::from_secs(60) });
    driver.run(30_000);
    assert_eq!(driver.when(Effect::CloseLongLived { connection: C1, request: None }), None);
    driver.take(Event::DeadlineChanged { grace: Duration::from_secs(40) });
    driver.finished();
    let ended = at(&driver, Effect::CloseLongLived { connection: C1, request: None });
    assert!((32_000.0..33_000.0).contains(&ended), "{ended}");
}

#[test]
fn nobody_who_develops_waits_for_a_tunnel() {
    let mut driver = Driver::under(Settings { interactive: true, ..Settings::default() });
    driver.stop(Cause::Interrupt);
    driver.adopt(1, Protocol::Tunnel, 0);
    assert_eq!(driver.finished().took_ms.0, Duration::ZERO);
}

#[test]
fn without_a_deadline_a_tunnel_ends_when_somebody_insists() {
    let mut driver =
        Driver::under(Settings { grace: Some(Grace::Unlimited), ..Settings::default() });
    driver.stop(Cause::Terminate);
    driver.adopt(1, Protocol::Tunnel, 1);
    driver.run(3_600_000);
    assert_eq!(driver.phase(), Phase::Draining);
    assert_eq!(driver.machine.blockers(Time::default(), 1).requests, 1);
    driver.take(Event::Escalate);
    assert_eq!(driver.finished().requests.ended, 1);
}

#[test]
fn a_websocket_ends_in_the_second_half_and_has_two_seconds() {
    let mut driver = Driver::draining();
    driver.obedient = false;
    driver.adopt(1, Protocol::Websocket, 1);
    driver.run(8_000);
    let ended = at(&driver, Effect::CloseLongLived { connection: C1, request: None });
    let cut = at(&driver, Effect::ForceConnection { connection: C1, unanswered: 0 });
    assert!((2_500.0..5_000.0).contains(&ended), "{ended}");
    assert!((cut - ended - 2_000.0).abs() < 0.001);
}

#[test]
fn an_upload_is_aborted_shortly_before_the_drain_deadline() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 0);
    driver.take(kind(0, RequestKind::Upload));
    driver.job(1);
    driver.run(23_500);
    assert_eq!(driver.when(Effect::AbortRequests), Some(23_000.0));
    assert_eq!(driver.when(Effect::CancelJob { job: JobId(1) }), Some(23_000.0));
    let outcome = Outcome::ClientGone;
    driver.take(Event::RequestFinished { connection: C1, request: R0, outcome, flushed: true });
    assert_eq!(driver.finished().requests.client_gone, 1);
}

#[test]
fn what_begins_after_the_abort_signals_is_born_aborted() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Tunnel, 0);
    driver.obedient = false;
    driver.run(23_500);
    assert_eq!(driver.when(Effect::AbortRequests), Some(23_000.0), "though none was in flight");
    driver.job(1);
    assert_eq!(driver.when(Effect::CancelJob { job: JobId(1) }), Some(23_500.0));
    driver.take(Event::DeadlineChanged { grace: Duration::from_secs(60) });
    driver.job(2);
    driver.run(52_000);
    assert_eq!(driver.when(Effect::CancelJob { job: JobId(2) }), None, "there is time again");
    driver.run(53_500);
    assert_eq!(driver.when(Effect::CancelJob { job: JobId(2) }), Some(53_000.0));
}

#[test]
fn http2_that_was_told_before_still_gets_its_final_goaway() {
    let mut driver = Driver::draining();
    let (protocol, announced) = (Protocol::Http2, true);
    let connection = C1;
    driver.take(Event::ConnectionAdopted { connection, protocol, in_flight: 0, announced });
    driver.run(499);
    driver.start(1, 1);
    driver.run(500);
    assert_eq!(driver.when(Effect::AnnounceClose { connection: C1 }), None);
    assert_eq!(driver.when(Effect::RefuseStreams { connection: C1 }), Some(500.0));
    driver.finish(1, 1);
    assert_eq!(driver.finished().requests.completed, 1);
}

#[test]
fn spread_and_order_follow_the_seed_alone() {
    let moments = |seed| {
        let mut driver = Driver::under(Settings { seed: Some(seed), ..Settings::default() });
        driver.stop(Cause::Terminate);
        for slot in 1..=8 {
            driver.adopt(slot, Protocol::Http1, 0);
        }
        driver.finished();
        driver.timed()
    };
    assert_eq!(moments(7), moments(7));
    assert_ne!(moments(7), moments(8));
}

#[test]
fn idle_connections_close_spread_even_when_the_window_is_shorter_than_quiet() {
    let mut driver =
        Driver::under(Settings { window: Some(Duration::ZERO), ..Settings::default() });
    driver.stop(Cause::Terminate);
    for slot in 1..=1_000 {
        driver.adopt(slot, Protocol::Http1, 0);
    }
    driver.finished();
    let mut tenths = [0; 20];
    for (ms, effect) in driver.timed() {
        if matches!(effect, Effect::CloseIdle { .. }) {
            tenths[(ms / 100.0) as usize] += 1;
        }
    }
    assert_eq!(tenths[..5], [0; 5], "not before they were quiet");
    assert!(tenths[5..15].iter().all(|closes| (60..140).contains(closes)), "{tenths:?}");
}

// The window

#[test]
fn the_window_ends_early_when_traffic_has_stopped() {
    let idle = Settings { window_idle: Some(Duration::from_millis(900)), ..Settings::default() };
    let mut driver = Driver::under(idle.clone());
    driver.stop(Cause::Terminate);
    driver.adopt(1, Protocol::Http1, 0);
    driver.run(600);
    driver.start(1, 0);
    driver.run(1_400);
    driver.finish(1, 0);
    driver.run(1_499);
    assert_eq!(driver.report().timeline.len(), 1);
    let report = driver.finished();
    let marks: Vec<_> = report.timeline.iter().map(|mark| (mark.what, mark.at_ms.0)).collect();
    let ended = Duration::from_millis(1_500);
    assert_eq!(marks[1..3], [("traffic stopped", ended), ("window ended", ended)]);

    // Found late, after an event, it does not happen before that event, nor forever.
    let mut driver = Driver::under(idle);
    driver.stop(Cause::Terminate);
    driver.adopt(1, Protocol::Http1, 0);
    driver.oversleep(500);
    driver.job(1);
    let late = Time::from_nanos(62_000_000_000); // two seconds after the request to stop
    let job = job_started(2, JobSource::Request, OnDrain::Wait);
    driver.machine.handle(job, late).unwrap();
    driver.oversleep(2_000);
    let marks = driver.report().timeline;
    assert_eq!(marks[1].at_ms.0, Duration::from_secs(2));
}

#[test]
fn without_being_asked_for_silence_ends_no_window() {
    let mut driver = Driver::draining();
    driver.run(4_999);
    assert_eq!(driver.report().timeline.len(), 1);
}

// Insisting, and children

#[test]
fn insisting_costs_the_pool_before_it_costs_the_logs() {
    let mut driver = Driver::serving();
    driver.hook(1, Stage::Close, None);
    driver.hook(2, Stage::Flush, None);
    driver.stop(Cause::Terminate);
    driver.adopt(1, Protocol::Http1, 1);
    let insist = |driver: &mut Driver, ms| {
        driver.run(ms);
        driver.take(Event::Escalate);
        driver.run(ms);
        (driver.phase(), driver.report().hooks.iter().map(|hook| hook.result).collect::<Vec<_>>())
    };
    assert_eq!(insist(&mut driver, 100), (Phase::Draining, vec!["waiting", "waiting"]));
    assert_eq!(insist(&mut driver, 300), (Phase::Closing, vec!["running", "waiting"]));
    assert_eq!(insist(&mut driver, 400), (Phase::Closing, vec!["timed_out", "running"]));
    assert_eq!(insist(&mut driver, 500), (Phase::Done, vec!["timed_out", "timed_out"]));
}

#[test]
fn a_child_is_gone_before_its_parent_closes() {
    let mut parent = Driver::serving();
    let now = Time::from_nanos(0);
    assert_eq!(parent.machine.child_grace(now), Some(Duration::from_secs(24)));
    parent.stop(Cause::Terminate);
    let later = Time::from_nanos(70_000_000_000);
    assert_eq!(parent.machine.child_grace(later), Some(Duration::from_secs(14)));
    parent.take(Event::DeadlineChanged { grace: Duration::from_secs(12) });
    assert_eq!(parent.machine.child_grace(later), Some(Duration::ZERO));
    let unlimited =
        Driver::under(Settings { grace: Some(Grace::Unlimited), ..Settings::default() });
    assert_eq!(unlimited.machine.child_grace(now), None);
}

#[test]
fn a_request_on_a_connection_that_is_closing_is_not_processed() {
    let mut driver = Driver::draining();
    driver.obedient = false;
    driver.adopt(1, Protocol::Http1, 0);
    run_until(&mut driver, Effect::CloseIdle { connection: C1, look: true });
    driver.take(started(1, 0));
    assert_eq!(driver.report().requests.not_processed, 1);
}

#[test]
fn what_raises_the_severity_while_emptying_moves_no_end() {
    let end = |fatal: bool| {
        let mut driver = Driver::draining();
        driver.run(5_050);
        driver.open(1);
        driver.run(5_400);
        driver.take(kind(0, RequestKind::Stream));
        if fatal {
            driver.stop(Cause::UncaughtException);
        }
        run_until(&mut driver, Effect::CloseLongLived { connection: C1, request: Some(R0) })
    };
    assert!(end(false) > 5_400.0);
    assert_eq!(end(true), end(false));
}

#[test]
fn a_long_poll_on_a_connection_that_was_told_is_to_answer_at_once() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 0);
    let told = run_until(&mut driver, Effect::AnnounceClose { connection: C1 });
    assert!(told < 2_000.0, "some of the first half is left: {told}");
    driver.take(kind(0, RequestKind::LongPoll));
    let notice = Effect::NotifyLongLived { connection: C1, request: Some(R0) };
    let notified = run_until(&mut driver, notice);
    assert!(notified - told < 20.0, "told at {told}, notified at {notified}");
}
