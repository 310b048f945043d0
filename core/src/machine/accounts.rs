//! The accounts: what is in flight, and the verdicts of what is not any more.

use alloc::collections::BTreeSet;

use crate::connection::{Connection, Fate, Request};
use crate::event::Outcome;
use crate::id::{ConnectionId, RequestId};
use crate::refusal::Refused;
use crate::tally::{Tally, Verdict};
use crate::time::Time;

/// Only here do requests join and leave a connection, so that the verdicts balance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accounts {
    pub(super) tally: Tally,
    /// Requests without a verdict, oldest first.
    pub(super) in_flight: BTreeSet<(Time, ConnectionId, RequestId)>,
    /// Connections that carry some of them.
    pub(super) carrying: usize,
    /// Connections that were cut and not yet reported closed.
    pub(super) severed: usize,
}

impl Accounts {
    pub(super) fn begin(&mut self, connection: &mut Connection, request: Request) {
        self.carrying += usize::from(connection.requests().is_empty());
        self.in_flight.insert((request.since, connection.id, request.id));
        connection.join(request);
    }

    /// Sets when a request began.
    pub(super) fn date(
        &mut self,
        connection: &mut Connection,
        id: RequestId,
        since: Time,
    ) -> Result<(), Refused> {
        let request = connection.request(id)?;
        let before = core::mem::replace(&mut request.since, since);
        self.in_flight.remove(&(before, connection.id, id));
        self.in_flight.insert((since, connection.id, id));
        Ok(())
    }

    /// Ends a request whose driver was done with it before.
    pub(super) fn end(
        &mut self,
        connection: &mut Connection,
        id: RequestId,
    ) -> Result<(), Refused> {
        let request = connection.request(id)?;
        let outcome = request.unflushed.ok_or(Refused::NotInFlight)?;
        let (since, end_sent) = (request.since, request.end_sent);
        connection.leave(id);
        self.carrying -= usize::from(connection.requests().is_empty());
        self.in_flight.remove(&(since, connection.id, id));
        self.tally.give(match outcome {
            Outcome::ClientGone | Outcome::Completed if end_sent => Verdict::Ended,
            Outcome::ClientGone => Verdict::ClientGone,
            Outcome::Completed => Verdict::Completed,
            Outcome::Ended => Verdict::Ended,
            Outcome::Refused => Verdict::Refused,
        });
        Ok(())
    }

    /// A connection is gone; so are its requests.
    pub(super) fn close(&mut self, mut connection: Connection) {
        self.severed -= usize::from(connection.fate == Fate::Forced);
        self.judge(&mut connection, Verdict::ClientGone);
    }

    /// Ends a connection whose time is over: its requests get their verdict now, and it
    /// holds nothing up any more.
    pub(super) fn sever(&mut self, connection: &mut Connection) {
        let any_lost = self.judge(connection, Verdict::Forced);
        self.tally.connections_forced += u64::from(any_lost);
        connection.fate = Fate::Forced;
        self.severed += 1;
    }

    /// Gives every request on the connection its verdict: `otherwise`, unless it had its
    /// end. Returns whether any had not.
    fn judge(&mut self, connection: &mut Connection, otherwise: Verdict) -> bool {
        if connection.requests().is_empty() {
            return false;
        }
        self.carrying -= 1;
        let mut any = false;
        for request in connection.take_requests() {
            self.in_flight.remove(&(request.since, connection.id, request.id));
            let ended = connection.had_its_end(&request);
            any |= !ended;
            self.tally.give(if ended { Verdict::Ended } else { otherwise });
        }
        any
    }
}
