//! What a hyper server needs to be drained without losing a request, in five parts.

mod body;
mod clock;
mod connection;
mod io;
mod listener;
mod process;

pub use body::Guarded;
pub use clock::Clock;
pub use connection::serve;
pub use listener::accept;
pub use process::Process;
