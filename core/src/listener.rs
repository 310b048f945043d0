//! Listeners: open, fenced, closing, gone.

use alloc::collections::BTreeSet;

use crate::id::ListenerId;
use crate::refusal::Refused;

/// The listeners that are not closed yet, and how many there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listeners {
    open: BTreeSet<ListenerId>,
    pub(crate) failed: u64,
}

impl Listeners {
    pub(crate) fn open(&mut self, id: ListenerId) -> Result<(), Refused> {
        if self.open.contains(&id) {
            return Err(Refused::AlreadyKnown);
        }
        self.open.insert(id);
        Ok(())
    }

    pub(crate) fn close(&mut self, id: ListenerId) -> Result<(), Refused> {
        if self.open.remove(&id) { Ok(()) } else { Err(Refused::UnknownListener) }
    }

    pub(crate) fn fail(&mut self, id: ListenerId) -> Result<(), Refused> {
        self.close(id)?;
        self.failed += 1;
        Ok(())
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ListenerId> {
        self.open.iter().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
