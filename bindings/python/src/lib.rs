//! The private extension under `bindings/python/lameduck`: it translates and decides nothing.
//!
//! Spans are seconds as floats; moments are whole nanoseconds of the system's monotonic clock, which is also
//! `time.monotonic_ns()`'s. Nothing here calls into Python from a thread that Python does not know.

#![deny(missing_docs)]
#![cfg(unix)]

mod answer;
mod convert;
mod course;
mod effect;
mod event;
mod exchange;
mod gate;
mod hold;
mod machine;
mod method;
mod outbox;
mod policy;
mod set_once;

/// The module `lameduck._lameduck`.
#[pyo3::pymodule(gil_used = false)]
mod _lameduck {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::exchange::Exchange;
    #[pymodule_export]
    use crate::gate::Gate;
    #[pymodule_export]
    use crate::hold::Hold;
    #[pymodule_export]
    use crate::machine::Machine;
    #[pymodule_export]
    use crate::policy::Policy;

    /// `CAUSES`: every cause's name.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::hold::Hold::add_methods(module.py())?;
        let names = lameduck::Cause::ALL.map(lameduck::Cause::name);
        module.add("CAUSES", pyo3::types::PyTuple::new(module.py(), names)?)
    }

    /// The clock of every `now`.
    #[pyfunction]
    fn now() -> u64 {
        lameduck_host::clock::now_ns()
    }

    /// The file that shall get the report, by the environment.
    #[pyfunction]
    fn report_file(variables: std::collections::HashMap<String, String>) -> Option<String> {
        lameduck::environment::report_file(|name| variables.get(name).cloned())
    }

    /// Whether this process has a listening socket: it is a server, not a test that calls an application.
    #[pyfunction]
    fn is_listening() -> bool {
        // Where that cannot be known it is taken for a server.
        lameduck_host::listeners::listeners().map_or(true, |found| !found.is_empty())
    }

    /// Whether standard input is a terminal.
    #[pyfunction]
    fn stdin_is_terminal() -> bool {
        lameduck_host::terminal::stdin_is_terminal()
    }
}
