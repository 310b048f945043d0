//! What the server says of its connections.

use std::net::Shutdown;
use std::os::fd::RawFd;

use lameduck::row::Change;
use lameduck::{ConnectionId, Event, Protocol};

use super::{Hosted, NotTaken};
use crate::{last_look, linger};

/// What to do with a connection that was to be closed as idle, see [`Hosted::look`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Bytes of a next request have arrived: it stays open, the machine knows.
    Busy,
    /// It has ended meanwhile.
    Gone,
    /// Close it.
    Idle,
}

impl Hosted {
    /// A connection was accepted. `fd` is its socket, for the last look; `None` when the server looks itself. `tag` is what the
    /// embedder knows it by, see [`tag`](Self::tag).
    ///
    /// # Errors
    /// [`NotTaken::Ledger`] when there are too many; [`NotTaken::Refused`] when it is too late: close it.
    pub fn open(
        &self,
        protocol: Protocol,
        fd: Option<RawFd>,
        tag: usize,
    ) -> Result<ConnectionId, NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        state.ever_accepted = true;
        let opened = self.shared.ledger.open(number(protocol))?;
        let connection = ConnectionId(opened.handle);
        if opened.handed_over {
            let told = state.handle(Event::ConnectionOpened { connection, protocol });
            if let Err(refused) = told {
                let _ = self.shared.ledger.close(opened.handle);
                return Err(refused.into());
            }
        }
        state.roster.opened(connection, fd, tag);
        self.shared.poke_when(opened.handed_over);
        Ok(connection)
    }

    /// The connection is gone, whoever closed it. Say it before its descriptor is closed, so that nobody looks at another socket
    /// of the same number.
    ///
    /// # Errors
    /// [`NotTaken::Ledger`].
    pub fn close(&self, connection: ConnectionId) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let change = self.shared.ledger.close(connection.0)?;
        state.roster.closed(connection);
        let handed = matches!(change, Change::HandedOver { .. });
        if handed {
            // What the machine makes of it is no longer this connection's business.
            let _ = state.handle(Event::ConnectionClosed { connection });
        }
        self.shared.poke_when(handed);
        Ok(())
    }

    /// Who is at the other end, for the report.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn describe_peer(&self, connection: ConnectionId, peer: String) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let handed = self.shared.ledger.row(connection.0)?.handed;
        if handed {
            state.handle(Event::ConnectionDescribed { connection, peer })?;
        } else {
            state.roster.describe_peer(connection, peer);
        }
        Ok(())
    }

    /// The connection speaks another protocol from now on; its requests stay in flight.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn upgrade(&self, connection: ConnectionId, protocol: Protocol) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let handed = self.shared.ledger.row(connection.0)?.handed;
        if handed {
            state.handle(Event::ConnectionUpgraded { connection, protocol })?;
            state.roster.upgraded(connection);
        }
        let _ = self.shared.ledger.upgrade(connection.0, number(protocol))?;
        self.shared.poke_when(handed);
        Ok(())
    }

    /// Asked to close it as idle, the server found bytes of a next request and left it open. [`look`](Self::look) says it by itself.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn busy(&self, connection: ConnectionId) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        state.handle(Event::ConnectionBusy { connection })?;
        drop(state);
        self.shared.waker.poke();
        Ok(())
    }

    /// The last look, to be taken by whoever does [`Effect::CloseIdle`], just before: is the connection to be closed? With `half_close`
    /// its descriptor is half-closed, too; the client then closes its side, and the server, which goes on reading, learns of it.
    /// [`close`](Self::close) waits meanwhile, so the descriptor is still the connection's own.
    pub fn look(&self, connection: ConnectionId, look: bool, half_close: bool) -> Look {
        if self.shared.here().is_err() {
            return Look::Gone;
        }
        let mut state = self.shared.state();
        let Some(known) = state.roster.known(connection) else { return Look::Gone };
        let unread = known.fd.is_some_and(|fd| last_look::unread(fd).is_ok_and(|bytes| bytes > 0));
        if look && unread && state.handle(Event::ConnectionBusy { connection }).is_ok() {
            drop(state);
            self.shared.waker.poke();
            return Look::Busy;
        }
        if let (Some(fd), true) = (known.fd, half_close) {
            linger::shut(fd, Shutdown::Write);
        }
        Look::Idle
    }

    /// Shuts the connection's descriptor down, if it has one; the server, which goes on reading, learns of it.
    pub fn shut(&self, connection: ConnectionId, how: Shutdown) {
        if self.shared.here().is_ok() {
            let state = self.shared.state();
            if let Some(fd) = state.roster.known(connection).and_then(|known| known.fd) {
                linger::shut(fd, how);
            }
        }
    }

    /// What the embedder knows the connection by; `None` when it is gone.
    #[must_use]
    pub fn tag(&self, connection: ConnectionId) -> Option<usize> {
        self.shared.here().ok()?;
        Some(self.shared.state().roster.known(connection)?.tag)
    }
}

/// The ledger's number of a protocol.
fn number(protocol: Protocol) -> u8 {
    protocol as u8
}
