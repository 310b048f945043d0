//! A shutdown on a virtual clock, and the runtimes that each test runs on.
//!
//! Every runtime runs one thread, so that a test can let everything come to rest before time passes.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::mpsc;
use futures::future::{BoxFuture, LocalBoxFuture, poll_fn};
use futures::stream::{FuturesUnordered, StreamExt};
use lameduck::async_layer::{Shutdown, Timer};
use lameduck::{Policy, Report, Settings, Time};

/// A clock that stands still until a test moves it. Milliseconds since the test began; the origin is a minute
/// before.
#[derive(Clone, Default)]
pub struct Clock(Arc<Mutex<Moment>>);

#[derive(Default)]
struct Moment {
    ms: u64,
    sleepers: Vec<(Time, Waker)>,
}

fn time(ms: u64) -> Time {
    Time::from_nanos((60_000 + ms) * 1_000_000)
}

impl Clock {
    /// The earliest moment that somebody sleeps until.
    fn next(&self) -> Option<Time> {
        self.0.lock().unwrap().sleepers.iter().map(|(at, _)| *at).min()
    }

    fn set(&self, ms: u64) {
        let awake = {
            let mut moment = self.0.lock().unwrap();
            moment.ms = moment.ms.max(ms);
            let now = time(moment.ms);
            let all = std::mem::take(&mut moment.sleepers);
            let (awake, asleep) = all.into_iter().partition(|(at, _)| *at <= now);
            moment.sleepers = asleep;
            awake
        };
        let awake: Vec<(Time, Waker)> = awake;
        awake.into_iter().for_each(|(_, waker)| waker.wake());
    }

    pub fn ms(&self) -> u64 {
        self.0.lock().unwrap().ms
    }
}

impl Timer for Clock {
    fn now(&self) -> Time {
        time(self.ms())
    }

    fn sleep_until(&self, at: Time) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        let sleep = poll_fn(move |context: &mut Context<'_>| {
            let mut moment = clock.0.lock().unwrap();
            if at <= time(moment.ms) {
                return Poll::Ready(());
            }
            moment.sleepers.retain(|(_, waker)| !waker.will_wake(context.waker()));
            moment.sleepers.push((at, context.waker().clone()));
            Poll::Pending
        });
        sleep.boxed()
    }
}

/// Spawns on the runtime of the test.
type Spawn = Rc<dyn Fn(BoxFuture<'static, ()>)>;

/// A server's shutdown with its driver spawned, its clock, and the runtime.
#[derive(Clone)]
pub struct World {
    pub shutdown: Shutdown,
    pub clock: Clock,
    pub driver_polls: Arc<AtomicUsize>,
    polls: Arc<AtomicUsize>,
    tasks: Arc<Mutex<Tasks>>,
    spawn: Spawn,
}

/// What became of the tasks that the test spawned: runtimes keep a panic to themselves.
#[derive(Default)]
struct Tasks {
    running: usize,
    panicked: usize,
}

impl World {
    fn new(settings: &Settings, spawn: Spawn) -> Self {
        let policy = Policy::resolve(settings, &Settings::default()).expect("the settings fit");
        let clock = Clock::default();
        let (shutdown, driver) = Shutdown::new(policy, clock.clone());
        let world = Self {
            shutdown,
            clock,
            driver_polls: Arc::default(),
            polls: Arc::default(),
            tasks: Arc::default(),
            spawn,
        };
        let polls = Arc::clone(&world.driver_polls);
        let mut driver = driver;
        let counted = poll_fn(move |context| {
            polls.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut driver).poll(context)
        });
        world.spawn(counted.map(|_| ()));
        world
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (polls, tasks) = (Arc::clone(&self.polls), Arc::clone(&self.tasks));
        tasks.lock().unwrap().running += 1;
        let mut task = AssertUnwindSafe(task).catch_unwind().boxed();
        let counted = poll_fn(move |context| {
            polls.fetch_add(1, Ordering::Relaxed);
            task.poll_unpin(context)
        });
        let ended = counted.map(move |ended| {
            let mut tasks = tasks.lock().unwrap();
            tasks.running -= 1;
            tasks.panicked += usize::from(ended.is_err());
        });
        (self.spawn)(ended.boxed());
    }

    /// The test is over: every task ran to its end.
    fn check(&self) {
        let tasks = self.tasks.lock().unwrap();
        assert_eq!((tasks.panicked, tasks.running), (0, 0), "tasks that panicked, that still run");
    }

    /// Lets every task run until none has anything to do.
    pub async fn settle(&self) {
        let mut quiet = 0;
        while quiet < 5 {
            let before = self.polls.load(Ordering::Relaxed);
            yield_now().await;
            quiet = if self.polls.load(Ordering::Relaxed) == before { quiet + 1 } else { 0 };
        }
    }

    /// Lets time pass until `ms` after the test began, wake by wake.
    pub async fn run(&self, ms: u64) {
        loop {
            self.settle().await;
            match self.clock.next() {
                Some(at) if at <= time(ms) => self.clock.set(since_start(at)),
                _ => break,
            }
        }
        self.clock.set(ms);
        self.settle().await;
    }

    /// Lets time pass until all is over. The verdicts must balance.
    pub async fn finished(&self) -> Report {
        self.run(10_000_000).await;
        let report = self.shutdown.report();
        assert_eq!(report.phase, "done");
        balanced(&report);
        report
    }
}

fn since_start(at: Time) -> u64 {
    // Rounded up, or the sleeper would not wake.
    u64::try_from(at.since(time(0)).as_nanos().div_ceil(1_000_000)).expect("short")
}

/// Every request has exactly one verdict.
pub fn balanced(report: &Report) {
    let requests = &report.requests;
    let verdicts = requests.completed
        + requests.client_gone
        + requests.refused
        + requests.ended
        + requests.forced;
    assert_eq!(requests.adopted + requests.admitted, verdicts + requests.in_flight);
    if report.phase == "done" {
        assert_eq!(requests.in_flight, 0);
    }
}

pub fn limited(grace_ms: u64) -> Settings {
    let grace = lameduck::Grace::Limited(Duration::from_millis(grace_ms));
    Settings { grace: Some(grace), ..Settings::default() }
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A test, given its world.
pub type Test = fn(World) -> LocalBoxFuture<'static, ()>;

pub fn under_tokio(settings: &Settings, test: Test) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let spawn: Spawn = Rc::new(|task| drop(tokio::task::spawn(task)));
        let world = World::new(settings, spawn);
        test(world.clone()).await;
        world.check();
    });
}

pub fn under_smol(settings: &Settings, test: Test) {
    let executor = Rc::new(smol::LocalExecutor::new());
    smol::block_on(executor.run(async {
        let on = Rc::downgrade(&executor);
        let spawn: Spawn = Rc::new(move |task| {
            on.upgrade().expect("it runs").spawn(task).detach();
        });
        let world = World::new(settings, spawn);
        test(world.clone()).await;
        world.check();
    }));
}

/// No runtime at all: the tasks are polled beside the test.
pub fn under_block_on(settings: &Settings, test: Test) {
    let (spawned, mut to_spawn) = mpsc::unbounded::<BoxFuture<'static, ()>>();
    let spawn: Spawn = Rc::new(move |task| spawned.unbounded_send(task).expect("it runs"));
    let mut tasks = FuturesUnordered::new();
    let world = World::new(settings, spawn);
    let mut test = test(world.clone());
    futures::executor::block_on(poll_fn(move |context| {
        while let Poll::Ready(Some(task)) = to_spawn.poll_next_unpin(context) {
            tasks.push(task);
        }
        while let Poll::Ready(Some(())) = tasks.poll_next_unpin(context) {}
        test.poll_unpin(context)
    }));
    world.check();
}

/// Makes of each function a test under each runtime, of a server with these settings.
macro_rules! on_every_runtime {
    ($(async fn $name:ident($world:ident, $settings:expr) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn test($world: World) $body

            fn boxed(world: World) -> futures::future::LocalBoxFuture<'static, ()> {
                Box::pin(test(world))
            }

            #[test]
            fn tokio() {
                crate::world::under_tokio(&$settings, boxed);
            }

            #[test]
            fn smol() {
                crate::world::under_smol(&$settings, boxed);
            }

            #[test]
            fn block_on() {
                crate::world::under_block_on(&$settings, boxed);
            }
        }
    )*};
}
pub(crate) use on_every_runtime;
