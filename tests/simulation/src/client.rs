//! The clients: when they ask, what they do with the answer, and what they make of a connection's end.

use crate::agenda::Happening;
use crate::network::{
    ClientState, Connection, HostClose, HostEnd, HostState, Message, Response, Way,
};
use crate::request::{Arrived, Fate, Loss, Request, Wish};
use crate::scenario::{Arrival, Pool, Speaks, WorkKind};
use crate::time::{MS, Nanos};
use crate::world::World;

/// The second part of a head follows within this.
const SPLIT: Nanos = 200 * MS;
/// Whose WebSocket ended comes back after this, if it is eager.
const RETURN: Nanos = 10 * MS;

impl World<'_> {
    pub(crate) fn pool(&self, pool: u32) -> &Pool {
        &self.scenario.pools[pool as usize]
    }

    // When they ask.

    pub(crate) fn begin_clients(&mut self) {
        for pool in 0..self.scenario.pools.len() as u32 {
            let &Pool { arrival, preopened, .. } = self.pool(pool);
            for _ in 0..preopened {
                let slot = self.choose_slot(pool, None);
                let connection = self.new_connection(pool, slot);
                self.link(connection).host.state = HostState::Queued;
                self.accept(connection);
                self.established(connection);
            }
            let users = if let Arrival::Closed(users, _) = arrival { users } else { 1 };
            for _ in 0..users {
                self.plan_next(pool);
            }
        }
    }

    /// Plans what the pool wants next.
    fn plan_next(&mut self, pool: u32) {
        let span = match self.scenario.pools[pool as usize].arrival {
            Arrival::Closed(_, think) => think.draw(&mut self.random),
            Arrival::Open(mean) => self.random.exponential(mean),
        };
        self.plan(self.now + span, Happening::Wanted { pool });
    }

    /// A user has what it wanted, or not: it begins to think.
    fn user_is_free(&mut self, pool: u32) {
        if matches!(self.pool(pool).arrival, Arrival::Closed(..)) {
            self.plan_next(pool);
        }
    }

    pub(crate) fn wanted(&mut self, pool: u32) {
        if self.over {
            return;
        }
        let spec = &self.scenario.pools[pool as usize];
        if let Arrival::Open(_) = spec.arrival {
            self.plan_next(pool);
        }
        let work = self.random.pick(&spec.works);
        let unrepeatable = self.random.chance(spec.unrepeatable);
        let one_shot = self.random.chance(spec.one_shot);
        let (answers, processed, refusals) = (0, 0, 0);
        self.wishes.push(Wish { pool, work, unrepeatable, one_shot, answers, processed, refusals });
        self.ask(self.wishes.len() as u32 - 1);
    }

    // The request and its answer.

    fn new_request(&mut self, connection: u32, wish: u32) -> u32 {
        let server = self.connections.get(connection as usize).map_or(0, |link| link.server);
        self.requests.push(Request {
            wish,
            connection,
            server,
            work: self.wishes[wish as usize].work,
            stream: 0,
            sent_at: 0,
            head_seen: false,
            fate: None,
            id: lameduck::RequestId(0),
            arrived: Arrived::NotYet,
            begun: false,
            body_complete: false,
            head_sent: false,
            unflushed: false,
            end_sent: false,
            to_refuse: false,
            ending: None,
        });
        self.requests.len() as u32 - 1
    }

    pub(crate) fn send_request(&mut self, connection: u32, wish: u32) {
        let request = self.new_request(connection, wish);
        let pool = self.link(connection).pool;
        let &Pool { speaks, split, patience, .. } = self.pool(pool);
        let client = &mut self.link(connection).client;
        let pipelined = !client.outstanding.is_empty();
        client.outstanding.push(request);
        client.idle_since = 0;
        client.last_stream += 1;
        let stream = client.last_stream;
        self.asked(request).stream = stream;
        self.asked(request).sent_at = self.now;
        if speaks == Speaks::Http1 && !pipelined && self.random.chance(split) {
            self.send(connection, Way::Up, Message::Part);
            let rest = self.now + self.random.below(SPLIT);
            self.plan(rest, Happening::SendRest { request });
        } else {
            self.send_head(connection, request);
        }
        if let Some(patience) = patience {
            self.plan(self.now + patience, Happening::GiveUp { request });
        }
    }

    pub(crate) fn send_rest(&mut self, request: u32) {
        let Request { connection, fate, .. } = *self.asked(request);
        if fate.is_none() && self.link(connection).client.state == ClientState::Open {
            self.send_head(connection, request);
        }
    }

    fn send_head(&mut self, connection: u32, request: u32) {
        self.send(connection, Way::Up, Message::Request(request));
        let work = self.asked(request).work;
        if work.kind == WorkKind::Upload {
            let complete = self.now + self.random.exponential(work.mean);
            self.plan(complete, Happening::SendBody { request });
        }
    }

    pub(crate) fn send_body(&mut self, request: u32) {
        let Request { connection, fate, .. } = *self.asked(request);
        if fate.is_none() && self.link(connection).client.state == ClientState::Open {
            self.send(connection, Way::Up, Message::Body(request));
        }
    }

    pub(crate) fn arrives_at_client(&mut self, connection: u32, message: Message) {
        if self.link(connection).client.state == ClientState::Closed {
            if message != Message::Fin {
                self.send_reset(connection, Way::Up);
            }
            return;
        }
        match message {
            Message::Response(response) => self.answered(connection, response),
            Message::Goaway(last) => self.told_to_go(connection, last),
            Message::CloseFrame => {
                let pool = self.link(connection).pool;
                self.close_client(connection);
                self.replace(pool);
            }
            Message::Fin => self.client_is_ended(connection),
            Message::Part | Message::Request(_) | Message::Body(_) | Message::Cancel(_) => {
                unreachable!("clients send these")
            }
        }
    }

    fn answered(&mut self, connection: u32, response: Response) {
        let Response { request, head, end, unavailable, announced } = response;
        self.asked(request).head_seen |= head;
        let Request { wish, fate, .. } = *self.asked(request);
        let Connection { pool, ref mut client, .. } = *self.link(connection);
        client.told |= announced;
        if !end || fate.is_some() {
            return;
        }
        client.outstanding.retain(|known| *known != request);
        self.asked(request).fate =
            Some(if unavailable { Fate::Unavailable } else { Fate::Answered });
        self.wishes[wish as usize].answers += 1;
        let speaks = self.pool(pool).speaks;
        if speaks == Speaks::Websocket && !unavailable {
            self.link(connection).client.upgraded = true;
            return;
        }
        self.user_is_free(pool);
        let client = &self.link(connection).client;
        let (told, idle) = (client.told, client.outstanding.is_empty());
        if told && (speaks == Speaks::Http1 || idle) {
            // Pipelined behind the response that announced: nobody processed them.
            let behind = std::mem::take(&mut self.link(connection).client.outstanding);
            self.leave(connection);
            for request in behind {
                self.repeat(request);
            }
        } else if idle {
            if speaks == Speaks::Http1 {
                self.clients.usable[pool as usize].push(connection);
            }
            self.rests(connection);
        }
    }

    /// Nothing is asked on it for now.
    pub(crate) fn rests(&mut self, connection: u32) {
        let now = self.now;
        let pool = self.link(connection).pool;
        self.link(connection).client.idle_since = now;
        if let Some(timeout) = self.pool(pool).idle_timeout {
            self.plan(now + timeout, Happening::IdleTimeout { connection, since: now });
        }
    }

    pub(crate) fn idle_timeout(&mut self, connection: u32, since: Nanos) {
        let client = &self.link(connection).client;
        let idle = client.outstanding.is_empty() && client.idle_since == since;
        if client.state == ClientState::Open && idle {
            self.close_client(connection);
        }
    }

    pub(crate) fn give_up(&mut self, request: u32) {
        let Request { connection, fate, wish, .. } = *self.asked(request);
        if fate.is_some() {
            return;
        }
        let pool = self.wishes[wish as usize].pool;
        let mut given_up = vec![request];
        if self.pool(pool).speaks == Speaks::Http2 {
            let client = &mut self.link(connection).client;
            client.outstanding.retain(|known| *known != request);
            let (told, idle) = (client.told, client.outstanding.is_empty());
            self.send(connection, Way::Up, Message::Cancel(request));
            if idle && told {
                self.leave(connection);
            } else if idle {
                self.rests(connection);
            }
        } else {
            given_up = std::mem::take(&mut self.link(connection).client.outstanding);
            self.close_client(connection);
        }
        for request in given_up {
            self.asked(request).fate = Some(Fate::GaveUp);
            self.user_is_free(pool);
        }
    }

    /// HTTP/2: no new streams here; those above `last` were not processed.
    fn told_to_go(&mut self, connection: u32, last: u32) {
        let client = &mut self.link(connection).client;
        client.told = true;
        let outstanding = client.outstanding.clone();
        let refused = outstanding
            .into_iter()
            .filter(|request| self.requests[*request as usize].stream > last);
        let refused: Vec<u32> = refused.collect();
        self.link(connection).client.outstanding.retain(|request| !refused.contains(request));
        for request in refused {
            let pool = self.link(connection).pool;
            if self.pool(pool).repeats_refused {
                self.repeat(request);
            } else {
                self.lose(request, Loss::Refused);
            }
        }
        if self.link(connection).client.outstanding.is_empty() {
            self.leave(connection);
        }
    }

    // The end of a connection.

    /// It was told to go, and carries nothing.
    fn leave(&mut self, connection: u32) {
        let pool = self.link(connection).pool;
        if self.pool(pool).stays {
            self.forget(connection);
        } else {
            self.close_client(connection);
        }
    }

    fn close_client(&mut self, connection: u32) {
        self.link(connection).client.state = ClientState::Closed;
        self.forget(connection);
        self.send(connection, Way::Up, Message::Fin);
    }

    pub(crate) fn forget(&mut self, connection: u32) {
        let pool = self.link(connection).pool as usize;
        self.clients.usable[pool].retain(|known| *known != connection);
    }

    /// The server closed it, or a RST came.
    pub(crate) fn client_is_ended(&mut self, connection: u32) {
        let Connection { pool, ref mut client, .. } = *self.link(connection);
        if client.state == ClientState::Closed {
            return;
        }
        let upgraded = client.upgraded;
        let outstanding = std::mem::take(&mut client.outstanding);
        self.close_client(connection);
        for request in outstanding {
            let Request { head_seen, wish, .. } = *self.asked(request);
            let repeatable = !self.wishes[wish as usize].unrepeatable && !head_seen;
            if repeatable && self.pool(pool).repeats {
                self.repeat(request);
            } else {
                let reason = self.reason(connection);
                self.lose(request, reason);
            }
        }
        if upgraded {
            self.replace(pool);
        } else if self.pool(pool).eager && !self.over {
            self.connect(pool, Vec::new(), None);
        }
    }

    /// Why the server ended it.
    fn reason(&mut self, connection: u32) -> Loss {
        match self.link(connection).host.ended {
            Some(HostClose::Announced) => Loss::Announced,
            Some(HostClose::Backlog) => Loss::Backlog,
            Some(HostClose::Exit) => Loss::Exit,
            Some(HostClose::Forced) => Loss::Forced,
            Some(HostClose::Idle) => Loss::Idle,
            None => {
                self.violations.push(format!("connection {connection} ended for no reason"));
                Loss::Exit
            }
        }
    }

    /// A WebSocket ended: its user comes back, at once or when it has thought.
    fn replace(&mut self, pool: u32) {
        if self.pool(pool).eager {
            let soon = self.now + RETURN;
            self.plan(soon, Happening::Wanted { pool });
        } else {
            self.user_is_free(pool);
        }
    }

    fn repeat(&mut self, request: u32) {
        self.asked(request).fate = Some(Fate::Repeated);
        let wish = self.asked(request).wish;
        self.ask(wish);
    }

    /// Nobody takes the connection: the wish is lost without an attempt.
    pub(crate) fn unreachable(&mut self, wish: u32) {
        let pool = self.wishes[wish as usize].pool;
        let request = self.new_request(0, wish);
        self.asked(request).fate = Some(Fate::Lost(Loss::Unreachable));
        self.user_is_free(pool);
    }

    fn lose(&mut self, request: u32, reason: Loss) {
        let Request { wish, connection, .. } = *self.asked(request);
        let HostEnd { answered_unannounced, .. } = self.link(connection).host;
        let raced = reason == Loss::Idle && answered_unannounced;
        self.unannounced.lost += u64::from(raced);
        self.asked(request).fate = Some(Fate::Lost(reason));
        self.user_is_free(self.wishes[wish as usize].pool);
    }
}
