//! Threads begin, describe and end requests, open and close connections and pass guards on to each other while
//! shutdown is requested: afterwards every request that was in flight or came later has one verdict.

#![cfg(feature = "async")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures::executor::block_on;
use futures::future::{BoxFuture, poll_fn};
use lameduck::async_layer::{Connection, RequestGuard, Shutdown, Timer};
use lameduck::{Cause, Outcome, Policy, Protocol, Refused, RequestKind, Settings, Time};

const THREADS: usize = 4;
const CONNECTIONS: usize = 6;
const ROUNDS: usize = 40;

/// Time stands still until it is let go; then every sleep is over at once.
#[derive(Clone, Default)]
struct Clock(Arc<Moment>);

#[derive(Default)]
struct Moment {
    now: AtomicU64,
    running: AtomicBool,
    asleep: Mutex<Vec<Waker>>,
}

impl Clock {
    fn run(&self) {
        self.0.running.store(true, Ordering::SeqCst);
        let asleep = std::mem::take(&mut *self.0.asleep.lock().unwrap());
        asleep.into_iter().for_each(Waker::wake);
    }
}

impl Timer for Clock {
    fn now(&self) -> Time {
        Time::from_nanos(self.0.now.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, at: Time) -> BoxFuture<'static, ()> {
        let moment = Arc::clone(&self.0);
        Box::pin(poll_fn(move |context: &mut Context<'_>| {
            moment.asleep.lock().unwrap().push(context.waker().clone());
            if moment.running.load(Ordering::SeqCst) {
                moment.now.fetch_max(at.as_nanos(), Ordering::SeqCst);
                return Poll::Ready(());
            }
            Poll::Pending
        }))
    }
}

/// One thread's work until it is stopped.
struct Worker {
    shutdown: Shutdown,
    shared: Vec<Connection>,
    next: SyncSender<RequestGuard>,
    passed: Receiver<RequestGuard>,
    seed: u64,
}

impl Worker {
    fn random(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.seed >> 33) as usize % below
    }

    fn step(&mut self) {
        let index = self.random(self.shared.len());
        let mut request = self.shared[index].begin().expect("it is open and serves");
        match self.random(6) {
            0 => drop(request),
            1 => {
                request.describe(RequestKind::Ordinary, "GET /described");
                request.finish(Outcome::Completed);
            }
            2 => {
                request.describe(RequestKind::Upload, format!("POST /{index}"));
                request.headers_sent(false);
                drop(request.finish_unflushed(Outcome::Completed));
            }
            3 => request.finish(Outcome::ClientGone),
            4 => drop(self.next.try_send(request)), // ends in another thread, or here if that is busy
            _ => {
                let own = self.shutdown.connection(Protocol::Http1, "192.0.2.1:1").expect("serves");
                let second = own.begin().expect("it is open");
                own.upgraded(Protocol::Websocket).expect("it is open");
                drop((request, second));
                let handle = own.handle().clone();
                drop(own);
                assert_eq!(handle.begin().unwrap_err(), Refused::UnknownConnection);
            }
        }
        if let Ok(request) = self.passed.try_recv() {
            drop(request);
        }
    }
}

#[test]
fn every_request_has_one_verdict_under_threads() {
    let mut in_flight_at_hand_over = 0;
    for round in 0..ROUNDS {
        let clock = Clock::default();
        let policy = Policy::resolve(&Settings::default(), &Settings::default()).expect("fits");
        let (shutdown, driver) = Shutdown::new(policy, clock.clone());
        let driver = thread::spawn(move || block_on(driver));
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|_| shutdown.connection(Protocol::Http2, "192.0.2.2:2").expect("serving"))
            .collect();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| sync_channel(4)).unzip();
        let (start, stop) = (Arc::new(Barrier::new(THREADS + 1)), Arc::new(AtomicBool::new(false)));
        let threads: Vec<_> = receivers
            .into_iter()
            .enumerate()
            .map(|(thread, passed)| {
                let mut worker = Worker {
                    shutdown: shutdown.clone(),
                    shared: connections.iter().map(|one| one.handle().clone()).collect(),
                    next: senders[(thread + 1) % THREADS].clone(),
                    passed,
                    seed: (round * THREADS + thread) as u64,
                };
                let (start, stop) = (Arc::clone(&start), Arc::clone(&stop));
                thread::spawn(move || {
                    start.wait();
                    let mut steps = 0;
                    while !stop.load(Ordering::Relaxed) || steps < 200 {
                        worker.step();
                        steps += 1;
                        if steps > 100_000 {
                            break;
                        }
                    }
                    steps
                })
            })
            .collect();
        drop(senders);
        start.wait();
        // Somewhere in the middle of it, a little later in each round.
        for _ in 0..round * 500 {
            std::hint::spin_loop();
        }
        shutdown.request(Cause::Terminate).expect("serving");
        stop.store(true, Ordering::Relaxed);
        let steps: usize = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        assert!(steps >= THREADS * 200);
        let left = shutdown.report().requests;
        assert_eq!(left.in_flight, 0, "every guard is gone, and the machine still waits for one");
        assert_eq!(left.adopted + left.admitted, left.completed + left.client_gone);
        drop(connections);
        clock.run();
        let report = driver.join().expect("no panic");
        let requests = &report.requests;
        assert_eq!(requests.in_flight, 0);
        assert_eq!((requests.forced, requests.refused, requests.not_processed), (0, 0, 0));
        assert_eq!(
            requests.adopted + requests.admitted,
            requests.completed + requests.client_gone + requests.ended,
            "{}",
            report.to_json()
        );
        assert_eq!((report.connections.open, report.exit_code), (0, 0));
        assert!(report.connections.adopted >= CONNECTIONS as u64);
        in_flight_at_hand_over += requests.adopted;
    }
    assert!(in_flight_at_hand_over > 0, "no hand-over met a request: the test proves nothing");
}

#[test]
fn guards_may_go_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<Shutdown>();
    anywhere::<Connection>();
    anywhere::<lameduck::async_layer::ConnectionGuard>();
    anywhere::<RequestGuard>();
    anywhere::<lameduck::async_layer::JobGuard>();
    anywhere::<lameduck::async_layer::ListenerGuard>();
    anywhere::<lameduck::async_layer::Aborted>();
    fn spawned<T: Send + 'static>() {}
    spawned::<lameduck::async_layer::Driver>();
}
