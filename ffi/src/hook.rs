//! Hooks of a server: clean-ups that a shutdown runs.

use std::ffi::{c_char, c_int, c_void};
use std::thread;

use lameduck::HookId;

use crate::enums::RawStage;
use crate::input::{self, Output, null};
use crate::options::UserData;
use crate::server::{find, lameduck_server};
use crate::status::{Failure, guard, lameduck_status, lameduck_status::*};
use crate::text;

/// What a hook returns: 0 when it succeeded, LAMEDUCK_HOOK_LATER when lameduck_hook_finished will say so, anything else (an
/// error number) when it failed.
pub type lameduck_hook = Option<unsafe extern "C" fn(user_data: *mut c_void, hook: u64) -> c_int>;

/// `LAMEDUCK_HOOK_LATER`.
const LATER: c_int = c_int::MIN;

pub(crate) struct Hook {
    run: unsafe extern "C" fn(*mut c_void, u64) -> c_int,
    user_data: UserData,
}

impl Hook {
    pub(crate) fn new(run: lameduck_hook, user_data: *mut c_void) -> Result<Self, Failure> {
        let run = run.ok_or_else(|| null("run"))?;
        Ok(Self { run, user_data: UserData(user_data) })
    }
}

/// Runs it on this thread and says how it ended.
pub(crate) fn run(id: HookId, hook: &Hook, finished: impl FnOnce(Option<String>)) {
    // SAFETY: C's function, called as the header says.
    let result = unsafe { (hook.run)(hook.user_data.0, id.0.into()) };
    if result != LATER {
        finished((result != 0).then(|| format!("it returned {result}")));
    }
}

/// Runs it on a thread of its own, so that it may block.
pub(crate) fn run_on_a_thread(
    id: HookId,
    hook: Hook,
    finished: impl FnOnce(Option<String>) + Clone + Send + 'static,
) {
    let otherwise = finished.clone();
    let builder = thread::Builder::new().name("lameduck-hook".to_owned());
    if let Err(error) = builder.spawn(move || run(id, &hook, finished)) {
        otherwise(Some(format!("there was no thread to run it: {error}")));
    }
}

/// Registers a clean-up. Hooks of a stage run by `order`, lower first, equal ones together; each has at most `timeout_ns`
/// (LAMEDUCK_UNSET: until its stage ends). `run` gets `user_data`, which must live until it has run or lameduck_free has
/// returned. With LAMEDUCK_DRIVE_LOOP it runs on the loop and must not block: return LAMEDUCK_HOOK_LATER. `name` is what the
/// report calls it; copied. Writes the hook's handle to `*hook`, which may be NULL.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_FULL, LAMEDUCK_DRAINING,
/// LAMEDUCK_CLOSING, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)] // as C reads it
pub unsafe extern "C" fn lameduck_hook_add(
    server: *mut lameduck_server,
    stage: RawStage,
    name: *const c_char,
    order: i32,
    timeout_ns: u64,
    run: lameduck_hook,
    user_data: *mut c_void,
    hook: *mut u64,
) -> lameduck_status {
    guard(|| {
        let (found, stage) = (find(server)?, stage.parse()?);
        // SAFETY: the caller's string is as the header says.
        let name = unsafe { text::string(name, "name")? };
        let timeout = input::span(timeout_ns, "timeout_ns")?;
        let known = Hook::new(run, user_data)?;
        let place = if hook.is_null() { None } else { Some(Output::new(hook, "hook")?) };
        let server = &found.object;
        let added = server.hosted.hook_registered(stage, name, order, timeout, |id| {
            server.embedder.hooks().insert(id, known);
        })?;
        // SAFETY: the caller's pointer is valid.
        unsafe { place.map(|place| place.write(added.0.into())) };
        Ok(())
    })
}

/// A hook that returned LAMEDUCK_HOOK_LATER has ended. `error` is what it failed with, copied; NULL when it succeeded.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_HOOK, LAMEDUCK_NOT_RUNNING (its time was over),
/// LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_hook_finished(
    server: *mut lameduck_server,
    hook: u64,
    error: *const c_char,
) -> lameduck_status {
    guard(|| {
        let found = find(server)?;
        let hook = u32::try_from(hook).map(HookId).map_err(|_| {
            Failure::new(LAMEDUCK_UNKNOWN_HOOK, format!("no hook has the handle {hook}"))
        })?;
        // SAFETY: the caller's string is as the header says.
        let error = unsafe { text::optional(error) };
        Ok(found.object.hosted.hook_finished(hook, error)?)
    })
}
