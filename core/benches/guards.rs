//! What beginning and ending a request costs, beside the guards of today's libraries:
//! `cargo bench -p lameduck --features async --bench guards`.
//!
//! Times are ratios of rounds that follow each other; instructions are counted by callgrind
//! when valgrind is there.

use std::hint::black_box;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, pending};
use hyper_util::server::graceful::GracefulShutdown;
use lameduck::async_layer::{ConnectionGuard, Driver, Shutdown, Timer};
use lameduck::{Policy, Protocol, Settings, Time};
use tokio_util::task::TaskTracker;

const THREADS: [usize; 3] = [1, 2, 4];
const ROUNDS: usize = 31;
const OPERATIONS: u32 = 200_000;

/// Never asked while serving.
struct Stopped;

impl Timer for Stopped {
    fn now(&self) -> Time {
        Time::default()
    }

    fn sleep_until(&self, _: Time) -> BoxFuture<'static, ()> {
        Box::pin(pending())
    }
}

/// Everybody, ready to begin and end.
struct Contestants {
    atomic: AtomicU64,
    tracker: TaskTracker,
    graceful: tokio_graceful::Shutdown,
    watch: drain::Watch,
    hyper: GracefulShutdown,
    connections: Vec<ConnectionGuard>,
}

/// What must live as long as they.
type Kept = (tokio::runtime::Runtime, drain::Signal, Driver);

const NAMES: [&str; 6] = [
    "lameduck, a connection a thread",
    "bare atomic, add and subtract",
    "TaskTracker",
    "tokio-graceful",
    "drain",
    "hyper-util GracefulShutdown",
];

impl Contestants {
    fn new() -> (Self, Kept) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let graceful = {
            let _inside = runtime.enter();
            tokio_graceful::Shutdown::new(pending::<()>())
        };
        let (signal, watch) = drain::channel();
        let policy = Policy::resolve(&Settings::default(), &Settings::default()).expect("fits");
        let (shutdown, driver) = Shutdown::new(policy, Stopped);
        let connection = |_| shutdown.connection(Protocol::Http1, "peer").expect("serving");
        let contestants = Self {
            atomic: AtomicU64::new(0),
            tracker: TaskTracker::new(),
            graceful,
            watch,
            hyper: GracefulShutdown::new(),
            connections: (0..4).map(connection).collect(),
        };
        (contestants, (runtime, signal, driver))
    }

    /// So many begins and ends of the one called `name`, on thread `thread`.
    fn run(&self, name: usize, thread: usize, operations: u32) {
        match name {
            0 => {
                let connection = self.connections[thread].handle();
                for _ in 0..operations {
                    drop(black_box(connection.begin()));
                }
            }
            1 => {
                for _ in 0..operations {
                    black_box(self.atomic.fetch_add(1, Relaxed));
                    black_box(self.atomic.fetch_sub(1, Relaxed));
                }
            }
            2 => {
                for _ in 0..operations {
                    drop(black_box(self.tracker.token()));
                }
            }
            3 => {
                for _ in 0..operations {
                    drop(black_box(self.graceful.guard()));
                }
            }
            4 => {
                for _ in 0..operations {
                    drop(black_box(self.watch.clone()));
                }
            }
            _ => {
                for _ in 0..operations {
                    drop(black_box(self.hyper.watcher()));
                }
            }
        }
    }

    /// How long one begin and end takes when `threads` do nothing else.
    fn time(&self, name: usize, threads: usize) -> Duration {
        let start = Barrier::new(threads + 1);
        thread::scope(|scope| {
            for thread in 0..threads {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    self.run(name, thread, OPERATIONS);
                });
            }
            start.wait();
            Instant::now()
        })
        .elapsed()
            / OPERATIONS
    }
}

fn main() {
    let (contestants, _kept) = Contestants::new();
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, count, name, operations] = arguments.as_slice()
        && count == "count"
    {
        let number = |text: &str| text.parse().expect("a number");
        contestants.run(number(name) as usize, 0, number(operations));
        return;
    }
    let mut spans: [[Vec<Duration>; THREADS.len()]; NAMES.len()] = Default::default();
    for _ in 0..ROUNDS {
        for (column, threads) in THREADS.into_iter().enumerate() {
            for (name, spans) in spans.iter_mut().enumerate() {
                spans[column].push(contestants.time(name, threads));
            }
        }
    }
    println!("| begin and end of a request | 1 thread | 2 | 4 | 1 to 2 threads | instructions |");
    println!("|---|---|---|---|---|---|");
    for (name, title) in NAMES.into_iter().enumerate() {
        // Each round against lameduck's of the same round.
        let ratio = |column: usize| {
            let pairs = spans[name][column].iter().zip(&spans[0][column]);
            median(pairs.map(|(one, ours)| one.as_secs_f64() / ours.as_secs_f64()).collect())
        };
        let pairs = spans[name][1].iter().zip(&spans[name][0]);
        let growth =
            median(pairs.map(|(two, one)| two.as_secs_f64() / one.as_secs_f64()).collect());
        let counted = instructions(name).map_or_else(|| "–".into(), |count| format!("{count:.0}"));
        println!(
            "| {title} | {:.2} | {:.2} | {:.2} | {growth:.2} | {counted} |",
            ratio(0),
            ratio(1),
            ratio(2)
        );
    }
    println!("\nTimes as ratios to lameduck's in the same round, medians of {ROUNDS} rounds.");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Instructions of one begin and end: the difference between two runs under callgrind.
fn instructions(name: usize) -> Option<f64> {
    const MORE: u32 = 100_000;
    let run = |operations: u32| -> Option<u64> {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().ok()?)
            .args(["count", &name.to_string(), &operations.to_string()])
            .output()
            .ok()?;
        let text = String::from_utf8(output.stderr).ok()?;
        let line = text.lines().find(|line| line.contains("Collected : "))?;
        line.split_whitespace().last()?.parse().ok()
    };
    Some((run(MORE)?.checked_sub(run(0)?)?) as f64 / f64::from(MORE))
}
