//! Which event is legal in which phase: all of it, as data.
//!
//! The table in `docs/phases.md` is printed from here (`cargo run -p lameduck --example
//! phases`), and a test keeps the two equal. A legal event can still be refused for
//! what it names (an unknown connection, say).

use crate::event::EventKind;
use crate::phase::Phase;
use crate::refusal::Refused;

/// What a phase does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It is taken.
    Take,
    /// It is refused, always, with this reason.
    Refuse(Refused),
}

use EventKind::*;
use Rule::{Refuse, Take};

const SERVING: Rule = Refuse(Refused::Serving);
const DRAINING: Rule = Refuse(Refused::Draining);
const CLOSING: Rule = Refuse(Refused::Closing);
const DONE: Rule = Refuse(Refused::Done);

/// One row an event, in [`EventKind`]'s order; the columns are Serving, Draining,
/// Closing, Done.
#[rustfmt::skip]
pub const TABLE: [(EventKind, [Rule; 4]); 21] = [
    (ConnectionAdopted,   [SERVING, Take,     CLOSING, DONE]),
    (ConnectionBusy,      [SERVING, Take,     CLOSING, DONE]),
    (ConnectionClosed,    [SERVING, Take,     Take,    DONE]),
    (ConnectionDescribed, [SERVING, Take,     CLOSING, DONE]),
    (ConnectionOpened,    [SERVING, Take,     CLOSING, DONE]),
    (ConnectionUpgraded,  [SERVING, Take,     CLOSING, DONE]),
    (DeadlineChanged,     [SERVING, Take,     Take,    DONE]),
    (Escalate,            [SERVING, Take,     Take,    DONE]),
    (HookFinished,        [SERVING, Take,     Take,    DONE]),
    (HookRegistered,      [Take,    Take,     CLOSING, DONE]),
    (JobFinished,         [Take,    Take,     Take,    DONE]),
    (JobStarted,          [Take,    Take,     CLOSING, DONE]),
    (ListenerClosed,      [Take,    Take,     Take,    DONE]),
    (ListenerFailed,      [Take,    Take,     Take,    DONE]),
    (ListenerOpened,      [Take,    DRAINING, CLOSING, DONE]),
    (RequestDescribed,    [SERVING, Take,     CLOSING, DONE]),
    (RequestFinished,     [SERVING, Take,     Take,    DONE]),
    (RequestFlushed,      [SERVING, Take,     Take,    DONE]),
    (RequestHeadersSent,  [SERVING, Take,     Take,    DONE]),
    (RequestStarted,      [SERVING, Take,     CLOSING, DONE]),
    (Shutdown,            [Take,    Take,     Take,    DONE]),
];

/// The rule for `event` in `phase`.
pub const fn rule(phase: Phase, event: EventKind) -> Rule {
    TABLE[event as usize].1[phase as usize]
}

/// The table as Markdown, as `docs/phases.md` holds it.
pub fn markdown() -> alloc::string::String {
    use core::fmt::Write;

    let mut text = alloc::string::String::from(
        "| event | serving | draining | closing | done |\n|---|---|---|---|---|\n",
    );
    for (event, rules) in TABLE {
        let cell = |rule| match rule {
            Take => "✓",
            Refuse(reason) => reason.name(),
        };
        let [a, b, c, d] = rules.map(cell);
        writeln!(text, "| {event:?} | {a} | {b} | {c} | {d} |").expect("a String takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        for (index, (event, _)) in TABLE.iter().enumerate() {
            assert_eq!(*event as usize, index, "{event:?}");
        }
    }

    #[test]
    fn the_documentation_prints_this_table() {
        let page = include_str!("../../docs/phases.md");
        assert_eq!(markdown().lines().count(), TABLE.len() + 2);
        assert!(page.contains(&markdown()), "run: cargo run -p lameduck --example phases");
    }
}
