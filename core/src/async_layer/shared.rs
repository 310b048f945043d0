//! What handles, guards and the driver share.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use super::connection::Cue;
use super::hook::Run;
use super::job::Job;
use super::line::Line;
use super::listener::{Listener, ListenerCue};
use super::registry::Registry;
use super::request::RequestCue;
use super::signal::{Due, Signal};
use super::timer::Timer;
use crate::effect::Effect;
use crate::event::Event;
use crate::id::{ConnectionId, HookId, JobId, ListenerId, RequestId};
use crate::machine::Machine;
use crate::phase::Phase;
use crate::refusal::Refused;
use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::{Arc, AtomicWaker, Mutex, lock};
use crate::time::Time;

pub(super) struct Shared {
    pub(super) timer: Box<dyn Timer>,
    core: Mutex<Core>,
    /// Taken after `core`, if both are.
    pub(super) registry: Mutex<Registry>,
    /// What the machine last said, for whoever only wants to look.
    phase: AtomicU8,
    ready: AtomicBool,
    /// Nobody will tell anybody anything any more.
    abandoned: AtomicBool,
    /// A phase began, or the driver is gone.
    pub(super) phases: Signal,
    pub(super) due: Arc<Due>,
    driver: AtomicWaker,
}

/// The machine, and what only its lock's holder touches.
pub(super) struct Core {
    pub(super) machine: Machine,
    pub(super) notices: VecDeque<Notice>,
    /// While the driver sleeps: until when. It looks at everything before it sleeps, so while it does not,
    /// nobody needs to wake it.
    pub(super) asleep: Option<Until>,
    pub(super) hooks: BTreeMap<HookId, Run>,
    pub(super) jobs: BTreeMap<JobId, Arc<Job>>,
    pub(super) listeners: BTreeMap<ListenerId, Arc<Listener>>,
    next_id: u32,
}

/// What is left of an effect for the driver to do. What it says holds from the moment the machine said it;
/// only those who wait for it learn of it later, when no lock is held.
pub(super) enum Notice {
    Abandon(HookId),
    Job(Arc<Job>),
    Line(Arc<Line>),
    Listener(Arc<Listener>),
    Phase,
    Run(HookId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Until {
    At(Time),
    Woken,
}

impl Shared {
    pub(super) fn new(machine: Machine, timer: Box<dyn Timer>) -> Self {
        Self {
            timer,
            core: Mutex::new(Core {
                machine,
                notices: VecDeque::new(),
                asleep: None,
                hooks: BTreeMap::new(),
                jobs: BTreeMap::new(),
                listeners: BTreeMap::new(),
                next_id: 0,
            }),
            registry: Mutex::new(Registry::default()),
            phase: AtomicU8::new(Phase::Serving as u8),
            ready: AtomicBool::new(true),
            abandoned: AtomicBool::new(false),
            phases: Signal::default(),
            due: Arc::new(Due::default()),
            driver: AtomicWaker::default(),
        }
    }

    /// Tells the machine, and wakes the driver if that made something due.
    pub(super) fn tell(&self, event: Event) -> Result<(), Refused> {
        let now = self.timer.now();
        self.with(|core| core.machine.handle(event, now))
    }

    /// Works on the core. `work` must not run user code: the lock is held.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Core) -> R) -> R {
        let (result, wake) = {
            let mut core = lock(&self.core);
            let result = work(&mut core);
            self.collect(&mut core);
            let wake = core.asleep.is_some_and(|until| core.wants_driver(until));
            if wake {
                core.asleep = None;
            }
            (result, wake)
        };
        if wake {
            self.driver.wake();
        }
        result
    }

    /// Takes the machine's effects over.
    pub(super) fn collect(&self, core: &mut Core) {
        while let Some(effect) = core.machine.poll_effect() {
            self.apply(core, effect);
        }
    }

    pub(super) fn apply(&self, core: &mut Core, effect: Effect) {
        let notice = match effect {
            Effect::AbandonHook { hook } => Some(Notice::Abandon(hook)),
            Effect::AbortRequests => return self.abort(core),
            Effect::AnnounceClose { connection } => self.cue(connection, Cue::AnnounceClose),
            Effect::CancelJob { job } => {
                let job = core.jobs.get(&job);
                job.inspect(|job| job.cancel()).cloned().map(Notice::Job)
            }
            Effect::CloseIdle { connection, look } => self.cue(connection, Cue::CloseIdle { look }),
            Effect::CloseListener { listener } => cue_listener(core, listener, ListenerCue::Close),
            Effect::CloseLongLived { connection, request: None } => {
                self.cue(connection, Cue::CloseLongLived)
            }
            Effect::CloseLongLived { connection, request: Some(request) } => {
                self.cue_request(connection, request, RequestCue::End)
            }
            Effect::FenceListener { listener } => cue_listener(core, listener, ListenerCue::Fence),
            Effect::ForceConnection { connection, unanswered } => {
                let line = lock(&self.registry).line(connection);
                line.iter().for_each(|line| line.cue_requests(RequestCue::Force));
                self.cue(connection, Cue::Force { unanswered })
            }
            Effect::NotifyLongLived { connection, request: None } => {
                self.cue(connection, Cue::NotifyLongLived)
            }
            Effect::NotifyLongLived { connection, request: Some(request) } => {
                self.cue_request(connection, request, RequestCue::Notify)
            }
            // Release, here and below: who sees the phase sees what led to it, the hand-over above all.
            Effect::PhaseChanged { phase } => {
                self.phase.store(phase as u8, Ordering::Release);
                Some(Notice::Phase)
            }
            Effect::RefuseStreams { connection } => self.cue(connection, Cue::RefuseStreams),
            Effect::RunHook { hook } => Some(Notice::Run(hook)),
            Effect::SetReadiness { ready } => {
                self.ready.store(ready, Ordering::Release);
                None
            }
            // Told by the request's begin; the report's.
            Effect::RefuseRequest { .. } | Effect::Exit { .. } => None,
        };
        core.notices.extend(notice);
    }

    fn cue(&self, connection: ConnectionId, cue: Cue) -> Option<Notice> {
        let line = lock(&self.registry).line(connection)?;
        line.cue(cue);
        Some(Notice::Line(line))
    }

    fn cue_request(
        &self,
        connection: ConnectionId,
        request: RequestId,
        cue: RequestCue,
    ) -> Option<Notice> {
        let line = lock(&self.registry).line(connection)?;
        line.cue_request(request, cue);
        Some(Notice::Line(line))
    }

    /// The abort signals fire, for what begins later too.
    fn abort(&self, core: &mut Core) {
        let mut registry = lock(&self.registry);
        registry.aborted = true;
        for line in registry.lines() {
            line.cue_requests(RequestCue::Abort);
            core.notices.push_back(Notice::Line(Arc::clone(line)));
        }
    }

    pub(super) fn driver(&self) -> &AtomicWaker {
        &self.driver
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.phases.notify();
        self.due.wake();
    }
}

impl Core {
    /// A number for a hook, job or listener.
    pub(super) fn next_id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    pub(super) fn next_wake(&self) -> Until {
        self.machine.next_wake().map_or(Until::Woken, |(at, _)| Until::At(at))
    }

    fn wants_driver(&self, asleep_until: Until) -> bool {
        !self.notices.is_empty() || self.next_wake() < asleep_until
    }
}

fn cue_listener(core: &Core, listener: ListenerId, cue: ListenerCue) -> Option<Notice> {
    let listener = core.listeners.get(&listener)?;
    listener.cue(cue);
    Some(Notice::Listener(Arc::clone(listener)))
}
