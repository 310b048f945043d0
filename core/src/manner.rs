//! How each protocol and each kind of request is brought to its end: all of it, as data.
//!
//! The table in `docs/phases.md` is printed from here (`cargo run -p lameduck --example
//! phases`), and a test keeps the two equal. Whatever has not ended at the drain deadline
//! is forced.

use core::time::Duration;

use crate::event::RequestKind;
use crate::protocol::Protocol;

/// How long a closed connection may take to go: half-close, bounded reading, close.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// How long a long-lived peer may take to answer its protocol's end.
pub(crate) const CLOSE_HANDSHAKE: Duration = Duration::from_secs(2);
/// How long a request head may take to complete once the connection should close.
pub(crate) const HEAD_ALLOWANCE: Duration = Duration::from_secs(5);

/// When the peer, or whoever serves it, is told that the server is leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// At t0.
    AtShutdown,
    /// At its connection's seeded moment in the first half of the window.
    InFirstHalf,
    /// There is nobody to tell.
    Never,
}

/// When the server ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Late, because nothing but cutting it ends it: at its connection's seeded moment
    /// before the abort signals, spread as the closes after t1 are.
    BeforeAbort,
    /// At its connection's seeded moment in the second half of the window, so that its
    /// client finds a server that stays.
    InSecondHalf,
    /// Never: it ends when it is answered.
    Itself,
    /// Once it carries no request.
    WhenIdle,
}

/// How one protocol or kind of request is brought to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// When it is told.
    pub told: Told,
    /// What it is told.
    pub notice: &'static str,
    /// When the server ends it.
    pub ended: Ended,
    /// What ends it.
    pub end: &'static str,
    /// How long it may take from there; `None`: until the drain deadline.
    pub allowance: Option<Duration>,
    /// What happens when it takes longer.
    pub force: &'static str,
}

const UPGRADED: Manner = Manner {
    told: Told::AtShutdown,
    notice: "whoever serves it",
    ended: Ended::BeforeAbort,
    end: "half-close",
    allowance: Some(CLOSE_HANDSHAKE),
    force: "cut",
};

const ANSWERED: Manner = Manner {
    told: Told::Never,
    notice: "nobody",
    ended: Ended::Itself,
    end: "its answer; the abort signal before the drain deadline",
    allowance: None,
    force: "503 when its head is unsent, else cut",
};

/// How connections of `protocol` end.
pub const fn of_protocol(protocol: Protocol) -> Manner {
    match protocol {
        Protocol::Http1 => Manner {
            told: Told::InFirstHalf,
            notice: "`Connection: close` on the last response",
            ended: Ended::WhenIdle,
            end: "after t1 and `quiet`, or at once when it was told: half-close",
            allowance: Some(LINGER),
            force: "cut",
        },
        Protocol::Http2 => Manner {
            told: Told::InFirstHalf,
            notice: "GOAWAY; the final one `quiet` later",
            ended: Ended::WhenIdle,
            end: "at once after the final GOAWAY: half-close",
            allowance: Some(LINGER),
            force: "cut",
        },
        Protocol::Websocket => Manner {
            told: Told::AtShutdown,
            notice: "whoever serves it",
            ended: Ended::InSecondHalf,
            end: "close frame",
            allowance: Some(CLOSE_HANDSHAKE),
            force: "cut",
        },
        Protocol::Tunnel | Protocol::Other => UPGRADED,
    }
}

/// How requests of `kind` end.
pub const fn of_kind(kind: RequestKind) -> Manner {
    match kind {
        RequestKind::LongPoll => {
            Manner { told: Told::InFirstHalf, notice: "whoever answers it: answer now", ..ANSWERED }
        }
        RequestKind::Ordinary => ANSWERED,
        RequestKind::Stream => Manner {
            told: Told::AtShutdown,
            notice: "whoever writes it",
            ended: Ended::InSecondHalf,
            end: "clean end of the stream",
            allowance: None,
            force: "cut",
        },
        RequestKind::Upload => Manner {
            end: "its answer; the abort signal before the drain deadline, so that nothing half is \
                  committed",
            ..ANSWERED
        },
    }
}

/// The table as Markdown, as `docs/phases.md` holds it.
pub fn markdown() -> alloc::string::String {
    use core::fmt::Write;

    let mut text = alloc::string::String::from(
        "| what | told | how | ended | how | allowance | then |\n|---|---|---|---|---|---|---|\n",
    );
    let protocols = Protocol::ALL.map(|protocol| (protocol.name(), of_protocol(protocol)));
    let kinds = RequestKind::ALL.map(|kind| (kind.name(), of_kind(kind)));
    for (name, manner) in protocols.into_iter().chain(kinds) {
        let told = match manner.told {
            Told::AtShutdown => "at t0",
            Told::InFirstHalf => "first half of the window, spread",
            Told::Never => "never",
        };
        let ended = match manner.ended {
            Ended::BeforeAbort => "before the abort signals, spread",
            Ended::InSecondHalf => "second half of the window, spread",
            Ended::Itself => "by itself",
            Ended::WhenIdle => "when idle",
        };
        let allowance = manner.allowance.map_or("to t2".into(), crate::policy::text);
        let Manner { notice, end, force, .. } = manner;
        let row = [name, told, notice, ended, end, &allowance, force].join(" | ");
        writeln!(text, "| {row} |").expect("a String takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_prints_this_table() {
        let page = include_str!("../../docs/phases.md");
        let table = markdown();
        assert_eq!(table.lines().count(), 2 + Protocol::ALL.len() + RequestKind::ALL.len());
        assert!(page.contains(&table), "run: cargo run -p lameduck --example phases");
    }
}
