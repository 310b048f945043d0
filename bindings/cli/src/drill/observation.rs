//! What the witnesses of one stop saw, before anybody has judged it. Times are milliseconds since
//! SIGTERM; what was before it has a negative one.

use crate::drill::server::Exit;

/// Milliseconds since SIGTERM.
pub type Ms = f64;

/// What has been under way for so long had been taken by the server.
const IN_HAND: Ms = 250.0;

/// One stop of one server.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// What the server was told about.
    pub terms: Terms,
    /// Readiness checks, each on a connection of its own.
    pub checks: Vec<ReadinessCheck>,
    /// Requests.
    pub exchanges: Vec<Exchange>,
    /// Kept-alive connections that the server closed while they were idle.
    pub closes: Vec<Close>,
    /// Long-lived connections, where the server has them.
    pub streams: Vec<LongLived>,
    /// How the process ended.
    pub end: ProcessEnd,
}

/// What a server may count on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Whether there is a readiness route.
    pub readiness: bool,
    /// For how long readiness must have failed until a balancer has looked away: probe period ×
    /// threshold.
    pub looks_away_after: Ms,
    /// When the process must be gone, if that was said (`--grace`).
    pub grace: Option<Ms>,
}

/// One readiness check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadinessCheck {
    /// When it was made.
    pub at: Ms,
    /// What came back.
    pub answer: ReadinessAnswer,
}

/// What a readiness check brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadinessAnswer {
    /// 2xx.
    Ready,
    /// Another status.
    Unready(u16),
    /// The connection was refused.
    Refused,
    /// The connection broke before an answer.
    Broken,
    /// No answer in time.
    Mute,
}

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client that uses its connection again and again.
    KeptAlive,
    /// A client on a connection of its own.
    Newcomer,
    /// One whose request takes a while.
    Slow,
    /// One that takes its time over a large response.
    SlowReader,
    /// One stream of an HTTP/2 connection.
    Http2,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exchange {
    /// Who sent it.
    pub sender: Sender,
    /// When the client turned to it; a new connection is opened first.
    pub begun: Ms,
    /// When its end was seen.
    pub ended: Ms,
    /// Whether a request sent after SIGTERM had been answered on this connection before.
    pub answered_before: bool,
    /// Whether the response said `Connection: close`.
    pub announced: bool,
    /// How it ended.
    pub end: ExchangeEnd,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeEnd {
    /// 200, as it must be.
    Answered,
    /// A whole response with another status.
    Status(u16),
    /// No connection could be opened.
    Refused,
    /// The connection ended before the first byte of a response, on its first request. The flag:
    /// with a reset.
    UnansweredFresh(bool),
    /// The same on a connection that had served before.
    UnansweredReused(bool),
    /// The response began and broke off.
    Truncated,
    /// The body came back changed, or was no HTTP.
    Wrong,
    /// Nothing came in time.
    Timeout,
}

/// A kept-alive connection that the server closed while it was idle, without having announced it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Close {
    /// When the client saw it.
    pub at: Ms,
    /// For how long the connection had been idle.
    pub idle: Ms,
    /// Whether a request sent after SIGTERM had been answered on it.
    pub answered_before: bool,
}

/// A long-lived connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongLived {
    /// Which protocol.
    pub protocol: Protocol,
    /// When its end was seen.
    pub ended: Ms,
    /// Whether it ended as its protocol says: a close frame, a last chunk, a GOAWAY.
    pub properly: bool,
}

/// The protocols of long-lived connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// WebSocket (RFC 6455).
    Websocket,
    /// Server-sent events.
    EventStream,
    /// HTTP/2.
    Http2,
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessEnd {
    /// When it was gone.
    pub at: Ms,
    /// Its status.
    pub exit: Exit,
    /// Whether the drill had to kill it.
    pub killed: bool,
}

impl Default for ProcessEnd {
    fn default() -> Self {
        Self { at: 0.0, exit: Exit { code: Some(0), signal: None }, killed: false }
    }
}

impl Stop {
    /// When readiness was first seen to fail while the listener was open, by an answer or for want
    /// of one.
    pub fn turned_red(&self) -> Option<Ms> {
        let mute = self.first_check(|answer| answer == ReadinessAnswer::Mute);
        self.answered_red().into_iter().chain(mute).min_by(f64::total_cmp)
    }

    /// When readiness was first answered with a failure.
    pub fn answered_red(&self) -> Option<Ms> {
        self.first_check(|answer| matches!(answer, ReadinessAnswer::Unready(_)))
    }

    fn first_check(&self, wanted: impl Fn(ReadinessAnswer) -> bool) -> Option<Ms> {
        let mut checks = self.checks.iter().filter(|check| check.at >= 0.0);
        checks.find(|check| wanted(check.answer)).map(|check| check.at)
    }

    /// When readiness was last seen to be fine.
    pub fn last_green(&self) -> Option<Ms> {
        let green = |check: &&ReadinessCheck| check.answer == ReadinessAnswer::Ready;
        self.checks.iter().rev().find(green).map(|check| check.at)
    }

    /// When a new connection was first refused.
    pub fn first_refused(&self) -> Option<Ms> {
        let checks = self.checks.iter().filter(|check| check.answer == ReadinessAnswer::Refused);
        let exchanges =
            self.exchanges.iter().filter(|exchange| exchange.end == ExchangeEnd::Refused);
        let times = checks.map(|check| check.at).chain(exchanges.map(|exchange| exchange.begun));
        times.filter(|&at| at >= 0.0).min_by(f64::total_cmp)
    }

    /// When a balancer that honours readiness has stopped sending new connections. `None`: not
    /// before they were refused.
    pub fn looked_away(&self) -> Option<Ms> {
        self.turned_red().map(|red| red + self.terms.looks_away_after)
    }

    /// Whether a balancer would still have sent a connection that was opened then.
    pub fn was_sent(&self, begun: Ms) -> bool {
        self.looked_away().is_none_or(|away| begun < away)
    }

    /// The requests that failed, leaving out whoever came after the balancer had looked away.
    pub fn lost(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter().filter(|exchange| exchange.is_failure() && self.counts(exchange))
    }

    /// The requests that a client behind a balancer could have sent.
    pub fn counts(&self, exchange: &Exchange) -> bool {
        !exchange.on_a_new_connection() || self.was_sent(exchange.begun)
    }
}

impl Exchange {
    /// Whether it did not get what it asked for.
    pub fn is_failure(&self) -> bool {
        self.end != ExchangeEnd::Answered
    }

    /// Whether the server had it for a while, so that its end was no race.
    pub fn was_in_hand(&self) -> bool {
        self.ended - self.begun >= IN_HAND
    }

    fn on_a_new_connection(&self) -> bool {
        matches!(self.sender, Sender::Newcomer | Sender::Slow)
            || matches!(self.end, ExchangeEnd::Refused | ExchangeEnd::UnansweredFresh(_))
    }
}
