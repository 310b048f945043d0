//! Why the server stops, and what that changes.

use serde::{Deserialize, Serialize};

/// Why the server stops. The first cause names the report; severity only rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The program asked for it.
    Programmatic,
    /// A peer process: PM2's `shutdown` message.
    PeerMessage,
    /// A peer process: the parent is gone.
    ParentGone,
    /// SIGTERM, or a SIGINT that no terminal sent.
    Terminate,
    /// Ctrl-C: a SIGINT while standard input is a terminal. Skips the window.
    Interrupt,
    /// Fatal: an exception that nobody caught. Exits 1.
    UncaughtException,
    /// Fatal: a promise rejection that nobody handled. Exits 1.
    UnhandledRejection,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::Programmatic,
        Self::PeerMessage,
        Self::ParentGone,
        Self::Terminate,
        Self::Interrupt,
        Self::UncaughtException,
        Self::UnhandledRejection,
    ];

    /// What it does to the policy.
    pub const fn severity(self) -> Severity {
        match self {
            Self::Programmatic | Self::PeerMessage | Self::ParentGone | Self::Terminate => {
                Severity::Orderly
            }
            Self::Interrupt => Severity::Impatient,
            Self::UncaughtException | Self::UnhandledRejection => Severity::Fatal,
        }
    }

    /// The name used in reports and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Programmatic => "programmatic",
            Self::PeerMessage => "peer_message",
            Self::ParentGone => "parent_gone",
            Self::Terminate => "terminate",
            Self::Interrupt => "interrupt",
            Self::UncaughtException => "uncaught_exception",
            Self::UnhandledRejection => "unhandled_rejection",
        }
    }
}

/// What a cause does to the policy. It only rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The policy as it is.
    Orderly,
    /// No window: somebody is waiting.
    Impatient,
    /// No window, and the exit code is 1 whatever else happens.
    Fatal,
}

impl Severity {
    pub(crate) fn skips_window(self) -> bool {
        self > Self::Orderly
    }
}
