//! What a service manager is told about a shutdown, and when. Pure: machine and time in, messages out; every
//! driver sends them with a [`Notifier`](crate::notify::Notifier).
//!
//! | line | when |
//! |---|---|
//! | `READY=1` | once, when the driver says that it serves; never once a stop was asked for |
//! | `STATUS=` | in each phase what is waited for, at most once a second |
//! | `STOPPING=1` | once, when the first listener closes, or when Closing begins without one |
//! | `EXTEND_TIMEOUT_USEC=` | while Draining and Closing, see below |
//!
//! **`STOPPING=1` is not said at the request to stop.** systemd makes it final (since version 259 nothing takes it
//! back), stops what is bound to the unit, and starts the stop timeout if it has not begun. During the
//! window the server still serves and wants that traffic. With the first listener that closes nothing can be
//! served any more: that is the point of no return. A stop that systemd itself asked for needs no `STOPPING=1` at all.
//!
//! **`EXTEND_TIMEOUT_USEC=`** asks for the time until grace ends. Nobody can read `TimeoutStopSec=` from inside, and
//! nobody needs to: systemd ignores a request that ends before its own limit. The whole is asked for at once
//! and not in small steps, because a driver whose event loop is blocked could not send the next step, and systemd
//! would kill the process before the watchdog says why. It is asked for again every [`EXTEND_EVERY`], in
//! case a message was lost, whenever the deadline moves, and together with `STOPPING=1`, which may
//! start the timeout. Without a deadline it is asked for in steps of [`UNLIMITED_STEP`].
//!
//! `RELOADING=1` and `MAINPID=` are never said: nothing here reloads, and who the main process is was settled by
//! whoever started it.

use std::fmt::Write;
use std::time::Duration;

use lameduck::policy::text;
use lameduck::{Blockers, Effect, Machine, Phase, Time};

use crate::waiting;

/// The longest status, in bytes. systemd takes more; a terminal's line does not.
pub const STATUS_MAX: usize = 200;
/// How often the status may change within one phase.
pub const STATUS_EVERY: Duration = Duration::from_secs(1);
/// How often time is asked for again.
pub const EXTEND_EVERY: Duration = Duration::from_secs(10);
/// How much time is asked for at once when grace is unlimited.
pub const UNLIMITED_STEP: Duration = Duration::from_secs(60);

/// Beyond T a process is a tenth of a second away from its end; this is for the service manager to notice.
const BEYOND_T: Duration = Duration::from_secs(1);

/// What one service manager has been told.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    serves: bool,
    said_ready: bool,
    /// What still happens to listeners.
    listeners: Listeners,
    said_stopping: bool,
    status: String,
    status_at: Option<Time>,
    /// The phase, and the listeners' state, of that status.
    status_of: Option<(Phase, Listeners)>,
    /// Until when time was asked for, and when it was.
    extended: Option<(Time, Time)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Listeners {
    #[default]
    Open,
    Fenced,
    Closed,
}

impl Notices {
    /// Nobody has been told anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The server serves: its listeners are open and its application is loaded.
    pub fn serves(&mut self) {
        self.serves = true;
    }

    /// Give every effect to this, before or after doing it.
    pub fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::FenceListener { .. } if self.listeners == Listeners::Open => {
                self.listeners = Listeners::Fenced;
            }
            Effect::CloseListener { .. } => self.listeners = Listeners::Closed,
            _ => {}
        }
    }

    /// The message to send now, if there is one: lines that end in `\n`. Ask after every drained input, and
    /// at [`next_wake`](Self::next_wake).
    pub fn poll(&mut self, machine: &Machine, now: Time) -> Option<String> {
        let phase = machine.phase();
        let mut message = String::new();
        if phase == Phase::Serving {
            if !self.serves {
                return None;
            }
            if !self.said_ready {
                self.said_ready = true;
                message.push_str("READY=1\n");
            }
        }
        let stopping = self.listeners == Listeners::Closed || phase >= Phase::Closing;
        let now_stopping = stopping && !self.said_stopping;
        if now_stopping {
            self.said_stopping = true;
            message.push_str("STOPPING=1\n");
        }
        if matches!(phase, Phase::Draining | Phase::Closing) {
            let until = until(machine, now);
            let due = match self.extended {
                None => true,
                Some((last, at)) => {
                    let moved = machine.hard_deadline().is_some() && until > last;
                    now_stopping || moved || now.since(at) >= EXTEND_EVERY
                }
            };
            if due {
                self.extended = Some((until, now));
                let microseconds = until.since(now).as_micros().max(1);
                // Writing to a String cannot fail.
                let _ = writeln!(message, "EXTEND_TIMEOUT_USEC={microseconds}");
            }
        }
        self.poll_status(machine, now, &mut message);
        (!message.is_empty()).then_some(message)
    }

    /// When to ask again although nothing has happened. `None`: only an event can change what there is to say.
    #[must_use]
    pub fn next_wake(&self, machine: &Machine) -> Option<Time> {
        if !matches!(machine.phase(), Phase::Draining | Phase::Closing) {
            return None;
        }
        let status = self.status_at.map(|at| after(at, STATUS_EVERY));
        let extension = self.extended.map(|(_, at)| after(at, EXTEND_EVERY));
        // Never polled in this phase: now.
        Some(status.into_iter().chain(extension).min().unwrap_or_default())
    }

    fn poll_status(&mut self, machine: &Machine, now: Time, message: &mut String) {
        let of = (machine.phase(), self.listeners);
        let early = self.status_at.is_some_and(|at| now.since(at) < STATUS_EVERY);
        if early && self.status_of == Some(of) {
            return;
        }
        let status = self.status(machine, now);
        self.status_of = Some(of);
        self.status_at = Some(now);
        if status != self.status {
            let _ = writeln!(message, "STATUS={status}");
            self.status = status;
        }
    }

    fn status(&self, machine: &Machine, now: Time) -> String {
        let mut line = String::from(match (machine.phase(), self.listeners) {
            (Phase::Serving, _) => "serving",
            (Phase::Draining, Listeners::Open) => "draining, still accepting",
            (Phase::Draining, Listeners::Fenced) => "draining, accepting the last connections",
            (Phase::Draining, Listeners::Closed) => "draining, listeners closed",
            (Phase::Closing, _) => "closing",
            (Phase::Done, _) => "done",
        });
        if machine.phase() == Phase::Done {
            let lost = machine.report(now).lost;
            line.push_str(if lost.is_empty() { ", nothing was lost" } else { ": " });
            line.push_str(&lost.join("; "));
        } else if machine.phase() != Phase::Serving {
            waiting_for(&machine.blockers(now, 1), &mut line);
        }
        one_line(&line)
    }
}

fn until(machine: &Machine, now: Time) -> Time {
    match machine.hard_deadline() {
        Some(hard) => after(hard, machine.policy().margin.value.max(BEYOND_T)),
        None => after(now, UNLIMITED_STEP),
    }
}

fn after(time: Time, span: Duration) -> Time {
    let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Time::from_nanos(time.as_nanos().saturating_add(span))
}

/// `: 3 requests, 1 job; oldest GET /orders, 12s`, or nothing.
fn waiting_for(blockers: &Blockers, line: &mut String) {
    let counts = waiting::counts(blockers);
    if !counts.is_empty() {
        let _ = write!(line, ": {counts}");
    }
    if let Some(oldest) = blockers.oldest.first() {
        // In whole seconds, or it would change with every look.
        let age = text(Duration::from_secs(waiting::age(oldest).as_secs()));
        let _ = write!(line, "; oldest {}, {age}", waiting::name(oldest));
    }
}

/// Labels come from clients: what would begin a line of its own, and so another assignment, becomes a space.
fn one_line(line: &str) -> String {
    const CUT: char = '…';
    let mut text = waiting::one_line(line);
    if text.len() > STATUS_MAX {
        let mut end = STATUS_MAX - CUT.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push(CUT);
    }
    text
}

#[cfg(test)]
mod tests;
