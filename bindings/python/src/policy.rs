//! Settings from Python.

use std::collections::HashMap;
use std::time::Duration;

use lameduck::{Grace, NewRequests, Readiness, Settings, environment};
use lameduck_host::supervisor::Surroundings;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::{self, Fields};

/// The policy that a program's settings and the environment make together. Spans are seconds; a `grace` of infinity is unlimited.
#[pyclass(frozen, module = "lameduck._lameduck")]
pub(crate) struct Policy(pub(crate) lameduck::Policy);

#[pymethods]
impl Policy {
    /// Raises `ValueError` when the settings contradict; the message is a sentence.
    #[new]
    #[pyo3(signature = (variables, /, **settings))]
    fn new(
        variables: HashMap<String, String>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let fields = Fields::new("the policy", settings)?;
        let span = |name: &str| fields.optional(name)?.map(convert::seconds).transpose();
        let grace = match fields.optional::<f64>("grace")? {
            Some(grace) if grace == f64::INFINITY => Some(Grace::Unlimited),
            other => other.map(convert::seconds).transpose()?.map(Grace::Limited),
        };
        let new_requests = fields.optional::<String>("new_requests")?;
        let readiness = fields.optional::<String>("readiness")?;
        let code = Settings {
            grace,
            margin: span("margin")?,
            reserve: span("reserve")?,
            window: span("window")?,
            settle: span("settle")?,
            quiet: span("quiet")?,
            abort_lead: span("abort_lead")?,
            window_idle: span("window_idle")?,
            new_requests: match new_requests.as_deref() {
                None => None,
                Some("refuse") => Some(NewRequests::Refuse),
                Some("serve") => Some(NewRequests::Serve),
                Some(other) => {
                    let rule = format!("new_requests is 'serve' or 'refuse', not '{other}'");
                    return Err(convert::invalid(rule));
                }
            },
            readiness: match readiness.as_deref() {
                None => None,
                Some("fail") => Some(Readiness::Fail),
                Some("keep") => Some(Readiness::Keep),
                Some(other) => {
                    let rule = format!("readiness is 'fail' or 'keep', not '{other}'");
                    return Err(convert::invalid(rule));
                }
            },
            seed: fields.optional("seed")?,
            interactive: fields.optional("interactive")?.unwrap_or_default(),
            development: fields.optional("development")?.unwrap_or_default(),
        };
        fields.nothing_else()?;
        environment::settings(|name| variables.get(name).cloned())
            .and_then(|environment| lameduck::Policy::resolve(&code, &environment))
            .map(Self)
            .map_err(|contradiction| convert::invalid(contradiction.to_string()))
    }

    /// Each time and where it came from, as one line.
    fn describe(&self) -> String {
        self.0.describe()
    }

    /// Who supervises this process: a line for the log, whether anybody does, and what is wrong between it and the policy.
    fn surroundings(&self) -> (String, bool, Vec<String>) {
        let here = Surroundings::here();
        (here.describe(), !here.supervisors.is_empty(), here.warnings(&self.0))
    }

    /// Seconds from the request to stop until T; `None` when unlimited.
    #[getter]
    fn budget(&self) -> Option<f64> {
        self.0.budget().as_ref().map(Duration::as_secs_f64)
    }

    /// Whether requests that arrive while draining are answered 503.
    #[getter]
    fn refuses(&self) -> bool {
        self.0.new_requests.value == NewRequests::Refuse
    }

    /// Whether readiness probes go on being answered 200 while draining.
    #[getter]
    fn stays_ready(&self) -> bool {
        self.0.readiness.value == Readiness::Keep
    }
}
