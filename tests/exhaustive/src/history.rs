//! What a driver knows of a shutdown: what it said, and what it was told. From this alone it is
//! judged what may come next.

use std::hash::{Hash, Hasher};

use lameduck::{Cause, Phase, Protocol, RequestKind};

use crate::bounds::{self, Begins, Bounds, CONNECTIONS, HOOKS, LISTENERS, REQUESTS};

/// Everything, as small as it can be: it is part of each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct History {
    pub(crate) phase: Phase,
    pub(crate) unready: bool,
    pub(crate) exited: bool,
    /// Something that the exit code must tell.
    pub(crate) lost: bool,
    pub(crate) listeners: [Listener; LISTENERS],
    pub(crate) connections: [Connection; CONNECTIONS],
    pub(crate) hooks: [HookState; HOOKS],
    pub(crate) job: JobState,
    pub(crate) insisted: u8,
    /// One bit each of [`Bounds::graces`] and of [`Bounds::later_causes`] that was used.
    pub(crate) graces: u8,
    pub(crate) causes: u8,
    pub(crate) late: u8,
    pub(crate) between: u8,
    /// Time has passed since the machine last heard something.
    pub(crate) slept: bool,
    /// The driver says nothing any more.
    pub(crate) silent: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Listener {
    pub(crate) open: bool,
    pub(crate) fenced: bool,
    pub(crate) told_to_close: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    /// Nobody has heard of it.
    #[default]
    Absent,
    Open,
    /// The driver was told to cut it.
    Cut,
    Gone,
}

/// What the driver was asked to do with a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    #[default]
    Nothing,
    /// To end it as its protocol does.
    End,
    /// To close it as idle.
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    pub(crate) standing: Standing,
    pub(crate) protocol: Protocol,
    pub(crate) upgraded: bool,
    pub(crate) announced: bool,
    pub(crate) refusing: bool,
    pub(crate) asked: Asked,
    /// A response said that it closes.
    pub(crate) closes: bool,
    /// Bytes of a next request were found.
    pub(crate) busy: bool,
    pub(crate) requests: [Request; REQUESTS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    Unborn,
    InFlight {
        kind: Kind,
        described: bool,
        head: bool,
        finished: bool,
        notified: bool,
        ended: bool,
    },
    /// It has its verdict, or was not processed.
    Over,
}

/// A request kind that can be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(pub(crate) RequestKind);

impl Hash for Kind {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.0 as u8).hash(hasher);
    }
}

impl Request {
    pub(crate) const fn begun(kind: RequestKind) -> Self {
        Self::InFlight {
            kind: Kind(kind),
            described: false,
            head: false,
            finished: false,
            notified: false,
            ended: false,
        }
    }

    pub(crate) const fn is_in_flight(self) -> bool {
        matches!(self, Self::InFlight { .. })
    }
}

impl Connection {
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| request.is_in_flight())
    }

    pub(crate) fn carries(&self) -> bool {
        self.in_flight().next().is_some()
    }

    pub(crate) const fn is_long_lived(&self) -> bool {
        matches!(self.protocol, Protocol::Websocket | Protocol::Tunnel | Protocol::Other)
    }

    /// Whatever was in flight on it has its verdict.
    pub(crate) fn end_requests(&mut self) {
        for request in self.requests.iter_mut().filter(|request| request.is_in_flight()) {
            *request = Request::Over;
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum HookState {
    #[default]
    Unborn,
    Waiting,
    Running,
    Ended,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum JobState {
    #[default]
    Unborn,
    Running {
        cancelled: bool,
    },
    Ended,
}

impl History {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        let absent = |index: usize| Connection {
            standing: Standing::Absent,
            protocol: bounds.connections.get(index).map_or(Protocol::Http1, |plan| plan.protocol),
            upgraded: false,
            announced: false,
            refusing: false,
            asked: Asked::Nothing,
            closes: false,
            busy: false,
            requests: [Request::Unborn; REQUESTS],
        };
        let mut history = Self {
            phase: Phase::Serving,
            unready: false,
            exited: false,
            lost: false,
            listeners: [Listener::default(); LISTENERS],
            connections: core::array::from_fn(absent),
            hooks: [HookState::Unborn; HOOKS],
            job: JobState::Unborn,
            insisted: 0,
            graces: 0,
            causes: 0,
            late: 0,
            between: 0,
            slept: false,
            silent: false,
        };
        for listener in &mut history.listeners[..bounds.listeners] {
            listener.open = true;
        }
        for (index, plan) in bounds.hooks.iter().enumerate() {
            if plan.begins == Begins::Serving {
                history.hooks[index] = HookState::Waiting;
            }
        }
        if bounds.job == Some(Begins::Serving) {
            history.job = JobState::Running { cancelled: false };
        }
        history
    }

    /// Requests without a verdict.
    pub(crate) fn in_flight(&self) -> usize {
        self.connections.iter().map(|connection| connection.in_flight().count()).sum()
    }

    /// The connection of a handle, if it is one of the model's.
    pub(crate) fn connection(&mut self, id: lameduck::ConnectionId) -> &mut Connection {
        &mut self.connections[bounds::connection_index(id)]
    }

    pub(crate) fn stop(&mut self, cause: Cause) {
        self.lost |= matches!(cause, Cause::UncaughtException | Cause::UnhandledRejection);
    }
}
