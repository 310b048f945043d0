//! The record in the making: what clients, balancer and conductor note while a drill runs. It
//! outlives all of them, so that an interrupted drill still has its figures.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use crate::drill::client::{ConnectionCounts, Failure};
use crate::drill::observation::Stop;
use crate::drill::probe::Check;
use crate::drill::record::{
    Copy, CopyEvent, Event, FailedRequest, INTERVAL_MS, Latencies, Latency, Requests, Restart,
    Timeline,
};
use crate::drill::server::Exit;

/// How many failed requests are kept one by one.
const FIRST_FAILURES: usize = 50;

/// The sort of a request, which decides how it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// GET of the ordinary path.
    Get,
    /// POST.
    Post,
    /// GET of the slow path.
    Slow,
}

/// How one request went.
#[derive(Clone, Debug)]
pub struct Done<'a> {
    /// Its sort.
    pub sort: Sort,
    /// Its method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
    /// From the moment the client turned to it.
    pub took: Duration,
    /// What failed, with the status if that was it.
    pub failure: Option<(Failure, Option<u16>)>,
}

/// The figures so far, for a progress display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoFar {
    /// Requests with a result.
    pub total: u64,
    /// Failed ones among them.
    pub failed: u64,
}

/// The record in the making.
pub struct Journal {
    begun: Instant,
    max_requests: u64,
    inner: Mutex<Inner>,
    full: Notify,
}

struct Inner {
    started: u64,
    requests: Requests,
    failures: BTreeMap<Failure, u64>,
    ordinary: Histogram<u64>,
    slow: Histogram<u64>,
    timeline: Timeline,
    first_failures: Vec<FailedRequest>,
    restarts: Vec<Restart>,
    failed_before_restarts: u64,
    copies: Vec<Copy>,
    connections: ConnectionCounts,
    check: Option<Check>,
    notes: Vec<String>,
    stops: Vec<Stop>,
}

/// What a journal holds at the end.
pub struct Contents {
    /// See [`crate::drill::record::Record`], field by field.
    pub duration_ms: u64,
    /// Requests by result and sort.
    pub requests: Requests,
    /// Failures by kind, all kinds present.
    pub failures: BTreeMap<Failure, u64>,
    /// Quantiles.
    pub latency_ms: Latencies,
    /// Client connections.
    pub connections: ConnectionCounts,
    /// Restarts in order.
    pub restarts: Vec<Restart>,
    /// Failures before the first restart.
    pub failed_before_restarts: u64,
    /// The copies.
    pub copies: Vec<Copy>,
    /// Requests over time.
    pub timeline: Timeline,
    /// The first failures.
    pub first_failures: Vec<FailedRequest>,
    /// How readiness was checked.
    pub check: Option<Check>,
    /// Notes.
    pub notes: Vec<String>,
    /// What the witnesses saw, one entry per restart.
    pub stops: Vec<Stop>,
}

impl Journal {
    /// An empty journal whose clock starts now.
    pub fn new(max_requests: u64) -> Self {
        let inner = Inner {
            started: 0,
            requests: Requests::default(),
            failures: Failure::ALL.into_iter().map(|kind| (kind, 0)).collect(),
            ordinary: histogram(),
            slow: histogram(),
            timeline: Timeline { interval_ms: INTERVAL_MS, ..Timeline::default() },
            first_failures: Vec::new(),
            restarts: Vec::new(),
            failed_before_restarts: 0,
            copies: Vec::new(),
            connections: ConnectionCounts::default(),
            check: None,
            notes: Vec::new(),
            stops: Vec::new(),
        };
        Self { begun: Instant::now(), max_requests, inner: Mutex::new(inner), full: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks for one more request; false when `--max-requests` is used up.
    pub fn may_start(&self) -> bool {
        let mut inner = self.lock();
        if inner.started == self.max_requests {
            drop(inner);
            self.full.notify_one();
            return false;
        }
        inner.started += 1;
        true
    }

    /// Waits until `--max-requests` is used up.
    pub async fn full(&self) {
        self.full.notified().await;
    }

    /// Notes the result of a request.
    pub fn done(&self, done: &Done<'_>) {
        self.done_at(self.now_ms(), done);
    }

    /// Notes the result of a request that was known then, and not counted by [`Self::may_start`].
    pub fn done_uncounted(&self, at_ms: u64, done: &Done<'_>) {
        self.lock().started += 1;
        self.done_at(at_ms, done);
    }

    /// Keeps what the witnesses of a stop saw.
    pub fn stop(&self, stop: Stop) {
        self.lock().stops.push(stop);
    }

    /// What the witnesses of the latest stop saw, and when that stop began.
    pub fn last_stop(&self) -> Option<(Stop, u64)> {
        let inner = self.lock();
        Some((inner.stops.last()?.clone(), inner.restarts.last()?.sigterm_ms))
    }

    fn done_at(&self, at_ms: u64, done: &Done<'_>) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.requests.total += 1;
        match done.sort {
            Sort::Get => inner.requests.get += 1,
            Sort::Post => inner.requests.post += 1,
            Sort::Slow => inner.requests.slow += 1,
        }
        let slot = usize::try_from(at_ms / INTERVAL_MS).unwrap_or(usize::MAX);
        if inner.timeline.ok.len() <= slot {
            inner.timeline.ok.resize(slot + 1, 0);
            inner.timeline.failed.resize(slot + 1, 0);
        }
        let Some((kind, status)) = done.failure else {
            inner.requests.ok += 1;
            inner.timeline.ok[slot] += 1;
            let latency =
                if done.sort == Sort::Slow { &mut inner.slow } else { &mut inner.ordinary };
            latency.saturating_record(u64::try_from(done.took.as_micros()).unwrap_or(u64::MAX));
            return;
        };
        inner.requests.failed += 1;
        inner.timeline.failed[slot] += 1;
        *inner.failures.entry(kind).or_default() += 1;
        match inner.restarts.last_mut() {
            Some(restart) => restart.failed += 1,
            None => inner.failed_before_restarts += 1,
        }
        if inner.first_failures.len() < FIRST_FAILURES {
            inner.first_failures.push(FailedRequest {
                at_ms,
                after_ms: done.took.as_secs_f64() * 1000.0,
                method: done.method.into(),
                path: done.path.into(),
                kind,
                status,
            });
        }
    }

    /// Notes what a client did with its connections since the last time.
    pub fn connections(&self, counts: ConnectionCounts) {
        let mut inner = self.lock();
        inner.connections.opened += counts.opened;
        inner.connections.announced += counts.announced;
        inner.connections.found_closed += counts.found_closed;
    }

    /// Adds the next copy.
    pub fn add_copy(&self, port: u16) {
        self.lock().copies.push(Copy { port, events: Vec::new() });
    }

    /// Notes what happened to a copy.
    pub fn event(&self, copy: usize, event: Event) {
        let at_ms = self.now_ms();
        let mut inner = self.lock();
        inner.copies[copy].events.push(CopyEvent { at_ms, event });
        let open = inner
            .restarts
            .iter_mut()
            .rev()
            .find(|restart| restart.copy == copy && restart.ready_ms.is_none());
        match (event, open) {
            (Event::Out, Some(restart)) => restart.out_ms = restart.out_ms.or(Some(at_ms)),
            (Event::Ready, Some(restart)) => restart.ready_ms = Some(at_ms),
            _ => {}
        }
    }

    /// Notes when a balancer would have stopped sending connections, known only afterwards.
    pub fn out(&self, copy: usize, at_ms: u64) {
        let mut inner = self.lock();
        if let Some(restart) = inner.restarts.last_mut() {
            restart.out_ms = Some(at_ms);
        }
        let events = &mut inner.copies[copy].events;
        let later = events.iter().rposition(|event| event.at_ms <= at_ms).map_or(0, |at| at + 1);
        events.insert(later, CopyEvent { at_ms, event: Event::Out });
    }

    /// Notes SIGTERM for a restart: failures count for this restart from here on.
    pub fn restart(&self, copy: usize) {
        let sigterm_ms = self.now_ms();
        self.lock().restarts.push(Restart {
            copy,
            sigterm_ms,
            out_ms: None,
            exited_ms: None,
            exit: None,
            killed: false,
            ready_ms: None,
            failed: 0,
        });
        self.event(copy, Event::Sigterm);
    }

    /// Notes how the copy that is being restarted ended.
    pub fn restart_exited(&self, copy: usize, exit: Exit, killed: bool) {
        let exited_ms = self.now_ms();
        if let Some(restart) = self.lock().restarts.last_mut() {
            restart.exited_ms = Some(exited_ms);
            restart.exit = Some(exit);
            restart.killed = killed;
        }
        self.event(copy, if killed { Event::Killed } else { Event::Exited });
    }

    /// Notes how readiness is checked.
    pub fn check(&self, check: Check) {
        self.lock().check = Some(check);
    }

    /// Adds a note for the reader.
    pub fn note(&self, sentence: String) {
        let mut inner = self.lock();
        if !inner.notes.contains(&sentence) {
            inner.notes.push(sentence);
        }
    }

    /// The figures so far.
    pub fn so_far(&self) -> SoFar {
        let requests = self.lock().requests;
        SoFar { total: requests.total, failed: requests.failed }
    }

    /// Failed requests of the latest restart so far.
    pub fn failed_in_this_restart(&self) -> u64 {
        self.lock().restarts.last().map_or(0, |restart| restart.failed)
    }

    /// Everything noted up to now.
    pub fn contents(&self) -> Contents {
        let duration_ms = self.now_ms();
        let inner = self.lock();
        let mut requests = inner.requests;
        requests.unfinished = inner.started.saturating_sub(requests.total);
        Contents {
            duration_ms,
            requests,
            failures: inner.failures.clone(),
            latency_ms: Latencies {
                ordinary: quantiles(&inner.ordinary),
                slow: quantiles(&inner.slow),
            },
            connections: inner.connections,
            restarts: inner.restarts.clone(),
            failed_before_restarts: inner.failed_before_restarts,
            copies: inner.copies.clone(),
            timeline: inner.timeline.clone(),
            first_failures: inner.first_failures.clone(),
            check: inner.check,
            notes: inner.notes.clone(),
            stops: inner.stops.clone(),
        }
    }
}

/// Microseconds, three significant figures, up to ten minutes.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are valid")
}

fn quantiles(histogram: &Histogram<u64>) -> Latency {
    #[expect(clippy::cast_precision_loss, reason = "microseconds below 2^52")]
    let ms = |micros: u64| micros.min(histogram.max()) as f64 / 1000.0;
    Latency {
        count: histogram.len(),
        p50: ms(histogram.value_at_quantile(0.5)),
        p99: ms(histogram.value_at_quantile(0.99)),
        p999: ms(histogram.value_at_quantile(0.999)),
        max: ms(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(sort: Sort, micros: u64, failure: Option<Failure>) -> Done<'static> {
        Done {
            sort,
            method: "GET",
            path: "/",
            took: Duration::from_micros(micros),
            failure: failure.map(|kind| (kind, None)),
        }
    }

    #[test]
    fn quantiles_of_a_known_set() {
        let journal = Journal::new(10_000);
        for micros in 1..=1000 {
            journal.done(&done(Sort::Get, micros * 1000, None));
        }
        journal.done(&done(Sort::Slow, 500_000, None));
        let latency = journal.contents().latency_ms;
        let near = |value: f64, expected: f64| (value - expected).abs() / expected < 0.002;
        assert!(near(latency.ordinary.p50, 500.0), "{latency:?}");
        assert!(near(latency.ordinary.p99, 990.0), "{latency:?}");
        assert!(near(latency.ordinary.p999, 999.0), "{latency:?}");
        assert!(near(latency.ordinary.max, 1000.0), "{latency:?}");
        assert_eq!((latency.ordinary.count, latency.slow.count), (1000, 1));
    }

    #[test]
    fn nothing_measured_is_zero() {
        assert_eq!(Journal::new(1).contents().latency_ms, Latencies::default());
    }

    #[test]
    fn failures_count_for_the_restart_they_follow() {
        let journal = Journal::new(10);
        journal.add_copy(1);
        journal.add_copy(2);
        let lost = done(Sort::Post, 10, Some(Failure::ResetReused));
        journal.done(&lost);
        for copy in [0, 1] {
            journal.restart(copy);
            journal.done(&lost);
            journal.event(copy, Event::Out);
            journal.restart_exited(copy, Exit { code: Some(0), signal: None }, false);
            journal.event(copy, Event::Ready);
        }
        journal.done(&lost);
        let contents = journal.contents();
        let failed: Vec<_> = contents.restarts.iter().map(|restart| restart.failed).collect();
        assert_eq!((contents.failed_before_restarts, failed), (1, vec![1, 2]));
        assert_eq!(contents.failures[&Failure::ResetReused], 4);
        assert_eq!((contents.requests.failed, contents.requests.post), (4, 4));
        let first = &contents.restarts[0];
        assert!(first.out_ms.is_some() && first.ready_ms.is_some() && first.exited_ms.is_some());
        assert_eq!(contents.timeline.failed.iter().sum::<u32>(), 4);
    }

    #[tokio::test]
    async fn the_request_limit_is_told() {
        let journal = Journal::new(2);
        assert!(journal.may_start() && journal.may_start() && !journal.may_start());
        journal.full().await;
        assert_eq!(journal.contents().requests.unfinished, 2);
    }
}
