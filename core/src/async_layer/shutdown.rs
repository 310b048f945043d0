//! The handle.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt::{self, Display};
use core::future::Future;
use core::time::Duration;

use super::connection::ConnectionGuard;
use super::driver::Driver;
use super::hook::{HookOptions, HookOutcome, guarded};
use super::job::{JobGuard, JobOptions};
use super::listener::{Listener, ListenerGuard};
use super::phases::{Done, Phases, Reached};
use super::shared::Shared;
use super::timer::Timer;
use crate::Cause;
use crate::blocker::Blockers;
use crate::event::{Event, JobSource};
use crate::hook::Stage;
use crate::id::{HookId, ListenerId};
use crate::machine::Machine;
use crate::phase::Phase;
use crate::policy::Policy;
use crate::protocol::Protocol;
use crate::refusal::Refused;
use crate::report::Report;
use crate::sync::{Arc, lock};
use crate::time::Time;

/// A handle on the shutdown of this process; clones are the same shutdown.
#[derive(Clone)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

impl Shutdown {
    /// A shutdown under `policy`, and the future that drives it.
    pub fn new(policy: Policy, timer: impl Timer) -> (Self, Driver) {
        let shared = Arc::new(Shared::new(Machine::new(policy), Box::new(timer)));
        (Self { shared: Arc::clone(&shared) }, Driver::new(shared))
    }

    /// The server shall stop. From here on the machine knows every connection and request. Repeated, it can
    /// only raise the severity.
    ///
    /// # Errors
    /// [`Refused::Done`].
    pub fn request(&self, cause: Cause) -> Result<(), Refused> {
        let now = self.shared.timer.now();
        self.shared.with(|core| {
            let serving = core.machine.phase() == Phase::Serving;
            let mut registry = lock(&self.shared.registry);
            let ever_accepted = registry.ever_accepted;
            core.machine.handle(Event::Shutdown { cause, ever_accepted }, now)?;
            if serving {
                registry.handed = true;
                for line in registry.lines() {
                    line.hand_over(&mut core.machine, now);
                }
            }
            Ok(())
        })
    }

    /// Somebody insists: ends the first of window, drain and hooks whose time is not over.
    ///
    /// # Errors
    /// [`Refused::Serving`], [`Refused::Done`].
    pub fn escalate(&self) -> Result<(), Refused> {
        self.shared.tell(Event::Escalate)
    }

    /// The orchestrator's budget became longer or shorter; `grace` still counts from the request to stop.
    ///
    /// # Errors
    /// [`Refused::Serving`], [`Refused::Done`].
    pub fn change_deadline(&self, grace: Duration) -> Result<(), Refused> {
        self.shared.tell(Event::DeadlineChanged { grace })
    }

    /// Where the server stands. Costs one load.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shared.phase()
    }

    /// What readiness probes shall be answered. Costs one load.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready()
    }

    /// T, on the timer's clock: when the process must have ended. `None` while Serving and when grace is
    /// unlimited. This is what a watchdog is armed with.
    #[must_use]
    pub fn hard_deadline(&self) -> Option<Time> {
        self.shared.with(|core| core.machine.hard_deadline())
    }

    /// Resolves once shutdown was requested.
    pub fn draining(&self) -> Reached {
        Reached::new(Arc::clone(&self.shared), Phase::Draining)
    }

    /// Resolves once everything in flight has ended or was forced, and the `close` hooks begin.
    pub fn drained(&self) -> Reached {
        Reached::new(Arc::clone(&self.shared), Phase::Closing)
    }

    /// Resolves with the report once all is over. The driver resolves with the same.
    pub fn done(&self) -> Done {
        Done::new(Arc::clone(&self.shared))
    }

    /// The phases from the current one on.
    pub fn phases(&self) -> Phases {
        Phases::new(Arc::clone(&self.shared))
    }

    /// What holds shutdown up now, or would if it were requested now: counts, and the `most` oldest by
    /// name, oldest first. While Serving it walks over every connection.
    #[must_use]
    pub fn blockers(&self, most: usize) -> Blockers {
        self.shared.blockers(most)
    }

    /// The report as it stands: provisional until Done.
    #[must_use]
    pub fn report(&self) -> Report {
        self.shared.report()
    }

    /// A listener accepts connections.
    ///
    /// # Errors
    /// From the request to stop on: never open it.
    pub fn listener(&self) -> Result<ListenerGuard, Refused> {
        let now = self.shared.timer.now();
        let state = Arc::new(Listener::default());
        let opened = self.shared.with(|core| {
            let listener = ListenerId(core.next_id());
            core.machine.handle(Event::ListenerOpened { listener }, now)?;
            core.listeners.insert(listener, Arc::clone(&state));
            Ok(listener)
        });
        opened.map(|id| ListenerGuard::new(Arc::clone(&self.shared), id, state))
    }

    /// A connection was accepted. `peer` is who is at the other end, as an operator would write it; empty if nobody
    /// knows.
    ///
    /// # Errors
    /// Once the drain is over: close it.
    pub fn connection(
        &self,
        protocol: Protocol,
        peer: impl Display,
    ) -> Result<ConnectionGuard, Refused> {
        let peer: String = peer.to_string();
        let (line, handed) = {
            let mut registry = lock(&self.shared.registry);
            let line = registry.open(&self.shared, protocol, peer).ok_or(Refused::TooMany)?;
            (line, registry.handed)
        };
        let connection = line.id;
        if handed
            && let Err(reason) = self.shared.tell(Event::ConnectionOpened { connection, protocol })
        {
            let forgotten = lock(&self.shared.registry).close(connection);
            drop(forgotten);
            return Err(reason);
        }
        Ok(ConnectionGuard::new(line))
    }

    /// Background work begins; shutdown waits for it until the drain deadline. What a request begins, its
    /// [guard](super::RequestGuard::job) says.
    ///
    /// # Errors
    /// From the request to stop on.
    pub fn job(&self, options: impl Into<JobOptions>) -> Result<JobGuard, Refused> {
        JobGuard::begin(&self.shared, options.into(), JobSource::Background)
    }

    /// Registers a hook for the request to stop: pause consumers, deregister.
    ///
    /// # Errors
    /// From the request to stop on.
    pub fn on_drain<F, R>(
        &self,
        options: impl Into<HookOptions>,
        hook: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(), Refused>
    where
        F: Future<Output = R> + Send + 'static,
        R: HookOutcome,
    {
        self.register(Stage::Drain, options.into(), guarded(hook))
    }

    /// Registers a hook for when nothing is in flight any more: pools, clients.
    ///
    /// # Errors
    /// Once the drain is over.
    pub fn on_close<F, R>(
        &self,
        options: impl Into<HookOptions>,
        hook: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(), Refused>
    where
        F: Future<Output = R> + Send + 'static,
        R: HookOutcome,
    {
        self.register(Stage::Close, options.into(), guarded(hook))
    }

    /// Registers a hook for the end: logs, metrics. A `close` hook that hangs does not take its time.
    ///
    /// # Errors
    /// Once the drain is over.
    pub fn on_flush<F, R>(
        &self,
        options: impl Into<HookOptions>,
        hook: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(), Refused>
    where
        F: Future<Output = R> + Send + 'static,
        R: HookOutcome,
    {
        self.register(Stage::Flush, options.into(), guarded(hook))
    }

    fn register(
        &self,
        stage: Stage,
        options: HookOptions,
        run: super::hook::Run,
    ) -> Result<(), Refused> {
        let now = self.shared.timer.now();
        let HookOptions { name, order, timeout } = options;
        let name = name.into_owned();
        // Given up when refused, but not under the lock: dropping it is user code.
        let mut run = Some(run);
        self.shared.with(|core| {
            let hook = HookId(core.next_id());
            let registered = Event::HookRegistered { hook, stage, name, order, timeout };
            core.machine.handle(registered, now)?;
            core.hooks.extend(run.take().map(|run| (hook, run)));
            Ok(())
        })
    }
}

impl Shared {
    pub(super) fn report(&self) -> Report {
        let now = self.timer.now();
        self.with(|core| core.machine.report(now))
    }

    fn blockers(&self, most: usize) -> Blockers {
        let now = self.timer.now();
        self.with(|core| {
            let mut blockers = core.machine.blockers(now, most);
            if core.machine.phase() == Phase::Serving {
                let registry = lock(&self.registry);
                registry.lines().for_each(|line| line.blockers(now, &mut blockers));
                blockers.oldest.sort_by_key(|blocker| core::cmp::Reverse(blocker.age()));
                blockers.oldest.truncate(most);
            }
            blockers
        })
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("phase", &self.phase())
            .field("ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}
