//! The four phases.

use serde::{Deserialize, Serialize};

/// Where the server stands on its way out. A phase never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has been asked of it.
    Serving,
    /// First the window (accept and serve, tell clients to go elsewhere), then
    /// emptying (listeners closed, what is in flight finishes).
    Draining,
    /// `close` hooks, then `flush` hooks.
    Closing,
    /// The report is final.
    Done,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 4] = [Self::Serving, Self::Draining, Self::Closing, Self::Done];

    /// The name used in reports, logs and health answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Done => "done",
        }
    }
}
