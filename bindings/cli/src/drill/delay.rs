//! A delay of less than the runtime's timers can do: those count whole milliseconds and round up,
//! so that 1 ms would become anything up to 3.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Everything that passes comes out a fixed time later. Clones share one line.
#[derive(Clone)]
pub struct DelayLine {
    delay: Duration,
    /// None when there is no delay. The thread behind it ends with the last clone.
    queue: Option<mpsc::Sender<(Instant, oneshot::Sender<()>)>>,
}

/// Something on the line.
pub struct Passing(Option<oneshot::Receiver<()>>);

impl DelayLine {
    /// A line with this delay.
    pub fn new(delay: Duration) -> Self {
        if delay.is_zero() {
            return Self { delay, queue: None };
        }
        let (sender, receiver) = mpsc::channel::<(Instant, oneshot::Sender<()>)>();
        thread::spawn(move || {
            // The delay is the same for all: first in is first due.
            for (due, passed) in receiver {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                // The connection may have ended meanwhile.
                let _ = passed.send(());
            }
        });
        Self { delay, queue: Some(sender) }
    }

    /// Puts something on the line now.
    pub fn enter(&self) -> Passing {
        let Some(queue) = &self.queue else { return Passing(None) };
        let (sender, receiver) = oneshot::channel();
        match queue.send((Instant::now() + self.delay, sender)) {
            Ok(()) => Passing(Some(receiver)),
            Err(_) => Passing(None),
        }
    }
}

impl Passing {
    /// Waits until it comes out.
    pub async fn out(self) {
        if let Some(receiver) = self.0 {
            // An error means that the line is gone: then nothing is delayed any more.
            let _ = receiver.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_delay_is_kept_and_not_much_more() {
        let line = DelayLine::new(Duration::from_millis(1));
        let mut took = Vec::new();
        for _ in 0..51 {
            let begun = Instant::now();
            line.enter().out().await;
            took.push(begun.elapsed());
        }
        took.sort();
        assert!(took[0] >= Duration::from_millis(1));
        assert!(took[25] < Duration::from_millis(2), "{:?}", took[25]);
    }

    #[tokio::test]
    async fn no_delay_is_none() {
        DelayLine::new(Duration::ZERO).enter().out().await;
    }
}
