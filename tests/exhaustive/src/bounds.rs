//! What one model contains, and how often the driver may do what it could do without end.

use std::time::Duration;

use lameduck::{
    Cause, ConnectionId, Grace, HookId, JobId, ListenerId, Outcome, Policy, Protocol, RequestKind,
    Settings, Stage, Time,
};

/// The most of each that a model can hold.
pub const LISTENERS: usize = 2;
/// See [`LISTENERS`].
pub const CONNECTIONS: usize = 3;
/// See [`LISTENERS`].
pub const REQUESTS: usize = 2;
/// See [`LISTENERS`].
pub const HOOKS: usize = 3;

/// The request to stop: late enough that no time before it is cut off at the origin.
pub const T0: Time = Time::from_nanos(1_000_000_000_000);

/// One model: everything that is there, and everything that may happen to it.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Its name, on the command line and in the table.
    pub name: &'static str,
    /// The policy, every time in milliseconds.
    pub times: Times,
    /// Listeners open while serving.
    pub listeners: usize,
    /// Connections, at the hand-over or later.
    pub connections: &'static [Connection],
    /// Hooks.
    pub hooks: &'static [Hook],
    /// Background work, if any.
    pub job: Option<Begins>,
    /// Why it may stop.
    pub causes: &'static [Cause],
    /// What may come after the first cause, each once.
    pub later_causes: &'static [Cause],
    /// How often somebody may insist.
    pub escalations: u8,
    /// Each once: the grace in milliseconds to which the deadline may be changed.
    pub graces: &'static [u64],
    /// How often a tick may come late, and by how many milliseconds.
    pub late: (u8, &'static [u64]),
    /// How often something may happen halfway to the next wake.
    pub between: u8,
    /// Whether the driver ticks at once when it wakes: else events may come first.
    pub prompt: bool,
    /// Whether states are looked at farthest first: fewer wait in memory meanwhile, but a broken
    /// promise comes with any way to break it.
    pub farthest_first: bool,
}

/// The policy of a model in milliseconds, all of it set.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // each is the policy's field of the same name
pub struct Times {
    pub grace: Option<u64>,
    pub margin: u64,
    pub window: u64,
    pub reserve: u64,
    pub settle: u64,
    pub quiet: u64,
    pub abort_lead: u64,
    pub window_idle: Option<u64>,
    pub keep_ready: bool,
    pub refuse_new: bool,
    /// Nobody waits for a spread.
    pub interactive: bool,
}

impl Times {
    /// A grace of ten seconds.
    pub const TEN_SECONDS: Self = Self {
        grace: Some(10_000),
        margin: 1_000,
        window: 2_000,
        reserve: 2_000,
        settle: 100,
        quiet: 500,
        abort_lead: 1_000,
        window_idle: None,
        keep_ready: false,
        refuse_new: false,
        interactive: false,
    };

    /// The policy that these make.
    pub fn policy(&self) -> Policy {
        use lameduck::{NewRequests, Readiness};
        let span = |ms| Some(Duration::from_millis(ms));
        let settings = Settings {
            grace: Some(
                self.grace.map_or(Grace::Unlimited, |ms| Grace::Limited(Duration::from_millis(ms))),
            ),
            margin: span(self.margin),
            window: span(self.window),
            reserve: span(self.reserve),
            settle: span(self.settle),
            quiet: span(self.quiet),
            abort_lead: span(self.abort_lead),
            window_idle: self.window_idle.map(Duration::from_millis),
            readiness: self.keep_ready.then_some(Readiness::Keep),
            new_requests: self.refuse_new.then_some(NewRequests::Refuse),
            interactive: self.interactive,
            ..Settings::default()
        };
        Policy::resolve(&settings, &Settings::default()).expect("the times of a model fit")
    }
}

/// When something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// From the start.
    Serving,
    /// Whenever the driver says so, once.
    Late,
}

/// One connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// What is spoken on it at first.
    pub protocol: Protocol,
    /// How many requests it is adopted with; `None`: it is opened later.
    pub adopted: Option<u32>,
    /// Whether its peer was told before that it closes.
    pub announced: bool,
    /// What it may be upgraded to, once.
    pub upgrades: &'static [Protocol],
    /// What each request may be that is started on it.
    pub requests: &'static [&'static [RequestKind]],
    /// What a request may be described as, once.
    pub described: &'static [RequestKind],
    /// How a request may end at once; besides, it may be completed and flushed later.
    pub outcomes: &'static [Outcome],
    /// Whether a request may be finished before its last byte has left.
    pub flushes_late: bool,
    /// Whether heads are reported, and whether with or without an announcement.
    pub heads: &'static [bool],
}

impl Connection {
    /// An idle HTTP/1.1 connection that is there from the start.
    pub const HTTP1: Self = Self {
        protocol: Protocol::Http1,
        adopted: Some(0),
        announced: false,
        upgrades: &[],
        requests: &[],
        described: &[],
        outcomes: &[Outcome::Completed],
        flushes_late: false,
        heads: &[],
    };
}

/// One hook.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// When it runs.
    pub stage: Stage,
    /// Lower first.
    pub order: i32,
    /// Its own limit in milliseconds.
    pub timeout: Option<u64>,
    /// When it is registered.
    pub begins: Begins,
    /// Whether it may fail.
    pub fails: bool,
}

// Handles that the ledger gives out densely would make the machine hold a page of places for
// them, four kilobytes a state. These lie beyond, where it keeps a map.
const BEYOND_THE_LEDGER: u64 = 1 << 23;

/// The handle of a model's connection.
pub const fn connection(index: usize) -> ConnectionId {
    ConnectionId(BEYOND_THE_LEDGER + index as u64)
}

/// The index of a handle.
pub fn connection_index(ConnectionId(id): ConnectionId) -> usize {
    usize::try_from(id - BEYOND_THE_LEDGER).expect("a model's own handle")
}

/// The id of a model's listener.
pub fn listener(index: usize) -> ListenerId {
    ListenerId(u32::try_from(index).expect("few"))
}

/// The id of a model's hook.
pub fn hook(index: usize) -> HookId {
    HookId(u32::try_from(index).expect("few"))
}

/// The id of a model's job.
pub const JOB: JobId = JobId(0);
