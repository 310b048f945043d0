//! Which connections are open: touched when one opens or closes, never for a request.

use alloc::vec::Vec;

use super::line::{Line, Opening};
use super::shared::Shared;
use crate::id::ConnectionId;
use crate::ledger;
use crate::protocol::Protocol;
use crate::sync::Arc;

#[derive(Default)]
pub(super) struct Registry {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The hand-over has been: connections are born handed.
    pub(super) handed: bool,
    /// The abort signals have fired.
    pub(super) aborted: bool,
    pub(super) ever_accepted: bool,
}

struct Slot {
    /// Of the connection in it, or of the last one.
    generation: u32,
    line: Option<Arc<Line>>,
}

impl Registry {
    /// Enters a connection; `None` when 2^32 are open.
    pub(super) fn open(
        &mut self,
        shared: &Arc<Shared>,
        protocol: Protocol,
        peer: alloc::string::String,
    ) -> Option<Arc<Line>> {
        self.ever_accepted = true;
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot { generation: 0, line: None });
                index
            }
        };
        let slot = &mut self.slots[index as usize];
        let line = Arc::new(Line::new(Opening {
            shared: Arc::clone(shared),
            index,
            last_generation: slot.generation,
            protocol,
            peer,
            handed: self.handed,
            aborted: self.aborted,
        }));
        slot.generation = ledger::generation_of(line.id.0);
        slot.line = Some(Arc::clone(&line));
        Some(line)
    }

    /// Forgets a connection; the caller lets go of what is returned when the lock is free.
    pub(super) fn close(&mut self, id: ConnectionId) -> Option<Arc<Line>> {
        let index = ledger::index_of(id.0);
        let slot = self.slots.get_mut(index as usize)?;
        let line = slot.line.take_if(|line| line.id == id)?;
        self.free.push(index);
        Some(line)
    }

    pub(super) fn line(&self, id: ConnectionId) -> Option<Arc<Line>> {
        let slot = self.slots.get(ledger::index_of(id.0) as usize)?;
        slot.line.as_ref().filter(|line| line.id == id).map(Arc::clone)
    }

    /// The open connections, in handle order.
    pub(super) fn lines(&self) -> impl Iterator<Item = &Arc<Line>> {
        self.slots.iter().filter_map(|slot| slot.line.as_ref())
    }
}
