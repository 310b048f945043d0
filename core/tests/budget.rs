//! What becomes of the policy when the deadline changes in mid-shutdown: what was set stays, what
//! nobody set fits itself to the new budget, and the window does not grow.

use std::time::Duration;

use lameduck::policy::{Origin, Setting};
use lameduck::{Cause, Event, Grace, JobId, JobSource, Machine, OnDrain, Policy, Settings, Time};

const fn ms(value: u64) -> Option<Duration> {
    Some(Duration::from_millis(value))
}

/// Each time set alone, and all of them together.
fn settings() -> Vec<Settings> {
    let all = Settings {
        margin: ms(150),
        reserve: ms(700),
        window: ms(300),
        settle: ms(40),
        quiet: ms(160),
        abort_lead: ms(170),
        ..Settings::default()
    };
    vec![
        Settings { margin: all.margin, ..Settings::default() },
        Settings { reserve: all.reserve, ..Settings::default() },
        Settings { window: all.window, ..Settings::default() },
        Settings { settle: all.settle, ..Settings::default() },
        Settings { quiet: all.quiet, ..Settings::default() },
        Settings { abort_lead: all.abort_lead, ..Settings::default() },
        Settings { interactive: true, ..Settings::default() },
        Settings::default(),
        all,
    ]
}

fn resolve(code: &Settings, environment: &Settings) -> Policy {
    Policy::resolve(code, environment).expect("the settings fit")
}

/// The policy after the deadline changed to so much grace.
fn changed(policy: &Policy, grace: Duration) -> Policy {
    let mut machine = Machine::new(policy.clone());
    let stop = Event::Shutdown { cause: Cause::Terminate, ever_accepted: true };
    machine.handle(stop, Time::from_nanos(0)).expect("it serves");
    machine.handle(Event::DeadlineChanged { grace }, Time::from_nanos(0)).expect("it drains");
    machine.policy().clone()
}

#[test]
fn the_rest_is_as_if_that_grace_had_been_set_from_the_start() {
    let (mut shrunk, mut kept) = (0, 0);
    for set in settings() {
        for (code, environment) in [(set.clone(), Settings::default()), (Settings::default(), set)]
        {
            for grace in [1_600, 4_000, 10_000, 60_000] {
                let before = resolve(&code, &environment);
                let grace = Duration::from_millis(grace);
                let after = changed(&before, grace);
                let mut wanted = {
                    let grace = Some(Grace::Limited(grace));
                    resolve(&Settings { grace, ..code.clone() }, &environment)
                };
                wanted.grace.origin = before.grace.origin;
                if wanted.window.value > before.window.value {
                    wanted.window = before.window;
                }
                assert_eq!(after, wanted, "{before:?}");
                shrunk += u32::from(after.window.value < before.window.value);
                kept += u32::from(after.window == before.window);
            }
        }
    }
    assert!(shrunk > 0 && kept > 0);
}

#[test]
fn a_window_that_was_set_and_no_longer_fits_costs_the_others_nothing() {
    let code = Settings { window: ms(20_000), ..Settings::default() };
    let after = changed(&resolve(&code, &Settings::default()), Duration::from_secs(10));
    assert_eq!(after.window, Setting { value: Duration::from_secs(20), origin: Origin::Code });
    let unset = |value| Setting { value, origin: Origin::Default };
    assert_eq!(after.margin, unset(Duration::from_secs(1)));
    assert_eq!(after.reserve, unset(Duration::from_secs(2)));
    assert_eq!(after.quiet, unset(Duration::from_millis(500)));
}

#[test]
fn a_reserve_that_was_set_and_no_longer_fits_leaves_everything_as_it_was() {
    let code = Settings { reserve: ms(12_000), ..Settings::default() };
    let before = resolve(&code, &Settings::default());
    let after = changed(&before, Duration::from_secs(10));
    let grace = Setting { value: Grace::Limited(Duration::from_secs(10)), ..before.grace };
    assert_eq!(after, Policy { grace, ..before });
}

#[test]
fn the_machine_says_when_the_window_and_the_drain_end() {
    let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
    let mut machine = Machine::new(resolve(&Settings::default(), &Settings::default()));
    assert_eq!((machine.window_end(), machine.drain_deadline()), (None, None));
    let stop = Event::Shutdown { cause: Cause::Terminate, ever_accepted: true };
    machine.handle(stop, at(1_000)).expect("it serves");
    assert_eq!(machine.window_end(), Some(at(6_000)));
    assert_eq!(machine.drain_deadline(), Some(at(25_000)));
    let (source, on_drain) = (JobSource::Request, OnDrain::Wait);
    let name = String::from("import");
    let job = Event::JobStarted { job: JobId(1), name, source, on_drain };
    machine.handle(job, at(2_000)).expect("it drains");
    machine.tick(at(6_000));
    assert_eq!(machine.window_end(), None, "it has ended");
    assert_eq!(machine.drain_deadline(), Some(at(25_000)));
}
