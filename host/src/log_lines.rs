//! What the log says of a shutdown, and when: machine, report and time in, lines out; every driver writes them to
//! its log, beside what it alone knows (how a listener was fenced) and before the report, which is the last line.
//!
//! | line | when |
//! |---|---|
//! | `stopping: …` | at the request to stop: why, what is in flight, when the deadlines are |
//! | `window …` | when it begins, or why there is none; when it ends, and why |
//! | `waiting for …` | from then on, when a count has changed: at most once a second, and less often the longer it takes |
//! | `… hook '…' …` | when one is slow, has ended, failed, or was not waited for |
//! | `… deadline …` | at each deadline that passes, with what it found waiting |
//! | `closing …`, `done …` | when all requests have their verdict; the exit code and the reason |

use std::fmt::Write;
use std::time::Duration;

use lameduck::policy::{Origin, text};
use lameduck::report::{BlockedAt, HookLine, Mark, Millis, Report};
use lameduck::{Blocker, Cause, Grace, Machine, Readiness, Severity, Time};

use crate::descriptor;
use crate::waiting::{age, counts, name, one_line, several};

/// How often what is waited for is said at most.
pub const WAITING_EVERY: Duration = Duration::from_secs(1);
/// From when on a hook is called slow.
pub const SLOW_HOOK: Duration = Duration::from_secs(1);

/// From when on a request to stop was heard late.
const HEARD_LATE: Duration = Duration::from_millis(500);
/// After so much of a shutdown the next line waits for a tenth of it: ten lines, then ten for each time it
/// becomes three times as long.
const PATIENCE: u32 = 10;

/// How urgent a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Something is lost, or will be.
    Warn,
}

/// One line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How urgent it is.
    pub level: Level,
    /// What it says.
    pub text: String,
}

impl Line {
    /// For a server that has no log of its own. In one piece, and without std's lock on the standard error, which a fork
    /// while another thread writes leaves locked in the child for good.
    pub fn to_stderr(&self) {
        // Somebody may have closed it: there is nowhere left to say so.
        let _ = descriptor::write_all(
            libc::STDERR_FILENO,
            format!("lameduck: {}\n", self.text).as_bytes(),
        );
    }
}

/// What one log was told.
#[derive(Clone, Debug, Default)]
pub struct LogLines {
    marks: usize,
    deadlines: usize,
    hooks: Vec<Hook>,
    /// What was waited for, and since when nothing else was said of it.
    waiting: Option<(String, Time)>,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Default)]
struct Hook {
    result: &'static str,
    running_since: Option<Time>,
    said_slow: bool,
}

impl LogLines {
    /// Nothing was said yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The lines to write now. `report` is the machine's, as it is now, with what its driver adds. Ask after every drained
    /// input, and every few hundred milliseconds.
    pub fn poll(&mut self, machine: &Machine, report: &Report, now: Time) -> Vec<Line> {
        // In this order: first why it stops; what a step waited for before the step, and the last word last.
        if self.marks == 0 && !report.timeline.is_empty() {
            self.marks = 1;
            self.mark(machine, report, 0, now);
        }
        self.hooks.resize(report.hooks.len(), Hook::default());
        for (number, hook) in report.hooks.iter().enumerate() {
            self.hook(number, hook, now);
        }
        for blocked in &report.blocked_at[self.deadlines..] {
            self.warn(deadline(blocked));
        }
        self.deadlines = report.blocked_at.len();
        for number in self.marks..report.timeline.len() {
            self.mark(machine, report, number, now);
        }
        self.marks = report.timeline.len();
        self.wait(machine, report, now);
        std::mem::take(&mut self.lines)
    }

    fn mark(&mut self, machine: &Machine, report: &Report, number: usize, now: Time) {
        let Mark { at_ms, what } = &report.timeline[number];
        let after = span(*at_ms);
        match *what {
            "shutdown requested" => self.stopping(machine, report, now),
            "severity raised" => {
                let by = report.raised_by.last().copied().unwrap_or_default();
                self.warn(format!("something worse came: {by}"));
            }
            "deadline changed" => {
                let deadlines = deadlines(machine, report, now);
                self.info(format!("the deadline was changed: {deadlines}"));
            }
            "window ended" if !at_ms.0.is_zero() => {
                let before = number.checked_sub(1).map(|before| &report.timeline[before]);
                let why = before.filter(|mark| mark.at_ms == *at_ms);
                let why = window_ended(why.map(|mark| mark.what), machine);
                let kept = readiness(machine, Readiness::Keep);
                let open = in_flight(report);
                self.info(format!("window ended after {after}: {why}{kept}; {open}"));
                self.waiting = Some((waiting(report), now));
            }
            "abort signals fired" => {
                self.warn(format!("the drain deadline is near; abort signals fired after {after}"));
            }
            "drained" => {
                self.info(format!("closing after {after}: every request has its verdict"));
            }
            "done" => self.done(report),
            // Said by its blockers, or of no use to anybody who reads a log.
            _ => {}
        }
    }

    fn stopping(&mut self, machine: &Machine, report: &Report, now: Time) {
        let cause = report.cause.unwrap_or_default();
        let why = match &report.cause_detail {
            Some(detail) if detail != cause => format!("{} ({cause})", one_line(detail)),
            _ => cause.to_owned(),
        };
        let failing = readiness(machine, Readiness::Fail);
        let (open, deadlines) = (in_flight(report), deadlines(machine, report, now));
        let late = report.took_ms.0;
        let heard = if late < HEARD_LATE {
            String::new()
        } else {
            format!(", heard {} late: the event loop was blocked", rounded(late))
        };
        self.info(format!("stopping: {why}{heard}; {open}{failing}; {deadlines}"));
        // Heard late, it may be over.
        let over = report.timeline.iter().find(|mark| mark.what == "window ended");
        let ahead = machine.window_end().map(|end| end.since(now) + late);
        let window = over.map(|mark| mark.at_ms.0).or(ahead).unwrap_or_default();
        self.info(if window.is_zero() {
            format!("no window: {}", no_window(machine, report, cause))
        } else {
            format!("window begins: serving on for {}", rounded(window))
        });
    }

    fn done(&mut self, report: &Report) {
        let requests = &report.requests;
        let mut line = format!(
            "done in {}, exit code {}: {} completed, {} client gone, {} refused, {} ended, {} forced",
            span(report.took_ms),
            report.exit_code,
            requests.completed,
            requests.client_gone,
            requests.refused,
            requests.ended,
            requests.forced
        );
        if report.lost.is_empty() {
            self.info(line);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(line, "; lost: {}", one_line(&report.lost.join("; ")));
            self.warn(line);
        }
    }

    fn hook(&mut self, number: usize, hook: &HookLine, now: Time) {
        let HookLine { name, stage, result, took_ms, error, .. } = hook;
        let known = &mut self.hooks[number];
        let named = one_line(&format!("{stage} hook '{name}'"));
        let took = took_ms.map_or_else(String::new, span);
        if *result == "running" {
            let since = *known.running_since.get_or_insert(now);
            let running = now.since(since);
            if running >= SLOW_HOOK && !known.said_slow {
                known.said_slow = true;
                self.info(format!("{named} is still running after {}", rounded(running)));
            }
            return;
        }
        if std::mem::replace(&mut known.result, result) == *result {
            return;
        }
        match *result {
            "ok" => self.info(format!("{named} ended after {took}")),
            "failed" => {
                let error = one_line(error.as_deref().unwrap_or_default());
                self.warn(format!("{named} failed after {took}: {error}"));
            }
            "timed_out" if took_ms.is_none_or(|took| took.0.is_zero()) => {
                self.warn(format!("{named} had no time left: it was called, and not waited for"));
            }
            "timed_out" => {
                self.warn(format!("{named} did not end within {took}; not waiting for it"));
            }
            "not_run" => self.warn(format!("{named} did not run: no time was left")),
            _ => {}
        }
    }

    /// While emptying: what is waited for, when it has changed.
    fn wait(&mut self, machine: &Machine, report: &Report, now: Time) {
        let Some((said, at)) = &self.waiting else { return };
        if report.phase != "draining" {
            self.waiting = None;
            return;
        }
        let elapsed = report.took_ms.0;
        let due = WAITING_EVERY.max(elapsed / PATIENCE);
        let waiting = waiting(report);
        if now.since(*at) < due || waiting == *said || waiting.is_empty() {
            return;
        }
        let mut line = format!("waiting for {waiting}");
        if let Some(oldest) = report.blockers.as_ref().and_then(|found| found.oldest.first()) {
            let _ = write!(line, "; oldest {}, {}", name(oldest), rounded(age(oldest)));
        }
        if let Some(deadline) = machine.drain_deadline() {
            let _ = write!(line, "; at most {} more", rounded(deadline.since(now)));
        }
        self.waiting = Some((waiting, now));
        self.info(one_line(&line));
    }

    fn info(&mut self, text: String) {
        self.lines.push(Line { level: Level::Info, text });
    }

    fn warn(&mut self, text: String) {
        self.lines.push(Line { level: Level::Warn, text });
    }
}

fn in_flight(report: &Report) -> String {
    let (requests, open) = (report.requests.in_flight, report.connections.open);
    format!("{} on {}", several(requests, "request"), several(open, "connection"))
}

fn waiting(report: &Report) -> String {
    report.blockers.as_ref().map(counts).unwrap_or_default()
}

/// When readiness fails, as a part of the sentence that it is true for.
fn readiness(machine: &Machine, fails_here: Readiness) -> &'static str {
    if machine.policy().readiness.value == fails_here {
        "; readiness fails from now on"
    } else {
        ""
    }
}

/// Since the request to stop, as all times here.
fn deadlines(machine: &Machine, report: &Report, now: Time) -> String {
    let (Some(drain), Some(hard)) = (machine.drain_deadline(), machine.hard_deadline()) else {
        return String::from("no deadline");
    };
    let after = |deadline: Time| rounded(deadline.since(now) + report.took_ms.0);
    format!("drain deadline after {}, gone after {} at the latest", after(drain), after(hard))
}

fn no_window(machine: &Machine, report: &Report, cause: &str) -> String {
    let window = &machine.policy().window;
    let cause = Cause::ALL.into_iter().find(|known| known.name() == cause);
    match cause.map(Cause::severity) {
        Some(Severity::Fatal) => String::from("after a fatal error nothing new is served"),
        Some(Severity::Impatient) => String::from("somebody at the terminal is waiting"),
        _ if window.value.is_zero() && window.origin != Origin::Default => {
            format!("it is 0 ({})", window.origin.name())
        }
        _ if machine.policy().grace.value == Grace::Limited(Duration::ZERO) => {
            String::from("grace is 0")
        }
        _ if report.timeline.iter().any(|mark| mark.what == "escalated") => {
            String::from("it was ended as soon as it had begun")
        }
        _ => String::from("somebody is developing, for whom it would only be a delay"),
    }
}

/// Why it ended, by what happened at that moment.
fn window_ended(at_that_moment: Option<&'static str>, machine: &Machine) -> String {
    match at_that_moment {
        Some("traffic stopped") => {
            let idle = machine.policy().window_idle.unwrap_or_default();
            format!("nothing has arrived for {}", text(idle))
        }
        Some("escalated") => String::from("somebody insists"),
        Some("severity raised") => String::from("something worse came"),
        Some("drain deadline") => String::from("the drain deadline came first"),
        _ => String::from("its time is over"),
    }
}

fn deadline(blocked: &BlockedAt) -> String {
    let BlockedAt { deadline, at_ms, blockers } = blocked;
    let what = match *deadline {
        "drain" => "drain deadline",
        "close" => "deadline of the close hooks",
        "flush" => "deadline of the flush hooks",
        other => other,
    };
    let mut line = format!("{what} after {}: still waiting for ", span(*at_ms));
    let found = counts(blockers);
    line.push_str(if found.is_empty() { "listeners to close" } else { &found });
    for (number, blocker) in blockers.oldest.iter().enumerate() {
        let _ = write!(line, "{} {}", if number == 0 { ":" } else { ";" }, name(blocker));
        if let Blocker::Request { protocol, kind, peer, state, .. } = blocker {
            if let Some(peer) = peer {
                let _ = write!(line, " from {peer}");
            }
            let _ = write!(line, " ({protocol}, {}, {state})", kind.name());
        }
        let _ = write!(line, ", {}", rounded(age(blocker)));
    }
    one_line(&line)
}

fn span(millis: Millis) -> String {
    rounded(millis.0)
}

/// To the millisecond, and from a second on to a tenth: nobody reads more from a log.
fn rounded(span: Duration) -> String {
    let step = if span < Duration::from_secs(1) { 1 } else { 100 };
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    text(Duration::from_millis(millis.saturating_add(step / 2) / step * step))
}

#[cfg(test)]
mod tests;
