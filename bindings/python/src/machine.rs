//! The machine alone, without signals or threads: what the vectors are replayed through.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::policy::Policy;
use crate::{convert, effect, event};

/// One machine. `now` is nanoseconds; absent, it is the system's monotonic clock.
#[pyclass(frozen, module = "lameduck._lameduck")]
pub(crate) struct Machine(Mutex<lameduck::Machine>);

impl Machine {
    fn locked(&self) -> MutexGuard<'_, lameduck::Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Machine {
    #[new]
    fn new(policy: &Bound<'_, Policy>) -> Self {
        Self(Mutex::new(lameduck::Machine::new(policy.get().0.clone())))
    }

    /// Takes one event. Returns `None`, or the name of the reason for which it was refused.
    #[pyo3(signature = (event, /, now=None, **fields))]
    fn handle(
        &self,
        event: &str,
        now: Option<u64>,
        fields: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Option<&'static str>> {
        let event = event::event(event, fields)?;
        let taken = self.locked().handle(event, convert::moment(now));
        Ok(taken.err().map(lameduck::Refused::name))
    }

    /// Lets time pass.
    #[pyo3(signature = (now=None))]
    fn tick(&self, now: Option<u64>) {
        self.locked().tick(convert::moment(now));
    }

    /// Drain until `None` after every event and tick.
    fn poll_effect<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let next = self.locked().poll_effect();
        next.map(|next| effect::effect(py, next)).transpose()
    }

    /// When to tick next, and why.
    fn next_wake(&self) -> Option<(u64, &'static str)> {
        self.locked().next_wake().map(effect::wake)
    }

    /// Where it stands.
    #[getter]
    fn phase(&self) -> &'static str {
        self.locked().phase().name()
    }

    /// The report as it stands, as JSON.
    #[pyo3(signature = (now=None))]
    fn report(&self, now: Option<u64>) -> String {
        self.locked().report(convert::moment(now)).to_json()
    }
}
