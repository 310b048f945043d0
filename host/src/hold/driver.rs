//! The hold's thread: the machine's driver.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use lameduck::{Cause, Effect, Event, ListenerId, Machine, Phase, Time, Wake};

use super::holders::Parent;
use super::{Asked, Fencing, NEVER, Options, Shared, StopFlag, holders, quiet, stop_flag};
use crate::clock::{MonotonicNs, now_ns};
use crate::fence::{self, Survivors, Way};
use crate::interposer::{self, Interposer};
use crate::ledger::Ledger;
use crate::service::Service;
use crate::signal_name::signal_name;
use crate::{listeners, terminal};

/// How often the driver says, while draining, that it is alive: the watchdog asks for half of
/// [`BLOCKED_NS`](crate::watchdog::BLOCKED_NS).
const HEARTBEAT: Duration = Duration::from_millis(100);
/// How often it looks whether the queues are empty; more seldom, when looking takes more than a tenth of that.
const LOOK: Duration = Duration::from_millis(5);
/// How long fenced listeners may take to become empty and quiet: a server that accepts at all does so within that.
const FENCED_AT_MOST: Duration = Duration::from_secs(2);
/// Ownership is looked at so long after the start, then after twice as long, and so on up to the last.
const FIRST_CHECK: Duration = Duration::from_millis(50);
const LAST_CHECK: Duration = Duration::from_secs(5);
/// Stands for the server when it has no listener that we know: the machine must wait for it all the same.
const THE_SERVER: ListenerId = ListenerId(u32::MAX);
/// What other holds read in `/proc`, see [`holders`].
pub(super) const STOPPING: &std::ffi::CStr = c"lameduck-stop";

struct Listener {
    fd: RawFd,
    fenced: bool,
}

pub(super) struct Driver<E> {
    shared: Arc<Shared>,
    embedder: E,
    fencing: Fencing,
    ledger: Option<Arc<Ledger>>,
    /// Those that were given, or found when the signal came.
    given: Option<Vec<RawFd>>,
    listeners: Vec<Listener>,
    /// The signal to be delivered.
    signal: c_int,
    /// SIGINTs that are accounted for.
    interrupts: u32,
    begun: bool,
    /// Emptying has begun.
    fenced: bool,
    /// Since when only what is under way to the server keeps the signal.
    closing: Option<MonotonicNs>,
    /// Nanoseconds that the last look took.
    look: u64,
    handed_over: bool,
    /// The claims on other signals that are held, and when they shall be delivered.
    others: Vec<Interposer>,
    others_from: MonotonicNs,
    told_stopped: bool,
    stop_flag: Option<StopFlag>,
    service: Option<Service>,
    /// The service manager knows that this process serves.
    said_ready: bool,
    check: Option<(MonotonicNs, Duration)>,
    deadline: Option<Time>,
}

impl<E: FnMut(Effect)> Driver<E> {
    pub(super) fn new(shared: Arc<Shared>, options: Options, embedder: E) -> Self {
        let service = if options.tells_service { Service::connect() } else { Ok(None) };
        let service = service.unwrap_or_else(|error| {
            *shared.trouble() = Some(error);
            None
        });
        Self {
            shared,
            embedder,
            fencing: options.fencing,
            ledger: options.ledger,
            given: options.listeners,
            listeners: Vec::new(),
            signal: options.signals.first().copied().unwrap_or(libc::SIGTERM),
            interrupts: 0,
            begun: false,
            fenced: false,
            closing: None,
            look: 0,
            handed_over: false,
            others: Vec::new(),
            others_from: 0,
            told_stopped: false,
            stop_flag: options.stop_flag,
            service,
            said_ready: false,
            check: Some((now_ns() + nanos(FIRST_CHECK), FIRST_CHECK)),
            deadline: None,
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.quit.load(Acquire) {
            self.begin();
            self.escalate();
            self.stop();
            self.say_ready();
            let (effects, wake) = self.step();
            let any = !effects.is_empty();
            effects.into_iter().for_each(|effect| self.perform(effect));
            self.hand_over_when_due();
            self.deliver_others();
            if !any {
                let until = self.look_again(wake);
                self.wait(until);
            }
        }
    }

    /// Until that time, somebody's poke, or the parent's word.
    fn wait(&self, until: Option<MonotonicNs>) {
        let Some(flag) = self.stop_flag.filter(|_| !self.begun) else {
            return self.shared.waker.wait(until);
        };
        loop {
            let look = now_ns() + nanos(stop_flag::LOOK_EVERY);
            self.shared.waker.wait(Some(until.map_or(look, |until| until.min(look))));
            let now = now_ns();
            // Before its time: somebody poked.
            if flag.is_set() || now < look || until.is_some_and(|until| until <= now) {
                return;
            }
        }
    }

    /// Serving: a signal, or somebody's word, begins the shutdown.
    fn begin(&mut self) {
        if self.begun {
            return;
        }
        let first = {
            let claims = self.shared.claims();
            let arrived = |claim: &Interposer| Some((claim.first_arrival()?, claim.signal()));
            claims.iter().filter_map(arrived).min()
        };
        let asked = match first {
            Some((at, signal)) => {
                self.signal = signal;
                Some(Asked { cause: cause(signal), ever_accepted: false, at: Time::from_nanos(at) })
            }
            None if self.stop_flag.is_some_and(|flag| flag.is_set()) => Some(Asked {
                cause: Cause::Terminate,
                ever_accepted: false,
                at: Time::from_nanos(now_ns()),
            }),
            None => *self.shared.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        };
        let stopped = || Asked {
            cause: Cause::Programmatic,
            ever_accepted: false,
            at: Time::from_nanos(now_ns()),
        };
        let Some(asked) = asked.or_else(|| self.shared.stopped.load(Acquire).then(stopped)) else {
            return;
        };
        self.begun = true;
        self.check = None;
        name_this_thread(STOPPING);
        self.shared.t0.store(asked.at.as_nanos(), Release);
        if let Some(watchdog) = &self.shared.watchdog {
            // From here on silence is counted, whoever beats.
            watchdog.heartbeat();
        }
        if first.is_some() {
            self.shared.describe_cause(signal_name(self.signal));
        } else if self.stop_flag.is_some_and(|flag| flag.is_set()) {
            self.shared.describe_cause("the parent process");
        } else if self.shared.stopped.load(Acquire) {
            self.shared.describe_cause("the server stopped by itself");
        }
        self.interrupts = u32::from(first.is_some() && self.signal == libc::SIGINT);
        let found =
            || listeners::listeners().unwrap_or_default().into_iter().map(|l| l.fd).collect();
        let fds: Vec<RawFd> = self.given.take().unwrap_or_else(found);
        self.listeners = fds.into_iter().map(|fd| Listener { fd, fenced: false }).collect();
        let ledger = self.ledger.take();
        let counted = ledger.as_ref().is_some_and(|ledger| ledger.totals().connections > 0);
        let ever_accepted = asked.ever_accepted || counted || self.shared.accepted.load(Relaxed);

        let mut machine = self.shared.machine();
        // Whatever the machine refuses here, the signal is delivered in the end: nothing to be done about it.
        for id in self.ids() {
            let _ = machine.handle(Event::ListenerOpened { listener: id }, asked.at);
        }
        let _ = machine.handle(Event::Shutdown { cause: asked.cause, ever_accepted }, asked.at);
        if let Some(ledger) = ledger {
            ledger.hand_over_to(&mut machine, asked.at);
        }
    }

    fn ids(&self) -> Vec<ListenerId> {
        if self.listeners.is_empty() {
            return vec![THE_SERVER];
        }
        self.listeners.iter().map(|listener| id(listener.fd)).collect()
    }

    /// Somebody insists: every SIGINT after the first signal.
    fn escalate(&mut self) {
        if !self.begun {
            return;
        }
        let claims = self.shared.claims();
        let Some(claim) = claims.iter().find(|claim| claim.signal() == libc::SIGINT) else {
            return;
        };
        let arrivals = claim.arrivals();
        if arrivals > self.interrupts && self.signal != libc::SIGINT {
            // It was meant for the window, not for the server, which would take it for the second one and cut
            // what is in flight.
            claim.take();
        }
        let mut machine = self.shared.machine();
        while self.interrupts < arrivals {
            self.interrupts += 1;
            let _ = machine.handle(Event::Escalate, Time::from_nanos(now_ns()));
        }
    }

    /// The server has stopped.
    fn stop(&mut self) {
        if self.told_stopped || !self.shared.stopped.load(Acquire) {
            return;
        }
        self.told_stopped = true;
        let now = Time::from_nanos(now_ns());
        let mut machine = self.shared.machine();
        for listener in self.ids() {
            let _ = machine.handle(Event::ListenerClosed { listener }, now);
        }
        if !self.fenced {
            // There is no window without a server.
            let _ = machine.handle(Event::Escalate, now);
        }
    }

    /// Serving: from the first listener on.
    fn say_ready(&mut self) {
        let Some(service) = self.service.as_mut().filter(|_| !self.begun && !self.said_ready)
        else {
            return;
        };
        let listens = || listeners::listeners().is_ok_and(|found| !found.is_empty());
        if self.shared.serves.load(Acquire) || listens() {
            service.serves();
            self.said_ready = true;
        }
    }

    fn step(&mut self) -> (Vec<Effect>, Option<(Time, Wake)>) {
        let mut machine = self.shared.machine();
        let now = Time::from_nanos(now_ns());
        if machine.next_wake().is_some_and(|(at, _)| at <= now) {
            machine.tick(now);
        }
        let effects: Vec<Effect> = std::iter::from_fn(|| machine.poll_effect()).collect();
        if let Some(service) = &mut self.service {
            effects.iter().for_each(|effect| service.effect(effect));
            if let Some(error) = service.tell(&machine, now) {
                *self.shared.trouble() = Some(error);
            }
        }
        self.fenced |= effects.iter().any(|e| matches!(e, Effect::FenceListener { .. }));
        self.shared.announce_from.store(self.announce_from(&machine), Relaxed);
        // A report that is too long leaves the one before.
        match &self.shared.watchdog {
            Some(watchdog) if self.begun => {
                if machine.hard_deadline() != self.deadline {
                    self.deadline = machine.hard_deadline();
                    self.deadline.map(|deadline| watchdog.arm(deadline.as_nanos()));
                }
                let _ = watchdog.render_report(self.shared.report(&machine));
            }
            Some(watchdog) => {
                let _ = watchdog.render_serving(&machine.report(now));
            }
            None => {}
        }
        (effects, machine.next_wake())
    }

    fn announce_from(&self, machine: &Machine) -> MonotonicNs {
        match machine.phase() {
            Phase::Serving => NEVER,
            _ if self.fenced => 0,
            _ => {
                let half = machine.policy().window.value / 2;
                self.shared.t0.load(Relaxed).saturating_add(nanos(half))
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::FenceListener { listener } if self.is_ours(listener) => {
                // All at once: finding out who else holds them takes one look at the system's processes.
                if self.shared.ways().is_empty() {
                    self.raise_fences();
                }
            }
            Effect::CloseListener { listener } if self.is_ours(listener) => {
                self.closing.get_or_insert(now_ns());
            }
            effect => {
                // The panic was printed by its hook.
                let _ = catch_unwind(AssertUnwindSafe(|| (self.embedder)(effect)));
            }
        }
    }

    fn is_ours(&self, listener: ListenerId) -> bool {
        self.ids().contains(&listener)
    }

    fn raise_fences(&mut self) {
        let fds: Vec<RawFd> = self.listeners.iter().map(|listener| listener.fd).collect();
        let survivors = match self.fencing {
            Fencing::Always => vec![Survivors::None; fds.len()],
            Fencing::Auto if self.stop_flag.is_some_and(|flag| flag.is_set()) => {
                holders::survivors(&fds, Parent::EndsUnlessItReplaces)
            }
            Fencing::Auto => holders::survivors(&fds, Parent::Survives),
            Fencing::Siblings => holders::survivors(&fds, Parent::EndsWithSiblings),
            Fencing::Never => vec![Survivors::SameSocket; fds.len()],
        };
        for (listener, survivors) in self.listeners.iter_mut().zip(survivors) {
            let way = fence::stop_arrivals(listener.fd, survivors);
            listener.fenced = matches!(way, Ok(Way::Fenced(_)));
            self.shared.ways().push((listener.fd, way));
        }
    }

    fn hand_over_when_due(&mut self) {
        if self.handed_over || !self.begun {
            return;
        }
        if self.told_stopped {
            // There is nobody to hand it over to. What is held is for whatever comes after Done.
            if self.shared.machine().phase() == Phase::Done {
                self.hand_over_claims(false);
            }
            return;
        }
        let (phase, settle) = {
            let machine = self.shared.machine();
            (machine.phase(), machine.policy().settle.value)
        };
        let due = phase != Phase::Draining
            || self
                .closing
                .is_some_and(|since| self.is_quiet(Duration::from_nanos(now_ns() - since), settle));
        if due {
            self.hand_over_claims(true);
        }
    }

    /// Whether nothing more is to be waited for, so long after the listeners have settled.
    fn is_quiet(&mut self, waited: Duration, settle: Duration) -> bool {
        // What arrives at an open listener never ends: there a favourable moment is all that can be had.
        let waiting = self.listeners.iter().filter(|known| known.fenced || waited < settle);
        let fds: Vec<RawFd> = waiting.map(|listener| listener.fd).collect();
        let before = now_ns();
        let quiet = quiet::are_quiet(&fds, settle, nanos(waited));
        self.look = now_ns() - before;
        quiet || waited >= FENCED_AT_MOST
    }

    /// Restores the server's own actions and delivers the first signal.
    fn hand_over_claims(&mut self, deliver: bool) {
        self.handed_over = true;
        let mut claims = std::mem::take(&mut *self.shared.claims());
        if deliver || claims.iter().any(Interposer::holds) {
            // Before: the process may end by it.
            self.shared.handed_over.store(now_ns(), Release);
            let report = self.shared.report(&self.shared.machine());
            if let Some(watchdog) = &self.shared.watchdog {
                let _ = watchdog.render_report(report);
            }
        }
        let first = claims.iter().position(|claim| deliver && claim.signal() == self.signal);
        first.map(|first| claims.swap_remove(first).deliver());
        // What is not held is restored now.
        claims.retain(Interposer::holds);
        self.others = claims;
        self.others_from = now_ns() + nanos(HEARTBEAT);
    }

    /// Of two signals that are pending at once the system runs the handler of the second first. So what else is held
    /// follows when the first was taken, and a moment later.
    fn deliver_others(&mut self) {
        if !self.others.is_empty() && self.others_from <= now_ns() {
            if interposer::is_pending(self.signal) {
                self.others_from = now_ns() + nanos(HEARTBEAT);
            } else {
                self.others.clear();
            }
        }
    }

    /// When to look again, at the latest.
    fn look_again(&mut self, wake: Option<(Time, Wake)>) -> Option<MonotonicNs> {
        let now = now_ns();
        if !self.begun {
            let (at, after) = self.check?;
            if at <= now {
                // Refused: then the signal is not held, and the server stops in its own way.
                let _ = self.shared.reclaim();
                // Until it listens, the service manager waits.
                let goes_on = after < LAST_CHECK || (self.service.is_some() && !self.said_ready);
                let pause = (after * 2).min(LAST_CHECK);
                self.check = goes_on.then(|| (now + nanos(pause), pause));
            }
            return self.check.map(|(at, _)| at);
        }
        let looking = self.closing.is_some() && !self.handed_over;
        let heartbeat = nanos(HEARTBEAT);
        let pause =
            if looking { nanos(LOOK).max(10 * self.look).min(heartbeat) } else { heartbeat };
        Some(wake.map_or(u64::MAX, |(at, _)| at.as_nanos()).min(now + pause))
    }
}

/// A listener is named after its descriptor.
fn id(fd: RawFd) -> ListenerId {
    ListenerId(fd.unsigned_abs())
}

fn cause(signal: c_int) -> Cause {
    if signal == libc::SIGINT && terminal::stdin_is_terminal() {
        Cause::Interrupt
    } else {
        Cause::Terminate
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(target_os = "linux")]
fn name_this_thread(name: &std::ffi::CStr) {
    // SAFETY: the name is a C string of less than 16 bytes, which the kernel copies.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

#[cfg(not(target_os = "linux"))]
fn name_this_thread(_: &std::ffi::CStr) {}
