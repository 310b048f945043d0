//! A million open connections: what one costs while serving and after the hand-over, how
//! long the hand-over and the first sweep take, and what a tick, an effect and a request cost
//! beside a thousand connections. `cargo bench -p lameduck-host --bench million`

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use lameduck::{
    Cause, ConnectionId, Event, Machine, Outcome, Policy, Protocol, RequestId, RequestKind,
    Settings, Time,
};
use lameduck_host::ledger::{Ledger, Spacing};

/// Counts the bytes in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        IN_USE.fetch_add(size, Relaxed);
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ORIGIN: Time = Time::from_nanos(1_000_000_000);

fn main() {
    println!("| | 1 000 connections | 1 000 000 connections |\n|---|---|---|");
    let [few, many] = [1_000, 1_000_000].map(|count| {
        // The best of three: the rest is the machine's own business.
        let runs = [(); 3].map(|()| Figures::of(count, Protocol::Http1));
        runs.into_iter().min_by_key(|run| run.sweep).expect("three")
    });
    let sockets = Figures::of(1_000_000, Protocol::Websocket);
    let per = |bytes: usize, count: usize| format!("{:.1} B", bytes as f64 / count as f64);
    let row = |name: &str, few: String, many: String| println!("| {name} | {few} | {many} |");
    let span = |span: Duration| format!("{span:.1?}");
    for (place, name) in ["dense rows", "a cache line each"].into_iter().enumerate() {
        let name = format!("ledger while serving, {name}");
        row(&name, per(few.ledger[place], 1_000), per(many.ledger[place], 1_000_000));
    }
    row("machine after the hand-over", per(few.machine, 1_000), per(many.machine, 1_000_000));
    row("shutdown to the last effect of the first sweep", span(few.sweep), span(many.sweep));
    row("  of which the ledger alone", span(few.ledger_sweep), span(many.ledger_sweep));
    row("  the same, WebSockets: an effect each", String::new(), span(sockets.sweep));
    row("the tick of the drain deadline", span(few.deadline), span(many.deadline));
    row("`poll_effect`, each of those then due", span(few.poll), span(many.poll));
    row("a request, begin to end", span(few.request), span(many.request));
    row("a tick with nothing due", span(few.idle_tick), span(many.idle_tick));
    row("a tick that tells one connection", span(few.due_tick), span(many.due_tick));
    row("`blockers`", span(few.blockers), span(many.blockers));
}

/// This thread's processor time: other processes may be busy meanwhile.
struct Cpu(Duration);

impl Cpu {
    fn now() -> Self {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is valid for the write.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        assert_eq!(result, 0);
        Self(Duration::new(
            time.tv_sec.unsigned_abs(),
            u32::try_from(time.tv_nsec).expect("below 10^9"),
        ))
    }

    fn elapsed(&self) -> Duration {
        Self::now().0 - self.0
    }
}

struct Figures {
    ledger: [usize; 2],
    machine: usize,
    ledger_sweep: Duration,
    sweep: Duration,
    deadline: Duration,
    poll: Duration,
    request: Duration,
    idle_tick: Duration,
    due_tick: Duration,
    blockers: Duration,
}

fn open(spacing: Spacing, count: usize, protocol: Protocol) -> (Ledger, usize) {
    let before = IN_USE.load(Relaxed);
    let ledger = Ledger::new(spacing);
    for _ in 0..count {
        ledger.open(protocol as u8).expect("room for four million");
    }
    (ledger, IN_USE.load(Relaxed) - before)
}

impl Figures {
    fn of(count: usize, protocol: Protocol) -> Self {
        let (lines, line_bytes) = open(Spacing::Line, count, protocol);
        let began = Cpu::now();
        lines
            .hand_over(|handle, row| {
                black_box((handle, row));
            })
            .expect("once");
        let ledger_sweep = began.elapsed();
        drop(lines);

        let (ledger, dense_bytes) = open(Spacing::Dense, count, protocol);
        let policy = Policy::resolve(&Settings::default(), &Settings::default()).expect("fits");
        let mut machine = Machine::new(policy);
        let before = IN_USE.load(Relaxed);
        let began = Cpu::now();
        let stop = Event::Shutdown { cause: Cause::Terminate, ever_accepted: true };
        machine.handle(stop, ORIGIN).expect("serving");
        ledger
            .hand_over(|handle, row| {
                let adopted = Event::ConnectionAdopted {
                    connection: ConnectionId(handle),
                    protocol,
                    in_flight: row.in_flight.into(),
                    announced: row.announced,
                };
                machine.handle(adopted, ORIGIN).expect("new");
                while black_box(machine.poll_effect()).is_some() {}
            })
            .expect("once");
        let sweep = began.elapsed();
        let machine_bytes = IN_USE.load(Relaxed) - before;

        let first = ConnectionId((1 << 32) | (count as u64 / 2));
        let request = mean(10_000, |round| {
            let (connection, request) = (first, RequestId(round));
            let kind = RequestKind::Ordinary;
            machine
                .handle(Event::RequestStarted { connection, request, kind }, ORIGIN)
                .expect("not announced yet");
            let outcome = Outcome::Completed;
            let ended = Event::RequestFinished { connection, request, outcome, flushed: true };
            machine.handle(ended, ORIGIN).expect("in flight");
        });
        let idle_tick = mean(10_000, |_| machine.tick(ORIGIN));
        let blockers = mean(1_000, |_| drop(machine.blockers(ORIGIN, 10)));
        let due_tick = mean(500, |_| {
            if let Some((at, _)) = machine.next_wake() {
                machine.tick(at);
                while machine.poll_effect().is_some() {}
            }
        });
        let began = Cpu::now();
        machine.tick(machine.hard_deadline().expect("grace is limited"));
        let deadline = began.elapsed();
        let began = Cpu::now();
        let mut effects = 0;
        while black_box(machine.poll_effect()).is_some() {
            effects += 1;
        }
        let poll = began.elapsed() / effects;
        let ledger = [dense_bytes, line_bytes];
        Self {
            ledger,
            machine: machine_bytes,
            ledger_sweep,
            sweep,
            deadline,
            poll,
            request,
            idle_tick,
            due_tick,
            blockers,
        }
    }
}

fn mean(rounds: u32, mut run: impl FnMut(u32)) -> Duration {
    let began = Cpu::now();
    (0..rounds).for_each(&mut run);
    began.elapsed() / rounds
}
