//! Names that the driver gives to what it reports.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);
    };
}

id! {
    /// A connection: the ledger's handle, which carries a generation (see [`crate::ledger`]).
    ConnectionId(u64)
}
id! {
    /// A hook, unique for the life of the machine.
    HookId(u32)
}
id! {
    /// A job, unique while it runs.
    JobId(u32)
}
id! {
    /// A listener, unique while it is open.
    ListenerId(u32)
}
id! {
    /// A request, unique on its connection while it is in flight. The requests that a
    /// connection is adopted with are `0..in_flight`, in the order they were parsed.
    RequestId(u32)
}
