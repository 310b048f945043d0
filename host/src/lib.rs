//! What lameduck does at the operating system for whoever drives the machine.
//!
//! Counting without a language border ([`ledger`]), signals ([`interposer`]), the end of the process
//! at the hard deadline ([`watchdog`]), listening sockets ([`fence`], [`drain`]), sockets about to be closed
//! ([`last_look`], [`linger`]) or told something ([`room`]), a server that tells of its connections ([`hosted`]) and one that knows nothing of it ([`hold`]), worker processes ([`tree`]), the report
//! as a file ([`report_file`]), who supervises this one ([`supervisor`]) and what it is told ([`notices`], [`notify`], [`service`]), what the log says ([`log_lines`]), and the clock of all of
//! them ([`clock`]). Nothing here decides anything; that is the `lameduck` crate's part. All unsafe code of the project that
//! is not a language binding is here.
//!
//! Times are nanoseconds of the system's monotonic clock, as [`clock::now_ns`] reads it.

pub mod clock;
#[cfg(unix)]
mod descriptor;
#[cfg(unix)]
pub mod doorbell;
#[cfg(unix)]
pub mod drain;
#[cfg(unix)]
pub mod fence;
#[cfg(unix)]
pub mod hold;
#[cfg(unix)]
pub mod hosted;
#[cfg(unix)]
pub mod interposer;
#[cfg(unix)]
pub mod last_look;
pub mod ledger;
#[cfg(unix)]
pub mod linger;
#[cfg(unix)]
pub mod listeners;
pub mod log_lines;
pub mod notices;
#[cfg(unix)]
pub mod notify;
#[cfg(unix)]
mod provisional;
#[cfg(unix)]
pub mod report_file;
#[cfg(unix)]
pub mod room;
#[cfg(unix)]
pub mod service;
#[cfg(unix)]
mod signal_name;
#[cfg(unix)]
pub mod start;
pub mod supervisor;
pub mod terminal;
#[cfg(unix)]
pub mod tree;
#[cfg(unix)]
mod unhandled;
mod waiting;
#[cfg(unix)]
mod wake;
#[cfg(unix)]
pub mod watchdog;
