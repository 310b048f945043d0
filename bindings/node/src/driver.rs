//! The machine and the ledger, as one JavaScript class.

use std::collections::HashMap;
use std::sync::Arc;

use lameduck::{Event, HookId, JobId, ListenerId, Machine, Phase, Report, RequestId, Time};
use lameduck_host::clock;
use lameduck_host::ledger::{Ledger, Spacing};
use lameduck_host::log_lines::{Level, Line, LogLines};
use lameduck_host::report_file::{ReportFile, Writer};
use lameduck_host::service::Service;
use napi::Result;
use napi::bindgen_prelude::{BigInt, Uint32Array};
use napi_derive::napi;

use crate::convert::{self, refusal};
use crate::effect::{self, JsEffect, JsWake};
use crate::os::{JsSurroundings, Watch, surroundings};
use crate::policy::{self, JsSettings};

/// A line for the log.
#[napi(object, object_from_js = false)]
pub struct JsLine {
    /// Whether something is lost, or will be.
    pub is_warning: bool,
    /// What it says.
    pub text: String,
}

/// One machine with its ledger. Every event method returns `null`, or the name of the
/// reason for which the machine refused the event. `now` is for tests; absent, it is
/// the system's monotonic clock.
#[napi]
pub struct Driver {
    machine: Machine,
    ledger: Arc<Ledger>,
    watch: Option<Watch>,
    service: Option<Service>,
    report_file: Option<Arc<ReportFile>>,
    cause_detail: Option<String>,
    open_handles: Vec<String>,
    missed_drain_deadline: bool,
    log_lines: LogLines,
    lines: Vec<Line>,
}

#[napi]
#[allow(missing_docs)] // each event method is the event of the same name
impl Driver {
    /// Throws when the settings contradict; the message is a sentence.
    #[napi(constructor)]
    pub fn new(settings: JsSettings, variables: HashMap<String, String>) -> Result<Self> {
        let policy = policy::resolve(&settings, &variables)?;
        let report_file = policy::report_file(&settings, &variables)?;
        Ok(Self {
            machine: Machine::new(policy),
            ledger: Arc::new(Ledger::new(Spacing::Dense)),
            watch: None,
            service: None,
            report_file,
            cause_detail: None,
            open_handles: Vec::new(),
            missed_drain_deadline: false,
            log_lines: LogLines::new(),
            lines: Vec::new(),
        })
    }

    /// The policy as one line: each time and where it came from.
    #[napi]
    pub fn describe_policy(&self) -> String {
        self.machine.policy().describe()
    }

    /// Milliseconds from the request to stop until T; `null` when unlimited.
    #[napi]
    pub fn budget(&self) -> Option<f64> {
        self.machine.policy().budget().map(|budget| budget.as_secs_f64() * 1_000.0)
    }

    /// Adds a page to the ledger and returns its words, two a row: state, generation.
    #[napi]
    pub fn add_page(&self) -> Result<Uint32Array> {
        let number = self.ledger.add_page().map_err(|full| convert::invalid(full.to_string()))?;
        let page = self.ledger.page(number).ok_or_else(|| convert::invalid("no such page"))?;
        let keep = Arc::clone(&self.ledger);
        // SAFETY: a page never moves and lives as long as its ledger, which the finalizer keeps.
        // Each page is wrapped once. JavaScript writes aligned 32-bit words on one thread; others
        // only read them, as atomics (the argument is in the host's ledger).
        Ok(unsafe {
            Uint32Array::with_external_data(page.start.as_ptr(), page.words, move |_, _| drop(keep))
        })
    }

    /// The request to stop: the machine learns of it and adopts the ledger's rows.
    #[napi]
    pub fn hand_over(
        &mut self,
        cause: String,
        ever_accepted: bool,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let now = convert::moment(now)?;
        let cause = convert::named("cause", &cause)?;
        let asked = self.machine.handle(Event::Shutdown { cause, ever_accepted }, now);
        if asked.is_err() {
            return Ok(refusal(asked));
        }
        // A second cause finds the ledger handed over already.
        self.ledger.hand_over_to(&mut self.machine, now);
        Ok(None)
    }

    #[napi]
    pub fn shutdown(
        &mut self,
        cause: String,
        ever_accepted: bool,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        self.handle(Event::Shutdown { cause: convert::named("cause", &cause)?, ever_accepted }, now)
    }

    #[napi]
    pub fn connection_adopted(
        &mut self,
        connection: f64,
        protocol: String,
        in_flight: u32,
        announced: bool,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let connection = convert::connection(connection);
        let protocol = convert::named("protocol", &protocol)?;
        self.handle(Event::ConnectionAdopted { connection, protocol, in_flight, announced }, now)
    }

    #[napi]
    pub fn connection_busy(
        &mut self,
        connection: f64,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        self.handle(Event::ConnectionBusy { connection: convert::connection(connection) }, now)
    }

    #[napi]
    pub fn connection_closed(
        &mut self,
        connection: f64,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        self.handle(Event::ConnectionClosed { connection: convert::connection(connection) }, now)
    }

    #[napi]
    pub fn connection_described(
        &mut self,
        connection: f64,
        peer: String,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let connection = convert::connection(connection);
        self.handle(Event::ConnectionDescribed { connection, peer }, now)
    }

    #[napi]
    pub fn connection_opened(
        &mut self,
        connection: f64,
        protocol: String,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let connection = convert::connection(connection);
        let protocol = convert::named("protocol", &protocol)?;
        self.handle(Event::ConnectionOpened { connection, protocol }, now)
    }

    #[napi]
    pub fn connection_upgraded(
        &mut self,
        connection: f64,
        protocol: String,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let connection = convert::connection(connection);
        let protocol = convert::named("protocol", &protocol)?;
        self.handle(Event::ConnectionUpgraded { connection, protocol }, now)
    }

    /// `grace` in milliseconds.
    #[napi]
    pub fn deadline_changed(&mut self, grace: f64, now: Option<BigInt>) -> Result<Option<String>> {
        let refused =
            self.handle(Event::DeadlineChanged { grace: convert::millis(grace)? }, now)?;
        self.arm();
        Ok(refused)
    }

    #[napi]
    pub fn escalate(&mut self, now: Option<BigInt>) -> Result<Option<String>> {
        self.handle(Event::Escalate, now)
    }

    #[napi]
    pub fn hook_finished(
        &mut self,
        hook: u32,
        error: Option<String>,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        self.handle(Event::HookFinished { hook: HookId(hook), error }, now)
    }

    /// `timeout` in milliseconds.
    #[napi]
    pub fn hook_registered(
        &mut self,
        hook: u32,
        stage: String,
        name: String,
        order: i32,
        timeout: Option<f64>,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let stage = convert::named("stage", &stage)?;
        let timeout = timeout.map(convert::millis).transpose()?;
        let hook = HookId(hook);
        let refused =
            self.handle(Event::HookRegistered { hook, stage, name, order, timeout }, now)?;
        self.render_serving();
        Ok(refused)
    }

    #[napi]
    pub fn job_finished(
        &mut self,
        job: u32,
        outcome: String,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let outcome = convert::named("job outcome", &outcome)?;
        self.handle(Event::JobFinished { job: JobId(job), outcome }, now)
    }

    #[napi]
    pub fn job_started(
        &mut self,
        job: u32,
        name: String,
        source: String,
        on_drain: String,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let source = convert::named("job source", &source)?;
        let on_drain = convert::named("drain policy", &on_drain)?;
        self.handle(Event::JobStarted { job: JobId(job), name, source, on_drain }, now)
    }

    #[napi]
    pub fn listener_closed(
        &mut self,
        listener: u32,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        self.handle(Event::ListenerClosed { listener: ListenerId(listener) }, now)
    }

    #[napi]
    pub fn listener_failed(
        &mut self,
        listener: u32,
        error: String,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        self.handle(Event::ListenerFailed { listener: ListenerId(listener), error }, now)
    }

    #[napi]
    pub fn listener_opened(
        &mut self,
        listener: u32,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        self.handle(Event::ListenerOpened { listener: ListenerId(listener) }, now)
    }

    #[napi]
    pub fn request_described(
        &mut self,
        connection: f64,
        request: u32,
        kind: String,
        label: String,
        since: BigInt,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let connection = convert::connection(connection);
        let kind = convert::named("request kind", &kind)?;
        let since = convert::moment(Some(since))?;
        let request = RequestId(request);
        self.handle(Event::RequestDescribed { connection, request, kind, label, since }, now)
    }

    #[napi]
    pub fn request_finished(
        &mut self,
        connection: f64,
        request: u32,
        outcome: String,
        flushed: bool,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let connection = convert::connection(connection);
        let outcome = convert::named("outcome", &outcome)?;
        let request = RequestId(request);
        self.handle(Event::RequestFinished { connection, request, outcome, flushed }, now)
    }

    #[napi]
    pub fn request_flushed(
        &mut self,
        connection: f64,
        request: u32,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let connection = convert::connection(connection);
        self.handle(Event::RequestFlushed { connection, request: RequestId(request) }, now)
    }

    #[napi]
    pub fn request_headers_sent(
        &mut self,
        connection: f64,
        request: u32,
        announced: bool,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let connection = convert::connection(connection);
        let request = RequestId(request);
        self.handle(Event::RequestHeadersSent { connection, request, announced }, now)
    }

    #[napi]
    pub fn request_started(
        &mut self,
        connection: f64,
        request: u32,
        kind: String,
        now: Option<BigInt>,
    ) -> Result<Option<String>> {
        let connection = convert::connection(connection);
        let kind = convert::named("request kind", &kind)?;
        self.handle(Event::RequestStarted { connection, request: RequestId(request), kind }, now)
    }

    #[napi]
    pub fn tick(&mut self, now: Option<BigInt>) -> Result<()> {
        self.machine.tick(convert::moment(now)?);
        Ok(())
    }

    /// Drain until `null` after every event and tick.
    #[napi]
    pub fn poll_effect(&mut self) -> Option<JsEffect> {
        self.machine.poll_effect().map(effect::effect)
    }

    #[napi]
    pub fn next_wake(&self) -> Option<JsWake> {
        self.machine.next_wake().map(effect::wake)
    }

    /// Ticks if that is due, and returns every effect. Keeps the watchdog's copy of the
    /// report up to date, and what the log is to say.
    #[napi]
    pub fn pump(&mut self) -> Result<Vec<JsEffect>> {
        let now = convert::moment(None)?;
        if self.machine.next_wake().is_some_and(|(at, _)| at <= now) {
            self.machine.tick(now);
        }
        let mut effects = Vec::new();
        while let Some(next) = self.machine.poll_effect() {
            if let Some(service) = &mut self.service {
                service.effect(&next);
            }
            effects.push(effect::effect(next));
        }
        if let Some(watch) = &self.watch {
            watch.heartbeat();
        }
        if self.machine.phase() != Phase::Serving {
            let report = self.report_at(now);
            self.missed_drain_deadline = report.blocked_at.iter().any(|at| at.deadline == "drain");
            self.lines.extend(self.log_lines.poll(&self.machine, &report, now));
            if let Some(watch) = &self.watch {
                watch.render(report);
            }
        }
        Ok(effects)
    }

    /// Whether the drain deadline found something waiting.
    #[napi]
    pub fn missed_drain_deadline(&self) -> bool {
        self.missed_drain_deadline
    }

    /// What is open in the process, for the report.
    #[napi]
    pub fn keep_open_handles(&mut self, open_handles: Vec<String>) {
        self.open_handles = open_handles;
    }

    /// What the log is to say of what has happened.
    #[napi]
    pub fn take_lines(&mut self) -> Vec<JsLine> {
        let js = |Line { level, text }| JsLine { is_warning: level == Level::Warn, text };
        self.lines.drain(..).map(js).collect()
    }

    /// Milliseconds until the machine wants to be pumped; `null` when only an event can
    /// change anything.
    #[napi]
    pub fn wake_in(&self) -> Result<Option<f64>> {
        let now = convert::moment(None)?;
        Ok(self.machine.next_wake().map(|(at, _)| at.since(now).as_secs_f64() * 1_000.0))
    }

    /// What a child that is told to stop now gets as its grace, in milliseconds; `null` when unlimited.
    #[napi]
    pub fn child_grace(&self) -> Result<Option<f64>> {
        let grace = self.machine.child_grace(convert::moment(None)?);
        Ok(grace.map(|grace| grace.as_secs_f64() * 1_000.0))
    }

    #[napi]
    pub fn phase(&self) -> &'static str {
        self.machine.phase().name()
    }

    /// The report as JSON: provisional until the phase is done.
    #[napi]
    pub fn report(&self, now: Option<BigInt>) -> Result<String> {
        Ok(self.report_at(convert::moment(now)?).to_json())
    }

    /// What the report says of the cause beside its name.
    #[napi]
    pub fn explain(&mut self, cause_detail: String) {
        self.cause_detail = Some(cause_detail);
    }

    /// Where the report is written to, if that was asked for.
    #[napi]
    pub fn report_file(&self) -> Option<String> {
        self.report_file.as_ref().map(|file| file.path().display().to_string())
    }

    /// Writes the final report to its file, if there is one. Returns `null`, or the sentence that says
    /// why it is not there.
    #[napi]
    pub fn write_report(&self) -> Result<Option<String>> {
        let Some(file) = &self.report_file else { return Ok(None) };
        let mut text = self.report_at(convert::moment(None)?).to_json();
        text.push('\n');
        Ok(file.write(text.as_bytes(), Writer::Driver).err().map(|error| {
            format!("the report could not be written to {}: {error}", file.path().display())
        }))
    }

    /// What holds shutdown up, as JSON.
    #[napi]
    pub fn blockers(&self, most: u32, now: Option<BigInt>) -> Result<String> {
        let blockers = self.machine.blockers(convert::moment(now)?, most as usize);
        serde_json::to_string(&blockers).map_err(|error| convert::invalid(error.to_string()))
    }

    /// Who supervises this process, and what is wrong between it and the policy.
    #[napi]
    pub fn surroundings(&self) -> JsSurroundings {
        surroundings(&self.machine)
    }

    /// Finds the service manager's socket in the environment. Returns `null`, or the sentence
    /// that says why nothing can be told there.
    #[napi]
    pub fn connect_service(&mut self) -> Option<String> {
        match Service::connect() {
            Ok(service) => {
                self.service = service;
                None
            }
            Err(error) => Some(error.to_string()),
        }
    }

    /// A server listens.
    #[napi]
    pub fn serves(&mut self) {
        if let Some(service) = &mut self.service {
            service.serves();
        }
    }

    /// Tells the service manager what is new. Returns `null`, or once the sentence that says why
    /// it does not hear.
    #[napi]
    pub fn tell_service(&mut self) -> Result<Option<String>> {
        let now = convert::moment(None)?;
        let trouble = self.service.as_mut().and_then(|service| service.tell(&self.machine, now));
        Ok(trouble.map(|error| error.to_string()))
    }

    /// Starts the hard deadline's guard: from now on the first of `signals` to arrive
    /// arms it, whatever the event loop does.
    #[napi]
    pub fn watch(&mut self, signals: Vec<i32>) -> Result<()> {
        if let Some(budget) = self.machine.policy().budget() {
            self.watch = Some(Watch::start(
                &signals,
                budget,
                Arc::clone(&self.ledger),
                self.report_file.clone(),
            )?);
            self.render_serving();
        }
        Ok(())
    }

    /// When the first of the watched signals arrived.
    #[napi]
    pub fn signal_arrived(&self) -> Option<BigInt> {
        self.watch.as_ref().and_then(Watch::first_arrival).map(BigInt::from)
    }

    /// Arms the guard for a shutdown that no signal began.
    #[napi]
    pub fn arm(&self) {
        if let (Some(watch), Some(deadline)) = (&self.watch, self.machine.hard_deadline()) {
            watch.arm(deadline);
        }
    }

    /// Takes the guard away: the process may live on.
    #[napi]
    pub fn unwatch(&mut self) {
        self.watch = None;
    }
}

impl Driver {
    fn handle(&mut self, event: Event, now: Option<BigInt>) -> Result<Option<String>> {
        let now = convert::moment(now)?;
        Ok(refusal(self.machine.handle(event, now)))
    }

    fn report_at(&self, now: Time) -> Report {
        Report {
            cause_detail: self.cause_detail.clone(),
            open_handles: self.open_handles.clone(),
            ..self.machine.report(now)
        }
    }

    /// Keeps what the watchdog says when a signal finds the event loop blocked up to date.
    fn render_serving(&self) {
        if let (Some(watch), Phase::Serving) = (&self.watch, self.machine.phase()) {
            watch.render_serving(&self.machine.report(Time::from_nanos(clock::now_ns())));
        }
    }
}
