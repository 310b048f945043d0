//! One state: the machine, what its driver knows, and the time.

use std::hash::{Hash, Hasher};

use lameduck::{Machine, Phase, Time};

use crate::bounds::{self, CONNECTIONS, T0};
use crate::history::History;
use crate::promise::{Broken, Promise};

/// One state of a model.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) machine: Machine,
    pub(crate) history: History,
    pub(crate) now: Time,
    pub(crate) broken: Broken,
}

impl State {
    /// Whether a step to here broke a promise. Nothing is looked for behind it.
    pub fn breaks(&self, promise: Promise) -> bool {
        self.broken.has(promise)
    }

    /// A tick that was judged where the driver could still have said something.
    pub(crate) fn tick_in_silence(&mut self, at: Time) {
        self.now = at;
        self.machine.tick(at);
        while self.machine.poll_effect().is_some() {}
    }

    /// Whether nothing can happen any more.
    pub fn is_over(&self) -> bool {
        self.machine.phase() == Phase::Done || self.broken.any()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.broken.hash(hasher);
        // What was to be judged of the end was judged by the step that led to it.
        if self.machine.phase() == Phase::Done {
            return;
        }
        self.machine.hash_situation((0..CONNECTIONS).map(bounds::connection), hasher);
        // Where nothing more is said, it makes no difference what was said before.
        self.history.silent.hash(hasher);
        if !self.history.silent {
            self.history.hash(hasher);
        }
        self.now.since(T0).as_nanos().hash(hasher);
    }
}

/// Two states are the same when they have the same future.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let key = |state: &Self| {
            let mut hasher = std::hash::DefaultHasher::new();
            state.hash(&mut hasher);
            hasher.finish()
        };
        key(self) == key(other)
    }
}
