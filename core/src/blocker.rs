//! What is holding shutdown up.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

use crate::millis::Millis;

/// One thing that shutdown waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Blocker {
    /// A hook that has not ended.
    Hook {
        /// Its name.
        name: String,
        /// Its stage.
        stage: &'static str,
        /// How long it has been running.
        age_ms: Millis,
    },
    /// A job that has not ended.
    Job {
        /// Its id.
        id: u32,
        /// Its name.
        name: String,
        /// How long it has been running.
        age_ms: Millis,
    },
    /// A request without a verdict.
    Request {
        /// What is spoken on its connection.
        protocol: &'static str,
        /// What it is.
        kind: crate::event::RequestKind,
        /// Who asked, if the driver said.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
        /// Method and route, if the driver said.
        #[serde(skip_serializing_if = "Option::is_none")]
        label: Option<String>,
        /// Where it stands.
        state: &'static str,
        /// How long it has been in flight.
        age_ms: Millis,
    },
}

impl Blocker {
    pub(crate) fn age(&self) -> Millis {
        match self {
            Self::Hook { age_ms, .. } | Self::Job { age_ms, .. } | Self::Request { age_ms, .. } => {
                *age_ms
            }
        }
    }
}

/// Everything that shutdown waits for: counts, and the oldest by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blockers {
    /// Requests without a verdict.
    pub requests: u64,
    /// Connections that carry none of them.
    pub idle_connections: u64,
    /// Jobs.
    pub jobs: u64,
    /// Hooks that are running.
    pub hooks: u64,
    /// Listeners that are not closed.
    pub listeners: u64,
    /// The oldest of them, oldest first.
    pub oldest: Vec<Blocker>,
}

impl Blockers {
    pub(crate) fn is_empty(&self) -> bool {
        self.requests + self.idle_connections + self.jobs + self.hooks + self.listeners == 0
    }
}
