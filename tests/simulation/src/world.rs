//! One run: the clock steps from happening to happening until nothing is left to happen.

use crate::agenda::{Agenda, Happening};
use crate::balancer::Balancer;
use crate::check;
use crate::connecting::Clients;
use crate::network::{Connection, HostState, Message, Way};
use crate::outcome::{Outcome, Share};
use crate::random::Random;
use crate::request::{Request, Wish};
use crate::scenario::Scenario;
use crate::server::Server;
use crate::time::{Nanos, SECOND};
use crate::trace::Trace;

/// A run that is not over by then never will be.
const END: Nanos = 3_600 * SECOND;

/// Runs a scenario to its end and checks it.
pub fn run(scenario: &Scenario) -> Outcome {
    World::new(scenario, false).run()
}

/// The same, and the text of its trace.
pub fn traced(scenario: &Scenario) -> (Outcome, String) {
    let mut world = World::new(scenario, true);
    world.play();
    let text = world.trace.text().to_owned();
    (Outcome::of(&world), text)
}

pub(crate) struct World<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) now: Nanos,
    agenda: Agenda,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    pub(crate) connections: Vec<Connection>,
    pub(crate) requests: Vec<Request>,
    pub(crate) wishes: Vec<Wish>,
    pub(crate) clients: Clients,
    pub(crate) balancer: Balancer,
    /// Every process that ran, those that took another's place last.
    pub(crate) servers: Vec<Server>,
    /// The process that runs in each slot.
    pub(crate) slots: Vec<u32>,
    /// How many of the scenario's stops were begun.
    pub(crate) stopped: usize,
    /// Nobody asks for anything new.
    pub(crate) over: bool,
    /// Connections that fell idle after a response which did not announce, and how many of
    /// them lost the next request.
    pub(crate) unannounced: Share,
    /// What must not happen and did.
    pub(crate) violations: Vec<String>,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, keep_trace: bool) -> Self {
        let servers: Vec<Server> =
            (0..scenario.servers).map(|slot| Server::new(slot as u32, scenario)).collect();
        Self {
            scenario,
            now: 0,
            agenda: Agenda::default(),
            random: Random::new(scenario.seed, 0),
            trace: Trace::new(keep_trace),
            connections: Vec::new(),
            requests: Vec::new(),
            wishes: Vec::new(),
            clients: Clients::new(scenario.pools.len()),
            balancer: Balancer::new(scenario.servers),
            slots: (0..scenario.servers as u32).collect(),
            servers,
            stopped: 0,
            over: false,
            unannounced: Share::default(),
            violations: Vec::new(),
        }
    }

    fn run(mut self) -> Outcome {
        self.play();
        Outcome::of(&self)
    }

    fn play(&mut self) {
        for server in 0..self.servers.len() {
            self.listen(server);
        }
        self.begin_probes();
        self.begin_clients();
        if let Some(slot) = self.scenario.stops.first() {
            self.plan(self.scenario.stop_at, Happening::Stop { slot: *slot as u32 });
        }
        while let Some((at, what)) = self.agenda.next() {
            self.now = at;
            if at > END {
                self.violations.push("nothing ends".to_owned());
                break;
            }
            self.trace.line(at, &what);
            self.happen(what);
            self.settle_servers();
        }
        check::all(self);
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Accept { server } => self.accept_all(server as usize),
            Happening::Ack { connection } => self.ack_arrives(connection),
            Happening::Answer { request } => self.answer(request),
            Happening::Boot { slot } => self.boot(slot),
            Happening::Deliver { connection, way } => self.deliver(connection, way),
            Happening::Flush { request } => self.flush(request),
            Happening::GiveUp { request } => self.give_up(request),
            Happening::HookEnds { server, hook } => self.hook_ends(server as usize, hook),
            Happening::IdleTimeout { connection, since } => self.idle_timeout(connection, since),
            Happening::Incident { server, index } => self.incident(server as usize, index),
            Happening::JobEnds { server, job, aborted } => {
                self.job_ends(server as usize, job, aborted);
            }
            Happening::Probe { slot } => self.probe(slot),
            Happening::ProbeAnswered { slot, ready } => self.probe_answered(slot, ready),
            Happening::ProbeArrives { slot } => self.probe_arrives(slot),
            Happening::Read { connection } => self.read(connection),
            Happening::Refused { connection } => self.refused(connection),
            Happening::Reset { connection, way } => self.reset_arrives(connection, way),
            Happening::SendBody { request } => self.send_body(request),
            Happening::SendRest { request } => self.send_rest(request),
            Happening::Stop { slot } => self.stop(slot),
            Happening::Syn { connection } => self.syn_arrives(connection),
            Happening::SynAnswered { connection } => self.established(connection),
            Happening::Wake { server } => self.wake(server as usize),
            Happening::Wanted { pool } => self.wanted(pool),
        }
    }

    pub(crate) fn plan(&mut self, at: Nanos, what: Happening) {
        self.agenda.plan(at, what);
    }

    pub(crate) fn link(&mut self, connection: u32) -> &mut Connection {
        &mut self.connections[connection as usize]
    }

    pub(crate) fn asked(&mut self, request: u32) -> &mut Request {
        &mut self.requests[request as usize]
    }

    /// Puts a message on the way.
    pub(crate) fn send(&mut self, connection: u32, way: Way, message: Message) {
        let prompt = self.scenario.deviations.prompt_fin && message == Message::Fin;
        let delay = match way {
            Way::Down if prompt => 0,
            _ => self.scenario.path.delay(way, &mut self.random),
        };
        let (now, link) = (self.now, &mut self.connections[connection as usize]);
        if way == Way::Down {
            link.host.last_sent = now;
        }
        let pipe = if way == Way::Up { &mut link.up } else { &mut link.down };
        let arrives = pipe.send(message, now + delay);
        self.plan(arrives, Happening::Deliver { connection, way });
    }

    /// Puts a RST on the way. It overtakes what waits to be repeated and is not lost itself.
    pub(crate) fn send_reset(&mut self, connection: u32, way: Way) {
        let arrives = self.now + self.scenario.path.one_way(way);
        self.plan(arrives, Happening::Reset { connection, way });
    }

    fn deliver(&mut self, connection: u32, way: Way) {
        let link = self.link(connection);
        let pipe = if way == Way::Up { &mut link.up } else { &mut link.down };
        let Some(message) = pipe.arrive() else {
            return; // A RST was faster.
        };
        self.trace.line(self.now, &message);
        match way {
            Way::Up => self.arrives_at_host(connection, message),
            Way::Down => self.arrives_at_client(connection, message),
        }
    }

    fn reset_arrives(&mut self, connection: u32, way: Way) {
        match way {
            Way::Up => self.host_is_reset(connection),
            Way::Down => {
                self.link(connection).down.clear();
                self.client_is_ended(connection);
            }
        }
    }

    /// The connections that this process has accepted and not closed.
    pub(crate) fn accepted(&self, server: usize) -> Vec<u32> {
        let of = |link: &Connection| {
            let open = matches!(link.host.state, HostState::Accepted | HostState::Lingering);
            link.server as usize == server && open
        };
        let numbered = self.connections.iter().zip(0_u32..);
        numbered.filter(|(link, _)| of(link)).map(|(_, connection)| connection).collect()
    }
}
