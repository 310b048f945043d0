//! Requests of a server: the only calls that a serving server makes all the time.

use std::ffi::c_char;

use lameduck::ConnectionId;
use lameduck_host::hosted::{self, Counted, NotTaken, Token};

use crate::enums::{RawOutcome, RawRequestKind};
use crate::input::{Flag, Output};
use crate::server::{find, lameduck_server, ledger};
use crate::status::{guard, lameduck_status};
use crate::text;

/// A request begins: its head was parsed. While serving this is one atomic change of the connection's own word; no lock, no
/// allocation, nothing that another connection touches. Writes the request's handle, for the calls below: LAMEDUCK_REQUEST_COUNTED
/// while serving, when a request is one of so many and no more.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_UNKNOWN_CONNECTION, LAMEDUCK_TOO_MANY; while draining also
/// LAMEDUCK_REFUSE_REQUEST and LAMEDUCK_NOT_PROCESSED, LAMEDUCK_FORCED, LAMEDUCK_DONE, LAMEDUCK_FORKED. Unless it returned LAMEDUCK_OK, do not end it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_request_begin(
    server: *mut lameduck_server,
    connection: u64,
    request: *mut u64,
) -> lameduck_status {
    guard(|| {
        let (ledger, place) = (ledger(server)?, Output::new(request, "request")?);
        let connection = ConnectionId(connection);
        let token = match hosted::begin(ledger, connection)? {
            Counted::Yes => Token::COUNTED,
            Counted::Late => find(server)?.object.hosted.begin_late(connection)?,
        };
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(token.0) };
        Ok(())
    })
}

/// The request has ended, and every byte of its response has left the process for the kernel. LAMEDUCK_REQUEST_COUNTED ends one
/// that was begun while serving, the oldest.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_UNKNOWN_CONNECTION, LAMEDUCK_UNKNOWN_REQUEST,
/// LAMEDUCK_NOT_IN_FLIGHT; while draining also LAMEDUCK_DONE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_request_end(
    server: *mut lameduck_server,
    connection: u64,
    request: u64,
    outcome: RawOutcome,
) -> lameduck_status {
    guard(|| {
        let (ledger, outcome) = (ledger(server)?, outcome.parse()?);
        let (connection, token) = (ConnectionId(connection), Token(request));
        if token != Token::COUNTED {
            return Ok(find(server)?.object.hosted.end(connection, token, outcome)?);
        }
        match hosted::end(ledger, connection)? {
            Counted::Yes => Ok(()),
            Counted::Late => {
                Ok(find(server)?.object.hosted.end_late(connection, token, outcome)?)
            }
        }
    })
}

/// The word in which the requests of a connection are counted, for lameduck_inline.h. It may be looked at as long as the process
/// lives; once the connection is closed it is another's, and its generation says so.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_UNKNOWN_CONNECTION.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_connection_word(
    server: *mut lameduck_server,
    connection: u64,
    word: *mut *mut u64,
) -> lameduck_status {
    guard(|| {
        let (ledger, place) = (ledger(server)?, Output::new(word, "word")?);
        let word = ledger.word(connection).map_err(NotTaken::from)?;
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(word.as_ptr()) };
        Ok(())
    })
}

/// What the request is, for its allowance and the report; `label` (method and route) is copied. An event stream or a long poll must be
/// described, or nobody tells it to end. Takes a lock. Gives the request a handle of its own, if it has none, and writes it to
/// `*request`.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_UNKNOWN_CONNECTION,
/// LAMEDUCK_UNKNOWN_REQUEST, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_request_describe(
    server: *mut lameduck_server,
    connection: u64,
    request: *mut u64,
    kind: RawRequestKind,
    label: *const c_char,
) -> lameduck_status {
    guard(|| {
        let (found, kind) = (find(server)?, kind.parse()?);
        let place = Output::new(request, "request")?;
        // SAFETY: the caller's pointers are as the header says.
        let (label, token) = unsafe { (text::string(label, "label")?, Token(*request)) };
        let named = found.object.hosted.describe(ConnectionId(connection), token, kind, label)?;
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(named.0) };
        Ok(())
    })
}

/// The head of the response is about to be written. Writes to `*announce` whether it is to say `Connection: close`; then close the
/// connection once that response has left, as after `close_idle`. `closes`: it says so in any case. With pipelined requests
/// ask for the last one. While serving this is one load. In HTTP/2 the GOAWAY says it, and this writes false.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_UNKNOWN_CONNECTION; while draining also LAMEDUCK_UNKNOWN_REQUEST,
/// LAMEDUCK_HEADERS_ALREADY_SENT, LAMEDUCK_DONE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_response_head(
    server: *mut lameduck_server,
    connection: u64,
    request: u64,
    closes: Flag,
    announce: *mut bool,
) -> lameduck_status {
    guard(|| {
        let (ledger, place) = (ledger(server)?, Output::new(announce, "announce")?);
        let connection = ConnectionId(connection);
        let says = match hosted::head(ledger, connection, closes.is_set())? {
            Some(says) => says,
            None => find(server)?.object.hosted.head_late(
                connection,
                Token(request),
                closes.is_set(),
            )?,
        };
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(says) };
        Ok(())
    })
}
