//! What the machine can say of itself: blockers, the exit code, the report.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Machine, sentence};
use crate::blocker::{Blocker, Blockers};
use crate::cause::{Cause, Severity};
use crate::connection::{Connection, Request};
use crate::hook::{Hook, HookResult, HookState};
use crate::phase::Phase;
use crate::report::{
    ConnectionCounts, HookLine, JobCounts, ListenerCounts, Mark, Millis, PolicyLine, Report,
    RequestCounts, SCHEMA,
};
use crate::tally::Verdict;
use crate::time::Time;

/// How many blockers a report names.
pub(super) const NAMED: usize = 10;
/// How many of the forced it names.
pub(super) const FORCED: usize = 100;

impl Machine {
    /// What holds shutdown up at `now`: counts, and the `most` oldest, oldest first.
    /// While Serving only jobs are known; the rest is in the driver's ledger.
    pub fn blockers(&self, now: Time, most: usize) -> Blockers {
        self.blockers_at(now.max(self.clock), most)
    }

    pub(super) fn blockers_at(&self, now: Time, most: usize) -> Blockers {
        let running = |hook: &&Hook| matches!(hook.state, HookState::Running { .. });
        let mut oldest: Vec<Blocker> = self.oldest_requests(now, |_, _| true).take(most).collect();
        oldest.extend(self.jobs.running.iter().map(|(id, job)| Blocker::Job {
            id: id.0,
            name: job.name.clone(),
            age_ms: Millis(now.since(job.since)),
        }));
        oldest.extend(self.hooks.all().iter().filter_map(|hook| {
            let HookState::Running { since, .. } = hook.state else {
                return None;
            };
            let (name, stage) = (hook.name.clone(), hook.stage.name());
            Some(Blocker::Hook { name, stage, age_ms: Millis(now.since(since)) })
        }));
        oldest.sort_by_key(|blocker| core::cmp::Reverse(blocker.age()));
        oldest.truncate(most);
        let draining = self.phase == Phase::Draining;
        let idle = self.connections.len() - self.accounts.severed - self.accounts.carrying;
        let waiting = |count: usize| if draining { count as u64 } else { 0 };
        Blockers {
            requests: self.accounts.tally.in_flight(),
            idle_connections: waiting(idle),
            jobs: self.jobs.running.len() as u64,
            hooks: self.hooks.all().iter().filter(running).count() as u64,
            listeners: waiting(self.listeners.len()),
            oldest,
        }
    }

    /// The requests without a verdict of which `which` is true, oldest first.
    pub(super) fn oldest_requests<F: Fn(&Connection, &Request) -> bool>(
        &self,
        now: Time,
        which: F,
    ) -> impl Iterator<Item = Blocker> + use<'_, F> {
        self.accounts.in_flight.iter().filter_map(move |(since, id, request)| {
            let connection = self.connections.at(*id)?;
            let request = connection.requests().iter().find(|known| known.id == *request)?;
            which(connection, request).then(|| Blocker::Request {
                protocol: connection.protocol.name(),
                kind: request.kind,
                peer: connection.peer().cloned(),
                label: request.label.clone(),
                state: match (request.unflushed, request.headers_sent) {
                    (Some(_), _) => "response not flushed",
                    (None, true) => "response begun",
                    (None, false) => "unanswered",
                },
                age_ms: Millis(now.since(*since)),
            })
        })
    }

    pub(super) fn exit_code(&self) -> u8 {
        u8::from(!self.lost().is_empty())
    }

    /// Why the exit code is not 0.
    fn lost(&self) -> Vec<String> {
        let fatal = self.causes.iter().find(|cause| cause.severity() == Severity::Fatal);
        let mut lost: Vec<String> =
            fatal.map(|cause| format!("fatal error: {}", cause.name())).into_iter().collect();
        let requests = self.accounts.tally.of(Verdict::Forced);
        lost.extend(sentence(
            requests,
            "request was cut at the drain deadline",
            "requests were cut at the drain deadline",
        ));
        let jobs = self.jobs.aborted + self.jobs.forced;
        lost.extend(sentence(jobs, "job was aborted", "jobs were aborted"));
        for hook in self.hooks.all() {
            let HookState::Ended { result, took } = &hook.state else {
                continue;
            };
            let what = match result {
                HookResult::Ok => continue,
                HookResult::Failed(error) => format!("failed: {error}"),
                HookResult::NotRun => String::from("did not run: no time was left"),
                // It was called all the same: what it does at once is done.
                HookResult::TimedOut if took.is_zero() => {
                    String::from("had no time left: it was called, and not waited for")
                }
                HookResult::TimedOut => {
                    format!("did not end within {}", crate::policy::text(*took))
                }
            };
            lost.push(format!("{} hook '{}' {what}", hook.stage.name(), hook.name));
        }
        lost
    }

    /// The report as it stands at `now`: provisional until the phase is done.
    pub fn report(&self, now: Time) -> Report {
        let now = self.done_at.unwrap_or(now.max(self.clock));
        let name = |cause: &Cause| cause.name();
        let blockers = (self.phase != Phase::Done).then(|| self.blockers_at(now, NAMED));
        Report {
            schema: SCHEMA,
            phase: self.phase.name(),
            cause: self.causes.first().map(name),
            cause_detail: None,
            raised_by: self.causes.iter().skip(1).map(name).collect(),
            took_ms: if self.causes.is_empty() { Millis::default() } else { self.since_t0(now) },
            exit_code: self.exit_code(),
            lost: self.lost(),
            policy: self.policy_lines(),
            timeline: self
                .marks
                .iter()
                .map(|(at, what)| Mark { at_ms: self.since_t0(*at), what })
                .collect(),
            listeners: ListenerCounts {
                open: self.listeners.len() as u64,
                failed: self.listeners.failed,
                errors: self.listeners.errors.clone(),
            },
            connections: ConnectionCounts {
                adopted: self.accounts.tally.connections_adopted,
                opened: self.accounts.tally.connections_opened,
                forced: self.accounts.tally.connections_forced,
                open: self.connections.len() as u64,
            },
            requests: self.request_counts(),
            hooks: self.hooks.all().iter().map(hook_line).collect(),
            jobs: JobCounts {
                completed: self.jobs.completed,
                failed: self.jobs.failed,
                cancelled: self.jobs.cancelled,
                aborted: self.jobs.aborted,
                forced: self.jobs.forced,
                running: self.jobs.running.len() as u64,
            },
            forced: self.forced.clone(),
            blocked_at: self.blocked_lines(),
            blockers,
            open_handles: Vec::new(),
            event_loop_blocked_ms: None,
        }
    }

    fn policy_lines(&self) -> Vec<PolicyLine> {
        let line = |(name, span, origin): (_, Option<_>, crate::policy::Origin)| PolicyLine {
            name,
            ms: span.map(Millis),
            origin: origin.name(),
        };
        self.policy.times().into_iter().map(line).collect()
    }

    fn request_counts(&self) -> RequestCounts {
        let tally = &self.accounts.tally;
        RequestCounts {
            adopted: tally.adopted,
            admitted: tally.admitted,
            not_processed: tally.not_processed,
            completed: tally.of(Verdict::Completed),
            client_gone: tally.of(Verdict::ClientGone),
            refused: tally.of(Verdict::Refused),
            ended: tally.of(Verdict::Ended),
            forced: tally.of(Verdict::Forced),
            in_flight: tally.in_flight(),
        }
    }
}

fn hook_line(hook: &Hook) -> HookLine {
    let (result, took, error) = match &hook.state {
        HookState::Waiting => ("waiting", None, None),
        HookState::Running { .. } => ("running", None, None),
        HookState::Ended { result, took } => match result {
            HookResult::Failed(error) => ("failed", Some(*took), Some(error.clone())),
            HookResult::NotRun => ("not_run", None, None),
            HookResult::Ok => ("ok", Some(*took), None),
            HookResult::TimedOut => ("timed_out", Some(*took), None),
        },
    };
    HookLine {
        name: hook.name.clone(),
        stage: hook.stage.name(),
        order: hook.order,
        result,
        took_ms: took.map(Millis),
        error,
    }
}
