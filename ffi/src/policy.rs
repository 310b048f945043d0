//! The policy as C sets it.

use std::ffi::{CStr, c_char};
use std::mem::size_of;
use std::sync::Arc;

use lameduck::{Grace, NewRequests, Policy, Readiness, Settings, environment};
use lameduck_host::report_file::ReportFile;

use crate::input::{self, Flag, Output, UNLIMITED, UNSET, input_enum};
use crate::status::{Failure, guard, lameduck_status, lameduck_status::*};
use crate::text;

/// What happens to a request that arrives while draining.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_new_requests {
    /// The default: serve.
    Unset = 0,
    /// Served: the balancer has not looked away yet.
    Serve = 1,
    /// 503 and `Connection: close`.
    Refuse = 2,
}

input_enum!(RawNewRequests: lameduck_new_requests => Option<NewRequests>, "lameduck_new_requests", {
    Unset => None,
    Serve => Some(NewRequests::Serve),
    Refuse => Some(NewRequests::Refuse),
});

/// What readiness probes answer while draining.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_readiness {
    /// The default: fail.
    Unset = 0,
    /// Not ready from the request to stop on.
    Fail = 1,
    /// Ready until the listeners close.
    Keep = 2,
}

input_enum!(RawReadiness: lameduck_readiness => Option<Readiness>, "lameduck_readiness", {
    Unset => None,
    Fail => Some(Readiness::Fail),
    Keep => Some(Readiness::Keep),
});

/// What the operator decides. Fill it by lameduck_policy_init, then set what shall differ; whatever stays LAMEDUCK_UNSET
/// shrinks to fit the grace. Variables `LAMEDUCK_GRACE`, `LAMEDUCK_WINDOW`, `LAMEDUCK_MARGIN`, `LAMEDUCK_RESERVE`, `LAMEDUCK_SETTLE`,
/// `LAMEDUCK_QUIET` (seconds, decimals allowed) and `LAMEDUCK_REPORT_FILE` beat what the program sets. Times are nanoseconds.
#[repr(C)]
pub struct lameduck_policy {
    /// Set by lameduck_policy_init: which version of this struct it is.
    pub(crate) size: usize,
    /// From the request to stop until the process must be gone: what the orchestrator allows between its SIGTERM and its
    /// SIGKILL. Default 30 s. May be LAMEDUCK_UNLIMITED.
    pub(crate) grace_ns: u64,
    /// Kept free before the SIGKILL. Default min(1 s, grace/10).
    pub(crate) margin_ns: u64,
    /// Kept for the `close` and `flush` hooks. Default min(5 s, grace/5).
    pub(crate) reserve_ns: u64,
    /// The lame-duck window: longer than the balancer's probe period × threshold plus propagation. Default min(5 s, grace/4).
    pub(crate) window_ns: u64,
    /// How long a fenced listener still accepts: more than the client's round trip. Default 100 ms.
    pub(crate) settle_ns: u64,
    /// How long a connection must have been silent before the server closes it. Default 500 ms.
    pub(crate) quiet_ns: u64,
    /// How long before the drain deadline the abort signals fire. Default 1 s.
    pub(crate) abort_lead_ns: u64,
    /// The window ends early once neither a connection nor a request arrived for this long. Default never.
    pub(crate) window_idle_ns: u64,
    /// Seeds every spread, if `seeded`. Default 0.
    pub(crate) seed: u64,
    /// Whether `seed` counts.
    pub(crate) seeded: Flag,
    /// Somebody is developing: what is unset of window, settle and quiet is 0, so that nobody waits for a restart. Default false;
    /// lameduck_start sets it when standard input is a terminal.
    pub(crate) interactive: Flag,
    /// This is not production: when no connection was ever accepted, an unset window is skipped. Default false.
    pub(crate) development: Flag,
    /// Default LAMEDUCK_NEW_REQUESTS_UNSET.
    pub(crate) new_requests: RawNewRequests,
    /// Default LAMEDUCK_READINESS_UNSET.
    pub(crate) readiness: RawReadiness,
    /// The variables that beat all this: strings `NAME=value`, the last followed by NULL, as `environ` has them. Default NULL:
    /// those of the process, which nobody may change during the call. A list with nothing in it: none.
    pub(crate) environment: *const *const c_char,
}

/// Fills a policy with what nobody has set. `size` is `sizeof(lameduck_policy)`.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_WRONG_SIZE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_policy_init(
    policy: *mut lameduck_policy,
    size: usize,
) -> lameduck_status {
    guard(|| {
        let policy = Output::new(policy, "policy")?;
        check_size(size, size_of::<lameduck_policy>(), "lameduck_policy")?;
        let unset = lameduck_policy {
            size,
            grace_ns: UNSET,
            margin_ns: UNSET,
            reserve_ns: UNSET,
            window_ns: UNSET,
            settle_ns: UNSET,
            quiet_ns: UNSET,
            abort_lead_ns: UNSET,
            window_idle_ns: UNSET,
            seed: 0,
            seeded: Flag::FALSE,
            interactive: Flag::FALSE,
            development: Flag::FALSE,
            new_requests: lameduck_new_requests::Unset.into(),
            readiness: lameduck_readiness::Unset.into(),
            environment: std::ptr::null(),
        };
        // SAFETY: the caller's struct is of this size.
        unsafe { policy.write(unset) };
        Ok(())
    })
}

/// Whether a struct is one of this version. Later versions will accept the sizes of earlier ones.
pub(crate) fn check_size(given: usize, known: usize, name: &str) -> Result<(), Failure> {
    if given == known {
        return Ok(());
    }
    Err(Failure::new(
        LAMEDUCK_WRONG_SIZE,
        format!(
            "a {name} of {given} bytes is none that this library ({}) knows, which has {known}: \
             fill it by its init function, and build with the header of the library that you link",
            env!("CARGO_PKG_VERSION")
        ),
    ))
}

/// The variables that beat the program.
pub(crate) struct Variables(Option<Vec<(String, String)>>);

impl Variables {
    /// # Safety
    /// If it is not NULL it is a list of C strings that NULL ends.
    unsafe fn read(mut list: *const *const c_char) -> Self {
        if list.is_null() {
            return Self(None);
        }
        let mut variables = Vec::new();
        // SAFETY: by this function's contract, up to the NULL and no further.
        while let Some(variable) = unsafe { (*list).as_ref() } {
            // SAFETY: it is a C string.
            let variable = unsafe { CStr::from_ptr(variable) }.to_string_lossy();
            if let Some((name, value)) = variable.split_once('=') {
                variables.push((name.to_owned(), value.to_owned()));
            }
            // SAFETY: this one was not the last.
            list = unsafe { list.add(1) };
        }
        Self(Some(variables))
    }

    fn of(&self, name: &str) -> Option<String> {
        match &self.0 {
            None => std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()),
            Some(list) => {
                list.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            }
        }
    }

    /// Sentences for the log: variables that look like ours and are none.
    pub(crate) fn unknown(&self) -> Vec<String> {
        let names: Vec<String> = match &self.0 {
            None => std::env::vars_os().map(|(n, _)| n.to_string_lossy().into_owned()).collect(),
            Some(list) => list.iter().map(|(name, _)| name.clone()).collect(),
        };
        names.iter().filter_map(|name| environment::unknown(name)).collect()
    }

    /// The file that shall get the report: the program's, unless a variable names another.
    pub(crate) fn report_file(
        &self,
        asked: Option<String>,
    ) -> Result<Option<Arc<ReportFile>>, Failure> {
        let path = environment::report_file(|name| self.of(name)).or(asked);
        path.map(|path| ReportFile::open(&path).map(Arc::new))
            .transpose()
            .map_err(|error| Failure::new(LAMEDUCK_SYSTEM, error.to_string()))
    }
}

/// The policy that the program and the environment make together. NULL is one in which nothing is set.
///
/// # Safety
/// If it is not NULL it points to a `lameduck_policy`, or to something else whose first word can be read.
pub(crate) unsafe fn resolve(
    policy: *const lameduck_policy,
    interactive: bool,
) -> Result<(Policy, Variables), Failure> {
    let (mut code, variables) = if policy.is_null() {
        (Settings::default(), Variables(None))
    } else {
        // SAFETY: it has at least its first field.
        let size = unsafe { input::pointee(policy.cast::<usize>(), "policy")? };
        check_size(*size, size_of::<lameduck_policy>(), "lameduck_policy")?;
        // SAFETY: it is one of this version.
        let policy = unsafe { input::pointee(policy, "policy")? };
        // SAFETY: by the contract of that field.
        (settings(policy)?, unsafe { Variables::read(policy.environment) })
    };
    code.interactive |= interactive;
    environment::settings(|name| variables.of(name))
        .and_then(|environment| Policy::resolve(&code, &environment))
        .map(|policy| (policy, variables))
        .map_err(|contradiction| Failure::new(LAMEDUCK_CONTRADICTION, contradiction.to_string()))
}

fn settings(policy: &lameduck_policy) -> Result<Settings, Failure> {
    let grace = match policy.grace_ns {
        UNLIMITED => Some(Grace::Unlimited),
        nanos => input::span(nanos, "grace_ns")?.map(Grace::Limited),
    };
    Ok(Settings {
        grace,
        margin: input::span(policy.margin_ns, "margin_ns")?,
        reserve: input::span(policy.reserve_ns, "reserve_ns")?,
        window: input::span(policy.window_ns, "window_ns")?,
        settle: input::span(policy.settle_ns, "settle_ns")?,
        quiet: input::span(policy.quiet_ns, "quiet_ns")?,
        abort_lead: input::span(policy.abort_lead_ns, "abort_lead_ns")?,
        window_idle: input::span(policy.window_idle_ns, "window_idle_ns")?,
        new_requests: policy.new_requests.parse()?,
        readiness: policy.readiness.parse()?,
        seed: policy.seeded.is_set().then_some(policy.seed),
        interactive: policy.interactive.is_set(),
        development: policy.development.is_set(),
    })
}

/// Checks a policy, and writes each time and where it came from as one line into `buffer` (see lameduck_report for buffers).
/// `policy` may be NULL.
///
/// LAMEDUCK_CONTRADICTION, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_WRONG_SIZE, LAMEDUCK_BUFFER_TOO_SMALL, LAMEDUCK_NULL_POINTER.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_policy_describe(
    policy: *const lameduck_policy,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> lameduck_status {
    guard(|| {
        // SAFETY: the caller's pointers are as the header says.
        unsafe {
            let (policy, _) = resolve(policy, false)?;
            text::hand_out(&policy.describe(), buffer, capacity, length)
        }
    })
}
