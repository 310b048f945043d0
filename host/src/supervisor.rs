//! Who supervises this process, how long it is allowed to take to stop, and what keeps a stop from reaching it.
//!
//! [`detect`] is pure: the environment and a few files in, findings out. [`Surroundings::here`] reads the real ones.
//!
//! | supervisor | recognised by | allows | read from inside |
//! |---|---|---|---|
//! | Kubernetes | `KUBERNETES_SERVICE_HOST`, the service account's folder, `kubepods` in the control group | `terminationGracePeriodSeconds`, 30 s unless set; a `preStop` hook spends the same time | no: not even the downward API tells it |
//! | Docker and other container runtimes | `/.dockerenv`, `/run/.containerenv`, the control group | 10 s unless `--stop-timeout` or `stop_grace_period` says otherwise | no |
//! | systemd | `SYSTEMD_EXEC_PID`, `NOTIFY_SOCKET`, or `INVOCATION_ID` in a unit's control group | `TimeoutStopSec=`, 90 s unless set (`DefaultTimeoutStopSec=`) | no: it is only in the manager's memory, `systemctl show -p TimeoutStopUSec UNIT` asks for it; but more can be asked for, see [`crate::notices`] |
//! | PM2 | `pm_id` with `pm_exec_path` or `PM2_HOME` | `kill_timeout`, 1.6 s unless set | yes: PM2 (7.0 in both of its modes) puts every setting of an app into its environment; `PM2_KILL_TIMEOUT` in the environment of PM2's own daemon counts too, and shows here if the app was started from the same one |
//!
//! What cannot be read, the operator knows: `LAMEDUCK_GRACE` in the environment is taken as their word, and no
//! default of a supervisor is held against it.

use std::fmt::{self, Write};
use std::io::Read;
use std::time::Duration;

use lameduck::policy::{Origin, text};
use lameduck::{Grace, Policy};

const KUBERNETES_DEFAULT: Duration = Duration::from_secs(30);
const CONTAINER_DEFAULT: Duration = Duration::from_secs(10);
const SYSTEMD_DEFAULT: Duration = Duration::from_secs(90);
const PM2_DEFAULT: Duration = Duration::from_millis(1_600);

/// How far up the tree of processes is looked for who swallows signals.
const MOST_ANCESTORS: usize = 8;
/// Programs for a container's process 1, which pass signals on to their one child.
const INITS: [&str; 4] = ["catatonit", "docker-init", "dumb-init", "tini"];
/// None of the files that are read is longer.
const FILE_MAX: u64 = 64 * 1024;

/// What detection looks at.
pub struct View<'a> {
    /// The number of this process.
    pub process: u32,
    /// A variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The contents of a file, or `Some` of nothing for a folder; `None` when it is not there.
    pub file: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

/// Somebody who stops this process, and kills it when it takes too long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Supervisor {
    /// A container runtime outside Kubernetes.
    Container {
        /// `Docker`, `Podman`, or `the container runtime`.
        runtime: &'static str,
    },
    /// The kubelet.
    Kubernetes,
    /// PM2.
    Pm2 {
        /// `kill_timeout`, if it is set.
        kill_timeout: Option<Duration>,
    },
    /// systemd.
    Systemd {
        /// The unit, if the control group tells.
        unit: Option<String>,
        /// Whether it can be asked for more time.
        hears: bool,
    },
}

/// How long a stop may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// This long, unless somebody has set another value that cannot be read from here.
    Default(Duration),
    /// This long.
    Known(Duration),
}

/// What stands between the supervisor and this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swallower {
    /// The program: `npm`, `sh`.
    pub program: String,
    /// Its process number; 1 is the first process of a container.
    pub process: u32,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Who supervises this process, the nearest first.
    pub supervisors: Vec<Supervisor>,
    /// Who gets the stop signal in its place and does not pass it on.
    pub swallower: Option<Swallower>,
    /// Whether this process is the first of its container.
    pub is_first_process: bool,
    /// Variables that look like lameduck's and are not read, as sentences.
    pub unread: Vec<String>,
}

impl Supervisor {
    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Container { runtime } => runtime,
            Self::Kubernetes => "Kubernetes",
            Self::Pm2 { .. } => "PM2",
            Self::Systemd { .. } => "systemd",
        }
    }

    /// How long it lets a stop take.
    #[must_use]
    pub fn allowed(&self) -> Allowed {
        match self {
            Self::Container { .. } => Allowed::Default(CONTAINER_DEFAULT),
            Self::Kubernetes => Allowed::Default(KUBERNETES_DEFAULT),
            Self::Pm2 { kill_timeout } => {
                // Were it set, it would be in the environment.
                Allowed::Known(kill_timeout.unwrap_or(PM2_DEFAULT))
            }
            Self::Systemd { .. } => Allowed::Default(SYSTEMD_DEFAULT),
        }
    }

    /// What to do so that it allows `grace`; `None` is any time at all.
    fn remedy(&self, grace: Option<Duration>) -> String {
        let seconds = grace.map(|grace| grace.as_secs_f64().ceil());
        let number = |unlimited: &str| seconds.map_or(unlimited.to_owned(), |s| s.to_string());
        match self {
            Self::Container { .. } => format!(
                "stop it with --stop-timeout {0} (in Compose: stop_grace_period: {0}s)",
                number("3600")
            ),
            Self::Kubernetes => format!(
                "set terminationGracePeriodSeconds: {} in the pod's spec, and more if a preStop hook sleeps",
                number("3600")
            ),
            Self::Pm2 { .. } => format!(
                "set kill_timeout: {} for this app in PM2's configuration",
                grace.map_or(3_600_000, |grace| grace.as_millis())
            ),
            Self::Systemd { .. } => format!(
                "set TimeoutStopSec={} in the unit, or NotifyAccess=main so that it can be asked for more time",
                number("infinity")
            ),
        }
    }
}

impl fmt::Display for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Container { .. } => {
                write!(f, " (kills after {} unless set otherwise)", text(CONTAINER_DEFAULT))
            }
            Self::Kubernetes => write!(
                f,
                " (kills after {} unless terminationGracePeriodSeconds says otherwise)",
                text(KUBERNETES_DEFAULT)
            ),
            Self::Pm2 { kill_timeout: None } => {
                write!(f, " (kills after {}, its default)", text(PM2_DEFAULT))
            }
            Self::Pm2 { kill_timeout: Some(set) } => {
                write!(f, " (kills after {}, its kill_timeout)", text(*set))
            }
            Self::Systemd { unit, hears } => {
                if let Some(unit) = unit {
                    write!(f, " as {}", unit.escape_debug())?;
                }
                if *hears {
                    f.write_str(" (is asked for the time that grace takes)")
                } else {
                    let limit = text(SYSTEMD_DEFAULT);
                    write!(f, " (kills after {limit} unless TimeoutStopSec= says otherwise)")
                }
            }
        }
    }
}

impl Surroundings {
    /// What is found around this process. Reads a few variables and files; call it once, at the start.
    #[must_use]
    pub fn here() -> Self {
        let unread = std::env::vars_os()
            .filter_map(|(name, _)| lameduck::environment::unknown(&name.to_string_lossy()));
        let found = detect(&View {
            process: std::process::id(),
            variable: &|name| std::env::var(name).ok(),
            file: &|path| {
                if std::path::Path::new(path).is_dir() {
                    return Some(Vec::new());
                }
                let mut bytes = Vec::new();
                std::fs::File::open(path).ok()?.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
                Some(bytes)
            },
        });
        Self { unread: unread.collect(), ..found }
    }

    /// For the start line: who supervises this process.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut line = String::from("supervised by ");
        for (number, supervisor) in self.supervisors.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(line, "{}{supervisor}", if number == 0 { "" } else { " in " });
        }
        if self.supervisors.is_empty() {
            line.push_str("nobody that is known");
        }
        if self.is_first_process {
            line.push_str(", as the first process of its container");
        }
        line
    }

    /// What is wrong between `policy` and the surroundings: sentences for the log, at the start, while it can
    /// still be mended.
    #[must_use]
    pub fn warnings(&self, policy: &Policy) -> Vec<String> {
        let grace = match policy.grace.value {
            Grace::Limited(grace) => Some(grace),
            Grace::Unlimited => None,
        };
        let operators_word = policy.grace.origin == Origin::Environment;
        let mut warnings = self.unread.clone();
        for supervisor in &self.supervisors {
            let (limit, by) = match supervisor.allowed() {
                Allowed::Default(_) if operators_word => continue,
                Allowed::Default(limit) => (limit, " unless somebody has set more"),
                Allowed::Known(limit) => (limit, ""),
            };
            let asks = matches!(supervisor, Supervisor::Systemd { hears: true, .. });
            if asks || grace.is_some_and(|grace| grace <= limit) {
                continue;
            }
            let wants = grace.map_or_else(
                || String::from("grace is unlimited"),
                |grace| format!("grace is {}", text(grace)),
            );
            let (name, remedy) = (supervisor.name(), supervisor.remedy(grace));
            let mut warning = format!(
                "{wants}, but {name} kills this process {} after it asked it to stop{by}: {remedy}, or set LAMEDUCK_GRACE={}",
                text(limit),
                limit.as_secs_f64()
            );
            if let (Allowed::Default(_), Some(grace)) = (supervisor.allowed(), grace) {
                let _ = write!(
                    warning,
                    " (LAMEDUCK_GRACE={} if that much is allowed already)",
                    grace.as_secs_f64()
                );
            }
            warnings.push(warning);
        }
        warnings.extend(self.swallower.as_ref().map(|swallower| {
            format!(
                "a request to stop this container goes to '{}' (process {}), which does not pass it on: this process would be killed without notice. Start it directly, as in CMD [\"node\", \"server.js\"], or with exec in each script between: exec node server.js",
                swallower.program.escape_debug(),
                swallower.process
            )
        }));
        warnings
    }
}

/// What `view` shows.
#[must_use]
pub fn detect(view: &View<'_>) -> Surroundings {
    let set = |name: &str| (view.variable)(name).filter(|value| !value.is_empty());
    let there = |path: &str| (view.file)(path).is_some();
    let groups = (view.file)("/proc/self/cgroup").unwrap_or_default();
    let groups = String::from_utf8_lossy(&groups).into_owned();
    let mut supervisors = Vec::new();

    if set("pm_id").is_some() && (set("pm_exec_path").is_some() || set("PM2_HOME").is_some()) {
        let milliseconds = |name| {
            let value = set(name)?.trim().parse::<u64>().ok()?;
            // To PM2 a kill_timeout of 0 is none.
            (value > 0).then(|| Duration::from_millis(value))
        };
        let kill_timeout =
            milliseconds("kill_timeout").or_else(|| milliseconds("PM2_KILL_TIMEOUT"));
        supervisors.push(Supervisor::Pm2 { kill_timeout });
    }
    let unit = unit(&groups);
    let started_by_it = set("SYSTEMD_EXEC_PID").is_some_and(|pid| pid == view.process.to_string());
    let hears = set("NOTIFY_SOCKET").is_some();
    // The other variables are inherited by whatever a unit starts, a person's terminal for one.
    if started_by_it || hears || (set("INVOCATION_ID").is_some() && unit.is_some()) {
        supervisors.push(Supervisor::Systemd { unit, hears });
    }
    let service_account = "/var/run/secrets/kubernetes.io/serviceaccount";
    if set("KUBERNETES_SERVICE_HOST").is_some()
        || there(service_account)
        || groups.contains("kubepods")
    {
        supervisors.push(Supervisor::Kubernetes);
    } else if let Some(runtime) = runtime(&there, &groups) {
        supervisors.push(Supervisor::Container { runtime });
    }
    let contained =
        matches!(supervisors.last(), Some(Supervisor::Kubernetes | Supervisor::Container { .. }));
    Surroundings {
        swallower: if contained { swallower(view) } else { None },
        is_first_process: view.process == 1,
        unread: Vec::new(),
        supervisors,
    }
}

fn runtime(there: &dyn Fn(&str) -> bool, groups: &str) -> Option<&'static str> {
    if there("/.dockerenv") || groups.contains("/docker/") || groups.contains("/docker-") {
        Some("Docker")
    } else if there("/run/.containerenv") || groups.contains("/libpod-") {
        Some("Podman")
    } else if groups.contains("/cri-containerd") || groups.contains("/containerd/") {
        Some("the container runtime")
    } else {
        None
    }
}

/// The systemd service that owns this process's control group.
fn unit(groups: &str) -> Option<String> {
    let last = |line: &str| Some(line.rsplit('/').next()?.to_owned());
    groups.lines().filter_map(last).find(|name| name.ends_with(".service"))
}

/// The ancestor that gets the container's stop signal and keeps it to itself: npm and its like, and a shell that runs a
/// command. npm (7 to 11) passes SIGTERM on to what it runs: to the server, if a script begins with `exec`; else to the
/// shell that it runs the script with, which dies of it, and the server is never told. Above it there may be an init that passes signals on; what any other program there does with them is its
/// own business.
fn swallower(view: &View<'_>) -> Option<Swallower> {
    let mut process = view.process;
    let mut found = None;
    for _ in 0..MOST_ANCESTORS {
        let Some(above) = parent(view, process).filter(|parent| *parent > 0) else { return found };
        process = above;
        let Some(words) = (view.file)(&format!("/proc/{process}/cmdline")) else { return found };
        let words = String::from_utf8_lossy(&words).into_owned();
        // npm names itself in one word: "npm start".
        let words: Vec<&str> = words.split(['\0', ' ']).filter(|word| !word.is_empty()).collect();
        let names: Vec<&str> =
            words.iter().take(2).map(|word| word.rsplit('/').next().unwrap_or(word)).collect();
        let manager = names.iter().find_map(|name| {
            let name =
                name.trim_end_matches(".js").trim_end_matches("-cli").trim_end_matches(".cjs");
            ["npm", "npx", "pnpm", "yarn"].into_iter().find(|manager| *manager == name)
        });
        let shell = names.first().filter(|name| {
            let runs_something = words.len() > 1;
            runs_something && ["ash", "bash", "dash", "ksh", "sh", "zsh"].contains(name)
        });
        let passes_on = found.is_none() && matches!(manager, Some("npm" | "npx"));
        if let Some(program) = manager.or(shell.copied()).filter(|_| !passes_on) {
            let program = program.to_owned();
            // A package manager above its shell is the better name for both.
            if manager.is_some() || found.is_none() {
                found = Some(Swallower { program, process });
            }
        } else if !passes_on && !names.first().is_some_and(|name| INITS.contains(name)) {
            found = None;
        }
        if process == 1 {
            return found;
        }
    }
    // So far below the container's first process its stop signal is not meant for whoever was found.
    None
}

fn parent(view: &View<'_>, process: u32) -> Option<u32> {
    let stat = (view.file)(&format!("/proc/{process}/stat"))?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    // "pid (name) state ppid …"; the name may hold anything, a parenthesis too.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests;
