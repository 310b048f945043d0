//! What is still to happen, in order of time; at the same time, in the order of planning.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::network::Way;
use crate::time::Nanos;

/// Something that happens at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Happening {
    /// A server's event loop turns to its accept queue.
    Accept { server: u32 },
    /// The handler writes what it has.
    Answer { request: u32 },
    /// The client's ACK of a handshake arrives.
    Ack { connection: u32 },
    /// A new process listens in this slot.
    Boot { slot: u32 },
    /// The next message arrives.
    Deliver { connection: u32, way: Way },
    /// The last byte of a written answer leaves the process.
    Flush { request: u32 },
    /// A client's patience is over.
    GiveUp { request: u32 },
    /// A hook ends.
    HookEnds { server: u32, hook: u32 },
    /// The client's idle timeout, if nothing was asked since.
    IdleTimeout { connection: u32, since: Nanos },
    /// Something befalls a server that stops.
    Incident { server: u32, index: u32 },
    /// A job ends.
    JobEnds { server: u32, job: u32, aborted: bool },
    /// The balancer asks this slot whether it is ready.
    Probe { slot: u32 },
    /// The question arrives.
    ProbeArrives { slot: u32 },
    /// The answer does.
    ProbeAnswered { slot: u32, ready: bool },
    /// The event loop reads what lies in the kernel.
    Read { connection: u32 },
    /// A RST arrives at a client: there is no listener.
    Refused { connection: u32 },
    /// A RST arrives.
    Reset { connection: u32, way: Way },
    /// The last byte of an upload leaves the client.
    SendBody { request: u32 },
    /// The second part of a request leaves the client.
    SendRest { request: u32 },
    /// The process in this slot is asked to stop.
    Stop { slot: u32 },
    /// A SYN arrives.
    Syn { connection: u32 },
    /// Its answer does.
    SynAnswered { connection: u32 },
    /// The machine wanted to be ticked.
    Wake { server: u32 },
    /// A user, or the Poisson process of this pool, wants something.
    Wanted { pool: u32 },
}

/// The queue of all that is planned.
#[derive(Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<(Nanos, u64, Happening)>>,
    planned: u64,
}

impl Agenda {
    pub(crate) fn plan(&mut self, at: Nanos, what: Happening) {
        self.planned += 1;
        self.heap.push(Reverse((at, self.planned, what)));
    }

    pub(crate) fn next(&mut self) -> Option<(Nanos, Happening)> {
        self.heap.pop().map(|Reverse((at, _, what))| (at, what))
    }
}
