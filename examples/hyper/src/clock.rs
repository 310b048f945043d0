//! The clock of the watchdog, and tokio's sleep.

use std::future::Future;
use std::pin::Pin;

use lameduck::Time;
use lameduck::async_layer::Timer;
use lameduck_host::clock::now_ns;

/// What the async layer tells the time by.
#[derive(Clone, Copy, Debug)]
pub struct Clock;

impl Timer for Clock {
    fn now(&self) -> Time {
        Time::from_nanos(now_ns())
    }

    fn sleep_until(&self, at: Time) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(at.since(self.now())))
    }
}
