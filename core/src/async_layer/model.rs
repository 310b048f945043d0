//! The hand-over through the guards, in every order: run by loom, with
//! `RUSTFLAGS='--cfg loom' LOOM_MAX_PREEMPTIONS=3 cargo test --release -p lameduck --features async --lib model`.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use loom::thread;

use super::{ConnectionGuard, RequestGuard, Shutdown, Timer};
use crate::report::Report;
use crate::{Cause, Outcome, Policy, Protocol, RequestKind, Settings, Time};

/// Its time stands still.
struct Standing;

impl Timer for Standing {
    fn now(&self) -> Time {
        Time::from_nanos(1_000_000_000)
    }

    fn sleep_until(&self, _: Time) -> BoxFuture<'static, ()> {
        Box::pin(futures::future::pending())
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Without a window, so that nothing but what is in flight holds it up.
fn server() -> (Shutdown, super::Driver, ConnectionGuard) {
    let settings = Settings { interactive: true, ..Settings::default() };
    let policy = Policy::resolve(&settings, &Settings::default()).expect("fits");
    let (shutdown, driver) = Shutdown::new(policy, Standing);
    let connection = shutdown.connection(Protocol::Http2, "").expect("serving");
    (shutdown, driver, connection)
}

/// Runs `one` in every order and expects that the machine adopted so many requests in one order or another.
fn adopts(expected: &[u64], one: impl Fn() -> Report + Send + Sync + 'static) {
    let met = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let note = Arc::clone(&met);
    loom::model(move || {
        let requests = one().requests;
        let verdicts = requests.completed + requests.client_gone;
        assert_eq!(requests.adopted + requests.admitted, verdicts, "one verdict each");
        assert_eq!((requests.in_flight, requests.not_processed), (0, 0));
        note.lock().unwrap().insert(requests.adopted);
    });
    let met: Vec<u64> = met.lock().unwrap().iter().copied().collect();
    assert_eq!(met, expected);
}

fn describe(mut request: RequestGuard) -> RequestGuard {
    request.describe(RequestKind::Ordinary, "GET /");
    request
}

#[test]
fn a_counted_request_has_one_verdict() {
    adopts(&[1, 2], || {
        let (shutdown, _driver, connection) = server();
        let (begun, handle) = (connection.begin().expect("serving"), connection.handle().clone());
        let stays = connection.begin().expect("serving");
        let other = thread::spawn(move || {
            drop(begun);
            handle.begin().expect("draining at most").finish(Outcome::ClientGone);
        });
        shutdown.request(Cause::Terminate).expect("serving");
        drop(stays);
        other.join().unwrap();
        shutdown.report()
    });
}

#[test]
fn a_described_request_has_one_verdict() {
    adopts(&[1, 2], || {
        let (shutdown, _driver, connection) = server();
        let (begun, counted) = (connection.begin().unwrap(), connection.begin().unwrap());
        let other = thread::spawn(move || {
            let mut begun = describe(begun);
            begun.headers_sent(false);
            drop(begun);
        });
        shutdown.request(Cause::Terminate).expect("serving");
        drop(describe(counted));
        other.join().unwrap();
        shutdown.report()
    });
}

#[test]
fn a_connection_is_adopted_opened_or_gone() {
    adopts(&[0, 1], || {
        let (shutdown, _driver, connection) = server();
        let opener = {
            let shutdown = shutdown.clone();
            thread::spawn(move || {
                drop(connection);
                let connection = shutdown.connection(Protocol::Http1, "").expect("not closing");
                drop(connection.begin());
                drop(connection);
            })
        };
        shutdown.request(Cause::Terminate).expect("serving");
        opener.join().unwrap();
        let report = shutdown.report();
        assert_eq!(report.connections.open, 0);
        report
    });
}

#[test]
fn the_last_exit_always_wakes_the_driver() {
    loom::model(|| {
        let (shutdown, driver, connection) = server();
        let request = connection.begin().expect("serving");
        shutdown.request(Cause::Terminate).expect("serving");
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut driver = pin!(driver);
        let exits = thread::spawn(move || {
            drop(request);
            drop(connection);
        });
        // Once, at whatever moment: from here on it must be told.
        let mut ended = driver.as_mut().poll(&mut context);
        exits.join().unwrap();
        if ended.is_pending() {
            assert_ne!(woken.0.load(Ordering::Relaxed), 0, "it sleeps, and nothing is in flight");
            ended = driver.as_mut().poll(&mut context);
        }
        assert!(matches!(ended, Poll::Ready(report) if report.exit_code == 0));
    });
}
