//! What a run is given: everything but chance, which its seed decides.

use std::time::Duration;

use lameduck::{Cause, Settings, Stage};

use crate::network::Path;
use crate::random::Random;
use crate::time::{MS, Nanos, SECOND};

/// One run: servers behind a balancer, clients, and which servers stop.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Decides every chance.
    pub seed: u64,
    /// Between the clients and the servers.
    pub path: Path,
    /// One turn of a server's event loop: bytes lie in its kernel for so long.
    pub turn: Nanos,
    /// How many servers there are.
    pub servers: usize,
    /// How a server is chosen for a new connection.
    pub balancing: Balancing,
    /// The clients.
    pub pools: Vec<Pool>,
    /// The policy of each server.
    pub settings: Settings,
    /// When the first server stops.
    pub stop_at: Nanos,
    /// Which servers stop, one after the other: each when the one before is ready again.
    pub stops: Vec<usize>,
    /// How long a new process takes until it listens.
    pub boot: Nanos,
    /// Why they stop.
    pub cause: Cause,
    /// What else befalls a server that stops, by the time since it was asked to.
    pub incidents: Vec<(Nanos, Incident)>,
    /// Its hooks.
    pub hooks: Vec<Hook>,
    /// Its jobs: how long each still runs when the server is asked to stop, if it ever ends.
    pub jobs: Vec<Option<Nanos>>,
    /// What is done wrongly on purpose.
    pub deviations: Deviations,
}

impl Default for Scenario {
    /// Two servers 1 ms away each way, nobody there, and the first stops after a second.
    fn default() -> Self {
        Self {
            seed: 0,
            path: Path { up: MS, down: MS, loss: 0.0 },
            turn: 0,
            servers: 2,
            balancing: Balancing::Passive,
            pools: Vec::new(),
            settings: Settings::default(),
            stop_at: SECOND,
            stops: vec![0],
            boot: 500 * MS,
            cause: Cause::Terminate,
            incidents: Vec::new(),
            hooks: Vec::new(),
            jobs: Vec::new(),
            deviations: Deviations::default(),
        }
    }
}

/// How a server is chosen for a new connection. A refused connection goes to the next server.
#[derive(Clone, Copy, Debug)]
pub enum Balancing {
    /// In turn, whatever they say.
    Passive,
    /// In turn among those that are ready.
    Probes {
        /// How often each is asked.
        period: Nanos,
        /// How many answers in a row change its mind.
        threshold: u32,
        /// The connections are the balancer's own (L7): those to a server that is not ready
        /// carry no new requests. Otherwise they are the clients' (L4) and stay in use.
        pooled: bool,
    },
}

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1, keep-alive.
    Http1,
    /// HTTP/2: one connection carries every request.
    Http2,
    /// HTTP/1.1, upgraded to a WebSocket by the first request.
    Websocket,
}

/// When requests are made.
#[derive(Clone, Copy, Debug)]
pub enum Arrival {
    /// Each of so many users thinks, asks, and waits for the answer.
    Closed(u32, Think),
    /// A Poisson process with this mean interval, whatever became of the last request.
    Open(Nanos),
}

/// How long a user thinks.
#[derive(Clone, Copy, Debug)]
pub enum Think {
    /// With this mean: a Poisson process while nothing is asked.
    Exponential(Nanos),
    /// Always so long.
    Fixed(Nanos),
}

impl Think {
    pub(crate) fn draw(self, random: &mut Random) -> Nanos {
        match self {
            Self::Exponential(mean) => random.exponential(mean),
            Self::Fixed(span) => span,
        }
    }
}

/// Clients that share keep-alive connections. A connection carries one request at a time, but
/// for HTTP/2 and pipelining; the one used last is used first.
#[derive(Clone, Debug)]
pub struct Pool {
    /// What they speak.
    pub speaks: Speaks,
    /// When they ask.
    pub arrival: Arrival,
    /// Connections that are open when the run begins.
    pub preopened: u32,
    /// The server of every connection that is begun before one stops; the balancer's choice when
    /// `None`.
    pub at_first: Option<usize>,
    /// A connection that was silent for so long is closed by the client.
    pub idle_timeout: Option<Nanos>,
    /// What they ask for, each equally often.
    pub works: Vec<Work>,
    /// The share of requests that may not be repeated, POST say.
    pub unrepeatable: f64,
    /// Whether a repeatable request whose connection ended is repeated (RFC 9110 §9.2.2).
    pub repeats: bool,
    /// Whether an HTTP/2 request above the last stream of a GOAWAY is repeated.
    pub repeats_refused: bool,
    /// Whether a connection that the server closed is replaced at once.
    pub eager: bool,
    /// Whether connections that the server asked to leave stay open until it closes them.
    pub stays: bool,
    /// The share of repeatable requests that are sent before the answer to the last.
    pub pipelined: f64,
    /// The share of requests whose head arrives in two parts, up to 200 ms apart.
    pub split: f64,
    /// The share of requests that themselves say `Connection: close`.
    pub one_shot: f64,
    /// How long a client waits for an answer.
    pub patience: Option<Nanos>,
}

impl Default for Pool {
    /// One user who asks once a second on average.
    fn default() -> Self {
        Self {
            speaks: Speaks::Http1,
            arrival: Arrival::Closed(1, Think::Exponential(SECOND)),
            preopened: 0,
            at_first: None,
            idle_timeout: None,
            works: vec![Work { kind: WorkKind::Quick, mean: 2 * MS }],
            unrepeatable: 1.0,
            repeats: false,
            repeats_refused: true,
            eager: false,
            stays: false,
            pipelined: 0.0,
            split: 0.0,
            one_shot: 0.0,
            patience: None,
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// How it is answered.
    pub kind: WorkKind,
    /// How long that takes, on average, exponentially distributed.
    pub mean: Nanos,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// The head at once, the rest when the time is over.
    Download,
    /// The whole answer when the time is over, or when the server says that it leaves.
    LongPoll,
    /// The whole answer when the time is over.
    Quick,
    /// The answer is written at once, and leaves the process when the time is over.
    SlowReader,
    /// The head at once, and no end.
    Stream,
    /// Nothing, ever.
    Stuck,
    /// The body takes the time to arrive; then the answer.
    Upload,
}

/// What befalls a server that is stopping.
#[derive(Clone, Copy, Debug)]
pub enum Incident {
    /// Somebody insists.
    Escalate,
    /// The orchestrator's budget changes.
    Grace(Duration),
    /// It is asked to stop again.
    Cause(Cause),
}

/// A hook of the servers.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// When it runs.
    pub stage: Stage,
    /// Lower first.
    pub order: i32,
    /// How long it takes, if it ever ends.
    pub takes: Option<Nanos>,
    /// Whether it fails.
    pub fails: bool,
    /// Its own limit.
    pub timeout: Option<Duration>,
}

/// What a run does wrongly on purpose: the proof that the simulation can see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deviations {
    /// How HTTP/2 connections are told.
    pub goaway: Goaway,
    /// The driver closes idle connections without a last look.
    pub blind: bool,
    /// The driver tells everybody at the request to stop and ends every idle or long-lived
    /// connection at once, as servers without a spread do.
    pub at_once: bool,
    /// A FIN of the server arrives without delay: the loss condition is wrong by the way down.
    pub prompt_fin: bool,
}

impl Deviations {
    pub(crate) fn any(&self) -> bool {
        self.goaway != Goaway::TwoStep || self.blind || self.at_once || self.prompt_fin
    }
}

/// How HTTP/2 connections are told to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goaway {
    /// As the machine says: first none is refused, later the rest.
    #[default]
    TwoStep,
    /// At the first word at once with the last stream seen.
    Single,
    /// Never: the connection is just closed.
    Never,
}
