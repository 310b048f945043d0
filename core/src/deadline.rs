//! The deadlines of one shutdown, all from one budget.

use core::time::Duration;

use crate::policy::Policy;
use crate::time::Time;

/// Why the machine wants to be ticked. In the order in which simultaneous ones fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// Something ended and the next step can begin.
    Progress,
    /// A connection is to be told, closed or ended.
    Connection,
    /// A hook's own timeout.
    HookTimeout,
    /// Nothing arrived for [`crate::Policy::window_idle`]: the window ends early.
    WindowIdle,
    /// t1: the window ends.
    WindowEnd,
    /// Fenced listeners have settled.
    SettleEnd,
    /// Abort signals fire, shortly before t2.
    AbortLead,
    /// t2: what is still in flight is forced.
    DrainDeadline,
    /// `close` hooks end.
    CloseStageEnd,
    /// `flush` hooks end, and everything with them.
    FlushStageEnd,
}

impl Wake {
    /// The name used by bindings and vectors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Progress => "progress",
            Self::Connection => "connection",
            Self::HookTimeout => "hook_timeout",
            Self::WindowIdle => "window_idle",
            Self::WindowEnd => "window_end",
            Self::SettleEnd => "settle_end",
            Self::AbortLead => "abort_lead",
            Self::DrainDeadline => "drain_deadline",
            Self::CloseStageEnd => "close_stage_end",
            Self::FlushStageEnd => "flush_stage_end",
        }
    }

    /// The wakes that are a single moment of the shutdown.
    const DEADLINES: [Self; 6] = [
        Self::WindowEnd,
        Self::SettleEnd,
        Self::AbortLead,
        Self::DrainDeadline,
        Self::CloseStageEnd,
        Self::FlushStageEnd,
    ];
}

/// The moments that are set, one slot a [`Wake`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deadlines([Option<Time>; Wake::FlushStageEnd as usize + 1]);

impl Deadlines {
    pub(crate) fn at(&self, wake: Wake) -> Option<Time> {
        self.0[wake as usize]
    }

    pub(crate) fn set(&mut self, wake: Wake, at: Option<Time>) {
        self.0[wake as usize] = at;
    }

    /// The earliest; of simultaneous ones the first in [`Wake`]'s order.
    pub(crate) fn next(&self) -> Option<(Time, Wake)> {
        Wake::DEADLINES.into_iter().filter_map(|wake| Some((self.at(wake)?, wake))).min()
    }
}

/// Where t2, T and the ends of the stages lie for a budget that began at t0.
/// `None` when grace is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) drain: Option<Time>,
    pub(crate) close: Option<Time>,
    pub(crate) flush: Option<Time>,
}

impl Plan {
    /// The plan of `policy`, brought forward where somebody insisted.
    pub(crate) fn new(t0: Time, policy: &Policy, insisted: Insisted) -> Self {
        let reserve = policy.reserve.value;
        let hard = policy.budget().map(|budget| t0.plus(budget));
        let before = |span: Duration| hard.map(|hard| hard.minus(span).max(t0));
        let close = before((reserve / 4).min(Duration::from_secs(1)));
        // Not T itself: there the watchdog would race the orderly report.
        let flush = before((reserve / 8).min(Duration::from_millis(100)));
        Self {
            drain: earlier(before(reserve), insisted.drain),
            close: earlier(close, insisted.close),
            flush: earlier(flush, insisted.flush),
        }
    }
}

/// When somebody insisted that the drain, or a stage of hooks, ends now. It stays so
/// whatever happens to the deadline afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Insisted {
    pub(crate) drain: Option<Time>,
    pub(crate) close: Option<Time>,
    pub(crate) flush: Option<Time>,
}

fn earlier(planned: Option<Time>, insisted: Option<Time>) -> Option<Time> {
    planned.into_iter().chain(insisted).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Grace, Settings};

    const T0: Time = Time::from_nanos(1_000_000_000);

    fn plan(grace: Grace, insisted: Insisted) -> [Option<Duration>; 3] {
        let settings = Settings { grace: Some(grace), ..Settings::default() };
        let policy = Policy::resolve(&settings, &Settings::default()).expect("fits");
        let plan = Plan::new(T0, &policy, insisted);
        [plan.drain, plan.close, plan.flush].map(|at| at.map(|at| at.since(T0)))
    }

    const fn ms(value: u64) -> Option<Duration> {
        Some(Duration::from_millis(value))
    }

    #[test]
    fn all_from_one_budget() {
        let plan = |ms| plan(Grace::Limited(Duration::from_millis(ms)), Insisted::default());
        assert_eq!(plan(30_000), [ms(24_000), ms(28_000), ms(28_900)]);
        assert_eq!(plan(1_600), [ms(1_120), ms(1_360), ms(1_400)]);
        assert_eq!(plan(0), [ms(0), ms(0), ms(0)]);
    }

    #[test]
    fn unlimited_has_only_what_somebody_insists_on() {
        assert_eq!(plan(Grace::Unlimited, Insisted::default()), [None; 3]);
        let insisted = Insisted { drain: Some(T0), ..Insisted::default() };
        assert_eq!(plan(Grace::Unlimited, insisted), [ms(0), None, None]);
    }

    #[test]
    fn simultaneous_deadlines_fire_in_the_order_of_the_enum() {
        let mut deadlines = Deadlines::default();
        for wake in Wake::DEADLINES.into_iter().rev() {
            deadlines.set(wake, Some(T0));
            assert_eq!(deadlines.next(), Some((T0, wake)));
        }
    }
}
