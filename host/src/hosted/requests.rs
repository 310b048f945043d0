//! What the server says of its requests: counts until the hand-over, events afterwards.

use std::sync::atomic::Ordering::Acquire;

use lameduck::row::Change;
use lameduck::{
    ConnectionId, Effect, Event, Outcome, Refused, RequestId, RequestKind, Time, ledger as word,
};

use super::roster::Described;
use super::{Hosted, NotTaken, Token};
use crate::clock::now_ns;
use crate::ledger::{Ledger, LedgerError};

/// What a count of a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Late: the hand-over has been, so the machine must be told ([`Hosted::begin_late`], [`Hosted::end_late`]).
    Late,
    /// All there is to do while serving.
    Yes,
}

/// Counts a request that begins. Touches its connection's line and nothing else.
///
/// # Errors
/// [`NotTaken::Ledger`], [`NotTaken::Refused`] when there are too many on the connection.
#[inline]
pub fn begin(ledger: &Ledger, connection: ConnectionId) -> Result<Counted, NotTaken> {
    let (change, late) = match ledger.begin(connection.0)? {
        Change::Counted { previous } => (previous, Counted::Yes),
        Change::HandedOver { previous } => (previous, Counted::Late),
    };
    if change.in_flight == word::IN_FLIGHT_MAX {
        return Err(NotTaken::Refused(Refused::TooMany));
    }
    Ok(late)
}

/// The head of a response is about to be written, `closes` if it says `Connection: close` in any case. Whether it says so; `None`: the
/// hand-over has been, [`Hosted::head_late`] knows.
///
/// # Errors
/// [`NotTaken::Ledger`].
#[inline]
pub fn head(
    ledger: &Ledger,
    connection: ConnectionId,
    closes: bool,
) -> Result<Option<bool>, NotTaken> {
    let row = ledger.row(connection.0)?;
    if row.handed {
        return Ok(None);
    }
    if !closes || row.announced {
        return Ok(Some(closes || row.announced));
    }
    match ledger.announce(connection.0)? {
        Change::Counted { .. } => Ok(Some(true)),
        // It fell in between.
        Change::HandedOver { .. } => Ok(None),
    }
}

/// Counts a request that has ended, and that nobody described.
///
/// # Errors
/// [`NotTaken::Ledger`], [`NotTaken::Refused`] when none was in flight.
#[inline]
pub fn end(ledger: &Ledger, connection: ConnectionId) -> Result<Counted, NotTaken> {
    match ledger.end(connection.0)? {
        Change::Counted { previous } if previous.in_flight > 0 => Ok(Counted::Yes),
        Change::Counted { .. } => Err(NotTaken::Refused(Refused::NotInFlight)),
        Change::HandedOver { .. } => Ok(Counted::Late),
    }
}

impl Hosted {
    /// The rest of it for whoever has called [`begin`] on its ledger, and came late.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    #[cold]
    pub fn begin_late(&self, connection: ConnectionId) -> Result<Token, NotTaken> {
        let taken = self.begin_handed(connection);
        if taken.is_err() {
            // It is not in flight, so the ledger, from which the watchdog reads, must not say so.
            let _ = self.shared.ledger.end(connection.0);
        }
        taken
    }

    fn begin_handed(&self, connection: ConnectionId) -> Result<Token, NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let state = &mut *state;
        let Some((request, token)) = state.roster.begin(connection) else {
            return Err(LedgerError::Stale { handle: connection.0 }.into());
        };
        let kind = RequestKind::Ordinary;
        let started = state.handle(Event::RequestStarted { connection, request, kind });
        let refuse = Effect::RefuseRequest { connection, request };
        let place = state.effects.iter().position(|effect| *effect == refuse);
        self.shared.waker.poke();
        if let Err(refused) = started {
            state.roster.end(connection, token);
            return Err(refused.into());
        }
        if let Some(place) = place {
            state.effects.remove(place);
            state.roster.end(connection, token);
            let (outcome, flushed) = (Outcome::Refused, true);
            state.handle(Event::RequestFinished { connection, request, outcome, flushed })?;
            return Err(NotTaken::RefuseRequest);
        }
        if !state.machine.is_in_flight(connection, request) {
            state.roster.end(connection, token);
            return Err(NotTaken::NotProcessed);
        }
        Ok(token)
    }

    /// What the request is, for its allowance and the report. Gives the request a token of its own, if it has none.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn describe(
        &self,
        connection: ConnectionId,
        token: Token,
        kind: RequestKind,
        label: String,
    ) -> Result<Token, NotTaken> {
        self.shared.here()?;
        let since = Time::from_nanos(now_ns());
        let mut state = self.shared.state();
        let row = self.shared.ledger.row(connection.0)?;
        if !row.handed {
            let in_flight = usize::from(row.in_flight);
            let described = Described { kind, label, since };
            return Ok(state.roster.describe(connection, token, described, in_flight)?);
        }
        let (request, token) = state.roster.named(connection, token)?;
        state.handle(Event::RequestDescribed { connection, request, kind, label, since })?;
        drop(state);
        self.shared.waker.poke();
        Ok(token)
    }

    /// The rest of [`head`] after the hand-over. Returns whether the response must say `Connection: close`. HTTP/2 says it by GOAWAY
    /// instead, see [`Effect::AnnounceClose`].
    ///
    /// # Errors
    /// [`NotTaken`].
    #[cold]
    pub fn head_late(
        &self,
        connection: ConnectionId,
        token: Token,
        closes: bool,
    ) -> Result<bool, NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let row = self.shared.ledger.row(connection.0)?;
        let request = state.roster.request(connection, token)?;
        let asked = row.protocol == word::HTTP1 && state.roster.announces(connection);
        let announced = closes || asked;
        state.handle(Event::RequestHeadersSent { connection, request, announced })?;
        if announced {
            // For the watchdog's counts; it is open, or the machine would not know it.
            let _ = self.shared.ledger.announce(connection.0);
        }
        drop(state);
        self.shared.waker.poke();
        Ok(announced)
    }

    /// The request has ended and every byte of its response has left the process.
    ///
    /// # Errors
    /// [`NotTaken::Ledger`]; [`NotTaken::Refused`] when it ended before, or the machine gave it its verdict.
    pub fn end(
        &self,
        connection: ConnectionId,
        token: Token,
        outcome: Outcome,
    ) -> Result<(), NotTaken> {
        if token != Token::COUNTED {
            return self.end_named(connection, token, outcome);
        }
        match end(&self.shared.ledger, connection)? {
            Counted::Yes => Ok(()),
            Counted::Late => self.end_late(connection, token, outcome),
        }
    }

    /// The rest of it for whoever has called [`end`] on its ledger, and came late.
    ///
    /// # Errors
    /// As for [`end`](Self::end).
    #[cold]
    pub fn end_late(
        &self,
        connection: ConnectionId,
        token: Token,
        outcome: Outcome,
    ) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let request =
            state.roster.end(connection, token).ok_or(NotTaken::Refused(Refused::NotInFlight))?;
        let flushed = true;
        let ended = state.handle(Event::RequestFinished { connection, request, outcome, flushed });
        drop(state);
        self.shared.waker.poke();
        Ok(ended?)
    }

    /// First the name, then the count: a hand-over in between finds a request without a name, and this ends one.
    fn end_named(
        &self,
        connection: ConnectionId,
        token: Token,
        outcome: Outcome,
    ) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let handed = self.shared.ledger.row(connection.0)?.handed;
        if handed {
            drop(state);
            let _ = self.shared.ledger.end(connection.0)?;
            return self.end_late(connection, token, outcome);
        }
        if !state.roster.undescribe(connection, token) {
            return Err(NotTaken::Refused(Refused::UnknownRequest));
        }
        drop(state);
        self.end(connection, Token::COUNTED, outcome)
    }

    /// Which token the server knows a request by.
    #[must_use]
    pub fn token(&self, connection: ConnectionId, request: RequestId) -> Option<Token> {
        self.shared.here().ok()?;
        self.shared.state().roster.token(connection, request)
    }

    /// Whether the abort signals have fired: what is in flight shall give up now, and so shall what begins from now on.
    #[must_use]
    pub fn aborting(&self) -> bool {
        self.shared.flags.aborting.load(Acquire)
    }
}
