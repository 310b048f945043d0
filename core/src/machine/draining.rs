//! Draining: the window, emptying, and the drain deadline.

use core::cmp::Reverse;
use core::time::Duration;

use super::Machine;
use super::reporting::FORCED;
use crate::blocker::Blocker;
use crate::cause::Cause;
use crate::connection::{Connection, Fate, Request};
use crate::deadline::{Plan, Wake};
use crate::effect::Effect;
use crate::event::OnDrain;
use crate::hook::Stage;
use crate::id::JobId;
use crate::job::Job;
use crate::manner::LINGER;
use crate::phase::Phase;
use crate::policy::{Grace, Origin, Readiness};
use crate::refusal::Refused;
use crate::time::Time;

/// Closes after t1 are spread over at most this.
const SPREAD: Duration = Duration::from_secs(1);

impl Machine {
    pub(super) fn shutdown(&mut self, cause: Cause, ever_accepted: bool, now: Time) {
        if self.phase != Phase::Serving {
            self.raise(cause, now);
            return;
        }
        self.t0 = now;
        self.last_arrival = now;
        self.causes.push(cause);
        self.mark(now, "shutdown requested");
        self.window = self.window_for(cause, ever_accepted);
        self.replan();
        self.enter(Phase::Draining);
        if self.policy.readiness.value == Readiness::Fail {
            self.effects.push_back(Effect::SetReadiness { ready: false });
        }
        self.start_hooks(Stage::Drain);
        self.cancel_jobs(|job| job.on_drain == OnDrain::Cancel);
    }

    fn window_for(&self, cause: Cause, ever_accepted: bool) -> Duration {
        let unset = self.policy.window.origin == Origin::Default;
        let nobody_came = self.policy.development && !ever_accepted && unset;
        if cause.severity().skips_window() || nobody_came {
            Duration::ZERO
        } else {
            self.policy.window.value
        }
    }

    fn raise(&mut self, cause: Cause, now: Time) {
        if self.causes.iter().map(|known| known.severity()).max() >= Some(cause.severity()) {
            return;
        }
        self.causes.push(cause);
        self.mark(now, "severity raised");
        if self.phase == Phase::Draining && self.emptying_since.is_none() {
            self.end_window(now);
        }
    }

    /// t1: when the window ends, or did.
    pub(super) fn t1(&self) -> Time {
        self.emptying_since.unwrap_or_else(|| {
            let end = self.t0.plus(self.window);
            self.plan.drain.map_or(end, |t2| end.min(t2))
        })
    }

    /// The middle of the window: from here on every response announces.
    pub(super) fn half(&self) -> Time {
        self.t0.plus(self.t1().since(self.t0) / 2)
    }

    /// When the window ends because nothing arrives any more.
    pub(super) fn window_idle(&self) -> Option<Time> {
        let in_window = self.phase == Phase::Draining && self.emptying_since.is_none();
        let idle = self.policy.window_idle.filter(|_| in_window)?;
        // Found late, it does not happen before the event that was seen first.
        let at = self.last_arrival.plus(idle).max(self.moment);
        Some(at).filter(|at| *at < self.t1())
    }

    pub(super) fn end_window(&mut self, now: Time) {
        self.window = self.window.min(now.since(self.t0));
        self.replan();
    }

    /// Lays t1, t2 and T out again.
    fn replan(&mut self) {
        self.plan = Plan::new(self.t0, &self.policy, self.insisted);
        let draining = matches!(self.phase, Phase::Serving | Phase::Draining);
        if draining {
            if self.emptying_since.is_none() {
                // Once shorter it stays so: its moments were brought forward.
                self.window = self.t1().since(self.t0);
                self.deadlines.set(Wake::WindowEnd, Some(self.t1()));
            }
            self.hasten();
            let t2 = self.plan.drain;
            let lead = self.abort_lead();
            let lead = lead.filter(|lead| !self.aborted || *lead > self.clock);
            self.deadlines.set(Wake::AbortLead, lead);
            if self.deadlines.at(Wake::SettleEnd).is_some() {
                self.deadlines.set(Wake::SettleEnd, self.settled());
            }
            self.deadlines.set(Wake::DrainDeadline, t2);
        } else {
            let close = self.plan.close.filter(|_| self.stage == Stage::Close);
            self.deadlines.set(Wake::CloseStageEnd, close);
        }
        self.deadlines.set(Wake::FlushStageEnd, self.plan.flush);
    }

    /// When the abort signals fire.
    pub(super) fn abort_lead(&self) -> Option<Time> {
        self.plan.drain.map(|t2| t2.minus(self.policy.abort_lead.value).max(self.t0))
    }

    pub(super) fn change_deadline(&mut self, grace: Duration, now: Time) {
        self.policy = self.policy.refit(Grace::Limited(grace));
        self.window = self.window.min(self.policy.window.value);
        self.mark(now, "deadline changed");
        self.replan();
    }

    /// Ends the first of window, drain, `close` hooks and `flush` hooks whose time is not
    /// over: so it makes no difference whether a tick came between two of these.
    pub(super) fn escalate(&mut self, now: Time) {
        self.mark(now, "escalated");
        let ahead = |end: Option<Time>| end.is_none_or(|end| end > now);
        let draining = self.phase == Phase::Draining;
        if draining && self.t1() > now {
            self.end_window(now);
            return;
        }
        if draining && ahead(self.plan.drain) {
            self.insisted.drain = Some(now);
        } else if self.stage == Stage::Close && ahead(self.plan.close) {
            self.insisted.drain.get_or_insert(now);
            self.insisted.close = Some(now);
        } else {
            self.insisted.drain.get_or_insert(now);
            self.insisted.close.get_or_insert(now);
            self.insisted.flush.get_or_insert(now);
        }
        self.replan();
    }

    /// t1: from now on nothing new is wanted.
    pub(super) fn enter_emptying(&mut self, at: Time) {
        self.mark(at, "window ended");
        self.emptying_since = Some(at);
        self.window = at.since(self.t0);
        self.deadlines.set(Wake::WindowEnd, None);
        if self.policy.readiness.value == Readiness::Keep {
            self.effects.push_back(Effect::SetReadiness { ready: false });
        }
        for listener in self.listeners.ids() {
            self.effects.push_back(Effect::FenceListener { listener });
        }
        if !self.listeners.is_empty() {
            // From when the driver is told, however late this tick is: handshakes under way
            // need that time after the fence.
            self.fenced_at = Some(self.clock);
            self.deadlines.set(Wake::SettleEnd, self.settled());
        }
        self.hasten();
    }

    /// When fenced listeners have settled.
    fn settled(&self) -> Option<Time> {
        let settled = self.fenced_at?.plus(self.policy.settle.value);
        Some(self.plan.drain.map_or(settled, |t2| settled.min(t2)))
    }

    /// How long the closes after t1 may be spread.
    pub(super) fn spread(&self, t1: Time) -> Duration {
        if self.policy.interactive {
            return Duration::ZERO;
        }
        self.plan.drain.map_or(SPREAD, |t2| (t2.since(t1) / 4).min(SPREAD))
    }

    pub(super) fn close_listeners(&mut self) {
        for listener in self.listeners.ids() {
            self.effects.push_back(Effect::CloseListener { listener });
        }
    }

    /// Shortly before t2: transactions shall roll back while they still can. Said even when
    /// nothing is in flight, since what begins from now on is born aborted.
    pub(super) fn abort(&mut self, at: Time) {
        self.mark(at, "abort signals fired");
        self.aborted = true;
        self.effects.push_back(Effect::AbortRequests);
        self.cancel_jobs(|_| true);
    }

    /// A job that begins once its signal would have fired is cancelled at once.
    pub(super) fn job_started(&mut self, id: JobId, job: Job) -> Result<(), Refused> {
        self.jobs.start(id, job)?;
        if self.phase == Phase::Draining {
            let late = self.aborted && self.deadlines.at(Wake::AbortLead).is_none();
            self.cancel_jobs(|job| late || job.on_drain == OnDrain::Cancel);
        }
        Ok(())
    }

    /// Cancels those of the jobs that were not cancelled before.
    fn cancel_jobs(&mut self, which: impl Fn(&Job) -> bool) {
        for (id, job) in &mut self.jobs.running {
            if which(job) && !core::mem::replace(&mut job.cancelled, true) {
                self.effects.push_back(Effect::CancelJob { job: *id });
            }
        }
    }

    /// Whether nothing is left to wait for before Closing.
    pub(super) fn is_drained(&self) -> bool {
        self.emptying_since.is_some()
            && self.connections.len() == self.accounts.severed
            && self.listeners.is_empty()
            && self.jobs.running.is_empty()
            && self.hooks.ended(Stage::Drain)
    }

    /// t2: what is still in flight is forced.
    pub(super) fn force(&mut self, at: Time) {
        self.mark(at, "drain deadline");
        self.blocked(at, "drain");
        if self.emptying_since.is_none() {
            self.enter_emptying(at);
        }
        if self.deadlines.at(Wake::SettleEnd).is_some() {
            self.deadlines.set(Wake::SettleEnd, None);
            self.close_listeners();
        }
        let lost = |connection: &Connection, request: &Request| !connection.had_its_end(request);
        self.forced = self.oldest_requests(at, lost).take(FORCED).collect();
        let before = self.accounts.severed;
        for connection in self.connections.iter_mut() {
            if connection.fate == Fate::Forced {
                continue;
            }
            let id = connection.id;
            let idle = connection.requests().is_empty() && connection.fate == Fate::Open;
            self.effects.push_back(if idle {
                Effect::CloseIdle { connection: id, look: false }
            } else {
                let unanswered = connection.unanswered();
                Effect::ForceConnection { connection: id, unanswered }
            });
            self.accounts.sever(connection);
        }
        let any = self.accounts.severed > before;
        self.linger_until = any.then(|| self.clock.plus(LINGER));
        self.cancel_jobs(|_| true);
        for (job, running) in core::mem::take(&mut self.jobs.running) {
            let age_ms = crate::report::Millis(at.since(running.since));
            self.forced.push(Blocker::Job { id: job.0, name: running.name, age_ms });
            self.jobs.forced += 1;
        }
        self.forced.sort_by_key(|blocker| Reverse(blocker.age()));
        self.forced.truncate(FORCED);
        let effects = &mut self.effects;
        self.hooks.end(Stage::Drain, at, &mut |hook| {
            effects.push_back(Effect::AbandonHook { hook });
        });
        self.enter_closing(at);
    }
}
