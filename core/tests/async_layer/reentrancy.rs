//! Wakers that come back in, drivers that are dropped, timers that lie, and who is woken when.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::executor::block_on;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use lameduck::async_layer::{Reached, RequestGuard, Shutdown, Timer};
use lameduck::{Cause, Phase, Policy, Protocol, Settings, Time};

use crate::world::{World, on_every_runtime};

fn policy() -> Policy {
    Policy::resolve(&Settings::default(), &Settings::default()).expect("the defaults fit")
}

/// Its sleeps are over as soon as they begin, and take the clock with them.
#[derive(Clone, Default)]
struct Hurried(Arc<Mutex<Time>>);

impl Timer for Hurried {
    fn now(&self) -> Time {
        *self.0.lock().unwrap()
    }

    fn sleep_until(&self, at: Time) -> BoxFuture<'static, ()> {
        *self.0.lock().unwrap() = at;
        Box::pin(std::future::ready(()))
    }
}

/// Its time stands still.
struct Standing;

impl Timer for Standing {
    fn now(&self) -> Time {
        Time::default()
    }

    fn sleep_until(&self, _: Time) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// Says it slept, and did not.
struct Lying;

impl Timer for Lying {
    fn now(&self) -> Time {
        Time::default()
    }

    fn sleep_until(&self, _: Time) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A waker that does all sorts of things when it is woken, and when it is dropped.
struct Busy {
    shutdown: Shutdown,
    held: Mutex<(Vec<RequestGuard>, Vec<Reached>)>,
    woken: AtomicUsize,
}

impl Busy {
    fn new(shutdown: &Shutdown) -> Arc<Self> {
        let (held, woken) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { shutdown: shutdown.clone(), held, woken })
    }

    fn act(&self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        drop(held);
        let _ = self.shutdown.request(Cause::Programmatic);
        assert!(self.shutdown.draining().now_or_never().is_some());
        assert_eq!(self.shutdown.blockers(10).listeners, 0);
        drop(self.shutdown.job("of a waker"));
    }
}

impl Wake for Busy {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        self.act();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.act();
    }
}

#[test]
fn the_waker_of_a_wait_may_do_anything() {
    let (shutdown, driver) = Shutdown::new(policy(), Standing);
    let connection = shutdown.connection(Protocol::Http1, "").unwrap();
    let busy = Busy::new(&shutdown);
    let waker = Waker::from(Arc::clone(&busy));
    // Two wait for the same; the first to be woken drops the other, and requests in flight.
    let mut waits = [shutdown.draining(), shutdown.draining()];
    for wait in &mut waits {
        assert!(wait.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
    }
    let [mut first, second] = waits;
    let requests = vec![connection.begin().unwrap(), connection.begin().unwrap()];
    *busy.held.lock().unwrap() = (requests, vec![second]);

    let mut driver = pin!(driver);
    let (drivers, woken) = counting_waker();
    let mut context = Context::from_waker(&drivers);
    assert!(driver.as_mut().poll(&mut context).is_pending());
    shutdown.request(Cause::Terminate).unwrap();
    assert!(driver.as_mut().poll(&mut context).is_pending());
    assert_eq!(busy.woken.load(Ordering::Relaxed), 2);
    assert_eq!(shutdown.report().requests.completed, 2);
    assert!(woken.0.load(Ordering::Relaxed) > 0);
    // A task that moves: its old waker goes, and does it all again.
    let mut done = shutdown.done();
    assert!(done.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    drop(busy);
    assert!(done.poll_unpin(&mut context).is_pending());
    assert!(first.poll_unpin(&mut context).is_ready());
}

#[test]
fn the_waker_of_the_driver_may_do_anything() {
    let (shutdown, driver) = Shutdown::new(policy(), Standing);
    let connection = shutdown.connection(Protocol::Http1, "").unwrap();
    let busy = Busy::new(&shutdown);
    let requests = vec![connection.begin().unwrap(), connection.begin().unwrap()];
    *busy.held.lock().unwrap() = (requests, Vec::new());
    let waker = Waker::from(Arc::clone(&busy));
    let mut driver = pin!(driver);
    assert!(driver.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    shutdown.request(Cause::Terminate).unwrap();
    assert_eq!(busy.woken.load(Ordering::Relaxed), 1);
    assert_eq!(shutdown.report().requests.completed, 2);
    drop((waker, busy));
    assert!(driver.as_mut().poll(&mut Context::from_waker(&counting_waker().0)).is_pending());
}

#[test]
fn without_its_driver_nobody_waits_for_ever() {
    let (shutdown, driver) = Shutdown::new(policy(), Hurried::default());
    let connection = shutdown.connection(Protocol::Http1, "").unwrap();
    let before = (shutdown.draining(), shutdown.drained(), shutdown.done(), shutdown.phases());
    drop(driver);
    block_on(before.0);
    block_on(before.1);
    assert_eq!(block_on(before.2).phase, "serving");
    assert_eq!(block_on(before.3.collect::<Vec<_>>()), [Phase::Serving]);
    // Guards go on counting, and the machine still says how it stands.
    let request = connection.begin().unwrap();
    shutdown.request(Cause::Terminate).unwrap();
    drop(request);
    assert_eq!(shutdown.report().requests.completed, 1);
    assert_eq!(block_on(shutdown.done()).phase, "draining");
    let phases: Vec<_> = block_on(shutdown.phases().collect());
    assert_eq!(phases, [Phase::Draining]);
}

#[test]
fn a_driver_dropped_while_somebody_waits_wakes_them() {
    let (shutdown, driver) = Shutdown::new(policy(), Hurried::default());
    let waiting = std::thread::spawn({
        let shutdown = shutdown.clone();
        move || block_on(shutdown.done())
    });
    drop(driver);
    assert_eq!(waiting.join().unwrap().phase, "serving");
}

#[test]
fn a_timer_that_resolves_early_costs_polls_and_nothing_else() {
    let (shutdown, driver) = Shutdown::new(policy(), Lying);
    shutdown.request(Cause::Terminate).unwrap();
    let mut driver = pin!(driver);
    let (waker, woken) = counting_waker();
    for poll in 1..=3 {
        assert_eq!(driver.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
        assert_eq!(woken.0.load(Ordering::Relaxed), poll, "it asks to be polled again");
    }
    assert_eq!(shutdown.phase(), Phase::Draining);
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counting_waker() -> (Waker, Arc<Woken>) {
    let woken = Arc::new(Woken::default());
    (Waker::from(Arc::clone(&woken)), woken)
}

#[test]
fn a_driver_alone_ends_a_server_alone() {
    let timer = Hurried::default();
    let (shutdown, driver) = Shutdown::new(policy(), timer.clone());
    shutdown.request(Cause::Terminate).unwrap();
    let report = block_on(driver);
    assert_eq!((report.phase, report.exit_code), ("done", 0));
    assert_eq!(timer.now().since(Time::default()), Duration::from_secs(5), "the window");
}

on_every_runtime! {
    async fn only_the_last_exit_wakes_the_driver(world, Settings::default()) {
        let mut connections: Vec<_> =
            (0..50).map(|_| world.shutdown.connection(Protocol::Http1, "").unwrap()).collect();
        let mut requests: Vec<_> =
            connections.iter().map(|connection| connection.begin().unwrap()).collect();
        let last = (requests.pop(), connections.pop());
        let job = world.shutdown.job("holds the drain").unwrap();
        world.settle().await;
        let before = world.driver_polls.load(Ordering::Relaxed);
        assert_eq!(world.shutdown.blockers(1).requests, 50);
        drop(connections[0].begin().unwrap());
        world.settle().await;
        assert_eq!(world.driver_polls.load(Ordering::Relaxed), before, "nothing while serving");

        world.shutdown.request(Cause::Terminate).unwrap();
        world.run(10_000).await;
        let asleep = world.driver_polls.load(Ordering::Relaxed);
        drop(requests); // each will be closed after its quiet period, the first of which is armed
        world.settle().await;
        assert!(world.driver_polls.load(Ordering::Relaxed) <= asleep + 1);
        world.run(15_000).await; // all told to close, all but the last are gone
        drop(connections);
        world.settle().await;
        let asleep = world.driver_polls.load(Ordering::Relaxed);
        drop(job);
        world.settle().await;
        assert_eq!(world.driver_polls.load(Ordering::Relaxed), asleep, "one request is left");
        drop(last);
        world.settle().await;
        assert_eq!(world.shutdown.phase(), Phase::Done);
        assert!(world.driver_polls.load(Ordering::Relaxed) > asleep);
    }
}
