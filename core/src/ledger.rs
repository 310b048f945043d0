//! The words in which a driver counts while it is serving.
//!
//! One connection has two 32-bit words, `state` and `generation`. This file fixes what their bits
//! mean and how they change; it holds no memory itself. Who owns the memory applies these functions to it,
//! so that every language counts in exactly the same way: Rust through [`crate::row`], where threads
//! meet; JavaScript in a typed array, on its one thread.
//!
//! ```text
//! state        31     HANDED     the machine has adopted this connection; its changes are events
//!              30     FAULT      the count would have wrapped; sticky until the slot is reused
//!              21-29  reserved, zero
//!              20     OPEN       the slot belongs to a living connection
//!              19     ANNOUNCED  the peer was told that the connection closes
//!              16-18  protocol   0 http1, 1 http2, 2 websocket, 3 tunnel, 4 other
//!              0-15   in flight  requests begun and not ended
//! generation   0-19   how often the slot was used, 1..2^20; 0 means never
//! ```
//!
//! HANDED is the sign bit on purpose: read as a signed 32-bit integer, a handed word is negative,
//! which is the cheapest test there is, in JavaScript too.

/// Bits of `state` that hold the number of requests in flight.
pub const IN_FLIGHT_MASK: u32 = 0xFFFF;
/// The highest number of requests in flight that a word can hold. One more sets [`FAULT`].
pub const IN_FLIGHT_MAX: u16 = u16::MAX;
/// How far the protocol's number is shifted in `state`.
pub const PROTOCOL_SHIFT: u32 = 16;
/// Bits of `state` that hold the protocol's number.
pub const PROTOCOL_MASK: u32 = 0b111 << PROTOCOL_SHIFT;
/// The peer was told that the connection closes (`Connection: close`, GOAWAY, a close frame).
pub const ANNOUNCED: u32 = 1 << 19;
/// The slot belongs to a living connection.
pub const OPEN: u32 = 1 << 20;
/// The count was about to leave its range and was held there instead.
pub const FAULT: u32 = 1 << 30;
/// The machine has adopted the connection: what happens to it from now on is an event.
pub const HANDED: u32 = 1 << 31;

/// Protocol number of HTTP/1.0 and HTTP/1.1.
pub const HTTP1: u8 = 0;
/// Protocol number of HTTP/2.
pub const HTTP2: u8 = 1;
/// Protocol number of a WebSocket.
pub const WEBSOCKET: u8 = 2;
/// Protocol number of a CONNECT tunnel.
pub const TUNNEL: u8 = 3;
/// Protocol number of everything else.
pub const OTHER: u8 = 4;

/// How many bits of the generation word are used, so that a handle fits the 53 bits which a
/// JavaScript number holds exactly.
pub const GENERATION_BITS: u32 = 20;
/// The highest generation; the next one is 1 again.
pub const GENERATION_MAX: u32 = (1 << GENERATION_BITS) - 1;

/// What a `state` word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The slot belongs to a living connection.
    pub open: bool,
    /// The machine has adopted the connection.
    pub handed: bool,
    /// Requests begun and not ended.
    pub in_flight: u16,
    /// Protocol number, one of [`HTTP1`], [`HTTP2`], [`WEBSOCKET`], [`TUNNEL`], [`OTHER`].
    pub protocol: u8,
    /// The peer was told that the connection closes.
    pub announced: bool,
    /// The count once left its range (a double end, an end without begin, 65 536 begins).
    pub fault: bool,
}

/// Reads a `state` word. Never fails: every word means something.
#[inline]
#[must_use]
pub const fn decode(state: u32) -> Row {
    let protocol = ((state & PROTOCOL_MASK) >> PROTOCOL_SHIFT) as u8;
    Row {
        open: state & OPEN != 0,
        handed: state & HANDED != 0,
        in_flight: (state & IN_FLIGHT_MASK) as u16,
        protocol: if protocol > OTHER { OTHER } else { protocol },
        announced: state & ANNOUNCED != 0,
        fault: state & FAULT != 0,
    }
}

/// The word of a connection that has just opened: nothing in flight, not announced, not handed.
/// A protocol number above [`OTHER`] counts as [`OTHER`].
#[inline]
#[must_use]
pub const fn opened(protocol: u8) -> u32 {
    with_protocol(OPEN, protocol)
}

/// A request begins: one more in flight. At [`IN_FLIGHT_MAX`] the count stays and [`FAULT`] is set.
#[inline]
#[must_use]
pub const fn begin(state: u32) -> u32 {
    if state & IN_FLIGHT_MASK == IN_FLIGHT_MASK { state | FAULT } else { state + 1 }
}

/// A request ends: one less in flight. At zero the count stays and [`FAULT`] is set.
#[inline]
#[must_use]
pub const fn end(state: u32) -> u32 {
    if state & IN_FLIGHT_MASK == 0 { state | FAULT } else { state - 1 }
}

/// The connection speaks another protocol from now on (an upgrade); nothing else changes, so the
/// count has no gap. A number above [`OTHER`] counts as [`OTHER`].
#[inline]
#[must_use]
pub const fn with_protocol(state: u32, protocol: u8) -> u32 {
    let protocol = if protocol > OTHER { OTHER } else { protocol };
    (state & !PROTOCOL_MASK) | ((protocol as u32) << PROTOCOL_SHIFT)
}

/// The peer was told that the connection closes.
#[inline]
#[must_use]
pub const fn announced(state: u32) -> u32 {
    state | ANNOUNCED
}

/// The connection is closed; what else the word says stays, for ends that come late.
#[inline]
#[must_use]
pub const fn closed(state: u32) -> u32 {
    state & !OPEN
}

/// The machine adopts the connection.
#[inline]
#[must_use]
pub const fn handed(state: u32) -> u32 {
    state | HANDED
}

/// The generation that follows `generation`: 1 to [`GENERATION_MAX`], then 1 again, never 0, so
/// that no valid handle is 0.
#[inline]
#[must_use]
pub const fn next_generation(generation: u32) -> u32 {
    if generation >= GENERATION_MAX { 1 } else { generation + 1 }
}

/// The handle of the connection in slot `index`: the generation in the upper half, the index in the
/// lower. Always below 2^52. Bits of `generation` above [`GENERATION_BITS`] are dropped.
#[inline]
#[must_use]
pub const fn handle(generation: u32, index: u32) -> u64 {
    ((generation & GENERATION_MAX) as u64) << 32 | index as u64
}

/// The slot of a handle.
#[inline]
#[must_use]
pub const fn index_of(handle: u64) -> u32 {
    handle as u32
}

/// The generation of a handle. A number that is no handle (2^52 or more) gives a generation above
/// [`GENERATION_MAX`], which matches no slot.
#[inline]
#[must_use]
pub const fn generation_of(handle: u64) -> u32 {
    (handle >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_connection_is_open_and_idle() {
        assert_eq!(
            decode(opened(WEBSOCKET)),
            Row {
                open: true,
                handed: false,
                in_flight: 0,
                protocol: WEBSOCKET,
                announced: false,
                fault: false
            }
        );
        for unknown in OTHER + 1..=7 {
            assert_eq!(opened(unknown), opened(OTHER));
            assert_eq!(decode(u32::from(unknown) << PROTOCOL_SHIFT).protocol, OTHER);
        }
        assert!(!decode(0).open);
    }

    #[test]
    fn begin_and_end_cancel_out() {
        let mut state = announced(opened(HTTP2));
        let first = state;
        for n in 1..=1000 {
            state = begin(state);
            assert_eq!(decode(state).in_flight, n);
        }
        for _ in 0..1000 {
            state = end(state);
        }
        assert_eq!(state, first);
    }

    #[test]
    fn the_count_saturates_and_never_touches_its_neighbours() {
        let full = opened(HTTP1) | u32::from(IN_FLIGHT_MAX);
        assert_eq!(begin(full), full | FAULT);
        assert_eq!(begin(begin(full)), full | FAULT);
        assert_eq!(end(opened(OTHER)), opened(OTHER) | FAULT);
        assert!(decode(begin(end(opened(OTHER)))).fault, "a fault is sticky");
        assert_eq!(end(end(opened(OTHER))), end(opened(OTHER)), "and not undone by a second");
    }

    #[test]
    fn an_upgrade_keeps_the_count() {
        let state = begin(announced(opened(HTTP1)));
        let row = decode(with_protocol(state, TUNNEL));
        assert_eq!((row.in_flight, row.protocol, row.announced), (1, TUNNEL, true));
    }

    #[test]
    fn saying_it_twice_changes_nothing() {
        let state = begin(opened(HTTP1));
        assert_eq!(announced(announced(state)), announced(state));
        assert_eq!(handed(handed(state)), handed(state));
    }

    #[test]
    fn a_handed_word_is_negative() {
        assert!((handed(opened(HTTP1)) as i32) < 0);
        assert!(opened(OTHER) as i32 > 0);
    }

    #[test]
    fn handles_are_exact_javascript_numbers() {
        let highest = handle(GENERATION_MAX, u32::MAX);
        assert!(highest < 1 << 52);
        assert_eq!(highest as f64 as u64, highest);
        assert_eq!((generation_of(highest), index_of(highest)), (GENERATION_MAX, u32::MAX));
        assert_eq!(handle(5, 7), 5 << 32 | 7);
        assert_eq!(handle(GENERATION_MAX + 6, 7), handle(5, 7), "bits above are dropped");
        assert_eq!((next_generation(1), next_generation(GENERATION_MAX - 1)), (2, GENERATION_MAX));
        assert_eq!(next_generation(GENERATION_MAX), 1);
        assert_eq!(next_generation(0), 1);
        assert!(generation_of(1 << 52) > GENERATION_MAX);
    }
}
