//! The model as the checker sees it: where it begins, what can follow, what is promised.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lameduck::{Event, Machine, Phase};
use stateright::Property;

use crate::bounds::{Bounds, T0};
use crate::driver::{self, Step};
use crate::history::History;
use crate::judge::{self, Judge};
use crate::promise::{Broken, Promise};
use crate::sight::Sights;
use crate::state::State;

/// One model, and what was seen of it so far.
#[derive(Debug)]
pub struct Model {
    /// What it contains.
    pub bounds: Bounds,
    /// Shared, since the checker keeps the model for itself.
    pub sights: Arc<Sights>,
    /// One bit a promise that was found broken: the first time is the shortest way to it.
    found: AtomicU32,
    /// A silent driver was never woken again.
    stuck: AtomicBool,
}

impl Model {
    /// Nothing was seen of it yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            sights: Arc::default(),
            found: AtomicU32::new(0),
            stuck: AtomicBool::new(false),
        }
    }

    /// Notes that the promise is broken; whether it is known already.
    fn is_known(&self, promise: Promise) -> bool {
        let bit = 1 << promise as u32;
        self.found.fetch_or(bit, Ordering::Relaxed) & bit != 0
    }

    /// Whether there is a T from the start.
    fn is_limited(&self) -> bool {
        self.bounds.times.grace.is_some()
    }
}

impl stateright::Model for Model {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let mut machine = Machine::new(self.bounds.times.policy());
        machine.tick(T0);
        for event in driver::set_up(&self.bounds) {
            machine.handle(event, T0).expect("taken while serving");
        }
        let history = History::new(&self.bounds);
        vec![State { machine, history, now: T0, broken: Broken::default() }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.is_over() {
            return;
        }
        if state.history.silent {
            let wake = state.machine.next_wake().map(|(at, _)| Step::Wake(at.max(state.now)));
            if wake.is_none() {
                self.stuck.store(true, Ordering::Relaxed);
            }
            steps.extend(wake);
            return;
        }
        driver::events(&self.bounds, &state.history, steps);
        if state.history.phase == Phase::Serving {
            steps.extend(self.bounds.causes.iter().copied().map(Step::Stop));
        }
        if let Some((at, _)) = state.machine.next_wake() {
            let sleeps = driver::sleeps(&self.bounds, &state.history, state.now, at);
            let step = if self.bounds.prompt { Step::Wake } else { Step::Sleep };
            steps.extend(sleeps.into_iter().map(step));
            if at <= state.now || state.history.slept {
                steps.push(Step::Tick);
            }
        }
        if self.is_limited() && state.history.phase != Phase::Serving && !state.history.slept {
            steps.push(Step::FallSilent);
        }
        if judge::meddle(&self.bounds, state).any() {
            steps.push(Step::Meddle);
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        if let (true, Step::Wake(at)) = (before.history.silent, &step) {
            state.tick_in_silence(*at);
            return Some(state);
        }
        let mut judge = Judge::new(&self.bounds, &self.sights, before, &mut state);
        match step {
            Step::Stop(cause) => {
                judge.say(Event::Shutdown { cause, ever_accepted: true });
                judge.hand_over();
                judge.after();
            }
            Step::Say(event) => {
                if judge.say(event) {
                    judge.after();
                } else if !state.broken.any() {
                    return None;
                }
            }
            Step::Sleep(until) => judge.sleep(until),
            Step::Tick => judge.tick(),
            Step::Wake(at) => {
                judge.sleep(at);
                judge.tick();
            }
            Step::FallSilent => state.history.silent = true,
            Step::Meddle => state.broken = judge::meddle(&self.bounds, before),
        }
        if state.is_over() && !state.broken.any() {
            state.broken = judge::meddle(&self.bounds, &state);
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let limited = self.is_limited();
        let all = Promise::ALL.iter().copied();
        all.filter(|promise| limited || *promise != Promise::EventuallyDone).map(property).collect()
    }
}

/// The checker takes plain functions, so each promise needs one of its own.
macro_rules! always {
    ($promise:ident: $($name:ident)*) => {
        match $promise {
            $(Promise::$name => {
                Property::always(Promise::$name.text(), |model: &Model, state: &State| {
                    !state.breaks(Promise::$name) || model.is_known(Promise::$name)
                })
            })*
            Promise::EventuallyDone => {
                Property::eventually(Promise::EventuallyDone.text(), |model: &Model, state: &State| {
                    state.is_over() || model.stuck.load(Ordering::Relaxed)
                })
            }
        }
    };
}

fn property(promise: Promise) -> Property<Model> {
    always!(promise:
        Balance NothingAdmittedLate NeverBack HooksOnce HooksInOrder AbandonedRunning
        NothingAfterDone ExitOnce HonestCode NoDeadHandle ToldOnce IdleIsIdle UnansweredOnly
        ReadinessFirst ListenersFirst NoneLeft ClosingWhenDue RefusedUnchanged IdleTick WakesByT
        DoneByT InsistedOut
    )
}
