use lameduck::{
    ConnectionId, Effect, Event, HookId, JobId, JobSource, ListenerId, NewRequests, OnDrain,
    Outcome, Phase, Policy, Protocol, RequestId, RequestKind, Settings, Stage,
};

use super::*;

const LISTENER: ListenerId = ListenerId(1);

/// A server in miniature on a simulated clock, whose log is kept.
struct Server {
    machine: Machine,
    lines: LogLines,
    log: Vec<(u64, Level, String)>,
    detail: Option<&'static str>,
}

const fn at(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

const fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

impl Server {
    fn new(settings: &Settings) -> Self {
        let policy = Policy::resolve(settings, &Settings::default()).unwrap();
        let mut machine = Machine::new(policy);
        machine.handle(Event::ListenerOpened { listener: LISTENER }, at(0)).unwrap();
        let lines = LogLines::new();
        Self { machine, lines, log: Vec::new(), detail: Some("SIGTERM") }
    }

    fn handle(&mut self, event: Event, ms: u64) {
        self.machine.handle(event, at(ms)).unwrap();
        self.look(ms);
    }

    /// The request to stop, with so many requests in flight, one a connection.
    fn stop(&mut self, cause: Cause, requests: u32) {
        self.machine.handle(Event::Shutdown { cause, ever_accepted: true }, at(0)).unwrap();
        for number in 0..requests {
            let connection = ConnectionId(u64::from(number));
            let (protocol, announced) = (Protocol::Http1, false);
            let adopted =
                Event::ConnectionAdopted { connection, protocol, in_flight: 1, announced };
            self.machine.handle(adopted, at(0)).unwrap();
            let (request, kind) = (RequestId(0), RequestKind::Ordinary);
            let label = format!("GET /{number}");
            let described =
                Event::RequestDescribed { connection, request, kind, label, since: at(0) };
            self.machine.handle(described, at(0)).unwrap();
            let peer = format!("10.0.0.{number}:80");
            self.machine.handle(Event::ConnectionDescribed { connection, peer }, at(0)).unwrap();
        }
        self.look(0);
    }

    fn answer(&mut self, number: u64, ms: u64) {
        let (connection, request) = (ConnectionId(number), RequestId(0));
        let (outcome, flushed) = (Outcome::Completed, true);
        self.machine
            .handle(Event::RequestFinished { connection, request, outcome, flushed }, at(ms))
            .unwrap();
        self.handle(Event::ConnectionClosed { connection }, ms);
    }

    fn hook(&mut self, id: u32, stage: Stage, name: &str, timeout: Option<Duration>) {
        let (hook, name) = (HookId(id), name.to_owned());
        let event = Event::HookRegistered { hook, stage, name, order: 0, timeout };
        self.machine.handle(event, at(0)).unwrap();
    }

    fn look(&mut self, ms: u64) {
        self.machine.tick(at(ms));
        while let Some(effect) = self.machine.poll_effect() {
            let event = match effect {
                Effect::CloseListener { listener } => Event::ListenerClosed { listener },
                Effect::ForceConnection { connection, .. }
                | Effect::CloseIdle { connection, .. } => Event::ConnectionClosed { connection },
                _ => continue,
            };
            if self.machine.phase() != Phase::Done {
                self.machine.handle(event, at(ms)).unwrap();
                self.machine.tick(at(ms));
            }
        }
        let mut report = self.machine.report(at(ms));
        report.cause_detail = self.detail.map(str::to_owned);
        let lines = self.lines.poll(&self.machine, &report, at(ms));
        self.log.extend(lines.into_iter().map(|line| (ms, line.level, line.text)));
    }

    /// Lets time pass, as a driver with a heartbeat does.
    fn run(&mut self, from: u64, until: u64) {
        for ms in (from..=until).step_by(50) {
            self.look(ms);
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.log.iter().map(|(_, _, text)| text.as_str()).collect()
    }

    fn warnings(&self) -> Vec<&str> {
        let warnings = self.log.iter().filter(|(_, level, _)| *level == Level::Warn);
        warnings.map(|(_, _, text)| text.as_str()).collect()
    }
}

fn thirty_seconds() -> Settings {
    Settings { grace: Some(Grace::Limited(Duration::from_secs(30))), ..Settings::default() }
}

#[test]
fn an_orderly_shutdown_tells_its_story() {
    let mut server = Server::new(&thirty_seconds());
    server.hook(1, Stage::Close, "pool", None);
    server.stop(Cause::Terminate, 2);
    server.run(50, 5_500);
    server.answer(0, 5_600);
    server.run(5_600, 7_000);
    server.answer(1, 7_100);
    server.handle(Event::HookFinished { hook: HookId(1), error: None }, 7_300);
    assert_eq!(
        server.texts(),
        [
            "stopping: SIGTERM (terminate); 2 requests on 2 connections; readiness fails from now on; \
             drain deadline after 24s, gone after 29s at the latest",
            "window begins: serving on for 5s",
            "window ended after 5s: its time is over; 2 requests on 2 connections",
            "waiting for 1 request; oldest GET /1, 6s; at most 18s more",
            "closing after 7.1s: every request has its verdict",
            "close hook 'pool' ended after 200ms",
            "done in 7.3s, exit code 0: 2 completed, 0 client gone, 0 refused, 0 ended, 0 forced",
        ]
    );
    assert!(server.warnings().is_empty());
    server.look(9_000);
    assert_eq!(server.log.len(), 7, "after the last word there is no other");
}

#[test]
fn a_loop_that_was_blocked_when_the_signal_came_is_named() {
    for (blocked, window) in [(700, "5s"), (6_000, "5s")] {
        let mut server = Server::new(&thirty_seconds());
        let stop = Event::Shutdown { cause: Cause::Terminate, ever_accepted: true };
        server.machine.handle(stop, at(0)).unwrap();
        server.look(blocked);
        let texts = server.texts();
        let late = rounded(Duration::from_millis(blocked));
        let heard = format!(
            "stopping: SIGTERM (terminate), heard {late} late: the event loop was blocked; "
        );
        assert!(texts[0].starts_with(&heard), "{texts:?}");
        assert!(texts[0].ends_with("drain deadline after 24s, gone after 29s at the latest"));
        assert_eq!(texts[1], format!("window begins: serving on for {window}"));
        let ended = texts.iter().filter(|line| line.starts_with("window ended after 5s")).count();
        assert_eq!(ended, usize::from(blocked > 5_000), "{texts:?}");
    }
}

#[test]
fn what_is_waited_for_is_no_flood() {
    let mut server = Server::new(&Settings { grace: Some(Grace::Unlimited), ..thirty_seconds() });
    server.stop(Cause::Terminate, 600);
    for second in 0..600 {
        for tenth in 1..10 {
            server.look(second * 1_000 + tenth * 100);
        }
        server.answer(second, second * 1_000 + 950);
    }
    let waiting: Vec<u64> = server
        .log
        .iter()
        .filter(|(_, _, text)| text.starts_with("waiting"))
        .map(|(ms, _, _)| *ms)
        .collect();
    assert!(waiting.windows(2).all(|two| two[1] - two[0] >= 1_000), "{waiting:?}");
    assert!((20..80).contains(&waiting.len()), "{} lines in ten minutes", waiting.len());
    let window_ended = 5_000;
    assert!(waiting[0] >= window_ended + 1_000, "{waiting:?}");
    assert!(server.texts().iter().all(|line| !line.contains("at most")), "there is no deadline");
}

#[test]
fn nothing_new_is_not_said_again() {
    let mut server = Server::new(&thirty_seconds());
    server.stop(Cause::Terminate, 3);
    server.run(50, 20_000);
    let since = server.texts().iter().filter(|line| line.starts_with("waiting")).count();
    assert_eq!(since, 0, "{:?}", server.log);
}

#[test]
fn a_deadline_names_what_it_found() {
    let mut server = Server::new(&thirty_seconds());
    server.hook(1, Stage::Drain, "consumer", None);
    server.hook(2, Stage::Close, "pool\nlameduck: done in 1ms", None);
    server.hook(3, Stage::Flush, "logs", None);
    let (source, on_drain) = (JobSource::Background, OnDrain::Wait);
    let name = String::from("import");
    let job = Event::JobStarted { job: JobId(4), name, source, on_drain };
    server.machine.handle(job, at(0)).unwrap();
    server.stop(Cause::Terminate, 1);
    server.run(50, 30_000);
    assert_eq!(
        server.warnings(),
        [
            "the drain deadline is near; abort signals fired after 23s",
            "drain hook 'consumer' did not end within 24s; not waiting for it",
            "drain deadline after 24s: still waiting for 1 request, 1 job, 1 hook: GET /0 from 10.0.0.0:80 \
             (http1, ordinary, unanswered), 24s; job 'import', 24s; drain hook 'consumer', 24s",
            "close hook 'pool lameduck: done in 1ms' did not end within 4s; not waiting for it",
            "deadline of the close hooks after 28s: still waiting for 1 hook: close hook 'pool lameduck: done in 1ms', 4s",
            "flush hook 'logs' did not end within 900ms; not waiting for it",
            "deadline of the flush hooks after 28.9s: still waiting for 1 hook: flush hook 'logs', 900ms",
            "done in 28.9s, exit code 1: 0 completed, 0 client gone, 0 refused, 0 ended, 1 forced; lost: \
             1 request was cut at the drain deadline; 1 job was aborted; drain hook 'consumer' did not end within 24s; \
             close hook 'pool lameduck: done in 1ms' did not end within 4s; flush hook 'logs' did not end within 900ms",
        ]
    );
    let slow: Vec<_> =
        server.log.iter().filter(|(_, _, text)| text.contains("still running")).collect();
    assert_eq!(slow.len(), 2, "the hook of 900 ms was not slow: {slow:?}");
    assert_eq!(slow[0].0, 1_000);
}

#[test]
fn a_failing_hook_says_why() {
    let mut server = Server::new(&thirty_seconds());
    server.hook(1, Stage::Drain, "consumer", None);
    server.stop(Cause::Terminate, 0);
    let error = Some(String::from("connection\nrefused"));
    server.handle(Event::HookFinished { hook: HookId(1), error }, 12);
    assert_eq!(server.warnings(), ["drain hook 'consumer' failed after 12ms: connection refused"]);
}

#[test]
fn it_says_why_there_is_no_window_and_why_one_ends() {
    let first = |settings: &Settings, cause| {
        let mut server = Server::new(settings);
        server.stop(cause, 0);
        server.texts()[1].to_owned()
    };
    let none = Settings { window: Some(Duration::ZERO), ..thirty_seconds() };
    assert_eq!(first(&none, Cause::Terminate), "no window: it is 0 (code)");
    let developing = Settings { interactive: true, ..thirty_seconds() };
    assert!(first(&developing, Cause::Terminate).starts_with("no window: somebody is developing"));
    assert!(first(&thirty_seconds(), Cause::Interrupt).starts_with("no window: somebody at the"));
    assert!(first(&thirty_seconds(), Cause::UncaughtException).contains("after a fatal error"));

    let ended = |settings: &Settings, event: Option<Event>| {
        let mut server = Server::new(settings);
        server.stop(Cause::Terminate, 1);
        if let Some(event) = event {
            server.handle(event, 2_000);
        }
        server.run(2_000, 6_000);
        let line = server.texts().into_iter().find(|line| line.starts_with("window ended"));
        line.unwrap().to_owned()
    };
    assert_eq!(
        ended(&thirty_seconds(), Some(Event::Escalate)),
        "window ended after 2s: somebody insists; 1 request on 1 connection"
    );
    let cause = Cause::UncaughtException;
    let worse = Event::Shutdown { cause, ever_accepted: true };
    assert!(ended(&thirty_seconds(), Some(worse)).contains("after 2s: something worse came"));
    let idle = Settings { window_idle: seconds(3), ..thirty_seconds() };
    assert!(ended(&idle, None).contains("after 3s: nothing has arrived for 3s"));
    // A deadline in the middle of the window is no reason for its end at its own time.
    let longer = Event::DeadlineChanged { grace: Duration::from_secs(60) };
    assert!(ended(&thirty_seconds(), Some(longer)).contains("after 5s: its time is over"));
    let readiness = Some(Readiness::Keep);
    let kept = Settings { readiness, new_requests: Some(NewRequests::Serve), ..thirty_seconds() };
    assert!(ended(&kept, None).contains("; readiness fails from now on; "));
}

#[test]
fn one_word_for_a_cause_without_detail() {
    let mut server = Server::new(&thirty_seconds());
    server.detail = None;
    server.stop(Cause::ParentGone, 0);
    assert!(server.texts()[0].starts_with("stopping: parent_gone; "), "{:?}", server.texts());
}

#[test]
fn a_hook_that_had_no_time_is_not_said_to_have_been_slow() {
    let grace = Some(Grace::Limited(Duration::ZERO));
    let mut server = Server::new(&Settings { grace, ..Settings::default() });
    server.hook(1, Stage::Close, "pool", None);
    server.stop(Cause::Terminate, 0);
    assert_eq!(
        server.texts(),
        [
            "stopping: SIGTERM (terminate); 0 requests on 0 connections; readiness fails from now on; drain deadline \
             after 0s, gone after 0s at the latest",
            "no window: grace is 0",
            "close hook 'pool' had no time left: it was called, and not waited for",
            "drain deadline after 0s: still waiting for listeners to close",
            "deadline of the close hooks after 0s: still waiting for 1 hook: close hook 'pool', 0s",
            "the drain deadline is near; abort signals fired after 0s",
            "closing after 0s: every request has its verdict",
            "done in 0s, exit code 1: 0 completed, 0 client gone, 0 refused, 0 ended, 0 forced; lost: close hook 'pool' \
             had no time left: it was called, and not waited for",
        ]
    );
}
