//! The driver: ticks the machine, runs the hooks, tells everybody what to do.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::shared::{Notice, Shared, Until};
use crate::event::Event;
use crate::id::HookId;
use crate::phase::Phase;
use crate::report::Report;
use crate::sync::Arc;
use crate::time::Time;

type Ended = (HookId, Result<(), String>);

/// The future that drives a shutdown; resolves with the report when it is done. Spawn it when the server
/// starts, on any runtime. Hooks run inside it, so one that blocks its thread blocks them all: what takes long
/// without awaiting belongs on a task of its own, for which the hook waits.
///
/// It waits for ever if nobody asks for shutdown. What happens when it is dropped before its end is
/// said [at the top](super#what-may-be-done-where).
#[must_use = "nothing happens at shutdown unless the driver is polled"]
pub struct Driver {
    shared: Arc<Shared>,
    running: FuturesUnordered<BoxFuture<'static, Option<Ended>>>,
    abandon: BTreeMap<HookId, AbortHandle>,
    sleep: Option<(Time, BoxFuture<'static, ()>)>,
}

/// What the driver found to do.
enum Step {
    Deliver(VecDeque<Notice>),
    Finished,
    Sleep(Until),
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, running: FuturesUnordered::new(), abandon: BTreeMap::new(), sleep: None }
    }

    /// What hooks have ended, what time it is, and what there is to do.
    fn step(&mut self, context: &mut Context<'_>) -> Step {
        while let Poll::Ready(Some(ended)) = self.running.poll_next_unpin(context) {
            if let Some((hook, result)) = ended {
                self.abandon.remove(&hook);
                // Refused when its time was over just before.
                let _ = self.shared.tell(Event::HookFinished { hook, error: result.err() });
            }
        }
        let now = self.shared.timer.now();
        self.shared.with(|core| {
            core.asleep = None;
            if core.next_wake() <= Until::At(now) {
                core.machine.tick(now);
                self.shared.collect(core);
            }
            if !core.notices.is_empty() {
                Step::Deliver(core::mem::take(&mut core.notices))
            } else if core.machine.phase() == Phase::Done {
                Step::Finished
            } else {
                let until = core.next_wake();
                core.asleep = Some(until);
                Step::Sleep(until)
            }
        })
    }

    fn deliver(&mut self, notices: VecDeque<Notice>) {
        for notice in notices {
            match notice {
                Notice::Abandon(hook) => {
                    if let Some(abandon) = self.abandon.remove(&hook) {
                        abandon.abort();
                    }
                }
                Notice::Job(job) => job.signal.notify(),
                Notice::Line(line) => line.signal.notify(),
                Notice::Listener(listener) => listener.signal.notify(),
                Notice::Phase => self.shared.phases.notify(),
                Notice::Run(hook) => self.run(hook),
            }
        }
        self.shared.due.wake();
    }

    fn run(&mut self, hook: HookId) {
        let Some(run) = self.shared.with(|core| core.hooks.remove(&hook)) else {
            return;
        };
        let (abandon, registration) = AbortHandle::new_pair();
        self.abandon.insert(hook, abandon);
        let ended = Abortable::new(run(), registration);
        self.running.push(ended.map(move |ended| Some((hook, ended.ok()?))).boxed());
    }

    /// Whether the time has come, and it must look again.
    fn woken(&mut self, until: Until, context: &mut Context<'_>) -> bool {
        let Until::At(at) = until else {
            self.sleep = None;
            return false;
        };
        let sleep = match &mut self.sleep {
            Some((planned, sleep)) if *planned == at => sleep,
            other => &mut other.insert((at, self.shared.timer.sleep_until(at))).1,
        };
        if sleep.poll_unpin(context).is_pending() {
            return false;
        }
        self.sleep = None;
        // A timer that resolves early must not keep us here.
        let early = self.shared.timer.now() < at;
        if early {
            context.waker().wake_by_ref();
        }
        !early
    }
}

impl Future for Driver {
    type Output = Report;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Report> {
        let this = self.get_mut();
        // First: what happens from here on either is seen below or wakes us.
        this.shared.driver().register(context.waker());
        loop {
            match this.step(context) {
                Step::Deliver(notices) => this.deliver(notices),
                Step::Finished => return Poll::Ready(this.shared.report()),
                Step::Sleep(until) => {
                    if !this.woken(until, context) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.shared.phase() != Phase::Done {
            self.shared.abandon();
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("phase", &self.shared.phase())
            .field("hooks_running", &self.running.len())
            .finish_non_exhaustive()
    }
}
