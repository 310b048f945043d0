//! The async layer: the same tests under tokio, smol and a bare `block_on`, on a virtual clock.

#![cfg(feature = "async")]

mod connections;
mod guards;
mod hooks;
mod phases;
mod reentrancy;
mod requests;
mod world;
