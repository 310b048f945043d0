//! Watches one step: takes down what was said and what was told, and says which promise it broke.

use lameduck::report::RequestCounts;
use lameduck::{Effect, Event, JobOutcome, Phase, Protocol, RequestKind, Stage, Time, Wake};

use crate::bounds::{self, Begins, Bounds};
use crate::driver;
use crate::history::{Asked, History, HookState, JobState, Kind, Request, Standing};
use crate::promise::Promise;
use crate::sight::{Sight, Sights};
use crate::state::State;

/// One step from `before` to `state`.
pub(crate) struct Judge<'a> {
    bounds: &'a Bounds,
    sights: &'a Sights,
    before: &'a State,
    state: &'a mut State,
    /// Why the machine wanted to be woken, when this is a tick.
    woken: Option<(Time, Wake)>,
    /// Requests that were cut in this step without having had their end.
    forced: u64,
    /// One bit a connection that was closed as idle for good.
    closed: u8,
    cut: bool,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(
        bounds: &'a Bounds,
        sights: &'a Sights,
        before: &'a State,
        state: &'a mut State,
    ) -> Self {
        Self { bounds, sights, before, state, woken: None, forced: 0, closed: 0, cut: false }
    }

    fn history(&mut self) -> &mut History {
        &mut self.state.history
    }

    fn keep(&mut self, kept: bool, promise: Promise) {
        self.state.broken.unless(kept, promise);
    }

    fn see(&self, seen: bool, sight: Sight) {
        if seen {
            self.sights.see(sight);
        }
    }

    // Inputs

    /// Time passes, and nobody ticks.
    pub(crate) fn sleep(&mut self, until: Time) {
        let now = self.state.now;
        let wake = self.state.machine.next_wake().map_or(until, |(at, _)| at.max(now));
        let history = self.history();
        history.late += u8::from(until > wake);
        history.between += u8::from(until < wake);
        history.slept = true;
        self.state.now = until;
    }

    /// A tick at the state's time.
    pub(crate) fn tick(&mut self) {
        self.woken = self.state.machine.next_wake();
        self.state.machine.tick(self.state.now);
        self.history().slept = false;
        self.effects();
        let (now, phase) = (self.state.now, self.state.machine.phase());
        let over = self.state.machine.hard_deadline().is_some_and(|t| t <= now);
        let due = self.state.machine.next_wake().is_some_and(|(at, _)| at <= now);
        self.keep(!due && (!over || phase == Phase::Done), Promise::DoneByT);
        let insisted = self.history().insisted >= 4;
        self.keep(!insisted || phase == Phase::Done, Promise::InsistedOut);
        let idle = self.woken.is_some_and(|(_, wake)| wake == Wake::WindowIdle);
        self.see(idle, Sight::WindowIdle);
        let jumped = self.before.history.phase == Phase::Draining && phase == Phase::Done;
        self.see(jumped && now > self.woken.map_or(now, |(at, _)| at), Sight::Jumped);
        self.after();
    }

    /// The hand-over: everything that is open, after something that is not any more.
    pub(crate) fn hand_over(&mut self) {
        for event in driver::decoy() {
            self.state.machine.handle(event, self.state.now).expect("there, then gone");
        }
        while self.state.machine.poll_effect().is_some() {}
        for event in driver::hand_over(self.bounds) {
            self.say(event);
        }
    }

    /// An event. `false` when it was refused, and nothing else happened.
    pub(crate) fn say(&mut self, event: Event) -> bool {
        let taken = self.state.machine.handle(event.clone(), self.state.now).is_ok();
        if taken {
            self.history().slept = false;
            let late = self.before.history.phase >= Phase::Closing;
            let new = matches!(
                event,
                Event::ConnectionAdopted { .. }
                    | Event::ConnectionOpened { .. }
                    | Event::HookRegistered { .. }
                    | Event::JobStarted { .. }
                    | Event::ListenerOpened { .. }
                    | Event::RequestStarted { .. }
            );
            self.keep(!(late && new), Promise::NothingAdmittedLate);
            self.said(event);
            self.effects();
        } else {
            let unchanged = self.state.machine == self.before.machine;
            self.keep(unchanged, Promise::RefusedUnchanged);
        }
        taken
    }

    fn said(&mut self, event: Event) {
        let before = self.before;
        match event {
            Event::ConnectionAdopted { connection, protocol, in_flight, announced } => {
                let known = self.history().connection(connection);
                known.standing = Standing::Open;
                known.announced = announced;
                known.closes = announced && protocol == Protocol::Http1;
                for slot in 0..in_flight as usize {
                    known.requests[slot] = Request::begun(RequestKind::Ordinary);
                }
            }
            Event::ConnectionBusy { connection } => {
                let known = self.history().connection(connection);
                (known.asked, known.busy) = (Asked::Nothing, true);
            }
            Event::ConnectionClosed { connection } => {
                let known = self.history().connection(connection);
                known.end_requests();
                known.standing = Standing::Gone;
            }
            Event::ConnectionOpened { connection, .. } => {
                self.history().connection(connection).standing = Standing::Open;
            }
            Event::ConnectionUpgraded { connection, protocol } => {
                let known = self.history().connection(connection);
                let carries = known.carries();
                (known.protocol, known.upgraded) = (protocol, true);
                (known.announced, known.refusing, known.closes) = (false, false, false);
                self.see(carries, Sight::Upgraded);
            }
            Event::DeadlineChanged { grace } => self.deadline_changed(grace),
            Event::Escalate => {
                self.history().insisted += 1;
                let due = |wake| self.state.machine.next_wake() == Some((self.state.now, wake));
                self.see(due(Wake::WindowEnd), Sight::InsistedWindow);
                self.see(due(Wake::DrainDeadline), Sight::InsistedDrain);
                self.see(due(Wake::CloseStageEnd), Sight::InsistedClose);
                self.see(due(Wake::FlushStageEnd), Sight::InsistedFlush);
            }
            Event::HookFinished { hook, error } => {
                self.history().hooks[hook.0 as usize] = HookState::Ended;
                self.history().lost |= error.is_some();
                self.see(error.is_some(), Sight::HookFailed);
            }
            Event::HookRegistered { hook, .. } => {
                self.history().hooks[hook.0 as usize] = HookState::Waiting;
            }
            Event::JobFinished { outcome, .. } => {
                let aborted =
                    outcome == JobOutcome::Aborted && before.history.phase != Phase::Serving;
                self.history().job = JobState::Ended;
                self.history().lost |= aborted;
                self.see(aborted, Sight::JobAborted);
            }
            Event::JobStarted { .. } => self.history().job = JobState::Running { cancelled: false },
            Event::ListenerClosed { listener } => {
                self.history().listeners[listener.0 as usize].open = false;
            }
            Event::ListenerFailed { listener, .. } => {
                self.history().listeners[listener.0 as usize].open = false;
                self.see(before.history.phase == Phase::Draining, Sight::ListenerFailed);
            }
            Event::Shutdown { cause, .. } if before.history.phase == Phase::Serving => {
                self.history().stop(cause);
            }
            Event::Shutdown { cause, .. } => {
                let index = self.bounds.later_causes.iter().position(|known| *known == cause);
                self.history().causes |= 1 << index.expect("one of the bounds");
                self.history().stop(cause);
                let ended = self.state.machine.next_wake();
                let window = ended == Some((self.state.now, Wake::WindowEnd));
                self.see(window, Sight::RaisedInWindow);
                self.see(!window, Sight::RaisedLater);
            }
            Event::RequestDescribed { connection, request, kind: now, .. } => {
                let slot = &mut self.history().connection(connection).requests[request.0 as usize];
                if let Request::InFlight { kind, described, notified, .. } = slot {
                    (*kind, *described, *notified) = (Kind(now), true, false);
                }
            }
            Event::RequestFinished { connection, request, outcome: _, flushed } => {
                let slot = &mut self.history().connection(connection).requests[request.0 as usize];
                if let Request::InFlight { finished, .. } = slot
                    && !flushed
                {
                    *finished = true;
                } else {
                    let heeded = matches!(slot, Request::InFlight { ended: true, .. });
                    *slot = Request::Over;
                    self.see(heeded, Sight::StreamHeeded);
                }
            }
            Event::RequestFlushed { connection, request } => {
                let slot = request.0 as usize;
                self.history().connection(connection).requests[slot] = Request::Over;
                self.see(true, Sight::ReportedLate);
            }
            Event::RequestHeadersSent { connection, request, announced } => {
                let known = self.history().connection(connection);
                known.closes |= announced && known.protocol == Protocol::Http1;
                if let Request::InFlight { head, .. } = &mut known.requests[request.0 as usize] {
                    *head = true;
                }
            }
            Event::RequestStarted { connection, request, kind } => {
                self.request_started(
                    bounds::connection_index(connection),
                    request.0 as usize,
                    kind,
                );
            }
            Event::ConnectionDescribed { .. } | Event::ListenerOpened { .. } => {}
        }
    }

    fn request_started(&mut self, index: usize, slot: usize, kind: RequestKind) {
        let (was, is) = (self.before.machine.counts(), self.state.machine.counts());
        let admitted = is.admitted == was.admitted + 1;
        let unprocessed = is.not_processed == was.not_processed + 1;
        self.keep(admitted != unprocessed, Promise::Balance);
        let emptying = self.before.history.listeners.iter().any(|listener| listener.fenced);
        self.see(admitted && emptying, Sight::AdmittedEmptying);
        let window = self.woken_by_window_end();
        let known = &mut self.history().connections[index];
        known.requests[slot] = if admitted { Request::begun(kind) } else { Request::Over };
        let busy = std::mem::replace(&mut known.busy, false);
        let (asked, closes, refusing) = (known.asked, known.closes, known.refusing);
        self.see(admitted && window, Sight::AdmittedInWindow);
        self.see(admitted && busy, Sight::HeadCompleted);
        self.see(unprocessed && closes && asked == Asked::Nothing, Sight::NotProcessed);
        self.see(unprocessed && asked != Asked::Nothing, Sight::NotProcessedClosing);
        self.see(unprocessed && refusing, Sight::NotProcessedFinal);
    }

    /// Whether the window is still open: its listeners are not fenced, and its end is to come.
    fn woken_by_window_end(&self) -> bool {
        let listeners = &self.before.history.listeners;
        listeners.iter().any(|listener| listener.open && !listener.fenced)
    }

    fn deadline_changed(&mut self, grace: std::time::Duration) {
        let ms = u64::try_from(grace.as_millis()).expect("a few seconds");
        let index = self.bounds.graces.iter().position(|known| *known == ms);
        self.history().graces |= 1 << index.expect("one of the bounds");
        let closing = self.before.history.phase == Phase::Closing;
        let (was, is) = (self.before.machine.hard_deadline(), self.state.machine.hard_deadline());
        self.see(was.is_none(), Sight::Bounded);
        let (Some(was), Some(is)) = (was, is) else {
            return;
        };
        self.see(is > was && !closing, Sight::Extended);
        self.see(is > was && closing, Sight::ExtendedClosing);
        self.see(is < was && is > self.state.now, Sight::Shortened);
        self.see(is < was && is <= self.state.now, Sight::ShortenedPast);
    }

    // Effects

    /// Takes and judges the effects of an input.
    fn effects(&mut self) {
        while let Some(effect) = self.state.machine.poll_effect() {
            if self.history().exited && !matches!(effect, Effect::Exit { .. }) {
                self.keep(false, Promise::NothingAfterDone);
            } else {
                self.effect(effect);
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::AbandonHook { hook } => self.abandon(hook.0 as usize),
            Effect::AbortRequests => {
                let carried = self.history().in_flight() > 0;
                self.see(carried, Sight::AbortFired);
            }
            Effect::AnnounceClose { connection } => {
                let known = self.history().connection(connection);
                let open = known.standing == Standing::Open && !known.is_long_lived();
                let told = std::mem::replace(&mut known.announced, true);
                self.keep(open, Promise::NoDeadHandle);
                self.keep(!told, Promise::ToldOnce);
                self.see(true, Sight::Announced);
            }
            Effect::CancelJob { .. } => {
                let JobState::Running { cancelled } = &mut self.history().job else {
                    return self.keep(false, Promise::NoDeadHandle);
                };
                let again = std::mem::replace(cancelled, true);
                self.keep(!again, Promise::ToldOnce);
                self.see(true, Sight::JobCancelled);
            }
            Effect::CloseIdle { connection, look } => {
                self.close_idle(bounds::connection_index(connection), look);
            }
            Effect::CloseListener { listener } => {
                let known = &mut self.history().listeners[listener.0 as usize];
                let open = known.open && known.fenced;
                let again = std::mem::replace(&mut known.told_to_close, true);
                self.keep(open, Promise::NoDeadHandle);
                self.keep(!again, Promise::ToldOnce);
            }
            Effect::CloseLongLived { connection, request } => {
                let known = self.history().connection(connection);
                let open = known.standing == Standing::Open;
                let (there, again) = match request {
                    None => {
                        let again = known.asked != Asked::Nothing;
                        known.asked = Asked::End;
                        (known.is_long_lived(), again)
                    }
                    Some(request) => match &mut known.requests[request.0 as usize] {
                        Request::InFlight { ended, .. } => (true, std::mem::replace(ended, true)),
                        _ => (false, false),
                    },
                };
                self.keep(open && there, Promise::NoDeadHandle);
                self.keep(!again, Promise::ToldOnce);
                self.see(request.is_none(), Sight::LongLivedEnded);
                self.see(request.is_some(), Sight::StreamEnded);
            }
            Effect::Exit { code } => self.exit(code),
            Effect::FenceListener { listener } => {
                let known = &mut self.history().listeners[listener.0 as usize];
                let open = known.open;
                let again = std::mem::replace(&mut known.fenced, true);
                self.keep(open, Promise::NoDeadHandle);
                self.keep(!again, Promise::ToldOnce);
                let unready = self.history().unready;
                self.keep(unready, Promise::ReadinessFirst);
            }
            Effect::ForceConnection { connection, unanswered } => {
                self.force(bounds::connection_index(connection), unanswered);
            }
            Effect::NotifyLongLived { connection, request } => {
                let known = self.history().connection(connection);
                let open = known.standing == Standing::Open;
                match request {
                    None => {
                        let long_lived = known.is_long_lived();
                        self.keep(open && long_lived, Promise::NoDeadHandle);
                        self.see(true, Sight::LongLivedTold);
                    }
                    Some(request) => {
                        let slot = &mut known.requests[request.0 as usize];
                        let Request::InFlight { notified, kind, .. } = slot else {
                            return self.keep(false, Promise::NoDeadHandle);
                        };
                        let Kind(kind) = *kind;
                        let again = std::mem::replace(notified, true);
                        self.keep(open, Promise::NoDeadHandle);
                        self.keep(!again, Promise::ToldOnce);
                        self.see(kind == RequestKind::Stream, Sight::StreamTold);
                        self.see(kind == RequestKind::LongPoll, Sight::LongPollTold);
                    }
                }
            }
            Effect::PhaseChanged { phase } => self.phase_changed(phase),
            Effect::RefuseRequest { connection, request } => {
                let known = self.history().connection(connection);
                let there = known.standing == Standing::Open
                    && known.requests[request.0 as usize].is_in_flight();
                self.keep(there, Promise::NoDeadHandle);
                self.see(true, Sight::RefusedOnArrival);
            }
            Effect::RefuseStreams { connection } => {
                let known = self.history().connection(connection);
                let open = known.standing == Standing::Open && known.protocol == Protocol::Http2;
                let (first, again) = (known.announced, known.refusing);
                known.refusing = true;
                self.keep(open && first, Promise::NoDeadHandle);
                self.keep(!again, Promise::ToldOnce);
                self.see(true, Sight::FinalGoaway);
            }
            Effect::RunHook { hook } => self.run_hook(hook.0 as usize),
            Effect::SetReadiness { ready } => {
                let fenced = self.history().listeners.iter().any(|listener| listener.fenced);
                let again = std::mem::replace(&mut self.history().unready, true);
                self.keep(!ready && !again && !fenced, Promise::ReadinessFirst);
                self.see(self.woken.is_some(), Sight::ReadyInWindow);
            }
        }
    }

    fn close_idle(&mut self, index: usize, look: bool) {
        self.closed |= u8::from(!look) << index;
        let known = &mut self.history().connections[index];
        let open = known.standing == Standing::Open;
        let idle = !(known.carries() || look && known.is_long_lived());
        let again = known.asked != Asked::Nothing;
        known.asked = Asked::Idle;
        let closes = known.closes;
        self.keep(open, Promise::NoDeadHandle);
        self.keep(idle, Promise::IdleIsIdle);
        self.keep(!again, Promise::ToldOnce);
        self.see(look && closes, Sight::ClosedAnnounced);
        self.see(look && !closes, Sight::ClosedQuiet);
    }

    fn force(&mut self, index: usize, unanswered: u32) {
        let known = &mut self.history().connections[index];
        let open = known.standing == Standing::Open;
        let long_lived = known.is_long_lived();
        let ending = long_lived && known.asked == Asked::End;
        let (mut forced, mut begun, mut expected) = (0, 0, 0);
        for request in known.in_flight() {
            let Request::InFlight { head, finished, ended, .. } = request else { continue };
            forced += u64::from(!ended && !ending);
            begun += u32::from(*head);
            expected += u32::from(!head && !finished && !long_lived);
        }
        known.standing = Standing::Cut;
        known.end_requests();
        self.cut = true;
        self.forced += forced;
        self.history().lost |= forced > 0;
        self.keep(open, Promise::NoDeadHandle);
        self.keep(unanswered == expected, Promise::UnansweredOnly);
        self.see(unanswered > 0, Sight::ForcedUnanswered);
        self.see(begun > 0, Sight::ForcedBegun);
        let patience = self.woken.is_some_and(|(_, wake)| wake == Wake::Connection);
        self.see(ending && patience, Sight::CutAfterEnd);
    }

    fn abandon(&mut self, index: usize) {
        let hook = &mut self.history().hooks[index];
        let running = *hook == HookState::Running;
        *hook = HookState::Ended;
        self.history().lost = true;
        self.keep(running, Promise::AbandonedRunning);
        let own = self.woken.is_some_and(|(_, wake)| wake == Wake::HookTimeout);
        self.see(own, Sight::HookTimedOut);
        self.see(!own, Sight::HookCutShort);
    }

    fn run_hook(&mut self, index: usize) {
        let plan = &self.bounds.hooks[index];
        let phase = if plan.stage == Stage::Drain { Phase::Draining } else { Phase::Closing };
        let mut in_order = self.history().phase == phase;
        for (other, other_plan) in self.bounds.hooks.iter().enumerate() {
            let state = &mut self.state.history.hooks[other];
            if other_plan.stage == plan.stage {
                let first = other_plan.order < plan.order && *state == HookState::Waiting;
                let beside = other_plan.order != plan.order && *state == HookState::Running;
                in_order &= !first && !beside;
            } else if other_plan.stage == Stage::Close && plan.stage == Stage::Flush {
                in_order &= *state != HookState::Running;
            }
        }
        if plan.stage == Stage::Flush {
            self.give_up(Stage::Close);
        }
        let state = std::mem::replace(&mut self.history().hooks[index], HookState::Running);
        self.keep(state == HookState::Waiting, Promise::HooksOnce);
        self.keep(in_order, Promise::HooksInOrder);
        self.see(plan.begins == Begins::Late, Sight::HookLate);
    }

    /// What waits in a stage that is over does not run.
    fn give_up(&mut self, stage: Stage) {
        for (index, plan) in self.bounds.hooks.iter().enumerate() {
            let state = self.history().hooks[index];
            if plan.stage != stage {
                continue;
            }
            self.keep(state != HookState::Running, Promise::HooksInOrder);
            if state == HookState::Waiting {
                self.history().hooks[index] = HookState::Ended;
                self.history().lost = true;
                self.see(true, Sight::HookNotRun);
            }
        }
    }

    fn phase_changed(&mut self, phase: Phase) {
        let follows = phase as usize == self.history().phase as usize + 1;
        self.history().phase = phase;
        self.keep(follows, Promise::NeverBack);
        if phase == Phase::Closing {
            self.closing();
        }
    }

    fn closing(&mut self) {
        let t2 = self.t2();
        let (closed, now, bounds) = (self.closed, self.state.now, self.bounds);
        let history = &mut self.state.history;
        let held = history.listeners.iter().any(|listener| listener.open);
        let told = history.listeners.iter().all(|known| !known.open || known.told_to_close);
        let standing = |(index, known): (usize, &crate::history::Connection)| {
            known.standing == Standing::Open && closed & 1 << index == 0
        };
        let left = history.connections.iter().enumerate().any(standing);
        let waits = |(plan, state): (&bounds::Hook, &HookState)| {
            plan.stage == Stage::Drain && *state != HookState::Ended
        };
        let hooks = bounds.hooks.iter().zip(&history.hooks).any(waits);
        let job = matches!(history.job, JobState::Running { .. });
        let drained = !held && !job && !hooks && self.closed == 0;
        let due = t2.is_some_and(|t2| t2 <= now) || history.insisted > 0;
        for known in &mut history.connections {
            if known.standing == Standing::Open {
                known.standing = Standing::Cut;
            }
        }
        if job {
            history.job = JobState::Ended;
            history.lost = true;
        }
        let unready = history.unready;
        self.keep(told, Promise::ListenersFirst);
        self.keep(!left, Promise::NoneLeft);
        self.keep(drained || due, Promise::ClosingWhenDue);
        self.keep(unready, Promise::ReadinessFirst);
        self.see(held, Sight::ListenerHeld);
        self.see(job, Sight::JobForced);
        self.see(self.closed != 0, Sight::ClosedAtT2);
        self.give_up(Stage::Drain);
    }

    /// The drain deadline, unless somebody insisted.
    fn t2(&self) -> Option<Time> {
        let reserve = self.state.machine.policy().reserve.value;
        let hard = self.state.machine.hard_deadline()?;
        let reserve = u64::try_from(reserve.as_nanos()).expect("a few seconds");
        Some(Time::from_nanos(hard.as_nanos().saturating_sub(reserve)))
    }

    fn exit(&mut self, code: u8) {
        self.give_up(Stage::Close);
        self.give_up(Stage::Flush);
        let history = self.history();
        let once = !std::mem::replace(&mut history.exited, true) && history.phase == Phase::Done;
        let honest = code == u8::from(history.lost);
        self.keep(once, Promise::ExitOnce);
        self.keep(honest, Promise::HonestCode);
        self.see(code == 0, Sight::DoneClean);
        self.see(code == 1, Sight::DoneLost);
        let early = self.t2().is_some_and(|t2| self.state.now < t2);
        self.see(early, Sight::DoneEarly);
        let last = self.woken.is_some_and(|(_, wake)| wake == Wake::FlushStageEnd);
        self.see(last, Sight::DoneLast);
    }

    // Afterwards

    /// What holds after every input.
    pub(crate) fn after(&mut self) {
        let machine = &self.state.machine;
        let (phase, told) = (machine.phase(), self.state.history.phase);
        let (hard, wake) = (machine.hard_deadline(), machine.next_wake());
        let (was, is) = (self.before.machine.counts(), machine.counts());
        let in_flight = self.state.history.in_flight() as u64;

        self.keep(phase == told && phase >= self.before.history.phase, Promise::NeverBack);
        let balance = is.adopted + is.admitted == verdicts(&is) + is.in_flight
            && is.in_flight == in_flight
            && is.forced == was.forced + self.forced;
        self.keep(balance, Promise::Balance);
        let late = phase >= Phase::Closing && is.admitted > was.admitted;
        self.keep(!late, Promise::NothingAdmittedLate);
        if let (Some(hard), Some((at, _))) = (hard, wake) {
            self.keep(at <= hard, Promise::WakesByT);
        }
        if phase == Phase::Done {
            let exited = self.history().exited;
            self.keep(exited, Promise::ExitOnce);
            self.keep(wake.is_none(), Promise::NothingAfterDone);
            let report = self.state.machine.report(self.state.now).requests;
            self.keep(report == is && report.in_flight == 0, Promise::Balance);
        }
        let timed_out = phase == Phase::Draining && self.closed != 0;
        self.see(timed_out, Sight::HeadTimedOut);
        self.see(phase == Phase::Draining && self.cut, Sight::CutForPatience);
        let lingers = phase == Phase::Closing
            && wake.is_some_and(|(_, wake)| wake == Wake::Connection)
            && self.woken.is_some();
        self.see(lingers, Sight::Lingered);
    }
}

fn verdicts(counts: &RequestCounts) -> u64 {
    let RequestCounts { completed, client_gone, refused, ended, forced, .. } = counts;
    completed + client_gone + refused + ended + forced
}

/// What comes of everything illegal, and of a tick when nothing is due: nothing.
pub(crate) fn meddle(bounds: &Bounds, state: &State) -> crate::promise::Broken {
    let mut broken = state.broken;
    let mut machine = state.machine.clone();
    let mut refused = true;
    driver::illegal(bounds, &state.history, &mut |event| {
        refused &= machine.handle(event, state.now).is_err();
    });
    broken.unless(refused && machine == state.machine, Promise::RefusedUnchanged);
    if !broken.any() && !state.history.slept {
        let due = machine.next_wake().is_some_and(|(at, _)| at <= state.now);
        if !due {
            machine.tick(state.now);
            broken.unless(machine == state.machine, Promise::IdleTick);
        }
    }
    broken
}
