//! The classic mistakes of a stopping server, as data: their names, what to do about them, and
//! which of them explain others.

use serde::{Deserialize, Serialize};

/// A classic mistake. The serialized name is its stable id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mistake {
    /// SIGTERM killed it, with requests in flight.
    NoHandler,
    /// Its handler does nothing but exit, with requests in flight.
    ExitsAtOnce,
    /// It had to be killed.
    NeverExits,
    /// It exited, but after its grace.
    ExitsLate,
    /// It goes on accepting and its readiness check never fails.
    ReadinessStaysGreen,
    /// It refuses connections before a balancer could have looked away.
    ListenerClosesEarly,
    /// Connections that the kernel completed and the server never accepted are reset.
    AcceptQueueReset,
    /// Kept-alive connections in use are closed without a response in between that could say so.
    IdleKeepAliveReset,
    /// Kept-alive connections are closed although responses of the drain could have said so.
    NoConnectionClose,
    /// Responses under way are cut, or requests in flight get none.
    ResponseCut,
    /// New requests get 503 while the balancer still sends them.
    RefusesRequests,
    /// Requests of the drain meet a pool that is closed.
    PoolClosedEarly,
    /// WebSockets end without a close frame.
    WebsocketCut,
    /// Event streams end without an end.
    EventStreamCut,
    /// HTTP/2 connections end without GOAWAY.
    NoGoaway,
    /// The exit code says the opposite of what happened.
    ExitCodeLies,
    /// Requests failed in a way that no other mistake explains.
    RequestsLost,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::NoHandler,
        Self::ExitsAtOnce,
        Self::NeverExits,
        Self::ExitsLate,
        Self::ReadinessStaysGreen,
        Self::ListenerClosesEarly,
        Self::AcceptQueueReset,
        Self::IdleKeepAliveReset,
        Self::NoConnectionClose,
        Self::ResponseCut,
        Self::RefusesRequests,
        Self::PoolClosedEarly,
        Self::WebsocketCut,
        Self::EventStreamCut,
        Self::NoGoaway,
        Self::ExitCodeLies,
        Self::RequestsLost,
    ];

    /// The mistake with this id.
    ///
    /// # Errors
    /// A sentence that names those that there are.
    pub fn from_id(id: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|mistake| mistake.id() == id).ok_or_else(|| {
            let ids: Vec<_> = Self::ALL.iter().map(|mistake| mistake.id()).collect();
            format!("there is no mistake {id}; there are {}", ids.join(", "))
        })
    }

    /// Its stable id.
    pub fn id(self) -> &'static str {
        match self {
            Self::NoHandler => "no-handler",
            Self::ExitsAtOnce => "exits-at-once",
            Self::NeverExits => "never-exits",
            Self::ExitsLate => "exits-late",
            Self::ReadinessStaysGreen => "readiness-stays-green",
            Self::ListenerClosesEarly => "listener-closes-early",
            Self::AcceptQueueReset => "accept-queue-reset",
            Self::IdleKeepAliveReset => "idle-keep-alive-reset",
            Self::NoConnectionClose => "no-connection-close",
            Self::ResponseCut => "response-cut",
            Self::RefusesRequests => "refuses-requests",
            Self::PoolClosedEarly => "pool-closed-early",
            Self::WebsocketCut => "websocket-cut",
            Self::EventStreamCut => "event-stream-cut",
            Self::NoGoaway => "no-goaway",
            Self::ExitCodeLies => "exit-code-lies",
            Self::RequestsLost => "requests-lost",
        }
    }

    /// In a few words, for headings.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoHandler => "no SIGTERM handler",
            Self::ExitsAtOnce => "exits at once",
            Self::NeverExits => "never exits",
            Self::ExitsLate => "exits late",
            Self::ReadinessStaysGreen => "readiness stays green",
            Self::ListenerClosesEarly => "listener closes before the balancer looks away",
            Self::AcceptQueueReset => "accept queue reset",
            Self::IdleKeepAliveReset => "idle keep-alive reset",
            Self::NoConnectionClose => "no Connection: close",
            Self::ResponseCut => "response cut",
            Self::RefusesRequests => "requests refused with 503",
            Self::PoolClosedEarly => "pool closed before the last query",
            Self::WebsocketCut => "WebSocket cut without a close frame",
            Self::EventStreamCut => "event stream cut",
            Self::NoGoaway => "HTTP/2 without GOAWAY",
            Self::ExitCodeLies => "exit code lies",
            Self::RequestsLost => "requests lost",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoHandler => {
                "Handle SIGTERM in the server, and let the signal reach it: run it without npm or a shell around it (exec)."
            }
            Self::ExitsAtOnce => {
                "On SIGTERM fail readiness, go on serving, close the listener and exit only when the last response has been sent."
            }
            Self::NeverExits => {
                "Find what keeps the process alive (timers, pools, open connections) and give the shutdown a deadline of its own."
            }
            Self::ExitsLate => {
                "Give the shutdown a deadline below what the orchestrator allows, and cut at it what has not ended."
            }
            Self::ReadinessStaysGreen => {
                "Answer the readiness check with 503 from SIGTERM on, and go on serving everything else."
            }
            Self::ListenerClosesEarly => {
                "Fail readiness first and keep accepting for longer than probe period × threshold; only then close the listener."
            }
            Self::AcceptQueueReset => {
                "Accept until the kernel's queue is empty, then close the listener; never stop accepting while it is open."
            }
            Self::IdleKeepAliveReset => {
                "Leave idle connections open at first: answer their next request with Connection: close, and close only those that stay quiet."
            }
            Self::NoConnectionClose => {
                "Send Connection: close on every response from SIGTERM on, so that clients leave by themselves."
            }
            Self::ResponseCut => {
                "Close a connection only when its last response has left the process to its last byte; wait for requests in flight."
            }
            Self::RefusesRequests => {
                "Serve requests that still come: the balancer has not looked away yet; failing readiness is enough."
            }
            Self::PoolClosedEarly => {
                "Close pools and clients only after the last request has been answered."
            }
            Self::WebsocketCut => {
                "Send each WebSocket a close frame (1001 or 1012) and wait for the answer before closing the socket."
            }
            Self::EventStreamCut => {
                "End event streams as any response: write the last chunk (res.end()) and let the client reconnect elsewhere."
            }
            Self::NoGoaway => {
                "Send GOAWAY on every HTTP/2 connection and let its streams end before closing it."
            }
            Self::ExitCodeLies => {
                "Exit with 0 when nothing was lost and with 1 when something was, so that the orchestrator's log tells the truth."
            }
            Self::RequestsLost => {
                "Look at the failed requests in the result (--json): none of the known mistakes explains them."
            }
        }
    }

    /// The mistakes that follow from this one: where it is found, they are not reported.
    pub fn explains(self) -> &'static [Self] {
        match self {
            // The process was gone, or never began to stop: nothing else can be right.
            Self::NoHandler | Self::ExitsAtOnce => &[
                Self::ReadinessStaysGreen,
                Self::ListenerClosesEarly,
                Self::AcceptQueueReset,
                Self::IdleKeepAliveReset,
                Self::NoConnectionClose,
                Self::ResponseCut,
                Self::WebsocketCut,
                Self::EventStreamCut,
                Self::NoGoaway,
                Self::ExitCodeLies,
                Self::RequestsLost,
            ],
            // It was killed: whatever was open then ended as it did for that reason.
            Self::NeverExits => &[
                Self::ExitsLate,
                Self::ReadinessStaysGreen,
                Self::AcceptQueueReset,
                Self::NoConnectionClose,
                Self::ResponseCut,
                Self::WebsocketCut,
                Self::EventStreamCut,
                Self::NoGoaway,
                Self::ExitCodeLies,
                Self::RequestsLost,
            ],
            // Somebody was still sent there when the listener closed.
            Self::ListenerClosesEarly | Self::ReadinessStaysGreen => {
                &[Self::AcceptQueueReset, Self::ExitCodeLies, Self::RequestsLost]
            }
            Self::ResponseCut
            | Self::AcceptQueueReset
            | Self::IdleKeepAliveReset
            | Self::NoConnectionClose
            | Self::RefusesRequests
            | Self::NoGoaway
            | Self::PoolClosedEarly => &[Self::ExitCodeLies, Self::RequestsLost],
            Self::ExitsLate | Self::WebsocketCut | Self::EventStreamCut | Self::ExitCodeLies => {
                &[Self::RequestsLost]
            }
            Self::RequestsLost => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_mistakes_explain_each_other() {
        for one in Mistake::ALL {
            assert!(!one.explains().contains(&one), "{one:?}");
            for other in one.explains() {
                assert!(!other.explains().contains(&one), "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn the_id_is_what_json_says() {
        for mistake in Mistake::ALL {
            assert_eq!(serde_json::to_value(mistake).unwrap(), mistake.id());
        }
    }

    #[test]
    fn remedies_are_one_sentence() {
        for mistake in Mistake::ALL {
            let remedy = mistake.remedy();
            assert!(remedy.ends_with('.') && !remedy.contains(". "), "{remedy}");
        }
    }
}
