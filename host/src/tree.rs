//! Worker processes, the simple way: for a parent that owns the listeners and knows its workers.
//!
//! To stop: fence what they share, ask each worker with its budget, wait, kill who outlives the budget, and say of
//! each how it ended and what was lost with it. [`Tree`] keeps the list and does these steps when asked; it has no thread,
//! no signal handler and no clock.
//!
//! # Whose children they are
//! A worker is [owned](Tree::own) as a [`std::process::Child`], and then its status is collected here; or [watched](Tree::watch) by
//! its number, and then it is left to be collected by whoever started it: gunicorn's `waitpid`, libuv, a C server's
//! SIGCHLD handler. On Linux (5.3) a worker is held by a pidfd: it may be anybody's child, and its number may be used
//! again without harm. Elsewhere it must be a child of this process that nobody else collects while it is watched.
//!
//! # The budget
//! A worker must be gone when its parent begins to close what they share: its grace is
//! [`Machine::child_grace`](lameduck::Machine::child_grace). It learns of it in two ways:
//!
//! - [`grace_variable`] in its environment at the start. Without it a worker inherits its parent's `LAMEDUCK_GRACE`, which
//!   is too long. A fork server hands on what it was started with, which is right too, since it counts from the signal;
//! - its [`Seat`], if it shares the parent's memory: there the parent writes the moment itself, which is exact when
//!   the parent was late or its deadline moved.
//!
//! The signal alone carries nothing; a worker that knows of neither is killed at the budget all the same.
//!
//! # Fences
//! Only [`Tree::stop`] fences, because only then every holder of the listener stops. [`Tree::recycle`] never does: the others go
//! on accepting from the same socket, and the recycled worker just closes its descriptor. Its seat tells a worker which of
//! the two it is ([`Asked::everybody`]).

mod process;
mod seat;

use std::ffi::c_int;
use std::fmt;
use std::os::fd::{BorrowedFd, RawFd};
use std::process::Child;
use std::time::Duration;

use lameduck::policy::text;
use lameduck::{Grace, Policy};

use crate::clock::{MonotonicNs, now_ns};
use crate::fence::{FenceError, Survivors, Way, stop_arrivals};
use process::{Process, Status};

pub use process::TreeError;
pub use seat::{Asked, Page, Seat};

/// The variable that tells a worker its grace, and its value, for the worker's environment: `LAMEDUCK_GRACE`.
#[must_use]
pub fn grace_variable(policy: &Policy) -> (&'static str, String) {
    let value = match policy.child_grace() {
        Grace::Limited(grace) => grace.as_secs_f64().to_string(),
        Grace::Unlimited => String::from("unlimited"),
    };
    ("LAMEDUCK_GRACE", value)
}

/// The workers of this process. Dropping it leaves them alone.
#[derive(Debug, Default)]
pub struct Tree {
    workers: Vec<Worker>,
    started: u64,
}

/// Names a worker of one [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(u64);

#[derive(Debug)]
struct Worker {
    id: WorkerId,
    name: String,
    process: Process,
    /// Where its status is to be collected here.
    child: Option<Child>,
    seat: Option<Seat>,
    asked: Option<Request>,
    killed: bool,
}

/// What a worker was asked.
#[derive(Clone, Copy, Debug)]
struct Request {
    at: MonotonicNs,
    deadline: Option<MonotonicNs>,
    everybody: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// With this status.
    Exited(i32),
    /// Its status was not to be had: it is no child of this process, or was collected by somebody else.
    Gone,
    /// It was killed here, because it outlived its budget.
    Outlived,
    /// By this signal.
    Signalled(c_int),
}

/// A worker that has ended. As a sentence by [`fmt::Display`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub worker: WorkerId,
    /// What the parent called it.
    pub name: String,
    /// Its number.
    pub process: i32,
    /// How.
    pub how: How,
    /// How many requests in flight were lost with it; `None` when nobody counted and it did not end by itself.
    pub lost: Option<u32>,
    /// From the request to stop to when its end was seen; `None` when it was not asked.
    pub took: Option<Duration>,
}

impl Ended {
    /// Whether anything went wrong: requests were lost or may have been, or it did not end by itself with status 0.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        self.lost != Some(0) || !matches!(self.how, How::Exited(0) | How::Gone)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker '{}' (process {}) ", self.name.escape_debug(), self.process)?;
        let after = self.took.map_or_else(
            || String::from(" without being asked to"),
            |took| format!(" {} after it was asked to stop", text(took)),
        );
        match self.how {
            How::Exited(status) => write!(f, "exited with status {status}{after}")?,
            How::Gone => write!(f, "ended{after}, with a status that somebody else collected")?,
            How::Outlived => write!(f, "was killed, having outlived its budget,{after}")?,
            How::Signalled(signal) => write!(f, "died of signal {signal}{after}")?,
        }
        match self.lost {
            Some(0) => f.write_str("; no request was lost"),
            Some(1) => f.write_str("; 1 request in flight was lost"),
            Some(many) => write!(f, "; {many} requests in flight were lost"),
            None => f.write_str("; how many requests were lost with it nobody knows"),
        }
    }
}

impl Tree {
    /// No workers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a child that this process has started, and collects its status when it ends.
    ///
    /// # Errors
    /// [`TreeError`]; the child is given back.
    pub fn own(
        &mut self,
        name: &str,
        child: Child,
        seat: Option<Seat>,
    ) -> Result<WorkerId, (TreeError, Child)> {
        match i32::try_from(child.id()).map_err(|_| TreeError::NoProcess { process: -1 }) {
            Ok(number) => match Process::open(number) {
                Ok(process) => Ok(self.add(name, process, Some(child), seat)),
                Err(error) => Err((error, child)),
            },
            Err(error) => Err((error, child)),
        }
    }

    /// Watches the process `number`, whose status is collected by whoever started it. Call it before that can
    /// have happened, or the number may be another's by now.
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn watch(
        &mut self,
        name: &str,
        number: i32,
        seat: Option<Seat>,
    ) -> Result<WorkerId, TreeError> {
        let process = Process::open(number)?;
        Ok(self.add(name, process, None, seat))
    }

    fn add(
        &mut self,
        name: &str,
        process: Process,
        child: Option<Child>,
        seat: Option<Seat>,
    ) -> WorkerId {
        self.started += 1;
        let id = WorkerId(self.started);
        let name = name.to_owned();
        self.workers.push(Worker { id, name, process, child, seat, asked: None, killed: false });
        id
    }

    /// How many have not been seen to end.
    #[must_use]
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether all have ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Asks everybody to stop: first the arrivals at each of `listeners` are stopped, then the workers get `signal`. They
    /// have `grace` (`None`: without limit) from `now`. Returns how each listener is brought to its end. Keep the
    /// listeners open until the tree is empty: the workers accept what is in their queues.
    ///
    /// Repeated, it signals again and sets the budget anew.
    pub fn stop(
        &mut self,
        listeners: &[RawFd],
        signal: c_int,
        grace: Option<Duration>,
        now: MonotonicNs,
    ) -> Vec<Result<Way, FenceError>> {
        let ways = listeners.iter().map(|fd| stop_arrivals(*fd, Survivors::None)).collect();
        for worker in &mut self.workers {
            worker.ask(signal, grace, true, now);
        }
        ways
    }

    /// Asks one worker to stop while the others go on. Nothing is fenced. Returns false when it has ended already.
    pub fn recycle(
        &mut self,
        worker: WorkerId,
        signal: c_int,
        grace: Option<Duration>,
        now: MonotonicNs,
    ) -> bool {
        let found = self.workers.iter_mut().find(|known| known.id == worker);
        found.map(|worker| worker.ask(signal, grace, false, now)).is_some()
    }

    /// Moves the budget of everybody who was asked: the parent's own deadline has moved, so that its children's
    /// is now `grace` from `now`.
    pub fn extend(&mut self, grace: Option<Duration>, now: MonotonicNs) {
        for worker in &mut self.workers {
            if let Some(asked) = &mut worker.asked {
                asked.deadline = grace.map(|grace| after(now, grace));
                worker.tell_seat();
            }
        }
    }

    /// Kills who has outlived the budget, and returns who has ended since the last call. Never blocks. Call it
    /// when one of [`descriptors`](Self::descriptors) is readable, on SIGCHLD, and at [`next_wake`](Self::next_wake).
    pub fn poll(&mut self, now: MonotonicNs) -> Vec<Ended> {
        let mut ended = Vec::new();
        self.workers.retain_mut(|worker| match worker.process.status() {
            Status::Running => {
                worker.kill_if_due(now);
                true
            }
            status => {
                ended.push(worker.ended(status, now));
                false
            }
        });
        ended
    }

    /// When somebody outlives the budget. `None`: nobody that can.
    #[must_use]
    pub fn next_wake(&self) -> Option<MonotonicNs> {
        let limited = self.workers.iter().filter(|worker| !worker.killed);
        limited.filter_map(|worker| worker.asked?.deadline).min()
    }

    /// Descriptors that become readable when a worker has ended, for the parent's event loop. A worker that is held
    /// by its number has none.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.workers.iter().filter_map(|worker| worker.process.descriptor())
    }

    /// Waits until somebody has ended or outlives the budget, at most until `until`, or until a signal handler has run. Then
    /// [`poll`](Self::poll). For parents that do nothing else meanwhile.
    pub fn wait(&self, until: MonotonicNs) {
        let until = self.next_wake().map_or(until, |wake| wake.min(until));
        process::wait(self.workers.iter().map(|worker| &worker.process), until);
    }

    /// Waits until all have ended, killing who outlives the budget. `seen` gets each end.
    pub fn wait_for_all(&mut self, mut seen: impl FnMut(Ended)) {
        loop {
            self.poll(now_ns()).into_iter().for_each(&mut seen);
            if self.is_empty() {
                return;
            }
            self.wait(MonotonicNs::MAX);
        }
    }
}

impl Worker {
    fn ask(&mut self, signal: c_int, grace: Option<Duration>, everybody: bool, now: MonotonicNs) {
        // The time that it took counts from the first request.
        let at = self.asked.map_or(now, |asked| asked.at);
        let everybody = everybody || self.asked.is_some_and(|asked| asked.everybody);
        let deadline = grace.map(|grace| after(now, grace));
        self.asked = Some(Request { at, deadline, everybody });
        // Before the signal, which makes the worker look.
        self.tell_seat();
        self.process.signal(signal);
    }

    fn tell_seat(&self) {
        if let (Some(seat), Some(asked)) = (&self.seat, self.asked) {
            seat.ask(Asked { deadline: asked.deadline, everybody: asked.everybody });
        }
    }

    fn kill_if_due(&mut self, now: MonotonicNs) {
        let due = self.asked.and_then(|asked| asked.deadline).is_some_and(|at| at <= now);
        if due && !self.killed {
            self.killed = true;
            self.process.signal(libc::SIGKILL);
        }
    }

    fn ended(&mut self, status: Status, now: MonotonicNs) -> Ended {
        if let Some(child) = &mut self.child {
            // It has ended, so this does not wait; if somebody else collected it, there is nothing to be done.
            let _ = child.wait();
        }
        let how = match status {
            Status::Signalled(libc::SIGKILL) if self.killed => How::Outlived,
            Status::Exited(status) => How::Exited(status),
            Status::Signalled(signal) => How::Signalled(signal),
            Status::Gone | Status::Running if self.killed => How::Outlived,
            Status::Gone | Status::Running => How::Gone,
        };
        let counted = self.seat.as_ref().and_then(|seat| seat.left_by(self.process.number()));
        Ended {
            worker: self.id,
            name: std::mem::take(&mut self.name),
            process: self.process.number(),
            how,
            lost: counted.or_else(|| (how == How::Exited(0)).then_some(0)),
            took: self.asked.map(|asked| Duration::from_nanos(now.saturating_sub(asked.at))),
        }
    }
}

fn after(now: MonotonicNs, span: Duration) -> MonotonicNs {
    now.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}
