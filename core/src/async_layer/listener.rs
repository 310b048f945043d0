//! Listeners.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::fmt;
use core::future::poll_fn;

use super::shared::Shared;
use super::signal::{Signal, Wait};
use crate::event::Event;
use crate::id::ListenerId;
use crate::sync::{Arc, Mutex, lock};

/// What whoever accepts is told to do. Each is told once, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerCue {
    /// Drop new handshakes at this listener, go on accepting what is under way: the
    /// fence of `lameduck_host`. Who has none goes on accepting.
    Fence,
    /// Accept until the kernel's queue is empty, then close it and drop the guard.
    Close,
}

pub(super) struct Listener {
    cues: Mutex<VecDeque<ListenerCue>>,
    pub(super) signal: Signal,
}

impl Default for Listener {
    fn default() -> Self {
        Self { cues: Mutex::new(VecDeque::new()), signal: Signal::default() }
    }
}

impl Listener {
    pub(super) fn cue(&self, cue: ListenerCue) {
        lock(&self.cues).push_back(cue);
    }
}

/// A listener, as long as it accepts connections. Dropping it says that it is closed.
#[must_use = "a listener that is dropped counts as closed"]
pub struct ListenerGuard {
    shared: Arc<Shared>,
    id: ListenerId,
    listener: Arc<Listener>,
    error: Option<String>,
}

impl ListenerGuard {
    pub(super) fn new(shared: Arc<Shared>, id: ListenerId, listener: Arc<Listener>) -> Self {
        Self { shared, id, listener, error: None }
    }

    /// The next thing to do. Never resolves if there is nothing to do; may be dropped and called again.
    pub async fn cue(&mut self) -> ListenerCue {
        let mut wait = Wait::new(&self.shared.due);
        let next = || lock(&self.listener.cues).pop_front();
        poll_fn(|context| wait.poll(&self.listener.signal, context, next)).await
    }

    /// It failed and accepts nothing any more; `error` is what the operating system said.
    pub fn failed(mut self, error: impl Into<String>) {
        self.error = Some(error.into());
    }
}

impl Drop for ListenerGuard {
    fn drop(&mut self) {
        let listener = self.id;
        let forgotten = self.shared.with(|core| core.listeners.remove(&listener));
        drop(forgotten);
        let event = match self.error.take() {
            Some(error) => Event::ListenerFailed { listener, error },
            None => Event::ListenerClosed { listener },
        };
        // Refused only when everything is over.
        let _ = self.shared.tell(event);
    }
}

impl fmt::Debug for ListenerGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerGuard").field("id", &self.id).finish_non_exhaustive()
    }
}
