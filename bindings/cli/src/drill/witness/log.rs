//! What the witnesses of one stop write down, and what they must know of each other.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::drill::observation::{
    Close, Exchange, LongLived, Ms, ProcessEnd, ReadinessAnswer, ReadinessCheck, Stop, Terms,
};

/// The common log. Its times count from its own begin until SIGTERM is known.
pub struct Log {
    begun: Instant,
    looks_away_after: Ms,
    inner: Mutex<Inner>,
    refused: Notify,
}

#[derive(Default)]
struct Inner {
    sigterm: Option<Ms>,
    red: Option<Ms>,
    refused: bool,
    seen: Stop,
}

impl Log {
    /// An empty log whose clock starts now.
    pub fn new(terms: Terms) -> Self {
        Self {
            begun: Instant::now(),
            looks_away_after: terms.looks_away_after,
            inner: Mutex::default(),
            refused: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time.
    pub fn now(&self) -> Ms {
        self.begun.elapsed().as_secs_f64() * 1000.0
    }

    /// SIGTERM is sent now.
    pub fn sigterm(&self) {
        let now = self.now();
        self.lock().sigterm = Some(now);
    }

    /// Whether this was after SIGTERM.
    pub fn is_after_sigterm(&self, at: Ms) -> bool {
        self.lock().sigterm.is_some_and(|sigterm| at >= sigterm)
    }

    /// Whether a balancer has stopped sending new connections by now.
    pub fn has_looked_away(&self) -> bool {
        let now = self.now();
        self.lock().red.is_some_and(|red| now >= red + self.looks_away_after)
    }

    /// Notes a readiness check.
    pub fn check(&self, at: Ms, answer: ReadinessAnswer) {
        let mut inner = self.lock();
        let asked = inner.sigterm.is_some_and(|sigterm| at >= sigterm);
        match answer {
            ReadinessAnswer::Unready(_) | ReadinessAnswer::Mute if asked => {
                inner.red = inner.red.or(Some(at));
            }
            ReadinessAnswer::Refused if asked => {
                inner.refused = true;
                self.refused.notify_waiters();
            }
            _ => {}
        }
        inner.seen.checks.push(ReadinessCheck { at, answer });
    }

    /// Waits until a new connection was refused after SIGTERM.
    pub async fn refuses(&self) {
        loop {
            let notified = self.refused.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.lock().refused {
                return;
            }
            notified.await;
        }
    }

    /// Notes a request.
    pub fn exchange(&self, exchange: Exchange) {
        self.lock().seen.exchanges.push(exchange);
    }

    /// Notes that the server closed an idle connection.
    pub fn close(&self, close: Close) {
        self.lock().seen.closes.push(close);
    }

    /// Notes the end of a long-lived connection.
    pub fn stream(&self, stream: LongLived) {
        self.lock().seen.streams.push(stream);
    }

    /// Everything noted, with times from SIGTERM on.
    pub fn stop(&self, terms: Terms, end: ProcessEnd) -> Stop {
        let inner = self.lock();
        let zero = inner.sigterm.unwrap_or_default();
        let mut stop = Stop { terms, end, ..inner.seen.clone() };
        stop.end.at -= zero;
        for check in &mut stop.checks {
            check.at -= zero;
        }
        for exchange in &mut stop.exchanges {
            exchange.begun -= zero;
            exchange.ended -= zero;
        }
        for close in &mut stop.closes {
            close.at -= zero;
        }
        for stream in &mut stop.streams {
            stream.ended -= zero;
        }
        // Written down when each was known, judged by when it was.
        stop.checks.sort_by(|one, other| one.at.total_cmp(&other.at));
        stop.exchanges.sort_by(|one, other| one.ended.total_cmp(&other.ended));
        stop.closes.sort_by(|one, other| one.at.total_cmp(&other.at));
        stop
    }
}
