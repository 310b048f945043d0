//! What a process does once: policy, signals, the watchdog, the report.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use lameduck::async_layer::{Driver, Shutdown};
use lameduck::{Cause, Phase, Policy, Settings, environment};
use lameduck_host::interposer::Interposer;
use lameduck_host::terminal::stdin_is_terminal;
use lameduck_host::watchdog::{self, Watchdog};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;

/// Twice in the time after which the watchdog calls the process blocked.
const HEARTBEAT: Duration = Duration::from_nanos(watchdog::BLOCKED_NS / 2);

/// The shutdown of this process, with signals and the watchdog attached.
pub struct Process {
    shutdown: Shutdown,
    driver: Driver,
    watchdog: Option<Watchdog>,
    /// Kept: they arm the watchdog even if the runtime is blocked.
    _interposers: Vec<Interposer>,
    terminate: Signal,
    interrupt: Signal,
}

impl Process {
    /// Takes the policy from the environment (`LAMEDUCK_GRACE` …), and the signals.
    ///
    /// # Errors
    /// When the policy contradicts itself, or the system refuses a signal handler or a thread.
    pub fn start() -> Result<Self, Box<dyn Error>> {
        let variables = environment::settings(|name| std::env::var(name).ok())?;
        let code = Settings { interactive: stdin_is_terminal(), ..Settings::default() };
        let policy = Policy::resolve(&code, &variables)?;
        eprintln!("lameduck: {}", policy.describe());
        let budget = policy.budget();
        let (shutdown, driver) = Shutdown::new(policy, Clock);

        // In this order: the runtime's handlers, the watchdog, and on top what arms it.
        let kinds = [SignalKind::terminate(), SignalKind::interrupt()];
        let [terminate, interrupt] = [signal(kinds[0])?, signal(kinds[1])?];
        let signals = kinds.map(|kind| kind.as_raw_value());
        let watchdog = budget
            .map(|budget| {
                Watchdog::start(watchdog::Options {
                    signals: signals.to_vec(),
                    budget_ns: u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX),
                    ..watchdog::Options::default()
                })
            })
            .transpose()?;
        let interposers = signals.into_iter().map(Interposer::chain).collect::<Result<_, _>>()?;
        Ok(Self { shutdown, driver, watchdog, _interposers: interposers, terminate, interrupt })
    }

    /// The handle.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Waits until somebody asks for the end and it has come; the report goes to standard error.
    pub async fn ended(self) -> ExitCode {
        let Self { shutdown, driver, watchdog, mut terminate, mut interrupt, _interposers } = self;
        let mut driver = std::pin::pin!(driver);
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let report = loop {
            tokio::select! {
                report = driver.as_mut() => break report,
                Some(()) = terminate.recv() => stop(&shutdown, Cause::Terminate),
                Some(()) = interrupt.recv() => match shutdown.phase() {
                    Phase::Serving if stdin_is_terminal() => stop(&shutdown, Cause::Interrupt),
                    Phase::Serving => stop(&shutdown, Cause::Terminate),
                    // Somebody insists.
                    _ => drop(shutdown.escalate()),
                },
                _ = heartbeat.tick(), if shutdown.phase() != Phase::Serving => {
                    if let Some(watchdog) = &watchdog {
                        watchdog.heartbeat();
                        // Too long, and the last one stands.
                        let _ = watchdog.render_report(shutdown.report());
                    }
                }
            }
        };
        if let Some(watchdog) = &watchdog {
            watchdog.disarm();
        }
        eprintln!("lameduck: {}", report.to_json());
        ExitCode::from(report.exit_code)
    }
}

fn stop(shutdown: &Shutdown, cause: Cause) {
    // Refused only when it is over.
    let _ = shutdown.request(cause);
}
