//! A named test for each edge case that has to do with time: deadlines, late ticks, escalation.

mod support;

use std::time::Duration;

use lameduck::{
    Cause, ConnectionId, Effect, Event, Grace, HookId, ListenerId, Phase, Protocol, Refused,
    RequestId, RequestKind, Settings, Stage, Time,
};

use support::driver::Driver;

const C1: ConnectionId = ConnectionId(1);
const R0: RequestId = RequestId(0);
const L1: ListenerId = ListenerId(1);

fn has(effects: &[Effect], wanted: Effect) -> bool {
    effects.contains(&wanted)
}

fn marks(driver: &Driver) -> Vec<(&'static str, u128)> {
    let timeline = driver.report().timeline;
    timeline.iter().map(|mark| (mark.what, mark.at_ms.0.as_millis())).collect()
}

#[test]
fn grace_zero_is_over_with_the_first_tick() {
    let zero = Settings { grace: Some(Grace::Limited(Duration::ZERO)), ..Settings::default() };
    let mut driver = Driver::under(zero);
    driver.stop(Cause::Terminate);
    driver.adopt(1, Protocol::Http1, 1);
    driver.run(0);
    assert_eq!(driver.phase(), Phase::Done);
    assert_eq!(driver.report().requests.forced, 1);
}

#[test]
fn grace_moved_into_the_past_fires_everything_now() {
    let mut driver = Driver::serving();
    driver.hook(1, Stage::Close, None);
    driver.stop(Cause::Terminate);
    driver.adopt(1, Protocol::Http1, 1);
    driver.run(10_000);
    driver.take(Event::DeadlineChanged { grace: Duration::from_secs(3) });
    driver.run(10_000);
    assert_eq!(driver.phase(), Phase::Done);
    let marks = marks(&driver);
    assert!(marks.is_sorted_by_key(|(_, ms)| *ms), "{marks:?}");
}

#[test]
fn the_hard_deadline_is_grace_less_margin_after_the_request_to_stop() {
    let mut driver = Driver::serving();
    assert_eq!(driver.machine.hard_deadline(), None, "nobody asked it to stop");
    driver.stop(Cause::Terminate);
    let after_stop = |seconds: u64| Some(Time::from_nanos((60 + seconds) * 1_000_000_000));
    assert_eq!(driver.machine.hard_deadline(), after_stop(29));
    driver.run(1_000);
    driver.take(Event::DeadlineChanged { grace: Duration::from_secs(60) });
    assert_eq!(driver.machine.hard_deadline(), after_stop(59));
    driver.finished();
    assert_eq!(driver.machine.hard_deadline(), after_stop(59), "and stays so");
}

#[test]
fn grace_unlimited_waits_until_somebody_insists() {
    let mut driver =
        Driver::under(Settings { grace: Some(Grace::Unlimited), ..Settings::default() });
    driver.stop(Cause::Terminate);
    driver.adopt(1, Protocol::Http1, 1);
    driver.run(9_000_000);
    assert_eq!(driver.phase(), Phase::Draining);
    assert_eq!(driver.machine.hard_deadline(), None);
    driver.take(Event::Escalate);
    assert_eq!(driver.finished().requests.forced, 1);
}

#[test]
fn a_clock_that_runs_back_is_ignored() {
    let mut driver = Driver::draining();
    driver.oversleep(2_000);
    let wake = driver.machine.next_wake();
    driver.machine.tick(Time::from_nanos(0));
    let opened = Event::ConnectionOpened { connection: C1, protocol: Protocol::Http1 };
    driver.machine.handle(opened, Time::from_nanos(1)).expect("taken");
    assert_eq!(driver.machine.next_wake().map(|(_, why)| why), Some(lameduck::Wake::Connection));
    assert!(driver.machine.next_wake() < wake);
    assert!(driver.machine.next_wake().map(|(at, _)| at) >= Some(Time::from_nanos(62_000_000_000)));
}

#[test]
fn time_jumping_over_several_deadlines_fires_them_in_order() {
    let mut driver = Driver::serving();
    driver.hook(1, Stage::Close, None);
    driver.hook(2, Stage::Flush, None);
    driver.stop(Cause::Terminate);
    driver.adopt(1, Protocol::Http1, 1);
    driver.oversleep(60_000);
    assert_eq!(driver.phase(), Phase::Done);
    let expected = [
        ("shutdown requested", 0),
        ("window ended", 5_000),
        ("abort signals fired", 23_000),
        ("drain deadline", 24_000),
        ("drained", 24_000),
        ("close hooks ended", 28_000),
        ("done", 28_900),
    ];
    assert_eq!(marks(&driver), expected);
    let order = driver.effects();
    let place = |effect| order.iter().position(|known| *known == effect).expect("is there");
    assert!(place(Effect::FenceListener { listener: L1 }) < place(Effect::AbortRequests));
    assert!(place(Effect::RunHook { hook: HookId(1) }) < place(Effect::Exit { code: 1 }));
}

#[test]
fn a_late_tick_still_lets_listeners_settle_and_peers_go() {
    let mut driver = Driver::draining();
    driver.obedient = false;
    driver.adopt(1, Protocol::Http1, 0);
    driver.oversleep(7_000);
    let effects = driver.effects();
    assert!(has(&effects, Effect::FenceListener { listener: L1 }));
    assert!(!has(&effects, Effect::CloseListener { listener: L1 }));
    assert!(has(&effects, Effect::CloseIdle { connection: C1, look: true }));
    assert!(!has(&effects, Effect::ForceConnection { connection: C1, unanswered: 0 }));
    driver.run(8_500);
    assert_eq!(driver.when(Effect::CloseListener { listener: L1 }), Some(7_100.0));
    let cut = Effect::ForceConnection { connection: C1, unanswered: 0 };
    assert_eq!(driver.when(cut), Some(8_000.0));
}

#[test]
fn deadline_extended_moves_what_is_to_come() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 1);
    driver.run(10_000);
    driver.take(Event::DeadlineChanged { grace: Duration::from_secs(60) });
    driver.run(50_000);
    driver.headers(1, 0, true);
    driver.finish(1, 0);
    assert_eq!(driver.finished().exit_code, 0);
}

#[test]
fn deadline_shortened_fits_what_nobody_set() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 1);
    driver.take(Event::DeadlineChanged { grace: Duration::from_secs(3) });
    driver.run(3_000);
    let forced = Effect::ForceConnection { connection: C1, unanswered: 1 };
    assert_eq!(driver.when(forced), Some(2_100.0));
}

#[test]
fn a_deadline_changed_at_the_moment_of_the_abort_signals_fires_them_no_second_time() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 1);
    driver.run(23_000);
    driver.take(Event::DeadlineChanged { grace: Duration::from_secs(30) });
    driver.run(23_500);
    let fired = driver.effects().into_iter().filter(|effect| *effect == Effect::AbortRequests);
    assert_eq!(fired.count(), 1);
}

#[test]
fn a_deadline_change_does_not_undo_an_escalation() {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 1);
    driver.take(Event::Escalate);
    driver.take(Event::Escalate);
    driver.take(Event::DeadlineChanged { grace: Duration::from_secs(600) });
    driver.run(0);
    assert_eq!(driver.report().requests.forced, 1);
}

#[test]
fn escalation_in_every_phase() {
    let mut driver = Driver::serving();
    assert_eq!(driver.refusal(Event::Escalate), Refused::Serving);
    driver.hook(1, Stage::Close, None);
    driver.stop(Cause::Terminate);
    driver.adopt(1, Protocol::Http1, 1);
    for (at, seen) in [
        (1_000, Effect::FenceListener { listener: L1 }),
        (2_000, Effect::ForceConnection { connection: C1, unanswered: 1 }),
        (3_000, Effect::Exit { code: 1 }),
    ] {
        driver.run(at);
        assert_eq!(driver.when(seen), None);
        driver.take(Event::Escalate);
        driver.run(at);
        #[allow(clippy::cast_precision_loss)]
        let at = at as f64;
        assert_eq!(driver.when(seen), Some(at));
    }
    assert_eq!(driver.refusal(Event::Escalate), Refused::Done);
}

#[test]
fn whoever_insists_a_thousand_times_does_not_drown_the_report() {
    let mut driver = Driver::draining();
    for _ in 0..1_000 {
        driver.take(Event::DeadlineChanged { grace: Duration::from_secs(20) });
    }
    let report = driver.finished();
    assert!(report.timeline.len() < 60, "{} marks", report.timeline.len());
    assert_eq!(report.timeline.last().map(|mark| mark.what), Some("done"));
}

#[test]
fn a_window_that_ends_early_announces_at_once() {
    let mut driver = Driver::draining();
    for slot in 0..50 {
        driver.adopt(slot, Protocol::Http1, 1);
    }
    driver.run(100);
    driver.stop(Cause::UncaughtException);
    driver.run(100);
    let effects = driver.effects();
    let told = effects.iter().filter(|e| matches!(e, Effect::AnnounceClose { .. })).count();
    assert_eq!(told, 50);
}

#[test]
fn new_streams_do_not_put_off_the_end_of_older_ones() {
    let end_of_the_first = |streams: u32| {
        let mut driver = Driver::draining();
        driver.run(5_050);
        let protocol = Protocol::Http2;
        driver.take(Event::ConnectionOpened { connection: C1, protocol });
        for request in (0..streams).map(RequestId) {
            let kind = RequestKind::Stream;
            driver.take(Event::RequestStarted { connection: C1, request, kind });
            driver.run(5_100 + u64::from(request.0) * 100);
        }
        driver.run(9_000);
        driver.when(Effect::CloseLongLived { connection: C1, request: Some(R0) }).expect("ended")
    };
    assert_eq!(end_of_the_first(4).to_bits(), end_of_the_first(1).to_bits());
}

#[test]
fn listeners_settle_in_full_when_the_deadline_moves_away_meanwhile() {
    let settings = Settings {
        settle: Some(Duration::from_millis(400)),
        window: Some(Duration::ZERO),
        reserve: Some(Duration::ZERO),
        margin: Some(Duration::ZERO),
        ..Settings::default()
    };
    let mut driver = Driver::under(settings);
    driver.take(Event::ListenerOpened { listener: ListenerId(1) });
    driver.stop(Cause::Terminate);
    driver.take(Event::DeadlineChanged { grace: Duration::from_millis(200) });
    driver.run(100);
    driver.take(Event::DeadlineChanged { grace: Duration::from_secs(10) });
    driver.run(1_000);
    let closed = Effect::CloseListener { listener: ListenerId(1) };
    assert_eq!(driver.when(closed), Some(400.0));
}
