//! The graceful-shutdown state machine of `lameduck`.
//!
//! A server that stops passes through four phases, never back:
//! Serving → Draining → Closing → Done. [`Machine`] decides what happens in
//! each; it owns no clock, thread, socket or global, so the same decisions can be
//! driven from Rust, C, Node and Python, and replayed in a test.
//!
//! Where to look:
//!
//! | question | file |
//! |---|---|
//! | which event is legal in which phase | `table.rs` |
//! | how each protocol and kind of request is ended | `manner.rs` |
//! | what grace, window, margin … mean and how they fit | `policy.rs` |
//! | what the operator reads afterwards | `report.rs` |
//! | what the driver may say, what it is told | `event.rs`, `effect.rs` |
//!
//! How to drive it: give every [`Event`] to [`Machine::handle`], call
//! [`Machine::tick`] at [`Machine::next_wake`], and after either one drain
//! [`Machine::poll_effect`] until `None`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(feature = "async", test))]
extern crate std;

#[cfg(feature = "async")]
pub mod async_layer;
mod blocker;
mod cause;
mod connection;
mod connections;
mod deadline;
mod effect;
pub mod environment;
mod event;
mod hook;
mod id;
mod jitter;
mod job;
pub mod ledger;
mod listener;
mod machine;
pub mod manner;
mod millis;
mod named;
mod phase;
pub mod policy;
mod protocol;
mod refusal;
pub mod report;
#[cfg(target_has_atomic = "64")]
pub mod row;
#[cfg(target_has_atomic = "64")]
mod sync;
pub mod table;
mod tally;
mod time;

pub use blocker::{Blocker, Blockers};
pub use cause::{Cause, Severity};
pub use deadline::Wake;
pub use effect::Effect;
pub use event::{Event, EventKind, JobOutcome, JobSource, OnDrain, Outcome, RequestKind};
pub use hook::{HookResult, Stage};
pub use id::{ConnectionId, HookId, JobId, ListenerId, RequestId};
pub use jitter::announcement;
pub use machine::Machine;
pub use named::named;
pub use phase::Phase;
pub use policy::{Grace, NewRequests, Policy, Readiness, Settings};
pub use protocol::Protocol;
pub use refusal::Refused;
pub use report::Report;
pub use time::Time;
