//! How blockers are said in a sentence, for whoever tells people what a shutdown waits for.

use std::time::Duration;

use lameduck::{Blocker, Blockers};

/// `3 requests, 1 idle connection, 2 jobs`, or nothing.
pub(crate) fn counts(blockers: &Blockers) -> String {
    let counts = [
        (blockers.requests, "request"),
        (blockers.idle_connections, "idle connection"),
        (blockers.jobs, "job"),
        (blockers.hooks, "hook"),
    ];
    let some = counts.into_iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> = some.map(|(count, what)| several(count, what)).collect();
    words.join(", ")
}

/// `1 request`, `2 requests`.
pub(crate) fn several(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// `GET /orders`, `job 'import'`, `close hook 'database'`.
pub(crate) fn name(blocker: &Blocker) -> String {
    match blocker {
        Blocker::Hook { name, stage, .. } => format!("{stage} hook '{name}'"),
        Blocker::Job { name, .. } => format!("job '{name}'"),
        Blocker::Request { protocol, label, .. } => {
            label.clone().unwrap_or_else(|| format!("an {protocol} request"))
        }
    }
}

/// How long it has been there.
pub(crate) fn age(blocker: &Blocker) -> Duration {
    let (Blocker::Hook { age_ms, .. }
    | Blocker::Job { age_ms, .. }
    | Blocker::Request { age_ms, .. }) = blocker;
    age_ms.0
}

/// Labels and errors come from others: nothing in them may begin a line of its own.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
