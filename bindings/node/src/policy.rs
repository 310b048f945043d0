//! Settings from JavaScript.

use std::collections::HashMap;
use std::sync::Arc;

use lameduck::{Grace, NewRequests, Policy, Readiness, Settings, environment};
use lameduck_host::report_file::ReportFile;
use napi::Result;
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

use crate::convert;

/// What the program asked for; times in milliseconds.
#[napi(object)]
#[derive(Default)]
#[allow(missing_docs)]
pub struct JsSettings {
    /// `Infinity` is unlimited.
    pub grace: Option<f64>,
    pub margin: Option<f64>,
    pub reserve: Option<f64>,
    pub window: Option<f64>,
    pub settle: Option<f64>,
    pub quiet: Option<f64>,
    pub abort_lead: Option<f64>,
    pub window_idle: Option<f64>,
    #[napi(ts_type = "'serve' | 'refuse'")]
    pub new_requests: Option<String>,
    #[napi(ts_type = "'fail' | 'keep'")]
    pub readiness: Option<String>,
    pub seed: Option<BigInt>,
    pub interactive: Option<bool>,
    pub development: Option<bool>,
    pub report_file: Option<String>,
}

/// The policy that the program's settings and the environment make together.
pub(crate) fn resolve(
    settings: &JsSettings,
    variables: &HashMap<String, String>,
) -> Result<Policy> {
    let span = |value: Option<f64>| value.map(convert::millis).transpose();
    let grace = match settings.grace {
        Some(grace) if grace == f64::INFINITY => Some(Grace::Unlimited),
        other => span(other)?.map(Grace::Limited),
    };
    let code = Settings {
        grace,
        margin: span(settings.margin)?,
        reserve: span(settings.reserve)?,
        window: span(settings.window)?,
        settle: span(settings.settle)?,
        quiet: span(settings.quiet)?,
        abort_lead: span(settings.abort_lead)?,
        window_idle: span(settings.window_idle)?,
        new_requests: match settings.new_requests.as_deref() {
            None => None,
            Some("refuse") => Some(NewRequests::Refuse),
            Some("serve") => Some(NewRequests::Serve),
            Some(other) => {
                return Err(convert::invalid(format!(
                    "newRequests is 'serve' or 'refuse', not '{other}'"
                )));
            }
        },
        readiness: match settings.readiness.as_deref() {
            None => None,
            Some("fail") => Some(Readiness::Fail),
            Some("keep") => Some(Readiness::Keep),
            Some(other) => {
                return Err(convert::invalid(format!(
                    "readiness is 'fail' or 'keep', not '{other}'"
                )));
            }
        },
        seed: settings.seed.as_ref().map(convert::nanos).transpose()?,
        interactive: settings.interactive.unwrap_or_default(),
        development: settings.development.unwrap_or_default(),
    };
    environment::settings(|name| variables.get(name).cloned())
        .and_then(|environment| Policy::resolve(&code, &environment))
        .map_err(|contradiction| convert::invalid(contradiction.to_string()))
}

/// The file that shall get the report, if any is asked for and can be written.
pub(crate) fn report_file(
    settings: &JsSettings,
    variables: &HashMap<String, String>,
) -> Result<Option<Arc<ReportFile>>> {
    environment::report_file(|name| variables.get(name).cloned())
        .or_else(|| settings.report_file.clone())
        .map(|path| ReportFile::open(&path).map(Arc::new))
        .transpose()
        .map_err(|error| convert::invalid(error.to_string()))
}
