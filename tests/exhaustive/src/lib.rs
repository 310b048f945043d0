//! Checks every order of events and ticks within bounds, on the shipping [`lameduck::Machine`].
//!
//! | question | file |
//! |---|---|
//! | which models there are, and their bounds | `models.rs`, `bounds.rs` |
//! | what the driver may say or leave unsaid, and when it sleeps | `driver.rs` |
//! | what is promised in every state | `promise.rs`, judged in `judge.rs` |
//! | what must be seen to happen at least once | `sight.rs` |
//! | what makes two states the same | `state.rs`, and `core/src/machine/situation.rs` |
//! | that a broken promise is found | `bugs.rs`, `bugs/` |

pub mod bounds;
pub mod bugs;
pub mod check;
pub mod driver;
mod history;
mod judge;
pub mod model;
pub mod models;
pub mod page;
pub mod promise;
pub mod sight;
pub mod state;
