//! sans-IO: a machine for servers that have a loop of their own and want to do everything else themselves.

use std::ffi::c_char;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lameduck::{Machine, Time};

use crate::effect::lameduck_effect;
use crate::enums::{lameduck_phase, lameduck_wake};
use crate::event::lameduck_event;
use crate::input::{self, Output, UNSET};
use crate::policy::{self, lameduck_policy};
use crate::registry::{Entry, Registry, Sort};
use crate::status::{Failure, guard, lameduck_status};
use crate::text;

/// A machine that decides how a server ends: events in, effects out. It has no clock, thread, socket or signal; you tell it the
/// time. Tell it while Serving only of listeners, hooks and jobs; at the request to stop, tell it
/// LAMEDUCK_EVENT_TYPE_SHUTDOWN and then, before any tick, one LAMEDUCK_EVENT_TYPE_CONNECTION_ADOPTED for each open connection;
/// from then on everything. Free it by lameduck_machine_free. Usable from any thread; calls wait for each other.
pub struct lameduck_machine {
    _handle: [u8; 0],
}

pub(crate) static MACHINES: Registry<Mutex<Machine>, (), 16384> =
    Registry::new(Sort::Machine, "machine");

type Found = Arc<Entry<Mutex<Machine>, ()>>;

fn find(machine: *const lameduck_machine) -> Result<Found, Failure> {
    if machine.is_null() {
        return Err(input::null("machine"));
    }
    MACHINES.find(machine.addr())
}

fn lock(found: &Found) -> MutexGuard<'_, Machine> {
    // A machine whose event panicked is no worse than one that never got it.
    found.object.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a machine that serves under `policy` (NULL: one in which nothing is set), which is copied.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_WRONG_SIZE, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_CONTRADICTION, LAMEDUCK_FULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_machine_new(
    policy: *const lameduck_policy,
    machine: *mut *mut lameduck_machine,
) -> lameduck_status {
    guard(|| {
        let machine = Output::new(machine, "machine")?;
        // SAFETY: the caller's policy is as the header says.
        let (policy, _) = unsafe { policy::resolve(policy, false)? };
        let handle = MACHINES.insert(|()| Ok(Mutex::new(Machine::new(policy))))?;
        // SAFETY: the caller's pointer is valid.
        unsafe { machine.write(std::ptr::without_provenance_mut(handle)) };
        Ok(())
    })
}

/// Frees a machine. NULL is freed already. Whatever is called with it from now on is refused.
///
/// LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_machine_free(machine: *mut lameduck_machine) -> lameduck_status {
    guard(|| if machine.is_null() { Ok(()) } else { MACHINES.remove(machine.addr()).map(drop) })
}

/// Takes one event that happened at `now_ns`: nanoseconds of a monotonic clock since an origin that you chose. A time that runs
/// back is taken as the latest seen. An event that is refused has changed nothing, not even the clock.
///
/// LAMEDUCK_NULL_POINTER (also the event's `text`, where it needs one), LAMEDUCK_INVALID_HANDLE, LAMEDUCK_UNKNOWN_VALUE, and the
/// reasons from 100 on: some of them are ordinary races, such as a request that ends after it was forced.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_handle(
    machine: *mut lameduck_machine,
    event: *const lameduck_event,
    now_ns: u64,
) -> lameduck_status {
    guard(|| {
        let found = find(machine)?;
        // SAFETY: the caller's event is as the header says.
        let event = unsafe { input::pointee(event, "event")?.parse()? };
        Ok(lock(&found).handle(event, Time::from_nanos(now_ns))?)
    })
}

/// Takes the next effect. After every event and tick take all, until one is LAMEDUCK_EFFECT_TYPE_NONE, and do them in order.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_poll_effect(
    machine: *mut lameduck_machine,
    effect: *mut lameduck_effect,
) -> lameduck_status {
    guard(|| {
        let (found, effect) = (find(machine)?, Output::new(effect, "effect")?);
        let next = lock(&found).poll_effect().into();
        // SAFETY: the caller's pointer is valid.
        unsafe { effect.write(next) };
        Ok(())
    })
}

/// When the machine wants to be ticked, and why. It may lie in the past: then tick now. When only an event can change anything
/// `why` is LAMEDUCK_WAKE_NONE and `at_ns` LAMEDUCK_UNSET. `why` may be NULL.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_next_wake_ns(
    machine: *const lameduck_machine,
    at_ns: *mut u64,
    why: *mut lameduck_wake,
) -> lameduck_status {
    guard(|| {
        let (found, at_ns) = (find(machine)?, Output::new(at_ns, "at_ns")?);
        let why = if why.is_null() { None } else { Some(Output::new(why, "why")?) };
        let wake = lock(&found).next_wake();
        // SAFETY: the caller's pointers are valid.
        unsafe {
            at_ns.write(wake.map_or(UNSET, |(at, _)| at.as_nanos()));
            if let Some(place) = why {
                place.write(wake.map_or(lameduck_wake::None, |(_, why)| why.into()));
            }
        }
        Ok(())
    })
}

/// Lets time pass: fires every deadline up to `now_ns`, in order. Early or twice does nothing.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_tick(machine: *mut lameduck_machine, now_ns: u64) -> lameduck_status {
    guard(|| {
        lock(&find(machine)?).tick(Time::from_nanos(now_ns));
        Ok(())
    })
}

/// Where it stands.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_machine_phase(
    machine: *const lameduck_machine,
    phase: *mut lameduck_phase,
) -> lameduck_status {
    guard(|| {
        let (found, phase) = (find(machine)?, Output::new(phase, "phase")?);
        let now = lock(&found).phase().into();
        // SAFETY: the caller's pointer is valid.
        unsafe { phase.write(now) };
        Ok(())
    })
}

/// T, when the process must have ended, on the driver's clock; LAMEDUCK_UNSET while Serving, LAMEDUCK_UNLIMITED when there is none.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_machine_deadline_ns(
    machine: *const lameduck_machine,
    at_ns: *mut u64,
) -> lameduck_status {
    guard(|| {
        let (found, at_ns) = (find(machine)?, Output::new(at_ns, "at_ns")?);
        let machine = lock(&found);
        let none = match machine.phase() {
            lameduck::Phase::Serving => UNSET,
            _ => input::UNLIMITED,
        };
        // SAFETY: the caller's pointer is valid.
        unsafe { at_ns.write(machine.hard_deadline().map_or(none, Time::as_nanos)) };
        Ok(())
    })
}

/// Writes the report as it stands at `now_ns` as JSON, one line, schema `lameduck-report/1`, into `buffer` (see lameduck_report for
/// buffers).
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_machine_report(
    machine: *const lameduck_machine,
    now_ns: u64,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> lameduck_status {
    guard(|| {
        let report = lock(&find(machine)?).report(Time::from_nanos(now_ns)).to_json();
        // SAFETY: the caller's pointers are as the header says.
        unsafe { text::hand_out(&report, buffer, capacity, length) }
    })
}
