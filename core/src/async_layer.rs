//! The async layer (feature `async`): the machine behind handles, guards and a driver, for Rust servers on
//! any runtime.
//!
//! It has no runtime, clock, thread or socket of its own. The clock is a [`Timer`] that you give it. The
//! [`Driver`] is a future that you spawn wherever you like; it ticks the machine, runs the hooks and
//! tells everybody what to do. The rest is guards:
//!
//! | guard | lives as long as | is told |
//! |---|---|---|
//! | [`ListenerGuard`] | you accept connections | when to raise the fence, when to close |
//! | [`ConnectionGuard`] | the connection | when to announce, to close, to give up: [`Cue`] |
//! | [`RequestGuard`] | the request, to the end of the response's body | when to end early: [`RequestCue`] |
//! | [`JobGuard`] | a piece of background work | when to roll back |
//!
//! A guard asked for too late is refused with the reason ([`Refused`](crate::Refused)).
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use futures::future::BoxFuture;
//! use lameduck::async_layer::{Shutdown, Timer};
//! use lameduck::{Cause, Grace, Policy, Protocol, RequestKind, Settings, Time};
//!
//! /// The runtime's clock; here one that needs none.
//! struct Clock(Instant);
//!
//! impl Timer for Clock {
//!     fn now(&self) -> Time {
//!         Time::from_nanos(self.0.elapsed().as_nanos() as u64)
//!     }
//!     fn sleep_until(&self, at: Time) -> BoxFuture<'static, ()> {
//!         let span = at.since(self.now());
//!         Box::pin(async move { std::thread::sleep(span) }) // tokio::time::sleep(span) in earnest
//!     }
//! }
//!
//! let settings =
//!     Settings { grace: Some(Grace::Limited(Duration::from_millis(100))), ..Settings::default() };
//! let policy = Policy::resolve(&settings, &Settings::default())?;
//! let (shutdown, driver) = Shutdown::new(policy, Clock(Instant::now()));
//! shutdown.on_close("database", || async { /* pool.close().await */ })?;
//!
//! // A connection was accepted, and carries a request:
//! let connection = shutdown.connection(Protocol::Http1, "192.0.2.7:49152")?;
//! let mut request = connection.begin()?;
//! request.describe(RequestKind::Ordinary, "GET /orders");
//!
//! // SIGTERM:
//! shutdown.request(Cause::Terminate)?;
//! assert_eq!(shutdown.blockers(10).requests, 1);
//! drop(request); // at the end of the body
//! drop(connection);
//!
//! let report = futures::executor::block_on(driver); // spawned long before, in earnest
//! assert_eq!(report.exit_code, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a request costs
//! While Serving, begin and end are one atomic addition each on the connection's own cache line, plus
//! the guard's reference to that line. No counter is shared between connections, no lock is taken and nobody is
//! woken, so the cost stays flat as threads grow. [`RequestGuard::describe`] takes the connection's own
//! lock. From the request to stop on, each begin and end is an event for the machine, under its lock; the driver is
//! woken only when that made something due: by the last exit, not by each.
//!
//! # What may be done where
//! Anything, anywhere: a hook may ask for shutdown or wait for it (its stage's end ends the wait), a
//! guard may be dropped in a hook, in a waker, or in a panic. No lock is held while a waker, a hook or
//! the [`Timer`] runs. A guard that is never dropped holds shutdown up until the drain deadline, which reports it
//! by label and age.
//!
//! If the [`Driver`] is dropped before it has ended, nobody is told anything any more:
//! [`draining`](Shutdown::draining), [`drained`](Shutdown::drained) and [`done`](Shutdown::done) resolve at
//! once, streams of phases end, and the report says how far it came. Guards go on counting.

mod connection;
mod driver;
mod hook;
mod job;
mod line;
mod listener;
mod phases;
mod registry;
mod request;
mod shared;
mod shutdown;
mod signal;
mod timer;

#[cfg(all(test, loom))]
mod model;

pub use connection::{Connection, ConnectionGuard, Cue};
pub use driver::Driver;
pub use hook::{HookOptions, HookOutcome};
pub use job::{JobGuard, JobOptions};
pub use listener::{ListenerCue, ListenerGuard};
pub use phases::{Done, Phases, Reached};
pub use request::{Aborted, RequestCue, RequestGuard, Unflushed};
pub use shutdown::Shutdown;
pub use timer::Timer;
