//! Any environment over any settings: a sentence, or a policy that fits and ends in time.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use lameduck::policy::Origin;
use lameduck::{
    Cause, Event, Grace, Machine, Phase, Policy, Settings, Time, environment as variables,
};

const NAMES: [&str; 6] = [
    "LAMEDUCK_GRACE",
    "LAMEDUCK_WINDOW",
    "LAMEDUCK_MARGIN",
    "LAMEDUCK_RESERVE",
    "LAMEDUCK_SETTLE",
    "LAMEDUCK_QUIET",
];

/// More wakes than this for an idle server are a loop.
const MOST_TICKS: usize = 100;

#[derive(Arbitrary, Debug)]
struct Input {
    variables: [Option<String>; 6],
    code: [Option<Span>; 8],
    unlimited: bool,
    interactive: bool,
    start: u64,
    changed: Option<Span>,
}

/// Mostly what people write, sometimes anything.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Span {
    Millis(u16),
    Any(Duration),
}

impl Span {
    fn duration(self) -> Duration {
        match self {
            Self::Millis(ms) => Duration::from_millis(ms.into()),
            Self::Any(span) => span,
        }
    }
}

/// Reads a policy from an environment and drives an idle server with it.
pub fn environment(data: &[u8]) {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else {
        return;
    };
    let look_up = |name: &str| {
        let place = NAMES.iter().position(|known| *known == name).expect("a documented name");
        input.variables[place].clone()
    };
    let environment = match variables::settings(look_up) {
        Ok(environment) => environment,
        Err(sentence) => {
            let sentence = sentence.to_string();
            assert!(sentence.starts_with("LAMEDUCK_"), "{sentence}");
            assert!(!sentence.contains(char::is_control), "more than one line: {sentence:?}");
            return;
        }
    };
    let [grace, window, margin, reserve, settle, quiet, abort_lead, window_idle] =
        input.code.map(|span| span.map(Span::duration));
    let code = Settings {
        grace: if input.unlimited { Some(Grace::Unlimited) } else { grace.map(Grace::Limited) },
        window,
        margin,
        reserve,
        settle,
        quiet,
        abort_lead,
        window_idle,
        interactive: input.interactive,
        ..Settings::default()
    };
    match Policy::resolve(&code, &environment) {
        Ok(policy) => {
            fits(&policy, &environment);
            ends(policy, &input);
        }
        Err(sentence) => assert!(sentence.to_string().contains(" exceeds grace ")),
    }
}

fn fits(policy: &Policy, environment: &Settings) {
    assert!(policy.describe().starts_with("grace "));
    if let Some(budget) = policy.budget() {
        let kept = policy.window.value.saturating_add(policy.reserve.value);
        assert!(kept <= budget, "{}", policy.describe());
    }
    if let Some(grace) = environment.grace {
        assert_eq!((policy.grace.value, policy.grace.origin), (grace, Origin::Environment));
    }
    if let Some(window) = environment.window {
        assert_eq!(policy.window.value, window, "the environment beats the code");
    }
}

/// Without work a server is Done by T, and when nobody set T, as soon as its window is over.
fn ends(policy: Policy, input: &Input) {
    let mut machine = Machine::new(policy);
    let mut now = Time::from_nanos(input.start);
    let stop = Event::Shutdown { cause: Cause::Terminate, ever_accepted: true };
    machine.handle(stop, now).expect("a server that serves can be stopped");
    if let Some(grace) = input.changed.map(Span::duration) {
        machine.handle(Event::DeadlineChanged { grace }, now).expect("it drains");
    }
    for _ in 0..MOST_TICKS {
        let Some((at, _)) = machine.next_wake() else {
            break;
        };
        assert!(machine.hard_deadline().is_none_or(|hard| at <= hard), "a wake after T");
        now = now.max(at);
        machine.tick(now);
    }
    assert_eq!(machine.phase(), Phase::Done);
    assert_eq!(machine.report(now).exit_code, 0);
}
