//! The connections of one shutdown, by handle. A million of them must be adopted within a
//! few tens of milliseconds, so they lie in one array, and a handle's slot number, which
//! the ledger gives out densely, leads to its place.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::connection::Connection;
use crate::id::ConnectionId;
use crate::ledger;
use crate::refusal::Refused;

/// Slot numbers up to here are found without a search; the ledger gives out no others.
const DIRECT: usize = 1 << 22;
const PAGE: usize = 1 << 10;

/// Where a connection lies in the array, plus one: 0 is nowhere.
type Page = Box<[u32; PAGE]>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    places: Vec<Option<Connection>>,
    free: Vec<u32>,
    pages: Vec<Option<Page>>,
    /// Handles whose slot is taken by another generation, or beyond [`DIRECT`].
    others: BTreeMap<ConnectionId, u32>,
}

impl Connections {
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn insert(&mut self, connection: Connection) -> Result<&mut Connection, Refused> {
        let id = connection.id;
        if self.place(id).is_some() {
            return Err(Refused::AlreadyKnown);
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).expect("memory ends before 2^32 connections")
        });
        match self.cell(id) {
            Some(cell) if *cell == 0 => *cell = place + 1,
            _ => {
                self.others.insert(id, place);
            }
        }
        Ok(self.places[place as usize].insert(connection))
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let place = self.place(id)?;
        if self.others.remove(&id).is_none()
            && let Some(cell) = self.cell(id)
        {
            *cell = 0;
        }
        self.free.push(place);
        self.places[place as usize].take()
    }

    pub(crate) fn at(&self, id: ConnectionId) -> Option<&Connection> {
        self.places[self.place(id)? as usize].as_ref()
    }

    pub(crate) fn at_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let place = self.place(id)?;
        self.places[place as usize].as_mut()
    }

    /// All of them, in an order that depends on nothing but the events so far.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.places.iter_mut().flatten()
    }

    fn place(&self, id: ConnectionId) -> Option<u32> {
        let slot = ledger::index_of(id.0) as usize;
        let page = self.pages.get(slot / PAGE).and_then(Option::as_ref);
        let direct = page.and_then(|page| page[slot % PAGE].checked_sub(1));
        let is_it =
            |place: &u32| self.places[*place as usize].as_ref().is_some_and(|known| known.id == id);
        direct.filter(is_it).or_else(|| self.others.get(&id).copied())
    }

    /// The cell of the handle's slot; `None` beyond [`DIRECT`].
    fn cell(&mut self, id: ConnectionId) -> Option<&mut u32> {
        let slot = ledger::index_of(id.0) as usize;
        if slot >= DIRECT {
            return None;
        }
        if self.pages.len() <= slot / PAGE {
            self.pages.resize(slot / PAGE + 1, None);
        }
        let page = self.pages[slot / PAGE].get_or_insert_with(|| Box::new([0; PAGE]));
        Some(&mut page[slot % PAGE])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Protocol;
    use crate::time::Time;

    fn connection(id: u64) -> Connection {
        Connection::new(ConnectionId(id), Protocol::Http1, Time::default())
    }

    #[test]
    fn every_handle_is_found_until_it_is_removed() {
        let same_slot = [7, 7 | 1 << 32, 7 | 2 << 32];
        let edges = [0, 1, 1_023, 1_024, (1 << 22) - 1, 1 << 22, u64::MAX];
        let mut connections = Connections::default();
        for id in same_slot.into_iter().chain(edges) {
            assert!(connections.at(ConnectionId(id)).is_none());
            connections.insert(connection(id)).expect("new");
            assert_eq!(connections.insert(connection(id)).err(), Some(Refused::AlreadyKnown));
        }
        assert_eq!(connections.len(), 10);
        assert_eq!(connections.others.len(), 4, "only these are searched for");
        assert_eq!(connections.pages.len(), DIRECT / PAGE, "no more than the slots need");
        for id in same_slot {
            let id = ConnectionId(id);
            assert_eq!(connections.remove(id).map(|known| known.id), Some(id));
            assert!(connections.remove(id).is_none() && connections.at_mut(id).is_none());
        }
        for id in edges.map(ConnectionId) {
            assert_eq!(connections.at(id).map(|known| known.id), Some(id));
        }
        assert_eq!(connections.iter_mut().count(), 7);
        connections.insert(connection(same_slot[1])).expect("gone before");
        assert_eq!((connections.len(), connections.places.len()), (8, 10), "a place is reused");
    }

    #[test]
    fn a_connection_takes_one_cache_line() {
        assert_eq!(size_of::<Option<Connection>>(), 64);
    }
}
