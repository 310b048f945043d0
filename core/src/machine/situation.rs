//! What the machine's future depends on, for the exhaustive proof in `tests/exhaustive/`: two
//! machines that agree on it answer every event and tick alike, but for what their reports say.
//!
//! Times count from the clock. What is left out is named below, so that a new field must be
//! thought about; a test over there compares the futures of machines that are the same here.

use core::hash::{Hash, Hasher};

use super::Machine;
use super::accounts::Accounts;
use crate::connection::{Connection, Fate, Notice, Situation};
use crate::deadline::{Insisted, Plan, Wake};
use crate::hook::{Hook, HookResult, HookState};
use crate::id::ConnectionId;
use crate::job::{Job, Jobs};
use crate::phase::Phase;
use crate::policy::{Grace, Origin, Policy, Setting};
use crate::report::RequestCounts;
use crate::tally::Verdict;
use crate::time::Time;

/// The wakes that are a single moment of the shutdown.
const MOMENTS: [Wake; 6] = [
    Wake::WindowEnd,
    Wake::SettleEnd,
    Wake::AbortLead,
    Wake::DrainDeadline,
    Wake::CloseStageEnd,
    Wake::FlushStageEnd,
];

impl Machine {
    /// The requests so far and their verdicts, without the cost of a report.
    #[doc(hidden)]
    pub fn counts(&self) -> RequestCounts {
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

    /// Hashes what the future depends on. `connections` are all that can be known, in an order
    /// of the caller's: in which order they came makes no difference.
    ///
    /// # Panics
    /// When an effect waits to be polled, or a connection is known that was not named.
    #[doc(hidden)]
    pub fn hash_situation<H: Hasher>(
        &self,
        connections: impl Iterator<Item = ConnectionId>,
        hasher: &mut H,
    ) {
        let Self {
            policy,
            phase,
            clock,
            // Is the clock after an event, and matters to nothing after a tick.
            moment: _,
            t0,
            causes,
            window,
            emptying_since,
            fenced_at,
            plan: Plan { drain, close, flush },
            insisted,
            deadlines,
            stage,
            listeners,
            connections: known,
            situation,
            accounts: Accounts { tally, in_flight: _, carrying: _, severed },
            linger_until,
            // Holds what the connections say in `queued`, and what is stale.
            queue: _,
            last_arrival,
            hooks,
            jobs:
                Jobs {
                    running,
                    completed: _,
                    failed: _,
                    cancelled: _,
                    aborted: jobs_aborted,
                    forced: jobs_forced,
                },
            aborted,
            // The log.
            marks: _,
            blocked_at: _,
            forced: _,
            done_at: _,
            effects,
        } = self;
        assert!(effects.is_empty(), "effects are polled before a situation is looked at");
        let mut times = Times { clock: *clock, hasher };

        hash_policy(policy, times.hasher);
        phase.hash(times.hasher);
        times.at(*t0);
        causes.iter().map(|cause| cause.severity() as u8).max().hash(times.hasher);
        window.hash(times.hasher);
        let Insisted { drain: drain_insisted, close: close_insisted, flush: flush_insisted } =
            insisted;
        // When the fence began matters until it has settled.
        times.maybe(fenced_at.filter(|_| deadlines.at(Wake::SettleEnd).is_some()));
        for time in [emptying_since, drain, close, flush, linger_until] {
            times.maybe(*time);
        }
        // Nothing is due on a connection any more once Draining has ended.
        if *phase == Phase::Draining {
            hash_connections_situation(situation, &mut times);
        }
        for time in [drain_insisted, close_insisted, flush_insisted] {
            times.maybe(*time);
        }
        for wake in MOMENTS {
            times.maybe(deadlines.at(wake));
        }
        times.maybe(policy.window_idle.map(|_| *last_arrival));
        (*stage as u8, *aborted).hash(times.hasher);

        (listeners.len(), *severed, known.len()).hash(times.hasher);
        listeners.ids().for_each(|listener| listener.hash(times.hasher));
        let mut named = 0;
        for connection in connections.filter_map(|id| known.at(id)) {
            hash_connection(connection, policy, &mut times);
            named += 1;
        }
        assert_eq!(named, known.len(), "every connection is named");

        for Hook { id, name: _, stage, order, timeout, state } in hooks.all() {
            (id, *stage as u8, order, timeout).hash(times.hasher);
            match state {
                HookState::Waiting => 0_u8.hash(times.hasher),
                HookState::Running { since: _, until } => {
                    1_u8.hash(times.hasher);
                    times.maybe(*until);
                }
                HookState::Ended { result, took: _ } => {
                    (2_u8, *result == HookResult::Ok).hash(times.hasher);
                }
            }
        }
        for (id, Job { name: _, since: _, on_drain, cancelled }) in running {
            (id, on_drain, cancelled).hash(times.hasher);
        }
        // Of the counts only what the exit code depends on.
        let lost = [tally.of(Verdict::Forced), *jobs_aborted, *jobs_forced];
        lost.map(|count| count > 0).hash(times.hasher);
    }
}

fn hash_policy(policy: &Policy, hasher: &mut impl Hasher) {
    match policy.grace.value {
        Grace::Limited(grace) => grace.hash(hasher),
        Grace::Unlimited => hasher.write_u8(0),
    }
    // The rest is the same for all machines of one model, or follows from these.
    let Policy { margin, reserve, window, settle, quiet, abort_lead, .. } = policy;
    let spans = [margin, reserve, window, settle, quiet, abort_lead];
    spans.map(|Setting { value, .. }| *value).hash(hasher);
}

fn hash_connections_situation<H: Hasher>(situation: &Situation, times: &mut Times<'_, H>) {
    let Situation { t1, half, close_from, emptying, abort, spread, quiet, seed } = situation;
    times.at(*t1);
    times.at(*half);
    times.at(*close_from);
    times.maybe(*abort);
    (emptying, spread, quiet, seed).hash(times.hasher);
}

fn hash_connection<H: Hasher>(connection: &Connection, policy: &Policy, times: &mut Times<'_, H>) {
    let Connection {
        id,
        protocol,
        fate,
        close_until,
        announced,
        notice,
        notice_since,
        end_at,
        quiet_since,
        queued,
        // Its peer, its requests, and until when it may complete a head.
        ..
    } = connection;
    (id, *fate as u8).hash(times.hasher);
    if *fate == Fate::Forced {
        return;
    }
    (protocol, announced, *notice as u8).hash(times.hasher);
    times.maybe(close_until.filter(|_| *fate == Fate::Closing));
    match notice {
        Notice::Untold => times.at(*notice_since),
        // What was told long enough ago has no consequences any more.
        Notice::Told | Notice::Final => times.recent(*notice_since, policy.quiet),
    }
    let long_lived =
        protocol.is_long_lived() || connection.requests().iter().any(|r| r.is_to_end());
    times.maybe(end_at.filter(|_| long_lived));
    // Requests set it anew when they end.
    if connection.is_idle() {
        times.recent(*quiet_since, policy.quiet);
    }
    // What is overdue is due now, whoever is served first.
    times.maybe(queued.map(|at| at.max(times.clock)));
    times.maybe(connection.head_until());
    for request in connection.requests() {
        let crate::connection::Request {
            id,
            kind,
            label: _,
            since: _,
            headers_sent,
            unflushed,
            notified,
            end_sent,
        } = request;
        let outcome = unflushed.map(|outcome| outcome as u8);
        (id, *kind as u8, headers_sent, outcome, notified, end_sent).hash(times.hasher);
    }
}

/// Hashes times as they lie from the clock.
struct Times<'a, H> {
    clock: Time,
    hasher: &'a mut H,
}

impl<H: Hasher> Times<'_, H> {
    fn at(&mut self, time: Time) {
        time.as_nanos().wrapping_sub(self.clock.as_nanos()).hash(self.hasher);
    }

    fn maybe(&mut self, time: Option<Time>) {
        time.is_some().hash(self.hasher);
        if let Some(time) = time {
            self.at(time);
        }
    }

    /// A time after which something waits for `span`: when it has passed, it has passed. A span
    /// that nobody set may still change with the deadline.
    fn recent(&mut self, time: Time, span: Setting<core::time::Duration>) {
        let earliest = self.clock.minus(span.value);
        self.at(if span.origin == Origin::Default { time } else { time.max(earliest) });
    }
}
