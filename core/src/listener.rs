//! Listeners: open, fenced, closing, gone.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::id::ListenerId;
use crate::refusal::Refused;

/// How many failures a report names.
const NAMED: usize = 10;

/// The listeners that are not closed yet, and how others failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listeners {
    open: BTreeSet<ListenerId>,
    pub(crate) failed: u64,
    pub(crate) errors: Vec<String>,
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

    pub(crate) fn fail(&mut self, id: ListenerId, error: String) -> Result<(), Refused> {
        self.close(id)?;
        self.failed += 1;
        if self.errors.len() < NAMED {
            self.errors.push(error);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_counts_and_a_report_names_the_first() {
        let mut listeners = Listeners::default();
        for number in 0..12 {
            let id = ListenerId(number);
            listeners.open(id).expect("new");
            listeners.fail(id, alloc::format!("failure {number}")).expect("open");
        }
        assert_eq!((listeners.failed, listeners.errors.len()), (12, NAMED));
        assert_eq!(listeners.errors.last().map(String::as_str), Some("failure 9"));
    }
}
