//! Waking those who wait, with no lock held.

use alloc::task::Wake;
use alloc::vec::Vec;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use event_listener::{Event, EventListener};

use crate::sync::{Arc, Mutex, lock};

/// The tasks to be woken next.
///
/// [`Event`] wakes under a lock of its own, and a waker is user code: it may drop a guard, or a future that
/// waits for the same event. So what the event wakes is a [`Note`], which puts the task on this list, and whoever
/// notified wakes the list when all locks are free.
#[derive(Default)]
pub(super) struct Due(Mutex<Vec<Waker>>);

impl Due {
    pub(super) fn wake(&self) {
        // Taken out first: a waker may come back here.
        let due = core::mem::take(&mut *lock(&self.0));
        for waker in due {
            waker.wake();
        }
    }
}

/// Something that several tasks wait for.
#[derive(Default)]
pub(super) struct Signal(Event);

impl Signal {
    /// Puts everybody who waits on their list of those due; [`Due::wake`] wakes them.
    pub(super) fn notify(&self) {
        self.0.notify(usize::MAX);
    }
}

/// One task's wait for a [`Signal`].
pub(super) struct Wait {
    listener: Option<EventListener>,
    note: alloc::sync::Arc<Note>,
}

struct Note {
    task: Mutex<Option<Waker>>,
    due: Arc<Due>,
}

impl Wake for Note {
    fn wake(self: alloc::sync::Arc<Self>) {
        let task = lock(&self.task).take();
        lock(&self.due.0).extend(task);
    }
}

impl Wait {
    pub(super) fn new(due: &Arc<Due>) -> Self {
        Self {
            listener: None,
            note: alloc::sync::Arc::new(Note { task: Mutex::new(None), due: Arc::clone(due) }),
        }
    }

    /// Waits for `signal` until `ready` has something.
    pub(super) fn poll<T>(
        &mut self,
        signal: &Signal,
        context: &Context<'_>,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Poll<T> {
        loop {
            // Asked again once the listener stands, so that nothing falls between.
            if let Some(value) = ready() {
                self.listener = None;
                return Poll::Ready(value);
            }
            let Some(listener) = &mut self.listener else {
                self.listener = Some(signal.0.listen());
                continue;
            };
            self.note.replace(Some(context.waker().clone()));
            let note = Waker::from(alloc::sync::Arc::clone(&self.note));
            if Pin::new(listener).poll(&mut Context::from_waker(&note)).is_pending() {
                return Poll::Pending;
            }
            self.listener = None;
        }
    }
}

impl Note {
    fn replace(&self, task: Option<Waker>) {
        let before = core::mem::replace(&mut *lock(&self.task), task);
        // Dropped when the lock is free again: it may be the last that holds a task.
        drop(before);
    }
}
