//! What the reference model knows of each thing.

use std::collections::BTreeMap;

use lameduck::{Outcome, Protocol, RequestId, RequestKind, Stage};

#[derive(Default)]
pub struct Request {
    pub kind: Option<RequestKind>,
    pub headers: bool,
    pub finished: Option<Outcome>,
    pub notified: bool,
    pub end_sent: bool,
}

pub struct Connection {
    pub protocol: Protocol,
    pub requests: BTreeMap<RequestId, Request>,
    pub announced: bool,
    /// Since when it is told.
    pub told: Option<u64>,
    /// HTTP/2: the final GOAWAY was asked for.
    pub refusing: bool,
    /// Told to close, and until when it may take.
    pub closing: Option<u64>,
    pub cut: bool,
    pub allowed: bool,
    pub quiet_since: u64,
}

impl Connection {
    pub fn long_lived(&self) -> bool {
        matches!(self.protocol, Protocol::Websocket | Protocol::Tunnel | Protocol::Other)
    }

    pub fn idle(&self) -> bool {
        self.requests.is_empty() && !self.long_lived()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookState {
    Waiting,
    Running(u64),
    Ended,
}

pub struct Job {
    /// Draining cancels it, by its own wish.
    pub yields: bool,
    pub cancelled: bool,
}

pub struct Hook {
    pub stage: Stage,
    pub order: i32,
    pub timeout: Option<u64>,
    pub state: HookState,
}

/// The verdicts, in the report's words.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub adopted: u64,
    pub admitted: u64,
    pub not_processed: u64,
    pub completed: u64,
    pub client_gone: u64,
    pub refused: u64,
    pub ended: u64,
    pub forced: u64,
}
