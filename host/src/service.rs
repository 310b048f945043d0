//! The service manager, and what it was told: [`Notices`] on their way through a [`Notifier`].
//!
//! What it does not hear it does not miss: nothing here holds a shutdown up.

use lameduck::{Effect, Machine, Time};

use crate::notices::Notices;
use crate::notify::{Notifier, NotifyError};

/// A service manager that is told of one shutdown.
#[derive(Debug)]
pub struct Service {
    notices: Notices,
    notifier: Notifier,
}

impl Service {
    /// The one that the environment names, if it names one.
    ///
    /// # Errors
    /// [`NotifyError`]: worth one line of the log. The server goes on without.
    pub fn connect() -> Result<Option<Self>, NotifyError> {
        let notifier = Notifier::from_environment()?;
        Ok(notifier.map(|notifier| Self { notices: Notices::new(), notifier }))
    }

    /// The server serves, see [`Notices::serves`].
    pub fn serves(&mut self) {
        self.notices.serves();
    }

    /// Give every effect to this, see [`Notices::effect`].
    pub fn effect(&mut self, effect: &Effect) {
        self.notices.effect(effect);
    }

    /// Says what there is to say; trouble is returned once.
    pub fn tell(&mut self, machine: &Machine, now: Time) -> Option<NotifyError> {
        match self.notices.poll(machine, now) {
            Some(message) => self.notifier.send(&message),
            None if self.notifier.keeps() => self.notifier.retry(),
            None => None,
        }
    }
}
