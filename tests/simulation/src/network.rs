//! The way between clients and servers, and TCP as far as it can lose a request.

use std::collections::VecDeque;

use crate::random::Random;
use crate::time::{MS, Nanos, SECOND};

/// The least time after which a segment is repeated, over the round trip (as Linux does).
const RETRANSMIT: Nanos = 200 * MS;
/// A segment that was lost so often gets through.
const MOST_LOST: u32 = 6;

/// One-way delays and loss.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// From a client to a server.
    pub up: Nanos,
    /// From a server to a client.
    pub down: Nanos,
    /// The share of segments that are lost on the way and repeated.
    pub loss: f64,
}

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Up,
    Down,
}

impl Path {
    /// There and back.
    pub fn round_trip(&self) -> Nanos {
        self.up + self.down
    }

    pub(crate) fn one_way(&self, way: Way) -> Nanos {
        match way {
            Way::Up => self.up,
            Way::Down => self.down,
        }
    }

    /// How long a segment takes, with the repetitions that it needs.
    pub(crate) fn delay(&self, way: Way, random: &mut Random) -> Nanos {
        self.repeated(self.one_way(way), RETRANSMIT + self.round_trip(), random)
    }

    /// How long a SYN or its answer takes: they are repeated after a second.
    pub(crate) fn handshake_delay(&self, way: Way, random: &mut Random) -> Nanos {
        self.repeated(self.one_way(way), SECOND, random)
    }

    fn repeated(&self, one_way: Nanos, timeout: Nanos, random: &mut Random) -> Nanos {
        let lost = (0..MOST_LOST).take_while(|_| random.chance(self.loss)).count();
        one_way + timeout * ((1 << lost) - 1)
    }
}

/// What travels on an established connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The first half of a request's head.
    Part,
    /// A request's head is complete.
    Request(u32),
    /// The body of an upload is complete.
    Body(u32),
    /// HTTP/2: the client no longer wants it.
    Cancel(u32),
    Response(Response),
    /// HTTP/2: streams above this one will not be processed.
    Goaway(u32),
    /// A WebSocket's close frame.
    CloseFrame,
    Fin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) request: u32,
    /// It brings the head.
    pub(crate) head: bool,
    /// It brings the last byte.
    pub(crate) end: bool,
    /// The head says 503.
    pub(crate) unavailable: bool,
    /// The head says `Connection: close`.
    pub(crate) announced: bool,
}

/// One direction of a connection: in order, whatever was lost.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    under_way: VecDeque<Message>,
    /// When the last of them arrives.
    last: Nanos,
}

impl Pipe {
    /// Sends; returns when it arrives: not before what was sent earlier.
    pub(crate) fn send(&mut self, message: Message, arrives: Nanos) -> Nanos {
        self.last = self.last.max(arrives);
        self.under_way.push_back(message);
        self.last
    }

    pub(crate) fn arrive(&mut self) -> Option<Message> {
        self.under_way.pop_front()
    }

    pub(crate) fn clear(&mut self) {
        self.under_way.clear();
    }
}

/// A TCP connection with both its ends.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) pool: u32,
    /// The process it leads to.
    pub(crate) server: u32,
    pub(crate) slot: u32,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    /// How often the SYN was repeated.
    pub(crate) syns: u32,
    pub(crate) client: ClientEnd,
    pub(crate) host: HostEnd,
}

/// The client's end.
#[derive(Debug, Default)]
pub(crate) struct ClientEnd {
    pub(crate) state: ClientState,
    /// Requests without a complete answer, in the order in which they were sent.
    pub(crate) outstanding: Vec<u32>,
    /// Wishes that wait for the connection to be established.
    pub(crate) waiting: Vec<u32>,
    /// The server said that nothing more is wanted.
    pub(crate) told: bool,
    /// It speaks WebSocket now.
    pub(crate) upgraded: bool,
    /// Since when nothing was asked; 0 while something is.
    pub(crate) idle_since: Nanos,
    /// HTTP/2: the last stream that was begun.
    pub(crate) last_stream: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClientState {
    #[default]
    Connecting,
    Open,
    Closed,
}

/// The server's end: its kernel's and its driver's view.
#[derive(Debug, Default)]
pub(crate) struct HostEnd {
    pub(crate) state: HostState,
    /// Arrived in the kernel, not read by the process.
    pub(crate) unread: Vec<Message>,
    pub(crate) protocol: Option<lameduck::Protocol>,
    /// Requests that it owes an answer, in order.
    pub(crate) in_flight: Vec<u32>,
    /// Half a head was read.
    pub(crate) partial: bool,
    pub(crate) next_id: u32,
    /// The machine said that the last response shall announce.
    pub(crate) tell: bool,
    /// A response announced: nothing more is processed.
    pub(crate) announced: bool,
    /// HTTP/2: the last stream that was processed.
    pub(crate) last_stream: u32,
    /// HTTP/2: the final GOAWAY was sent.
    pub(crate) refusing: bool,
    pub(crate) fin_sent: bool,
    /// When it was closed as idle, after a last look that found nothing.
    pub(crate) looked_at: Option<Nanos>,
    /// The process ended before the client had closed its end.
    pub(crate) left_at_exit: bool,
    /// Why the server ended it, if it did.
    pub(crate) ended: Option<HostClose>,
    /// Adopted idle, and silent for a round trip at least.
    pub(crate) adopted_silent: bool,
    /// Something was asked since the hand-over.
    pub(crate) asked_since: bool,
    /// The last byte that it sent.
    pub(crate) last_sent: Nanos,
    /// A response without announcement ended after the hand-over; nothing was asked since.
    pub(crate) answered_unannounced: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HostState {
    /// No SYN was answered, or there is no such connection any more.
    #[default]
    Closed,
    /// The SYN was answered.
    SynReceived,
    /// In the accept queue.
    Queued,
    Accepted,
    /// Half-closed: what still arrives is read and dropped.
    Lingering,
}

/// Why a server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostClose {
    /// It closed its listener before the connection was accepted.
    Backlog,
    /// The process ended.
    Exit,
    /// Its time was over.
    Forced,
    /// As idle.
    Idle,
    /// After the response that announced.
    Announced,
}
