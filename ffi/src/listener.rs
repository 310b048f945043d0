//! Listeners of a server.

use std::ffi::{c_char, c_int};

use lameduck::ListenerId;

use crate::input::Output;
use crate::server::{find, lameduck_server};
use crate::status::{Failure, guard, lameduck_status, lameduck_status::*};
use crate::text;

pub(crate) fn id(listener: u64) -> Result<ListenerId, Failure> {
    u32::try_from(listener).map(ListenerId).map_err(|_| {
        Failure::new(LAMEDUCK_UNKNOWN_LISTENER, format!("no listener has the handle {listener}"))
    })
}

/// The server accepts at this listening socket, which stays yours. At the end of the window lameduck stops new arrivals; go on
/// accepting until `close_listener` says that nobody waits any more.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_BAD_DESCRIPTOR, LAMEDUCK_FULL, LAMEDUCK_DRAINING and
/// LAMEDUCK_CLOSING and LAMEDUCK_DONE (close the socket).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_listener_add(
    server: *mut lameduck_server,
    descriptor: c_int,
    listener: *mut u64,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (find(server)?, Output::new(listener, "listener")?);
        let added = found.object.hosted.listener_opened(descriptor)?;
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(added.0.into()) };
        Ok(())
    })
}

/// The listener is closed.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_LISTENER, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_listener_closed(
    server: *mut lameduck_server,
    listener: u64,
) -> lameduck_status {
    guard(|| Ok(find(server)?.object.hosted.listener_closed(id(listener)?)?))
}

/// The listener failed and accepts nothing any more; `error` is what the operating system said, copied.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_LISTENER, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_listener_failed(
    server: *mut lameduck_server,
    listener: u64,
    error: *const c_char,
) -> lameduck_status {
    guard(|| {
        let found = find(server)?;
        // SAFETY: the caller's string is as the header says.
        let error = unsafe { text::string(error, "error")? };
        Ok(found.object.hosted.listener_failed(id(listener)?, error)?)
    })
}
