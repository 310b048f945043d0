//! What a deployment says about the end of a process, whatever file says it.

use std::time::Duration;

use crate::plan::command::Command;
use crate::plan::node::Place;

/// Who stops the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// `docker compose`, and whoever else reads its files.
    Compose,
    /// Amazon's containers.
    Ecs,
    /// A container image alone: whoever runs it decides the rest.
    Image,
    Kubernetes,
    Oxmgr,
    Pm2,
    Systemd,
}

impl Platform {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compose => "Docker Compose",
            Self::Ecs => "Amazon ECS",
            Self::Image => "container image",
            Self::Kubernetes => "Kubernetes",
            Self::Oxmgr => "Oxmgr",
            Self::Pm2 => "PM2",
            Self::Systemd => "systemd",
        }
    }

    /// What sets the time until SIGKILL.
    pub const fn limit_key(self) -> &'static str {
        match self {
            Self::Compose => "stop_grace_period",
            Self::Ecs => "stopTimeout",
            Self::Image => "docker stop --timeout",
            Self::Kubernetes => "terminationGracePeriodSeconds",
            Self::Oxmgr => "stop_timeout_secs",
            Self::Pm2 => "kill_timeout",
            Self::Systemd => "TimeoutStopSec",
        }
    }

    /// The time until SIGKILL when nobody sets it. An image has none: who runs it decides.
    pub const fn default_limit(self) -> Option<Duration> {
        match self {
            Self::Compose => Some(Duration::from_secs(10)),
            Self::Ecs | Self::Kubernetes => Some(Duration::from_secs(30)),
            Self::Image => None,
            Self::Oxmgr => Some(Duration::from_secs(5)),
            Self::Pm2 => Some(Duration::from_millis(1_600)),
            Self::Systemd => Some(Duration::from_secs(90)),
        }
    }

    /// How `time` is written for [`Platform::limit_key`].
    pub fn limit_line(self, time: Duration) -> String {
        let seconds = time.as_secs_f64().ceil();
        match self {
            Self::Compose => format!("stop_grace_period: {seconds}s"),
            Self::Ecs => format!("\"stopTimeout\": {seconds}"),
            Self::Image => format!("docker stop --timeout {seconds}"),
            Self::Kubernetes => format!("terminationGracePeriodSeconds: {seconds}"),
            Self::Oxmgr => format!("stop_timeout_secs = {seconds}"),
            Self::Pm2 => format!("kill_timeout: {}", time.as_millis()),
            Self::Systemd => format!("TimeoutStopSec={seconds}"),
        }
    }

    /// Whether it takes the process out of its balancer by itself when it stops it.
    pub const fn deregisters(self) -> bool {
        matches!(self, Self::Ecs | Self::Kubernetes)
    }
}

/// A value that stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// When the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So long after the stop began.
    After(Duration),
    /// Not at all.
    Never,
}

/// What runs before the stop signal is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct PreStop {
    /// How long, if it can be told.
    pub time: Option<Duration>,
    /// What it runs.
    pub what: String,
    /// Where it stands.
    pub place: Place,
}

/// A check whose failures have consequences.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What it asks: `GET /readyz on port http`, or a command.
    pub what: String,
    /// Between two checks.
    pub interval: Duration,
    /// Failures in a row until the consequence.
    pub threshold: u32,
    /// Where it stands.
    pub place: Place,
}

impl Probe {
    /// From the first failure that can be seen until the consequence.
    pub fn takes(&self) -> Duration {
        self.interval.saturating_mul(self.threshold)
    }
}

/// The balancer in front, as far as files tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Balancer {
    /// Its own health checks.
    pub check: Option<Probe>,
    /// For how long it goes on with what is in flight to a target that was taken out; explicit or
    /// the default.
    pub deregistration: Option<(Duration, Place, bool)>,
    /// How long it keeps idle connections to the process.
    pub keep_alive: Option<Given<Duration>>,
}

/// One process, and everything that is said about its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// `Deployment web, container app`.
    pub name: String,
    /// The name that `--only` knows it by.
    pub short: String,
    /// Who stops it.
    pub platform: Platform,
    /// Where its definition begins.
    pub place: Place,
    /// When it is killed, if a file says so.
    pub limit: Option<Given<Limit>>,
    /// What runs before the stop signal, inside the same limit.
    pub pre_stop: Option<PreStop>,
    /// The signal that asks it to stop.
    pub signal: Option<Given<String>>,
    /// What is started.
    pub command: Option<Given<Command>>,
    /// Whether an init of the platform's own runs before it.
    pub has_init: bool,
    /// Whether the stop signal goes to its children, too.
    pub signals_children: bool,
    /// Whether the process can ask for more time than the limit.
    pub asks_for_time: bool,
    /// Variables of its environment.
    pub environment: Vec<(String, Given<String>)>,
    /// Who is sent traffic.
    pub readiness: Option<Probe>,
    /// Who is restarted.
    pub liveness: Option<Probe>,
    /// The balancer in front.
    pub balancer: Balancer,
    /// Whether anybody sends it requests; a job has no window.
    pub serves: bool,
    /// Whether its image is built here, for a `Dockerfile` that is given, too.
    pub takes_image: bool,
    /// What the platform alone can get wrong.
    pub findings: Vec<Finding>,
    /// What was not read, and what is assumed in its place.
    pub notes: Vec<String>,
}

impl Process {
    /// A process about which nothing is said yet.
    pub fn new(platform: Platform, short: &str, name: String, place: Place) -> Self {
        Self {
            name,
            short: short.into(),
            platform,
            place,
            limit: None,
            pre_stop: None,
            signal: None,
            command: None,
            has_init: false,
            signals_children: false,
            asks_for_time: false,
            environment: Vec::new(),
            readiness: None,
            liveness: None,
            balancer: Balancer::default(),
            serves: true,
            takes_image: false,
            findings: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether its environment speaks to lameduck.
    pub fn knows_lameduck(&self) -> bool {
        self.environment.iter().any(|(name, _)| name.starts_with("LAMEDUCK_"))
    }

    /// Where its limit stands, or where it would.
    pub fn limit_place(&self) -> &Place {
        self.limit.as_ref().map_or(&self.place, |limit| &limit.place)
    }
}

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule; see `findings.rs`.
    pub id: Id,
    /// Where.
    pub place: Place,
    /// What is so.
    pub what: String,
    /// Why that is bad.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

macro_rules! ids {
    ($($name:ident $text:literal $title:literal,)*) => {
        /// The rules. Their names are stable: scripts and exceptions depend on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs)] // each has its sentence
        pub enum Id { $($name,)* }

        impl Id {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the rule is about, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

ids! {
    DefaultLimit "default-limit" "the time until SIGKILL was left at a default that is too short",
    DeregistrationDelay "deregistration-delay" "the load balancer waits for minutes, or not at all",
    GraceOverLimit "grace-over-limit" "SIGKILL comes before the process is done",
    KeepAliveBelowProxy "keep-alive-below-proxy" "the server closes idle connections before its proxy does",
    KillMode "kill-mode" "systemd does not stop what it should, or not gently",
    LimitRefused "limit-refused" "the platform does not take this limit, or not the whole of it",
    LivenessIsReadiness "liveness-is-readiness" "the check that restarts asks for readiness, which fails while draining",
    NoRestart "no-restart" "nobody starts the process again after a fatal error",
    PackageManager "package-manager" "npm, yarn or the like gets the signal in the server's place",
    PolicyContradiction "policy-contradiction" "lameduck would refuse these settings",
    ShellSwallowsSignal "shell-swallows-signal" "a shell gets the signal and keeps it",
    StopSignal "stop-signal" "the stop signal is one that lameduck does not listen to",
    UnknownVariable "unknown-variable" "a variable looks like one of lameduck's and is not read",
    WindowDoubled "window-doubled" "a preStop sleep and the window wait for the same thing",
    WindowTooShort "window-too-short" "the server stops accepting before everybody has looked away",
}
