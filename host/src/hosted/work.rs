//! What the server says of its listeners, jobs and hooks.

use std::net::Shutdown;
use std::os::fd::RawFd;
use std::time::Duration;

use lameduck::{Event, HookId, JobId, JobOutcome, JobSource, ListenerId, OnDrain, Phase, Stage};

use super::{Hosted, NotTaken};
use crate::{fence, linger};

impl Hosted {
    /// The server accepts at this listening socket; it goes on doing so until [`Told::CloseListener`]. The descriptor stays the
    /// server's.
    ///
    /// # Errors
    /// [`NotTaken::Descriptor`], and [`NotTaken::Refused`] once a stop was asked for: close the socket.
    pub fn listener_opened(&self, fd: RawFd) -> Result<ListenerId, NotTaken> {
        self.shared.here()?;
        fence::check_listening(fd).map_err(NotTaken::Descriptor)?;
        let mut state = self.shared.state();
        let listener = ListenerId(state.next_id()?);
        state.handle(Event::ListenerOpened { listener })?;
        state.listeners.opened(listener, fd);
        drop(state);
        self.shared.waker.poke();
        Ok(listener)
    }

    /// The listener is closed.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn listener_closed(&self, listener: ListenerId) -> Result<(), NotTaken> {
        self.event_of_listener(listener, Event::ListenerClosed { listener })
    }

    /// The listener failed and is closed; `error` is what the system said.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn listener_failed(&self, listener: ListenerId, error: String) -> Result<(), NotTaken> {
        self.event_of_listener(listener, Event::ListenerFailed { listener, error })
    }

    /// Shuts the listener down, so that its owner's `accept` fails: for servers that wait in it.
    pub fn shut_listener(&self, listener: ListenerId) {
        if self.shared.here().is_ok()
            && let Some(fd) = self.shared.state().listeners.descriptor(listener)
        {
            linger::shut(fd, Shutdown::Both);
        }
    }

    /// Work beside the requests begins.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn job_begun(
        &self,
        name: String,
        source: JobSource,
        on_drain: OnDrain,
    ) -> Result<JobId, NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let job = JobId(state.next_id()?);
        state.handle(Event::JobStarted { job, name, source, on_drain })?;
        self.shared.poke_when(state.machine.phase() != Phase::Serving);
        Ok(job)
    }

    /// It has ended.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn job_ended(&self, job: JobId, outcome: JobOutcome) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        state.handle(Event::JobFinished { job, outcome })?;
        state.cancelled.retain(|known| *known != job);
        self.shared.poke_when(state.machine.phase() != Phase::Serving);
        Ok(())
    }

    /// Whether its abort signal has fired.
    #[must_use]
    pub fn job_cancelled(&self, job: JobId) -> bool {
        self.shared.here().is_ok() && self.shared.state().cancelled.contains(&job)
    }

    /// Registers a clean-up. It runs when [`Effect::RunHook`] says so.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn hook_registered(
        &self,
        stage: Stage,
        name: String,
        order: i32,
        timeout: Option<Duration>,
        known: impl FnOnce(HookId),
    ) -> Result<HookId, NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let hook = HookId(state.next_id()?);
        state.handle(Event::HookRegistered { hook, stage, name, order, timeout })?;
        // Before the thread can be told to run it.
        known(hook);
        drop(state);
        self.shared.waker.poke();
        Ok(hook)
    }

    /// A hook that was to be run has ended; `error` is what it failed with.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn hook_finished(&self, hook: HookId, error: Option<String>) -> Result<(), NotTaken> {
        self.event(Event::HookFinished { hook, error })
    }

    fn event_of_listener(&self, listener: ListenerId, event: Event) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        state.handle(event)?;
        state.listeners.closed(listener);
        drop(state);
        self.shared.waker.poke();
        Ok(())
    }
}
