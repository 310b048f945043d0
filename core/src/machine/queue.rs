//! Connections by the moment at which something is due on them.

use alloc::collections::{BTreeMap, BTreeSet, BinaryHeap};
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::connection::{Connection, Situation};
use crate::connections::Connections;
use crate::id::ConnectionId;
use crate::time::Time;

/// Two to so many nanoseconds, 4 ms, are one bucket: with a million connections and the
/// default window it holds some thousand of them, which stay in the processor's cache.
const BUCKET: u32 = 22;

type Entry = Reverse<(Time, ConnectionId)>;

/// The first bucket is sorted, the others wait, so that a connection costs the same among a
/// million as among a thousand. Stale entries are skipped by whoever takes them: an entry
/// holds only while it equals its connection's `queued`.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    first: BinaryHeap<Entry>,
    /// Which bucket `first` is.
    bucket: u64,
    /// The others.
    later: Buckets,
    /// Whether the head may be stale.
    stale: bool,
}

impl Queue {
    /// Queues the connection for its next moment, if that has changed.
    pub(super) fn put(&mut self, connection: &mut Connection, situation: &Situation) {
        let due = connection.next_due(situation);
        if due != connection.queued {
            self.stale |= connection.queued.is_some();
            connection.queued = due;
            if let Some(at) = due {
                self.push((at, connection.id));
            }
        }
    }

    fn push(&mut self, entry: (Time, ConnectionId)) {
        let bucket = entry.0.as_nanos() >> BUCKET;
        if bucket > self.bucket {
            self.later.at(bucket).push(Reverse(entry));
            return;
        }
        if bucket < self.bucket {
            let first = core::mem::take(&mut self.first).into_vec();
            if !first.is_empty() {
                *self.later.at(self.bucket) = first;
            }
            self.bucket = bucket;
        }
        self.first.push(Reverse(entry));
    }

    /// A connection that may be queued is gone.
    pub(super) fn forget(&mut self) {
        self.stale = true;
    }

    /// Drops stale entries from the head, so that nobody is woken for them.
    pub(super) fn prune(&mut self, connections: &Connections) {
        if !core::mem::take(&mut self.stale) && !self.first.is_empty() {
            return;
        }
        let holds = |Reverse((at, id)): &Entry| {
            connections.at(*id).is_some_and(|connection| connection.queued == Some(*at))
        };
        loop {
            match self.first.peek() {
                Some(entry) if holds(entry) => return,
                Some(_) => {
                    self.first.pop();
                }
                None => {
                    let Some((bucket, mut entries)) = self.later.pop_first() else {
                        return;
                    };
                    entries.retain(holds);
                    (self.bucket, self.first) = (bucket, entries.into());
                }
            }
        }
    }

    /// The earliest moment queued, once pruned.
    pub(super) fn next(&self) -> Option<Time> {
        self.first.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn take(&mut self) -> Option<(Time, ConnectionId)> {
        self.stale = true;
        self.first.pop().map(|Reverse(entry)| entry)
    }

    fn sorted(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self.first.iter().chain(self.later.iter()).copied().collect();
        entries.sort_unstable();
        entries
    }
}

/// So many buckets from the first on, 69 s, are found without a search.
const NEAR: u64 = 1 << 14;

#[derive(Clone, Debug, Default)]
struct Buckets {
    near: Vec<Vec<Entry>>,
    /// The first of them, once there is one.
    base: Option<u64>,
    /// Those of them that are not empty.
    filled: BTreeSet<u64>,
    far: BTreeMap<u64, Vec<Entry>>,
}

impl Buckets {
    /// A bucket that is about to be filled.
    fn at(&mut self, bucket: u64) -> &mut Vec<Entry> {
        let offset = bucket.checked_sub(*self.base.get_or_insert(bucket));
        let Some(offset) = offset.filter(|offset| *offset < NEAR) else {
            return self.far.entry(bucket).or_default();
        };
        let place = offset as usize; // below NEAR
        if self.near.len() <= place {
            self.near.resize(place + 1, Vec::new());
        }
        if self.near[place].is_empty() {
            self.filled.insert(bucket);
        }
        &mut self.near[place]
    }

    fn pop_first(&mut self) -> Option<(u64, Vec<Entry>)> {
        let near = self.filled.first().copied();
        let far = self.far.first_key_value().map(|(bucket, _)| *bucket);
        match (near, far, self.base) {
            (Some(near), far, Some(base)) if far.is_none_or(|far| near < far) => {
                self.filled.pop_first();
                Some((near, core::mem::take(&mut self.near[(near - base) as usize])))
            }
            _ => self.far.pop_first(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Entry> {
        let base = self.base.unwrap_or_default();
        let near = self.filled.iter().map(move |bucket| &self.near[(bucket - base) as usize]);
        near.chain(self.far.values()).flatten()
    }
}

impl PartialEq for Queue {
    /// The same entries, whatever lies where.
    fn eq(&self, other: &Self) -> bool {
        self.sorted() == other.sorted()
    }
}

impl Eq for Queue {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Protocol;

    const SECOND: u64 = 1_000_000_000;

    /// A queue of connections that are due at these moments.
    fn queued(moments: &[u64]) -> (Queue, Connections) {
        let mut queue = Queue::default();
        let mut connections = Connections::default();
        for (id, at) in (0..).zip(moments) {
            let (id, at) = (ConnectionId(id), Time::from_nanos(*at));
            let connection = Connection::new(id, Protocol::Http1, Time::default());
            connections.insert(connection).expect("new").queued = Some(at);
            queue.push((at, id));
        }
        (queue, connections)
    }

    #[test]
    fn moments_come_in_order_however_far_apart_they_are() {
        let moments = [
            3 * SECOND,
            SECOND,
            SECOND + 1,
            1 << 50,
            (1 << 50) + 5,
            1 << 43,
            100 * SECOND,
            2 * SECOND,
            u64::MAX - 1,
            SECOND / 2,
        ];
        let (mut queue, connections) = queued(&moments);
        let mut taken = Vec::new();
        loop {
            queue.prune(&connections);
            let next = queue.next();
            let Some((at, _)) = queue.take() else { break };
            assert_eq!(next, Some(at));
            taken.push(at.as_nanos());
        }
        let mut sorted = moments.to_vec();
        sorted.sort_unstable();
        assert_eq!(taken, sorted);
    }

    #[test]
    fn queues_of_other_moments_differ_and_the_order_of_queueing_does_not() {
        assert_ne!(queued(&[SECOND]).0, queued(&[2 * SECOND]).0);
        let (mut queue, connections) = queued(&[SECOND, 2 * SECOND]);
        queue.prune(&connections);
        assert_eq!(queue, queued(&[SECOND, 2 * SECOND]).0);
    }

    #[test]
    fn only_the_first_bucket_is_sorted_and_only_near_ones_have_a_place() {
        let bucket = 1 << BUCKET;
        let near: Vec<u64> = (0..100).map(|n| SECOND + n * bucket).collect();
        let edge = (SECOND >> BUCKET) + NEAR;
        let far = [(edge << BUCKET) - 1, edge << BUCKET, SECOND + 1_000 * SECOND];
        let moments = [&near[..], &far[..]].concat();
        let (mut queue, connections) = queued(&moments);
        assert_eq!(queue.first.len(), 0, "nothing is sorted before it is asked for");
        assert_eq!(queue.later.filled.len(), near.len() + 1);
        assert_eq!(queue.later.near.len() as u64, NEAR, "the last near one");
        assert_eq!(queue.later.far.len(), 2);
        queue.prune(&connections);
        assert_eq!(queue.first.len(), 1);
        // One that comes before the first bucket takes its place.
        queue.push((Time::from_nanos(1), ConnectionId(0)));
        assert_eq!(queue.first.len(), 1);
        assert_eq!(queue.next(), Some(Time::from_nanos(1)));
        assert_eq!(queue.later.filled.len(), near.len() + 1);
    }
}
