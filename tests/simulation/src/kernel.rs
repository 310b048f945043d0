//! A server's kernel: handshakes, the accept queue, what lies unread, and how sockets close.

use lameduck::{Event, Protocol};

use crate::agenda::Happening;
use crate::network::{Connection, HostClose, HostState, Message, Way};
use crate::scenario::Speaks;
use crate::server::{Life, Listener, handle};
use crate::time::SECOND;
use crate::world::World;

impl World<'_> {
    pub(crate) fn syn_arrives(&mut self, connection: u32) {
        let Connection { server, syns, .. } = *self.link(connection);
        let way_down = self.scenario.path.handshake_delay(Way::Down, &mut self.random);
        match self.servers[server as usize].listener {
            Listener::Closed => {
                let arrives = self.now + self.scenario.path.down;
                self.plan(arrives, Happening::Refused { connection });
            }
            // Dropped: the client repeats it after 1 s, 2 s, 4 s …
            Listener::Fenced => {
                self.link(connection).syns += 1;
                self.plan(self.now + (SECOND << syns), Happening::Syn { connection });
            }
            Listener::Open => {
                self.link(connection).host.state = HostState::SynReceived;
                self.plan(self.now + way_down, Happening::SynAnswered { connection });
            }
        }
    }

    pub(crate) fn ack_arrives(&mut self, connection: u32) {
        if self.link(connection).host.ended == Some(HostClose::Backlog) {
            self.send_reset(connection, Way::Down);
        }
        self.handshake_completes(connection);
    }

    /// The client's ACK, or the first segment that carries it.
    pub(crate) fn handshake_completes(&mut self, connection: u32) {
        let Connection { server, ref mut host, .. } = *self.link(connection);
        if host.state != HostState::SynReceived {
            return;
        }
        host.state = HostState::Queued;
        self.servers[server as usize].accept_queue.push_back(connection);
        self.plan(self.now + self.scenario.turn, Happening::Accept { server });
    }

    pub(crate) fn accept_all(&mut self, server: usize) {
        while let Some(connection) = self.servers[server].accept_queue.pop_front() {
            self.accept(connection);
        }
    }

    pub(crate) fn accept(&mut self, connection: u32) {
        let Connection { server, pool, ref mut host, .. } = *self.link(connection);
        if host.state != HostState::Queued {
            return;
        }
        host.state = HostState::Accepted;
        let http2 = self.scenario.pools[pool as usize].speaks == Speaks::Http2;
        let protocol = if http2 { Protocol::Http2 } else { Protocol::Http1 };
        let host = &mut self.link(connection).host;
        host.protocol = Some(protocol);
        let anything = !host.unread.is_empty();
        let opened = Event::ConnectionOpened { connection: handle(connection), protocol };
        if self.takes_connections(server as usize) {
            self.servers[server as usize].opened += 1;
            self.report_event(server as usize, opened);
        } else if self.servers[server as usize].life == Life::Draining {
            // Too late even for a 503: the machine takes nothing any more.
            self.close_socket(connection, HostClose::Forced);
        }
        if anything {
            self.read_soon(connection);
        }
    }

    fn takes_connections(&self, server: usize) -> bool {
        let server = &self.servers[server];
        server.life == Life::Draining && server.machine.phase() == lameduck::Phase::Draining
    }

    /// Accepts what the queue holds, then closes; handshakes under way are forgotten.
    pub(crate) fn close_listener(&mut self, server: usize) {
        if self.servers[server].life == Life::Draining {
            self.accept_all(server);
        }
        if self.servers[server].listener == Listener::Closed {
            return;
        }
        self.servers[server].listener = Listener::Closed;
        self.servers[server].closed_at = self.now;
        for connection in 0..self.connections.len() as u32 {
            let link = self.link(connection);
            let half_open = matches!(link.host.state, HostState::SynReceived | HostState::Queued);
            if link.server as usize == server && half_open {
                let queued = link.host.state == HostState::Queued;
                link.host.state = HostState::Closed;
                link.host.ended = Some(HostClose::Backlog);
                if queued {
                    self.send_reset(connection, Way::Down);
                }
            }
        }
    }

    pub(crate) fn arrives_at_host(&mut self, connection: u32, message: Message) {
        self.handshake_completes(connection);
        let host = &mut self.link(connection).host;
        match host.state {
            HostState::Closed if message == Message::Fin => {}
            HostState::Closed => self.send_reset(connection, Way::Down),
            HostState::SynReceived | HostState::Queued => host.unread.push(message),
            HostState::Accepted | HostState::Lingering => {
                host.unread.push(message);
                self.read_soon(connection);
            }
        }
    }

    fn read_soon(&mut self, connection: u32) {
        if self.scenario.turn == 0 {
            self.read(connection);
        } else {
            self.plan(self.now + self.scenario.turn, Happening::Read { connection });
        }
    }

    /// Sends the FIN; what still arrives is read and dropped until the client's own FIN.
    pub(crate) fn half_close(&mut self, connection: u32, why: HostClose) {
        let host = &mut self.link(connection).host;
        if host.state != HostState::Accepted {
            return;
        }
        host.state = HostState::Lingering;
        host.ended.get_or_insert(why);
        if !std::mem::replace(&mut host.fin_sent, true) {
            self.send(connection, Way::Down, Message::Fin);
        }
    }

    /// `close(2)`: with unread bytes a RST; otherwise a FIN, and the kernel still delivers what
    /// was written.
    pub(crate) fn close_socket(&mut self, connection: u32, why: HostClose) {
        let host = &mut self.link(connection).host;
        if host.state == HostState::Closed {
            return;
        }
        host.state = HostState::Closed;
        host.ended.get_or_insert(why);
        let unread = host.unread.iter().any(|message| *message != Message::Fin);
        host.unread.clear();
        let fin_sent = std::mem::replace(&mut host.fin_sent, true);
        if unread {
            self.send_reset(connection, Way::Down);
        } else if !fin_sent {
            self.send(connection, Way::Down, Message::Fin);
        }
    }

    /// A RST of the client arrives.
    pub(crate) fn host_is_reset(&mut self, connection: u32) {
        let state = self.link(connection).host.state;
        self.link(connection).up.clear();
        match state {
            HostState::Closed => {}
            HostState::SynReceived | HostState::Queued => {
                self.link(connection).host.state = HostState::Closed;
            }
            HostState::Accepted | HostState::Lingering => {
                self.link(connection).host.unread.clear();
                self.client_is_gone(connection);
            }
        }
    }
}
