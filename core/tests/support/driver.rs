//! A driver on a virtual clock: it steps to the machine's earliest wake, never sleeps, and
//! gives up when the machine wakes without end.

use std::time::Duration;

use lameduck::{
    Cause, ConnectionId, Effect, Event, HookId, JobId, JobOutcome, JobSource, ListenerId, Machine,
    OnDrain, Outcome, Phase, Policy, Protocol, Refused, Report, RequestId, RequestKind, Settings,
    Stage, Time,
};

/// More wakes than this on the way to one moment are a loop.
const MOST_STEPS: usize = 10_000;

/// A machine, its virtual clock, and what it told its driver. Times are milliseconds since
/// the request to stop, which comes a minute after the origin.
pub struct Driver {
    pub machine: Machine,
    now: Time,
    effects: Vec<(f64, Effect)>,
    /// Whether listeners and connections close as soon as they are told to.
    pub obedient: bool,
}

const T0: Duration = Duration::from_secs(60);

fn moment(ms: u64) -> Time {
    let nanos = u64::try_from((T0 + Duration::from_millis(ms)).as_nanos()).expect("short");
    Time::from_nanos(nanos)
}

pub fn resolve(settings: Settings) -> Policy {
    Policy::resolve(&settings, &Settings::default()).expect("the settings fit")
}

impl Driver {
    pub fn under(settings: Settings) -> Self {
        let machine = Machine::new(resolve(settings));
        Self { machine, now: Time::from_nanos(0), effects: Vec::new(), obedient: true }
    }

    /// A server under the default policy with one listener, still serving.
    pub fn serving() -> Self {
        let mut driver = Self::under(Settings::default());
        driver.take(Event::ListenerOpened { listener: ListenerId(1) });
        driver
    }

    /// The same, with the request to stop just handed in.
    pub fn draining() -> Self {
        let mut driver = Self::serving();
        driver.stop(Cause::Terminate);
        driver
    }

    /// The request to stop, at 0 ms when it is the first.
    pub fn stop(&mut self, cause: Cause) {
        self.now = self.now.max(moment(0));
        self.take(Event::Shutdown { cause, ever_accepted: true });
    }

    /// An event that must be taken.
    pub fn take(&mut self, event: Event) {
        let taken = self.try_take(event.clone());
        assert_eq!(taken, Ok(()), "{event:?}");
    }

    /// An event; when it is refused, the whole machine must be as it was.
    pub fn try_take(&mut self, event: Event) -> Result<(), Refused> {
        let before = self.machine.clone();
        let taken = self.machine.handle(event.clone(), self.now);
        if taken.is_err() {
            assert!(self.machine == before, "{event:?} was refused but changed the machine");
        }
        self.drain();
        taken
    }

    /// Why the event is refused.
    pub fn refusal(&mut self, event: Event) -> Refused {
        self.try_take(event.clone()).expect_err(&format!("{event:?} must be refused"))
    }

    /// Lets time pass until `ms`, ticking at every wake on the way.
    pub fn run(&mut self, ms: u64) {
        let end = moment(ms);
        for _ in 0..MOST_STEPS {
            match self.machine.next_wake() {
                Some((at, _)) if at <= end => {
                    self.now = self.now.max(at);
                    self.machine.tick(self.now);
                    self.drain();
                }
                _ => {
                    self.now = self.now.max(end);
                    return;
                }
            }
        }
        panic!("the machine wakes without end at {:?}", self.machine.next_wake());
    }

    /// One tick at `ms`, after sleeping through everything before it.
    pub fn oversleep(&mut self, ms: u64) {
        self.now = self.now.max(moment(ms));
        self.machine.tick(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            let since = self.now.since(moment(0));
            self.effects.push((since.as_secs_f64() * 1_000.0, effect));
            let answer = match effect {
                Effect::CloseListener { listener } => Event::ListenerClosed { listener },
                Effect::CloseIdle { connection, .. }
                | Effect::ForceConnection { connection, .. }
                | Effect::CloseLongLived { connection, request: None } => {
                    Event::ConnectionClosed { connection }
                }
                _ => continue,
            };
            if self.obedient {
                // Refused only when it is Done already.
                let _ = self.machine.handle(answer, self.now);
            }
        }
    }

    /// The effects since the last call.
    pub fn effects(&mut self) -> Vec<Effect> {
        self.timed().into_iter().map(|(_, effect)| effect).collect()
    }

    /// The effects since the last call, with their milliseconds.
    pub fn timed(&mut self) -> Vec<(f64, Effect)> {
        std::mem::take(&mut self.effects)
    }

    /// When this effect came, of those since the last call, which stay.
    pub fn when(&self, wanted: Effect) -> Option<f64> {
        self.effects.iter().find(|(_, effect)| *effect == wanted).map(|(ms, _)| *ms)
    }

    pub fn phase(&self) -> Phase {
        self.machine.phase()
    }

    pub fn report(&self) -> Report {
        self.machine.report(self.now)
    }

    /// The report once it is over; its verdicts must balance.
    pub fn finished(&mut self) -> Report {
        self.run(10_000_000);
        assert_eq!(self.phase(), Phase::Done);
        let report = self.report();
        let requests = &report.requests;
        let verdicts = requests.completed
            + requests.client_gone
            + requests.refused
            + requests.ended
            + requests.forced;
        assert_eq!(requests.adopted + requests.admitted, verdicts + requests.in_flight);
        assert_eq!(requests.in_flight, 0);
        report
    }

    // What drivers say most often.

    pub fn adopt(&mut self, slot: u64, protocol: Protocol, in_flight: u32) {
        let connection = ConnectionId(slot);
        self.take(Event::ConnectionAdopted { connection, protocol, in_flight, announced: false });
    }

    pub fn open(&mut self, slot: u64) {
        self.take(Event::ConnectionOpened {
            connection: ConnectionId(slot),
            protocol: Protocol::Http1,
        });
    }

    pub fn start(&mut self, slot: u64, request: u32) {
        self.take(started(slot, request));
    }

    pub fn headers(&mut self, slot: u64, request: u32, announced: bool) {
        let (connection, request) = (ConnectionId(slot), RequestId(request));
        self.take(Event::RequestHeadersSent { connection, request, announced });
    }

    pub fn finish(&mut self, slot: u64, request: u32) {
        self.take(finished(slot, request));
    }

    pub fn hook(&mut self, hook: u32, stage: Stage, timeout_ms: Option<u64>) {
        self.take(registered(hook, stage, timeout_ms));
    }

    pub fn hook_ended(&mut self, hook: u32, error: Option<&str>) {
        self.take(Event::HookFinished { hook: HookId(hook), error: error.map(str::to_string) });
    }

    /// A job that a request began.
    pub fn job(&mut self, job: u32) {
        self.take(job_started(job, JobSource::Request, OnDrain::Wait));
    }
}

pub fn job_ended(job: u32, outcome: JobOutcome) -> Event {
    Event::JobFinished { job: JobId(job), outcome }
}

pub fn job_started(job: u32, source: JobSource, on_drain: OnDrain) -> Event {
    Event::JobStarted { job: JobId(job), name: format!("job {job}"), source, on_drain }
}

pub fn started(slot: u64, request: u32) -> Event {
    Event::RequestStarted {
        connection: ConnectionId(slot),
        request: RequestId(request),
        kind: RequestKind::Ordinary,
    }
}

pub fn finished(slot: u64, request: u32) -> Event {
    Event::RequestFinished {
        connection: ConnectionId(slot),
        request: RequestId(request),
        outcome: Outcome::Completed,
        flushed: true,
    }
}

pub fn registered(hook: u32, stage: Stage, timeout_ms: Option<u64>) -> Event {
    Event::HookRegistered {
        hook: HookId(hook),
        stage,
        name: format!("hook {hook}"),
        order: 0,
        timeout: timeout_ms.map(Duration::from_millis),
    }
}
