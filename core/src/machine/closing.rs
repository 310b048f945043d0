//! Closing and Done: `close` hooks, `flush` hooks, the exit code.

use super::Machine;
use crate::deadline::Wake;
use crate::effect::Effect;
use crate::hook::Stage;
use crate::phase::Phase;
use crate::time::Time;

impl Machine {
    pub(super) fn enter_closing(&mut self, at: Time) {
        self.mark(at, "drained");
        for wake in [Wake::WindowEnd, Wake::SettleEnd, Wake::AbortLead, Wake::DrainDeadline] {
            self.deadlines.set(wake, None);
        }
        self.stage = Stage::Close;
        self.deadlines.set(Wake::CloseStageEnd, self.plan.close);
        self.enter(Phase::Closing);
        self.start_hooks(Stage::Close);
    }

    /// The stage's next order, the next stage, or Done.
    pub(super) fn progress_closing(&mut self, at: Time) {
        if self.hooks.can_start(self.stage) {
            self.start_hooks(self.stage);
        } else if self.stage == Stage::Close {
            self.enter_flush(at);
        } else {
            self.finish(at);
        }
    }

    /// Until when the close stage waits for connections that were cut at the drain deadline:
    /// their 503 must leave, and a reset must not eat it.
    pub(super) fn linger(&self) -> Option<Time> {
        self.linger_until.filter(|_| self.stage == Stage::Close && !self.connections.is_empty())
    }

    fn enter_flush(&mut self, at: Time) {
        self.mark(at, "close hooks ended");
        self.deadlines.set(Wake::CloseStageEnd, None);
        self.stage = Stage::Flush;
        self.start_hooks(Stage::Flush);
    }

    pub(super) fn end_close_stage(&mut self, at: Time) {
        self.blocked(at, "close");
        self.end_hooks(Stage::Close, at);
        self.enter_flush(at);
    }

    /// The end of everything. What has not ended by now never will.
    pub(super) fn end_flush_stage(&mut self, at: Time) {
        if self.phase == Phase::Draining {
            self.force(at);
        }
        self.blocked(at, "flush");
        self.end_hooks(Stage::Close, at);
        self.end_hooks(Stage::Flush, at);
        self.finish(at);
    }

    fn end_hooks(&mut self, stage: Stage, at: Time) {
        let effects = &mut self.effects;
        self.hooks.end(stage, at, &mut |hook| {
            effects.push_back(Effect::AbandonHook { hook });
        });
    }

    fn finish(&mut self, at: Time) {
        self.mark(at, "done");
        self.done_at = Some(at);
        self.deadlines = crate::deadline::Deadlines::default();
        self.enter(Phase::Done);
        self.effects.push_back(Effect::Exit { code: self.exit_code() });
    }
}
