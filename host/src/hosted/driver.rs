//! The thread of a [`Hosted`](super::Hosted).

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use lameduck::{Cause, Effect, Event, ListenerId, Phase, Time};

use super::{Shared, Told};
use crate::clock::{MonotonicNs, now_ns};
use crate::fence::{self, Survivors, Way};
use crate::interposer::Interposer;
use crate::log_lines::{Level, Line};
use crate::notices::Notices;
use crate::notify::Notifier;
use crate::signal_name::signal_name;
use crate::terminal;
use crate::watchdog::BLOCKED_NS;

/// Twice in the time after which the watchdog calls the process blocked.
const HEARTBEAT: MonotonicNs = BLOCKED_NS / 2;
/// How often a listener that is about to be closed is looked at.
const LOOK: MonotonicNs = 1_000_000;
/// For how long nobody must have waited there: what was accepted last has been told of by then.
const EMPTY_FOR: MonotonicNs = 5_000_000;

#[derive(Default)]
pub(super) struct Listeners(Vec<Listener>);

#[derive(Clone, Copy)]
struct Listener {
    id: ListenerId,
    fd: RawFd,
    /// Others go on accepting from the same socket: what waits there is theirs.
    shared: bool,
    closing: Closing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// Somebody waits there.
    Busy,
    /// Nobody waits there, since then.
    Empty(MonotonicNs),
    Told,
}

impl Listeners {
    pub(super) fn opened(&mut self, id: ListenerId, fd: RawFd) {
        self.0.push(Listener { id, fd, shared: false, closing: Closing::No });
    }

    pub(super) fn closed(&mut self, id: ListenerId) {
        self.0.retain(|listener| listener.id != id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn descriptor(&self, id: ListenerId) -> Option<RawFd> {
        self.0.iter().find(|listener| listener.id == id).map(|listener| listener.fd)
    }

    fn find(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.0.iter_mut().find(|listener| listener.id == id)
    }

    fn close(&mut self, id: ListenerId) {
        if let Some(listener) = self.find(id).filter(|listener| listener.closing == Closing::No) {
            listener.closing = Closing::Busy;
        }
    }

    fn are_closing(&self) -> bool {
        self.0.iter().any(|listener| matches!(listener.closing, Closing::Busy | Closing::Empty(_)))
    }

    /// Those that can be closed now.
    fn due(&mut self, now: MonotonicNs) -> Vec<Told> {
        let mut due = Vec::new();
        for listener in &mut self.0 {
            let since = match listener.closing {
                Closing::No | Closing::Told => continue,
                Closing::Busy => now,
                Closing::Empty(since) => since,
            };
            // What cannot be looked at is not waited for.
            let waiting = !listener.shared && fence::pending(listener.fd).is_ok_and(|n| n > 0);
            listener.closing = if waiting { Closing::Busy } else { Closing::Empty(since) };
            if listener.shared || (!waiting && now - since >= EMPTY_FOR) {
                listener.closing = Closing::Told;
                due.push(Told::CloseListener { listener: listener.id, fd: listener.fd });
            }
        }
        due
    }
}

pub(super) struct Driver<E> {
    shared: Arc<Shared>,
    claims: Vec<Interposer>,
    /// How many of each claim's arrivals are accounted for.
    heard: Vec<u32>,
    survivors: Survivors,
    embedder_beats: bool,
    embedder: E,
    notices: Notices,
    notifier: Option<Notifier>,
    deadline: Option<Time>,
    beat: MonotonicNs,
}

impl<E: FnMut(Told)> Driver<E> {
    pub(super) fn new(
        shared: Arc<Shared>,
        claims: Vec<Interposer>,
        survivors: Survivors,
        embedder_beats: bool,
        embedder: E,
    ) -> Self {
        // Of claims that this process had before.
        let heard = claims.iter().map(Interposer::arrivals).collect();
        Self {
            shared,
            claims,
            heard,
            survivors,
            embedder_beats,
            embedder,
            notices: Notices::new(),
            notifier: None,
            deadline: None,
            beat: 0,
        }
    }

    pub(super) fn run(mut self) {
        match Notifier::from_environment() {
            Ok(notifier) => self.notifier = notifier,
            Err(error) => self.warn(error.to_string()),
        }
        while !self.shared.quit.load(Acquire) {
            self.hear();
            let (told, until) = self.step();
            let any = !told.is_empty();
            told.into_iter().for_each(|told| self.tell(told));
            if !any {
                self.shared.waker.wait(until);
            }
        }
    }

    /// Signals: the first asks to stop, every further SIGINT insists.
    fn hear(&mut self) {
        for place in 0..self.claims.len() {
            let claim = &self.claims[place];
            let arrivals = claim.arrivals();
            if arrivals == self.heard[place] {
                continue;
            }
            claim.take();
            let (signal, first) = (claim.signal(), claim.first_arrival());
            while self.heard[place] < arrivals {
                self.heard[place] += 1;
                let now = now_ns();
                if self.shared.state().machine.phase() == Phase::Serving {
                    let at = first.filter(|_| self.heard[place] == 1).unwrap_or(now);
                    let detail = signal_name(signal);
                    let _ = self.shared.stop(cause(signal), Some(detail), Time::from_nanos(at));
                } else if signal == libc::SIGINT {
                    let _ = self.shared.state().handle(Event::Escalate);
                }
            }
        }
    }

    /// What is to be told now, and when to look again.
    fn step(&mut self) -> (Vec<Told>, Option<MonotonicNs>) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        let state = &mut *state;
        let now = now_ns();
        let at = Time::from_nanos(now);
        if state.machine.next_wake().is_some_and(|(due, _)| due <= at) {
            state.machine.tick(at);
            state.absorb();
        }
        if !state.listeners.is_empty() {
            self.notices.serves();
        }
        let mut told = Vec::new();
        let mut exit = None;
        for effect in std::mem::take(&mut state.effects) {
            self.notices.effect(&effect);
            match effect {
                Effect::FenceListener { listener } => {
                    told.extend(state.listeners.find(listener).map(|known| self.fence(known)));
                }
                Effect::CloseListener { listener } => state.listeners.close(listener),
                Effect::Exit { code } => exit = Some(code),
                effect => told.push(Told::Effect(effect)),
            }
        }
        told.extend(state.listeners.due(now));

        let phase = state.machine.phase();
        let report = state.report();
        let lines = if phase == Phase::Serving {
            Vec::new()
        } else {
            state.said.poll(&state.machine, &report, at)
        };
        told.extend(lines.into_iter().map(Told::Line));
        if let Some(watchdog) = &shared.watchdog {
            if phase == Phase::Serving {
                let _ = watchdog.render_serving(&report);
            } else {
                if state.machine.hard_deadline() != self.deadline {
                    self.deadline = state.machine.hard_deadline();
                    self.deadline.map(|deadline| watchdog.arm(deadline.as_nanos()));
                }
                // A report that is too long leaves the one before.
                let _ = watchdog.render_report(report.clone());
            }
        }
        if let Some(notifier) = &mut self.notifier {
            let trouble = match self.notices.poll(&state.machine, at) {
                Some(message) => notifier.send(&message),
                None if notifier.keeps() => notifier.retry(),
                None => None,
            };
            told.extend(trouble.map(|error| Told::Line(warning(error.to_string()))));
        }
        if self.embedder_beats && phase != Phase::Serving && now - self.beat >= HEARTBEAT {
            self.beat = now;
            told.push(Told::Beat);
        }
        if let Some(code) = exit {
            if let Err(error) = shared.write_report(&report) {
                let sentence = format!("the report was not written to its file: {error}");
                told.push(Told::Line(warning(sentence)));
            }
            told.push(Told::Line(Line { level: Level::Info, text: report.to_json() }));
            told.push(Told::Done { code });
        }

        let wake = state.machine.next_wake().map(|(due, _)| due.as_nanos());
        let pause = match phase {
            _ if state.listeners.are_closing() => Some(LOOK),
            Phase::Serving => None,
            _ => Some(HEARTBEAT),
        };
        let retry = self.notifier.as_ref().is_some_and(Notifier::keeps).then_some(HEARTBEAT);
        let pause = pause.or(retry).map(|pause| now + pause);
        (told, wake.into_iter().chain(pause).min())
    }

    fn fence(&self, listener: &mut Listener) -> Told {
        let fd = listener.fd;
        let way = fence::stop_arrivals(fd, self.survivors);
        listener.shared = matches!(way, Ok(Way::Shared));
        Told::Line(match way {
            Ok(way) => Line { level: Level::Info, text: format!("listener {fd} {way}") },
            Err(error) => warning(format!("listener {fd} is not fenced: {error}")),
        })
    }

    fn warn(&mut self, sentence: String) {
        self.tell(Told::Line(warning(sentence)));
    }

    fn tell(&mut self, told: Told) {
        let exit = match told {
            Told::Done { code } => Some(code),
            _ => None,
        };
        // An event loop does it when this has long returned, and finds it over; others have done it when it returns, and
        // whoever waits goes on after that.
        if self.embedder_beats {
            self.over(exit);
        }
        // The panic was printed by its hook.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.embedder)(told)));
        self.over(exit);
    }

    fn over(&self, exit: Option<u8>) {
        if exit.is_some() {
            self.shared.state().exit = exit;
            self.shared.over.notify_all();
        }
    }
}

fn warning(text: String) -> Line {
    Line { level: Level::Warn, text }
}

fn cause(signal: c_int) -> Cause {
    if signal == libc::SIGINT && terminal::stdin_is_terminal() {
        Cause::Interrupt
    } else {
        Cause::Terminate
    }
}
