//! A seeded network around the machine: clients, a balancer, servers whose drivers carry out what
//! [`lameduck::Machine`] says, and what is lost between them. One virtual clock, no threads: the
//! same scenario gives the same run, byte for byte.

mod agenda;
mod balancer;
mod check;
mod client;
mod connecting;
pub mod drains;
mod effects;
mod handler;
mod kernel;
mod network;
mod outcome;
pub mod race;
mod random;
pub mod reconnects;
mod request;
pub mod restart;
pub mod scenario;
mod server;
pub mod statistics;
pub mod tables;
pub mod time;
mod trace;
mod world;

pub use lameduck::report;
pub use network::Path;
pub use outcome::{Drain, Outcome, Share};
pub use random::Random;
pub use request::Loss;
pub use scenario::Scenario;
pub use trace::Trace;
pub use world::{run, traced};
