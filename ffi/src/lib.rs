//! The C ABI: translates and decides nothing. `include/lameduck.h` is made of this crate; what stands here as documentation is
//! what C programmers read there.
//!
//! Every function runs inside [`status::guard`]: no panic leaves it. What C calls a pointer to an object is a number, looked
//! up in a [`registry`] and never followed, so a freed one is refused instead of read.

// The names are those of C; a C programmer reads `# Safety` in the header, said once for all of them.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod connection;
mod dispatch;
mod effect;
mod enums;
mod event;
mod hold;
mod hook;
mod input;
mod job;
mod listener;
mod machine;
mod metrics;
mod options;
mod policy;
mod registry;
mod request;
mod server;
mod status;
mod text;
mod version;
