//! Which connection a request goes on, and how a new one is made.

use crate::agenda::Happening;
use crate::network::{ClientEnd, ClientState, Connection, HostEnd, HostState, Pipe, Way};
use crate::request::{Request, Wish};
use crate::scenario::{Speaks, WorkKind};
use crate::time::Nanos;
use crate::world::World;

/// How often a user tries to connect for one wish.
const MOST_REFUSALS: u32 = 8;
/// Requests under way on one pipelined connection.
const PIPELINE: usize = 3;
/// Streams under way on one HTTP/2 connection.
const STREAMS: usize = 100;

/// What the clients of a run remember.
pub(crate) struct Clients {
    /// Of each pool: established connections that carry nothing, the one used last at the end;
    /// for HTTP/2 every connection.
    pub(crate) usable: Vec<Vec<u32>>,
    /// When connections were begun; not those that repeat a refused one.
    pub(crate) connects: Vec<Nanos>,
    /// Connections that were refused.
    pub(crate) refused: u32,
}

impl Clients {
    pub(crate) fn new(pools: usize) -> Self {
        Self { usable: vec![Vec::new(); pools], connects: Vec::new(), refused: 0 }
    }
}

impl World<'_> {
    pub(crate) fn ask(&mut self, wish: u32) {
        let Wish { pool, unrepeatable, .. } = self.wishes[wish as usize];
        let spec = &self.scenario.pools[pool as usize];
        let found = match spec.speaks {
            Speaks::Websocket => None,
            Speaks::Http2 => self.shared_connection(pool),
            Speaks::Http1 if !unrepeatable && self.random.chance(spec.pipelined) => {
                self.busy_connection(pool).or_else(|| self.idle_connection(pool))
            }
            Speaks::Http1 => self.idle_connection(pool),
        };
        match found {
            Some(connection) if self.link(connection).client.state == ClientState::Connecting => {
                self.link(connection).client.waiting.push(wish);
            }
            Some(connection) => self.send_request(connection, wish),
            None => self.connect(pool, vec![wish], None),
        }
    }

    fn idle_connection(&mut self, pool: u32) -> Option<u32> {
        let usable = &self.clients.usable[pool as usize];
        let carries =
            |connection: &&u32| self.carries_more(self.connections[**connection as usize].slot);
        let found = usable.iter().rev().find(carries).copied()?;
        self.clients.usable[pool as usize].retain(|known| *known != found);
        Some(found)
    }

    /// One that waits for an answer to a request that may be repeated.
    fn busy_connection(&self, pool: u32) -> Option<u32> {
        let fits = |link: &Connection| {
            let client = &link.client;
            let open = client.state == ClientState::Open && !client.told && !client.upgraded;
            let room = (1..PIPELINE).contains(&client.outstanding.len());
            let plain = |request: &u32| {
                let Request { wish, work, .. } = self.requests[*request as usize];
                let Wish { unrepeatable, one_shot, .. } = self.wishes[wish as usize];
                let answered = matches!(work.kind, WorkKind::Download | WorkKind::Quick);
                answered && !unrepeatable && !one_shot
            };
            let usable = open && room && self.carries_more(link.slot);
            link.pool == pool && usable && client.outstanding.iter().all(plain)
        };
        let mut numbered = self.connections.iter().zip(0_u32..);
        numbered.find(|(link, _)| fits(link)).map(|(_, connection)| connection)
    }

    fn shared_connection(&self, pool: u32) -> Option<u32> {
        let usable = self.clients.usable[pool as usize].iter().rev();
        let mut fits = usable.filter(|connection| {
            let link = &self.connections[**connection as usize];
            let room = link.client.outstanding.len() + link.client.waiting.len() < STREAMS;
            room && !link.client.told && self.carries_more(link.slot)
        });
        fits.next().copied()
    }

    pub(crate) fn connect(&mut self, pool: u32, waiting: Vec<u32>, refused_by: Option<u32>) {
        let slot = self.choose_slot(pool, refused_by);
        let connection = self.new_connection(pool, slot);
        if refused_by.is_none() {
            self.clients.connects.push(self.now);
        }
        self.link(connection).client.waiting = waiting;
        if self.pool(pool).speaks == Speaks::Http2 {
            self.clients.usable[pool as usize].push(connection);
        }
        let arrives = self.now + self.scenario.path.handshake_delay(Way::Up, &mut self.random);
        self.plan(arrives, Happening::Syn { connection });
    }

    pub(crate) fn choose_slot(&mut self, pool: u32, refused_by: Option<u32>) -> u32 {
        let at_first = self.pool(pool).at_first.filter(|_| self.stopped == 0);
        at_first.map_or_else(|| self.balancer.choose(refused_by), |slot| slot as u32)
    }

    pub(crate) fn new_connection(&mut self, pool: u32, slot: u32) -> u32 {
        self.connections.push(Connection {
            pool,
            server: self.slots[slot as usize],
            slot,
            up: Pipe::default(),
            down: Pipe::default(),
            syns: 0,
            client: ClientEnd::default(),
            host: HostEnd::default(),
        });
        self.connections.len() as u32 - 1
    }

    /// The SYN was answered, or the connection was there from the beginning.
    pub(crate) fn established(&mut self, connection: u32) {
        let pool = self.link(connection).pool;
        let client = &mut self.link(connection).client;
        if client.state != ClientState::Connecting {
            return;
        }
        client.state = ClientState::Open;
        let waiting = std::mem::take(&mut client.waiting);
        if self.link(connection).host.state != HostState::Accepted {
            let arrives = self.now + self.scenario.path.handshake_delay(Way::Up, &mut self.random);
            self.plan(arrives, Happening::Ack { connection });
        }
        if self.pool(pool).speaks == Speaks::Http2 {
            if !self.clients.usable[pool as usize].contains(&connection) {
                self.clients.usable[pool as usize].push(connection);
            }
            if waiting.is_empty() {
                self.rests(connection);
            }
        } else if waiting.is_empty() {
            self.clients.usable[pool as usize].push(connection);
            self.rests(connection);
        }
        for wish in waiting {
            self.send_request(connection, wish);
        }
    }

    pub(crate) fn refused(&mut self, connection: u32) {
        let Connection { pool, slot, ref mut client, .. } = *self.link(connection);
        if client.state == ClientState::Closed {
            return;
        }
        client.state = ClientState::Closed;
        let waiting = std::mem::take(&mut client.waiting);
        self.clients.refused += 1;
        self.forget(connection);
        let mut again = Vec::new();
        for wish in waiting {
            self.wishes[wish as usize].refusals += 1;
            if self.wishes[wish as usize].refusals > MOST_REFUSALS {
                self.unreachable(wish);
            } else {
                again.push(wish);
            }
        }
        if !again.is_empty() {
            self.connect(pool, again, Some(slot));
        }
    }
}
