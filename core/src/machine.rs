//! The machine: events in, effects out.
//!
//! Events only count; what follows from them is decided in [`Machine::tick`]. So a
//! hand-over may be told one connection at a time, and nothing is concluded from half of it.

mod accounts;
mod closing;
mod draining;
mod queue;
mod reporting;
mod requests;
#[cfg(feature = "situation")]
mod situation;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use self::accounts::Accounts;
use self::queue::Queue;

use crate::blocker::Blocker;
use crate::cause::Cause;
use crate::connection::Situation;
use crate::connections::Connections;
use crate::deadline::{Deadlines, Insisted, Plan, Wake};
use crate::effect::Effect;
use crate::event::{Event, JobSource};
use crate::hook::{Hook, HookState, Hooks, Stage};
use crate::job::{Job, Jobs};
use crate::listener::Listeners;
use crate::phase::Phase;
use crate::policy::{Grace, Policy};
use crate::refusal::Refused;
use crate::report::{BlockedAt, Millis};
use crate::table::{self, Rule};
use crate::time::Time;

/// Beyond so many, the timeline takes only what has not happened before.
const MOST_MARKS: usize = 50;

/// The graceful-shutdown state machine. Drive it in this order:
///
/// 1. `handle_*`: [`handle`](Self::handle) every event as it happens, and
///    [`tick`](Self::tick) at every wake. A spurious tick does nothing.
/// 2. `poll_*`: drain [`poll_effect`](Self::poll_effect) until `None` and do as it says.
/// 3. ask [`next_wake`](Self::next_wake) and come back then, or earlier with an event.
///
/// Getters ([`phase`](Self::phase), [`report`](Self::report), [`blockers`](Self::blockers))
/// may be called at any time.
///
/// The clock is a high-water mark: a time that runs back is taken as the latest seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    policy: Policy,
    phase: Phase,
    clock: Time,
    /// When the last thing happened: an event, or a deadline at its own moment.
    moment: Time,
    /// The request to stop.
    t0: Time,
    causes: Vec<Cause>,
    /// The window of this shutdown: the policy's, 0 when the cause skips it, or as much
    /// as passed of it when it ended early.
    window: Duration,
    /// t1, once it has passed.
    emptying_since: Option<Time>,
    /// When the driver was told to fence the listeners.
    fenced_at: Option<Time>,
    plan: Plan,
    insisted: Insisted,
    deadlines: Deadlines,
    /// The stage of Closing.
    stage: Stage,
    listeners: Listeners,
    connections: Connections,
    /// What the connections' moments depend on, as it is while Draining.
    situation: Situation,
    accounts: Accounts,
    /// Until then Closing waits for those cut at the drain deadline to be gone.
    linger_until: Option<Time>,
    queue: Queue,
    /// When a connection or a request came last, not before t0.
    last_arrival: Time,
    hooks: Hooks,
    jobs: Jobs,
    /// Whether abort signals were fired; they fire again only at a lead still to come.
    aborted: bool,
    marks: Vec<(Time, &'static str)>,
    blocked_at: Vec<(Time, &'static str, crate::blocker::Blockers)>,
    forced: Vec<Blocker>,
    done_at: Option<Time>,
    effects: VecDeque<Effect>,
}

impl Machine {
    /// A machine that serves under `policy`.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            phase: Phase::Serving,
            clock: Time::default(),
            moment: Time::default(),
            t0: Time::default(),
            causes: Vec::new(),
            window: Duration::ZERO,
            emptying_since: None,
            fenced_at: None,
            plan: Plan::default(),
            insisted: Insisted::default(),
            deadlines: Deadlines::default(),
            stage: Stage::Close,
            listeners: Listeners::default(),
            connections: Connections::default(),
            situation: Situation::default(),
            accounts: Accounts::default(),
            linger_until: None,
            queue: Queue::default(),
            last_arrival: Time::default(),
            hooks: Hooks::default(),
            jobs: Jobs::default(),
            aborted: false,
            marks: Vec::new(),
            blocked_at: Vec::new(),
            forced: Vec::new(),
            done_at: None,
            effects: VecDeque::new(),
        }
    }

    /// Where the server stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// T: when the process must have ended. `None` while Serving and when grace is
    /// unlimited.
    pub fn hard_deadline(&self) -> Option<Time> {
        if self.phase == Phase::Serving {
            return None;
        }
        self.policy.budget().map(|budget| self.t0.plus(budget))
    }

    /// t1: when the window ends. `None` before the request to stop, and once it has ended.
    pub fn window_end(&self) -> Option<Time> {
        let open = self.phase == Phase::Draining && self.emptying_since.is_none();
        open.then(|| self.t1())
    }

    /// t2: when what is still in flight is forced. `None` while Serving and when grace is
    /// unlimited.
    pub fn drain_deadline(&self) -> Option<Time> {
        self.plan.drain
    }

    /// What a child process that is told to stop at `now` gets as its grace: it must be gone
    /// when this process begins to close what they share. `None` when that is unlimited.
    pub fn child_grace(&self, now: Time) -> Option<Duration> {
        match (self.phase, self.policy.child_grace()) {
            (Phase::Serving, Grace::Limited(grace)) => Some(grace),
            (Phase::Serving, Grace::Unlimited) => None,
            _ => self.plan.drain.map(|t2| t2.since(now)),
        }
    }

    /// Takes one event that happened at `now`.
    ///
    /// # Errors
    /// When the event is illegal here: nothing has changed, not even the clock.
    pub fn handle(&mut self, event: Event, now: Time) -> Result<(), Refused> {
        if let Rule::Refuse(reason) = table::rule(self.phase, event.kind()) {
            return Err(reason);
        }
        // The clock first: what an event starts, it starts now.
        let before = self.clock;
        self.clock = now.max(before);
        let taken = self.apply(event, self.clock);
        if taken.is_ok() {
            self.moment = self.clock;
            self.queue.prune(&self.connections);
        } else {
            self.clock = before;
        }
        taken
    }

    fn apply(&mut self, event: Event, now: Time) -> Result<(), Refused> {
        match event {
            Event::ConnectionAdopted { connection, protocol, in_flight, announced } => {
                self.adopt(connection, protocol, in_flight, announced)
            }
            Event::ConnectionBusy { connection } => self.connection_busy(connection, now),
            Event::ConnectionClosed { connection } => self.connection_closed(connection),
            Event::ConnectionDescribed { connection, peer } => {
                self.connection(connection)?.describe(peer);
                Ok(())
            }
            Event::ConnectionOpened { connection, protocol } => {
                self.connection_opened(connection, protocol, now)
            }
            Event::ConnectionUpgraded { connection, protocol } => {
                self.connection_upgraded(connection, protocol, now)
            }
            Event::DeadlineChanged { grace } => {
                self.change_deadline(grace, now);
                Ok(())
            }
            Event::Escalate => {
                self.escalate(now);
                Ok(())
            }
            Event::HookFinished { hook, error } => self.hooks.finish(hook, error, now),
            Event::HookRegistered { hook, stage, name, order, timeout } => {
                if stage == Stage::Drain && self.phase != Phase::Serving {
                    return Err(Refused::Draining);
                }
                let state = HookState::Waiting;
                self.hooks.register(Hook { id: hook, name, stage, order, timeout, state })
            }
            Event::JobFinished { job, outcome } => {
                // What ended while Serving is no part of the shutdown.
                let outcome = Some(outcome).filter(|_| self.phase != Phase::Serving);
                self.jobs.finish(job, outcome)
            }
            Event::JobStarted { job, name, source, on_drain } => {
                if source == JobSource::Background && self.phase != Phase::Serving {
                    return Err(Refused::Draining);
                }
                self.job_started(job, Job { name, since: now, on_drain, cancelled: false })
            }
            Event::ListenerClosed { listener } => self.listeners.close(listener),
            Event::ListenerFailed { listener, error } => self.listeners.fail(listener, error),
            Event::ListenerOpened { listener } => self.listeners.open(listener),
            Event::RequestDescribed { connection, request, kind, label, since } => {
                self.request_described(connection, request, kind, label, since, now)
            }
            Event::RequestFinished { connection, request, outcome, flushed } => {
                self.request_finished(connection, request, outcome, flushed, now)
            }
            Event::RequestFlushed { connection, request } => {
                self.request_flushed(connection, request, now)
            }
            Event::RequestHeadersSent { connection, request, announced } => {
                self.request_headers_sent(connection, request, announced, now)
            }
            Event::RequestStarted { connection, request, kind } => {
                self.request_started(connection, request, kind, now)
            }
            Event::Shutdown { cause, ever_accepted } => {
                self.shutdown(cause, ever_accepted, now);
                Ok(())
            }
        }
    }

    /// Lets time pass: fires every deadline up to `now`, in order.
    pub fn tick(&mut self, now: Time) {
        self.clock = self.clock.max(now);
        while let Some((at, wake)) = self.next_wake().filter(|(at, _)| *at <= self.clock) {
            // A deadline that was moved into the past, or found late after an event, does not
            // happen before that event.
            self.moment = self.moment.max(at);
            self.fire(wake, self.moment);
            self.queue.prune(&self.connections);
        }
    }

    /// The next effect. Drain until `None` after every [`handle`](Self::handle) and
    /// [`tick`](Self::tick).
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When the machine wants to be ticked next, and why. `None`: only an event can
    /// change anything.
    pub fn next_wake(&self) -> Option<(Time, Wake)> {
        if matches!(self.phase, Phase::Serving | Phase::Done) {
            return None;
        }
        let progress = self.can_progress().then_some((self.moment, Wake::Progress));
        let connection = self.next_connection().map(|at| (at, Wake::Connection));
        let hook = self.hooks.next_timeout().map(|at| (at, Wake::HookTimeout));
        let idle = self.window_idle().map(|at| (at, Wake::WindowIdle));
        [progress, connection, hook, idle, self.deadlines.next()].into_iter().flatten().min()
    }

    fn can_progress(&self) -> bool {
        match self.phase {
            Phase::Draining => self.hooks.can_start(Stage::Drain) || self.is_drained(),
            Phase::Closing => {
                let ended = self.hooks.ended(self.stage) && self.linger().is_none();
                self.hooks.can_start(self.stage) || ended
            }
            Phase::Serving | Phase::Done => false,
        }
    }

    fn fire(&mut self, wake: Wake, at: Time) {
        self.deadlines.set(wake, None);
        match wake {
            Wake::Progress => self.progress(at),
            Wake::Connection => self.connection_due(at),
            Wake::HookTimeout => {
                let effects = &mut self.effects;
                let mut abandon = |hook| effects.push_back(Effect::AbandonHook { hook });
                self.hooks.time_out(at, &mut abandon);
            }
            Wake::WindowIdle => {
                self.mark(at, "traffic stopped");
                self.end_window(at);
            }
            Wake::WindowEnd => self.enter_emptying(at),
            Wake::SettleEnd => self.close_listeners(),
            Wake::AbortLead => self.abort(at),
            Wake::DrainDeadline => self.force(at),
            Wake::CloseStageEnd => self.end_close_stage(at),
            Wake::FlushStageEnd => self.end_flush_stage(at),
        }
    }

    fn progress(&mut self, at: Time) {
        if self.phase == Phase::Closing {
            self.progress_closing(at);
        } else if self.hooks.can_start(Stage::Drain) {
            self.start_hooks(Stage::Drain);
        } else {
            self.enter_closing(at);
        }
    }

    fn start_hooks(&mut self, stage: Stage) {
        let effects = &mut self.effects;
        // Their timeouts begin when the driver is told, however late this tick is.
        self.hooks.start(stage, self.clock, &mut |hook| {
            effects.push_back(Effect::RunHook { hook });
        });
    }

    fn mark(&mut self, at: Time, what: &'static str) {
        // Whoever insists a thousand times must not drown the rest of the report.
        if self.marks.len() >= MOST_MARKS && self.marks.iter().any(|(_, known)| *known == what) {
            return;
        }
        self.marks.push((at, what));
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.effects.push_back(Effect::PhaseChanged { phase });
    }

    fn since_t0(&self, at: Time) -> Millis {
        Millis(at.since(self.t0))
    }

    fn blocked(&mut self, at: Time, deadline: &'static str) {
        let blockers = self.blockers_at(at, reporting::NAMED);
        if !blockers.is_empty() {
            self.blocked_at.push((at, deadline, blockers));
        }
    }

    fn blocked_lines(&self) -> Vec<BlockedAt> {
        let line = |(at, deadline, blockers): &(Time, &'static str, _)| BlockedAt {
            deadline,
            at_ms: self.since_t0(*at),
            blockers: Clone::clone(blockers),
        };
        self.blocked_at.iter().map(line).collect()
    }
}

/// What hung, as the report's `lost` says it.
fn sentence(count: u64, one: &str, many: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(alloc::format!("1 {one}")),
        _ => Some(alloc::format!("{count} {many}")),
    }
}
