//! The private addon under `bindings/node/lib`: it translates and decides nothing.
//!
//! Times are BigInt nanoseconds of the system's monotonic clock, which is also
//! `process.hrtime.bigint()`'s. Connection handles are numbers below 2^52.

#![deny(missing_docs)]

mod convert;
mod driver;
mod effect;
mod os;
mod policy;
