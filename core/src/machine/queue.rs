//! Connections by the moment at which something is due on them.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::connection::{Connection, Situation};
use crate::connections::Connections;
use crate::id::ConnectionId;
use crate::time::Time;

/// A heap whose stale entries are skipped by whoever takes them: an entry holds only
/// while it equals its connection's `queued`.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(BinaryHeap<Reverse<(Time, ConnectionId)>>);

impl Queue {
    /// Queues the connection for its next moment, if that has changed.
    pub(super) fn put(&mut self, connection: &mut Connection, situation: &Situation) {
        let due = connection.next_due(situation);
        if due != connection.queued {
            connection.queued = due;
            self.0.extend(due.map(|at| Reverse((at, connection.id))));
        }
    }

    /// Drops stale entries from the head, so that nobody is woken for them.
    pub(super) fn prune(&mut self, connections: &Connections) {
        while let Some(Reverse((at, id))) = self.0.peek()
            && connections.at(*id).is_none_or(|connection| connection.queued != Some(*at))
        {
            self.0.pop();
        }
    }

    /// The earliest moment queued.
    pub(super) fn next(&self) -> Option<Time> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn take(&mut self) -> Option<(Time, ConnectionId)> {
        self.0.pop().map(|Reverse(entry)| entry)
    }
}

impl PartialEq for Queue {
    /// The same entries, whatever lies where in the heap.
    fn eq(&self, other: &Self) -> bool {
        let sorted = |queue: &Self| {
            let mut entries: Vec<_> = queue.0.iter().copied().collect();
            entries.sort_unstable();
            entries
        };
        self.0.len() == other.0.len() && sorted(self) == sorted(other)
    }
}

impl Eq for Queue {}
