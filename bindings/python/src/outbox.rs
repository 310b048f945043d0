//! Effects on their way from the hold's thread, which Python does not know, to one that it knows.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lameduck::Effect;

#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    effects: VecDeque<Effect>,
    closed: bool,
}

impl Outbox {
    pub(crate) fn put(&self, effect: Effect) {
        self.state().effects.push_back(effect);
        self.changed.notify_one();
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// What came, at the latest after `patience`; `None` once it is closed and empty.
    pub(crate) fn take(&self, patience: Option<Duration>) -> Option<Vec<Effect>> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut state = self.state();
        while state.effects.is_empty() && !state.closed {
            state = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        (!state.effects.is_empty() || !state.closed).then(|| state.effects.drain(..).collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
