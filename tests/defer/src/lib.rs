//! A hold behind a few C functions, so that a test's Python server can load it. Not the C ABI: one hold a
//! process, and errors only as text on standard error.

#![cfg(unix)]

use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lameduck::{Effect, Event, Grace, HookId, Phase, Policy, Settings, Stage};
use lameduck_host::hold::{Fencing, Hold, Options};

static HOLD: Mutex<Option<Arc<Hold>>> = Mutex::new(None);

fn place() -> MutexGuard<'static, Option<Arc<Hold>>> {
    HOLD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hold() -> Option<Arc<Hold>> {
    place().clone()
}

/// Starts the hold of this process. `fencing`: 0 auto, 1 always, 2 never. Returns 0, or -1 after saying why not.
#[unsafe(no_mangle)]
pub extern "C" fn hold_start(window_ms: u32, grace_ms: u32, fencing: c_int) -> c_int {
    let ms = |value: u32| Duration::from_millis(value.into());
    let settings = Settings {
        window: Some(ms(window_ms)),
        grace: Some(Grace::Limited(ms(grace_ms))),
        ..Settings::default()
    };
    let started = Policy::resolve(&settings, &Settings::default())
        .map_err(|contradiction| contradiction.to_string())
        .and_then(|policy| {
            let fencing = match fencing {
                1 => Fencing::Always,
                2 => Fencing::Never,
                _ => Fencing::Auto,
            };
            // The only hook of the test ends as soon as it is asked for: its place in the timeline is the point.
            let embedder = |effect| {
                if let (Effect::RunHook { hook }, Some(hold)) = (effect, hold()) {
                    let _ = hold.handle(Event::HookFinished { hook, error: None });
                }
            };
            Hold::start(Options { fencing, ..Options::new(policy) }, embedder)
                .map_err(|error| error.to_string())
        });
    match started {
        Ok(hold) => {
            let registered = Event::HookRegistered {
                hook: HookId(0),
                stage: Stage::Close,
                name: "pool".to_owned(),
                order: 0,
                timeout: None,
            };
            let _ = hold.handle(registered);
            *place() = Some(Arc::new(hold));
            0
        }
        Err(error) => {
            eprintln!("{error}");
            -1
        }
    }
}

/// What Node calls when it loads a library as an addon: starts the hold with the window of `DEFER_WINDOW_MS`.
#[unsafe(no_mangle)]
pub extern "C" fn napi_register_module_v1(_: *mut c_void, exports: *mut c_void) -> *mut c_void {
    let window = std::env::var("DEFER_WINDOW_MS").ok().and_then(|text| text.parse().ok());
    hold_start(window.unwrap_or(0), 10_000, 0);
    exports
}

/// 1 when every response shall announce.
#[unsafe(no_mangle)]
pub extern "C" fn hold_announcing() -> c_int {
    hold().is_some_and(|hold| hold.announcing()).into()
}

/// The server has stopped. Waits until the hooks have run, 2 s at most, and returns 1 if they have.
#[unsafe(no_mangle)]
pub extern "C" fn hold_server_stopped() -> c_int {
    let Some(hold) = hold() else { return 0 };
    hold.server_stopped();
    let limit = Instant::now() + Duration::from_secs(2);
    while hold.phase() != Phase::Done && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(1));
    }
    c_int::from(hold.phase() == Phase::Done)
}

/// Writes the report as one line to the descriptor. Returns 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn hold_report(descriptor: c_int) -> c_int {
    use std::io::Write;
    use std::mem::ManuallyDrop;
    use std::os::fd::FromRawFd;

    let Some(report) = hold().and_then(|hold| hold.report()) else { return -1 };
    // SAFETY: never dropped, so the descriptor stays the caller's, who promises that it is open.
    let mut file = ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(descriptor) });
    if writeln!(file, "{}", report.to_json()).is_ok() { 0 } else { -1 }
}
