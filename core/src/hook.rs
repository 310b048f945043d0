//! Hooks: the user's clean-ups, in three stages, with order and timeouts.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::HookId;
use crate::refusal::Refused;
use crate::time::Time;

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// At t0: pause consumers, deregister.
    Drain,
    /// After the last request: pools, clients.
    Close,
    /// Last: logs, metrics.
    Flush,
}

impl Stage {
    /// The name used in reports and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Close => "close",
            Self::Flush => "flush",
        }
    }
}

/// How a hook ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookResult {
    /// It threw, with this message.
    Failed(String),
    /// Its stage was ended while hooks before it were still running.
    NotRun,
    /// It succeeded.
    Ok,
    /// It was abandoned at its timeout or at the end of its stage. One whose turn comes when that is over
    /// already is called all the same, for what it does at once, and abandoned in the same breath.
    TimedOut,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HookState {
    Waiting,
    Running { since: Time, until: Option<Time> },
    Ended { result: HookResult, took: Duration },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) id: HookId,
    pub(crate) name: String,
    pub(crate) stage: Stage,
    pub(crate) order: i32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) state: HookState,
}

/// All hooks, in the order they were registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hooks(Vec<Hook>);

impl Hooks {
    pub(crate) fn all(&self) -> &[Hook] {
        &self.0
    }

    pub(crate) fn register(&mut self, hook: Hook) -> Result<(), Refused> {
        if self.0.iter().any(|known| known.id == hook.id) {
            return Err(Refused::AlreadyKnown);
        }
        self.0.push(hook);
        Ok(())
    }

    pub(crate) fn finish(
        &mut self,
        id: HookId,
        error: Option<String>,
        now: Time,
    ) -> Result<(), Refused> {
        let hook = self.0.iter_mut().find(|hook| hook.id == id).ok_or(Refused::UnknownHook)?;
        let HookState::Running { since, .. } = hook.state else {
            return Err(Refused::NotRunning);
        };
        let result = error.map_or(HookResult::Ok, HookResult::Failed);
        hook.state = HookState::Ended { result, took: now.since(since) };
        Ok(())
    }

    /// Whether nothing of the stage waits or runs.
    pub(crate) fn ended(&self, stage: Stage) -> bool {
        self.of(stage).all(|hook| matches!(hook.state, HookState::Ended { .. }))
    }

    /// Whether the stage's next order could start.
    pub(crate) fn can_start(&self, stage: Stage) -> bool {
        !self.of(stage).any(|hook| matches!(hook.state, HookState::Running { .. }))
            && !self.ended(stage)
    }

    /// Starts the lowest waiting order of the stage when nothing of it runs.
    pub(crate) fn start(&mut self, stage: Stage, now: Time, started: &mut impl FnMut(HookId)) {
        if !self.can_start(stage) {
            return;
        }
        let waiting = |hook: &&Hook| hook.state == HookState::Waiting;
        let Some(order) = self.of(stage).filter(waiting).map(|hook| hook.order).min() else {
            return;
        };
        for hook in self.0.iter_mut().filter(|hook| hook.stage == stage && hook.order == order) {
            if hook.state == HookState::Waiting {
                let until = hook.timeout.map(|timeout| now.plus(timeout));
                hook.state = HookState::Running { since: now, until };
                started(hook.id);
            }
        }
    }

    /// The next hook timeout of any stage.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.0
            .iter()
            .filter_map(|hook| match hook.state {
                HookState::Running { until, .. } => until,
                _ => None,
            })
            .min()
    }

    /// Abandons the running hooks whose timeout has come.
    pub(crate) fn time_out(&mut self, at: Time, abandoned: &mut impl FnMut(HookId)) {
        for hook in &mut self.0 {
            if let HookState::Running { since, until: Some(until) } = hook.state
                && until <= at
            {
                let took = until.since(since);
                hook.state = HookState::Ended { result: HookResult::TimedOut, took };
                abandoned(hook.id);
            }
        }
    }

    /// Ends the stage: what runs is abandoned, what waits does not run.
    pub(crate) fn end(&mut self, stage: Stage, at: Time, abandoned: &mut impl FnMut(HookId)) {
        for hook in self.0.iter_mut().filter(|hook| hook.stage == stage) {
            match hook.state {
                HookState::Running { since, .. } => {
                    let took = at.since(since);
                    hook.state = HookState::Ended { result: HookResult::TimedOut, took };
                    abandoned(hook.id);
                }
                HookState::Waiting => {
                    let result = HookResult::NotRun;
                    hook.state = HookState::Ended { result, took: Duration::ZERO };
                }
                HookState::Ended { .. } => {}
            }
        }
    }

    fn of(&self, stage: Stage) -> impl Iterator<Item = &Hook> {
        self.0.iter().filter(move |hook| hook.stage == stage)
    }
}
