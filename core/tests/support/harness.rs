//! Plays operations against the machine and the reference model side by side. It panics
//! with what was broken.

use lameduck::{Event, Machine, Phase, Policy, Settings, Time};

use super::model::Model;
use super::operations::{Operation, What};

/// A machine that has not ended by then, ticked at each wake, wakes without end.
const MOST_TICKS: usize = 10_000;

/// What a run reached, so that a test can show that it reaches everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    pub phase: Option<Phase>,
    pub refused: usize,
    pub taken: usize,
}

/// Plays the operations, then lets the machine end by ticking at its wakes alone.
pub fn play(settings: &Settings, operations: impl Iterator<Item = Operation>) -> Reached {
    let Ok(policy) = Policy::resolve(settings, &Settings::default()) else {
        return Reached::default();
    };
    let mut pair = Pair {
        machine: Machine::new(policy.clone()),
        model: Model::new(&policy),
        now: 1_000_000_000_000,
        reached: Reached::default(),
    };
    for operation in operations {
        pair.now = pair.now.saturating_add_signed(operation.advance_us * 1_000);
        match operation.what {
            What::Event(event) => pair.event(event),
            What::Tick => pair.tick(),
            What::Wake => {
                if let Some((at, _)) = pair.machine.next_wake() {
                    pair.now = pair.now.max(at.as_nanos());
                    pair.tick();
                }
            }
        }
    }
    pair.reached.phase = Some(pair.machine.phase());
    pair.end();
    pair.reached
}

struct Pair {
    machine: Machine,
    model: Model,
    now: u64,
    reached: Reached,
}

impl Pair {
    fn event(&mut self, event: Event) {
        let expected = self.model.event(&event, self.now);
        let before = expected.is_err().then(|| self.machine.clone());
        let taken = self.machine.handle(event.clone(), Time::from_nanos(self.now));
        assert_eq!(taken, expected, "{event:?} at {}", self.now);
        if let Some(before) = before {
            assert!(self.machine == before, "{event:?} was refused but changed the machine");
            assert_eq!(self.machine.next_wake(), before.next_wake());
            self.reached.refused += 1;
        } else {
            self.reached.taken += 1;
        }
        self.drain();
    }

    fn tick(&mut self) {
        self.machine.tick(Time::from_nanos(self.now));
        self.model.tick(self.now);
        self.drain();
        self.model.ticked(&self.machine);
        if let Some((at, why)) = self.machine.next_wake() {
            assert!(at.as_nanos() > self.now || self.now < self.model.clock, "{why:?} is stuck");
        }
        let settled = self.machine.clone();
        self.machine.tick(Time::from_nanos(self.now));
        assert!(self.machine == settled, "a spurious tick did something");
    }

    fn drain(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            self.model.effect(effect);
        }
        self.model.compare(&self.machine);
    }

    /// Whatever happened, it ends: by T when there is one, else when somebody insists.
    fn end(&mut self) {
        if self.machine.phase() == Phase::Serving {
            assert_eq!(self.machine.next_wake(), None);
            return;
        }
        if self.machine.hard_deadline().is_none() {
            for _ in 0..4 {
                if self.machine.phase() != Phase::Done {
                    self.event(Event::Escalate);
                    self.tick();
                }
            }
        }
        for _ in 0..MOST_TICKS {
            let Some((at, _)) = self.machine.next_wake() else {
                break;
            };
            self.now = self.now.max(at.as_nanos());
            self.tick();
        }
        assert_eq!(self.machine.phase(), Phase::Done, "ticked at every wake, it must end");
        self.model.finished(&self.machine);
        self.now += 1_000_000_000;
        self.machine.tick(Time::from_nanos(self.now));
        assert_eq!(self.machine.poll_effect(), None, "an effect after Done");
    }
}
