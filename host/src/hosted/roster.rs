//! What is known of the connections beside the ledger: their descriptors, and after the hand-over their requests by name.
//!
//! Before the hand-over only what was described is here, since nothing else can be told apart; see [`super`].

use std::collections::HashMap;
use std::os::fd::RawFd;

use lameduck::{ConnectionId, Event, Machine, Protocol, Refused, RequestId, RequestKind, Time};

use crate::ledger::Ledger;

/// What the server calls a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

impl Token {
    /// A request that was counted while serving, and not described.
    pub const COUNTED: Self = Self(0);
}

/// What the server said of a request while serving.
pub(super) struct Described {
    pub(super) kind: RequestKind,
    pub(super) label: String,
    pub(super) since: Time,
}

#[derive(Default)]
pub(super) struct Roster {
    connections: HashMap<ConnectionId, Connection>,
    last_token: u64,
}

/// What the server said of a connection.
#[derive(Clone, Copy, Default)]
pub(super) struct Known {
    pub(super) fd: Option<RawFd>,
    pub(super) tag: usize,
}

#[derive(Default)]
struct Connection {
    known: Known,
    /// From now on its last response says so.
    announce: bool,
    peer: Option<String>,
    described: Vec<(Token, Described)>,
    /// In flight and known to the machine; those without a token were only counted.
    requests: Vec<(Token, RequestId)>,
    next_request: u32,
}

impl Connection {
    fn place(&self, token: Token) -> Option<usize> {
        self.requests.iter().position(|(known, _)| *known == token)
    }
}

impl Roster {
    pub(super) fn opened(&mut self, id: ConnectionId, fd: Option<RawFd>, tag: usize) {
        let known = Known { fd, tag };
        self.connections.insert(id, Connection { known, ..Connection::default() });
    }

    pub(super) fn closed(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    pub(super) fn describe_peer(&mut self, id: ConnectionId, peer: String) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.peer = Some(peer);
        }
    }

    pub(super) fn announce(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.announce = true;
        }
    }

    pub(super) fn announces(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.announce)
    }

    /// What was to be announced in the old protocol's way comes anew in the new one's.
    pub(super) fn upgraded(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.announce = false;
        }
    }

    /// `None` when the connection is gone.
    pub(super) fn known(&self, id: ConnectionId) -> Option<Known> {
        self.connections.get(&id).map(|connection| connection.known)
    }

    /// A request that begins after the hand-over. `None` when the connection is gone.
    pub(super) fn begin(&mut self, id: ConnectionId) -> Option<(RequestId, Token)> {
        let connection = self.connections.get_mut(&id)?;
        self.last_token += 1;
        let (request, token) = (RequestId(connection.next_request), Token(self.last_token));
        connection.next_request = connection.next_request.wrapping_add(1);
        connection.requests.push((token, request));
        Some((request, token))
    }

    /// Forgets a request and says what the machine calls it.
    pub(super) fn end(&mut self, id: ConnectionId, token: Token) -> Option<RequestId> {
        let connection = self.connections.get_mut(&id)?;
        let place = connection.place(token)?;
        Some(connection.requests.remove(place).1)
    }

    /// While serving: keeps what is known of one of `in_flight` requests.
    pub(super) fn describe(
        &mut self,
        id: ConnectionId,
        token: Token,
        what: Described,
        in_flight: usize,
    ) -> Result<Token, Refused> {
        let connection = self.connections.get_mut(&id).ok_or(Refused::UnknownConnection)?;
        if let Some((_, known)) = connection.described.iter_mut().find(|(known, _)| *known == token)
        {
            let since = known.since;
            *known = Described { since, ..what };
            return Ok(token);
        }
        if token != Token::COUNTED || connection.described.len() >= in_flight {
            return Err(Refused::UnknownRequest);
        }
        self.last_token += 1;
        let token = Token(self.last_token);
        connection.described.push((token, what));
        Ok(token)
    }

    /// While serving: a described request ends. Whether there was one.
    pub(super) fn undescribe(&mut self, id: ConnectionId, token: Token) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let before = connection.described.len();
        connection.described.retain(|(known, _)| *known != token);
        connection.described.len() < before
    }

    /// After the hand-over: what the machine calls it, and a token that is its own.
    pub(super) fn named(
        &mut self,
        id: ConnectionId,
        token: Token,
    ) -> Result<(RequestId, Token), Refused> {
        let connection = self.connections.get_mut(&id).ok_or(Refused::UnknownConnection)?;
        let place = connection.place(token).ok_or(Refused::UnknownRequest)?;
        let (known, request) = &mut connection.requests[place];
        if *known == Token::COUNTED {
            self.last_token += 1;
            *known = Token(self.last_token);
        }
        Ok((*request, *known))
    }

    /// After the hand-over: what the machine calls it.
    pub(super) fn request(&self, id: ConnectionId, token: Token) -> Result<RequestId, Refused> {
        let connection = self.connections.get(&id).ok_or(Refused::UnknownConnection)?;
        let place = connection.place(token).ok_or(Refused::UnknownRequest)?;
        Ok(connection.requests[place].1)
    }

    pub(super) fn token(&self, id: ConnectionId, request: RequestId) -> Option<Token> {
        let requests = &self.connections.get(&id)?.requests;
        requests.iter().find(|(_, known)| *known == request).map(|(token, _)| *token)
    }

    /// The hand-over: what the ledger has counted becomes the machine's, with all that was described.
    pub(super) fn hand_over(&mut self, ledger: &Ledger, machine: &mut Machine, now: Time) {
        // It is the ledger's only hand-over: the caller has seen the machine serving, under its lock.
        let _ = ledger.hand_over(|handle, row| {
            let id = ConnectionId(handle);
            let in_flight = u32::from(row.in_flight);
            let adopted = Event::ConnectionAdopted {
                connection: id,
                protocol: Protocol::ALL[usize::from(row.protocol)],
                in_flight,
                announced: row.announced,
            };
            // The ledger names each connection once, so the machine cannot know it.
            let _ = machine.handle(adopted, now);
            let Some(connection) = self.connections.get_mut(&id) else { return };
            connection.next_request = in_flight;
            connection.requests = (0..in_flight).map(|n| (Token::COUNTED, RequestId(n))).collect();
            if let Some(peer) = connection.peer.take() {
                let _ = machine.handle(Event::ConnectionDescribed { connection: id, peer }, now);
            }
            let described = std::mem::take(&mut connection.described);
            for ((known, request), (token, what)) in connection.requests.iter_mut().zip(described) {
                *known = token;
                let (request, Described { kind, label, since }) = (*request, what);
                let told = Event::RequestDescribed { connection: id, request, kind, label, since };
                let _ = machine.handle(told, now);
            }
        });
    }
}
