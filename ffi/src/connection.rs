//! Connections of a server.

use std::ffi::{c_char, c_int, c_void};

use lameduck::ConnectionId;

use crate::enums::RawProtocol;
use crate::input::Output;
use crate::server::{find, lameduck_server};
use crate::status::{guard, lameduck_status};
use crate::text;

/// A connection was accepted. `descriptor` is its socket, which stays yours; -1 when there is none, or when you look yourself for unread
/// bytes before an idle connection is closed. `context` goes to the callbacks about this connection; it may be NULL. Writes
/// the connection's handle, which is never 0 and below 2^52, and never names another connection.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_FULL (4194304 are open: serve it
/// uncounted), LAMEDUCK_CLOSING and LAMEDUCK_DONE (close it).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_connection_open(
    server: *mut lameduck_server,
    descriptor: c_int,
    protocol: RawProtocol,
    context: *mut c_void,
    connection: *mut u64,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (find(server)?, Output::new(connection, "connection")?);
        let descriptor = (descriptor >= 0).then_some(descriptor);
        let tag = context.expose_provenance();
        let opened = found.object.hosted.open(protocol.parse()?, descriptor, tag)?;
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(opened.0) };
        Ok(())
    })
}

/// The connection is gone, whoever closed it. Call it before you close the descriptor, so that nobody looks at another socket of the
/// same number. Requests that are still in flight on it have their verdict: client gone.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_CONNECTION.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_connection_close(
    server: *mut lameduck_server,
    connection: u64,
) -> lameduck_status {
    guard(|| Ok(find(server)?.object.hosted.close(ConnectionId(connection))?))
}

/// Who is at the other end, for the report; copied.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_CONNECTION, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_connection_describe(
    server: *mut lameduck_server,
    connection: u64,
    peer: *const c_char,
) -> lameduck_status {
    guard(|| {
        let found = find(server)?;
        // SAFETY: the caller's string is as the header says.
        let peer = unsafe { text::string(peer, "peer")? };
        Ok(found.object.hosted.describe_peer(ConnectionId(connection), peer)?)
    })
}

/// The connection speaks another protocol from now on; its requests stay in flight.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_UNKNOWN_CONNECTION,
/// LAMEDUCK_FORCED, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_connection_upgrade(
    server: *mut lameduck_server,
    connection: u64,
    protocol: RawProtocol,
) -> lameduck_status {
    guard(|| {
        let (found, protocol) = (find(server)?, protocol.parse()?);
        Ok(found.object.hosted.upgrade(ConnectionId(connection), protocol)?)
    })
}

/// Asked by `close_idle`, you found bytes of a next request in a buffer of your own and left the connection open.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_SERVING, LAMEDUCK_UNKNOWN_CONNECTION, LAMEDUCK_NOT_IDLE,
/// LAMEDUCK_ALLOWANCE_SPENT (its time to complete a request head is over: close it), LAMEDUCK_FORCED, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_connection_busy(
    server: *mut lameduck_server,
    connection: u64,
) -> lameduck_status {
    guard(|| Ok(find(server)?.object.hosted.busy(ConnectionId(connection))?))
}
