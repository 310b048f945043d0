use lameduck::{
    Cause, ConnectionId, Event, Grace, HookId, ListenerId, Outcome, Policy, Protocol, RequestId,
    RequestKind, Settings, Stage,
};

use super::*;

const LISTENER: ListenerId = ListenerId(1);
const CONNECTION: ConnectionId = ConnectionId(1);

/// A server in miniature on a simulated clock, that keeps what its service manager was told and when.
struct Server {
    machine: Machine,
    notices: Notices,
    told: Vec<(u64, String)>,
    close_listeners: bool,
}

fn at(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

impl Server {
    fn new(settings: Settings) -> Self {
        let policy = Policy::resolve(&settings, &Settings::default()).unwrap();
        let mut machine = Machine::new(policy);
        machine.handle(Event::ListenerOpened { listener: LISTENER }, at(0)).unwrap();
        Self { machine, notices: Notices::new(), told: Vec::new(), close_listeners: true }
    }

    fn handle(&mut self, event: Event, ms: u64) {
        self.machine.handle(event, at(ms)).unwrap();
        self.drain(ms);
    }

    fn drain(&mut self, ms: u64) {
        while let Some(effect) = self.machine.poll_effect() {
            self.notices.effect(&effect);
            match effect {
                Effect::CloseListener { listener } if self.close_listeners => {
                    self.machine.handle(Event::ListenerClosed { listener }, at(ms)).unwrap();
                }
                Effect::ForceConnection { connection, .. }
                | Effect::CloseIdle { connection, .. } => {
                    self.machine.handle(Event::ConnectionClosed { connection }, at(ms)).unwrap();
                }
                _ => {}
            }
        }
        if let Some(message) = self.notices.poll(&self.machine, at(ms)) {
            assert!(message.ends_with('\n'));
            self.told.push((ms, message));
        }
    }

    /// Lets time pass, waking when the machine or the notices want to.
    fn run_until(&mut self, end: u64) {
        let mut now = 0;
        loop {
            let machine = self.machine.next_wake().map(|(at, _)| at);
            let notices = self.notices.next_wake(&self.machine);
            let wake = machine.into_iter().chain(notices).min();
            let wake = wake.map_or(end, |at| at.as_nanos().div_ceil(1_000_000)).max(now);
            if wake >= end {
                return;
            }
            now = wake;
            self.machine.tick(at(now));
            self.drain(now);
        }
    }

    fn stop(&mut self, ms: u64, in_flight: u32) {
        self.machine
            .handle(Event::Shutdown { cause: Cause::Terminate, ever_accepted: true }, at(ms))
            .unwrap();
        let adopted = Event::ConnectionAdopted {
            connection: CONNECTION,
            protocol: Protocol::Http1,
            in_flight,
            announced: false,
        };
        self.handle(adopted, ms);
    }

    fn describe(&mut self, label: &str, ms: u64) {
        let event = Event::RequestDescribed {
            connection: CONNECTION,
            request: RequestId(0),
            kind: RequestKind::Ordinary,
            label: label.to_owned(),
            since: at(ms),
        };
        self.handle(event, ms);
    }

    fn finish(&mut self, ms: u64) {
        let event = Event::RequestFinished {
            connection: CONNECTION,
            request: RequestId(0),
            outcome: Outcome::Completed,
            flushed: true,
        };
        self.handle(event, ms);
    }

    /// When each line that begins like this was sent.
    fn times(&self, prefix: &str) -> Vec<u64> {
        let has = |message: &str| message.lines().any(|line| line.starts_with(prefix));
        self.told.iter().filter(|(_, message)| has(message)).map(|(ms, _)| *ms).collect()
    }

    /// Each line that begins like this.
    fn lines(&self, prefix: &str) -> Vec<&str> {
        let lines = self.told.iter().flat_map(|(_, message)| message.lines());
        lines.filter_map(|line| line.strip_prefix(prefix)).collect()
    }
}

fn window(seconds: u64) -> Settings {
    Settings { window: Some(Duration::from_secs(seconds)), ..Settings::default() }
}

#[test]
fn one_shutdown_from_its_first_message_to_its_last() {
    let mut server = Server::new(window(2));
    server.drain(0);
    assert_eq!(server.told, [], "nothing before it serves");
    server.notices.serves();
    server.drain(10);
    server.drain(20);
    assert_eq!(server.told, [(10, String::from("READY=1\nSTATUS=serving\n"))]);
    assert_eq!(server.notices.next_wake(&server.machine), None);

    server.told.clear();
    server.stop(1_000, 1);
    server.describe("GET /orders", 1_000);
    server.run_until(8_000);
    server.finish(8_000);
    server.run_until(20_000);

    assert_eq!(server.machine.phase(), Phase::Done);
    assert_eq!(server.times("READY"), Vec::<u64>::new());
    // t1 is 3 s, settle 100 ms.
    assert_eq!(server.times("STOPPING=1"), [3_100]);
    assert_eq!(server.lines("STOPPING="), ["1"]);
    // T is 1 s + 30 s - 1 s, and the margin is 1 s: grace ends at 31 s.
    assert_eq!(server.times("EXTEND"), [1_000, 3_100], "the drain is over in 10 s");
    assert_eq!(server.lines("EXTEND_TIMEOUT_USEC="), ["30000000", "27900000"]);
    let status = server.lines("STATUS=");
    assert_eq!(status[0], "draining, still accepting: 1 request; oldest an http1 request, 0s");
    assert_eq!(status[1], "draining, still accepting: 1 request; oldest GET /orders, 1s");
    assert!(
        status.contains(
            &"draining, accepting the last connections: 1 request; oldest GET /orders, 2s"
        )
    );
    assert!(status.contains(&"draining, listeners closed: 1 request; oldest GET /orders, 6s"));
    assert_eq!(status.last(), Some(&"done, nothing was lost"));
    let times = server.times("STATUS");
    let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(steps.filter(|step| *step < 1_000).count() <= 5, "one a change of phase: {times:?}");
}

#[test]
fn no_ready_once_a_stop_was_asked_for() {
    let mut server = Server::new(window(2));
    server.stop(1_000, 0);
    server.notices.serves();
    server.run_until(20_000);
    assert_eq!(server.times("READY"), Vec::<u64>::new());
    assert_eq!(server.times("STOPPING").len(), 1);
}

#[test]
fn without_a_listener_closing_is_the_point_of_no_return() {
    let mut server = Server::new(window(1));
    server.handle(Event::ListenerClosed { listener: LISTENER }, 0);
    let (hook, stage, name) = (HookId(1), Stage::Close, String::from("database"));
    server.handle(Event::HookRegistered { hook, stage, name, order: 0, timeout: None }, 0);
    server.stop(1_000, 1);
    server.run_until(4_000);
    assert_eq!(server.times("STOPPING"), Vec::<u64>::new());
    server.finish(4_000);
    server.run_until(12_000);
    let stopping = server.times("STOPPING");
    assert!(stopping.len() == 1 && (4_000..6_000).contains(&stopping[0]), "{stopping:?}");
    let waits = "closing: 1 hook; oldest close hook 'database', 3s";
    assert!(server.lines("STATUS=").contains(&waits), "{:?}", server.told);
}

#[test]
fn time_is_asked_for_again_in_time_and_when_the_deadline_moves() {
    let mut server = Server::new(window(2));
    server.stop(0, 1);
    server.run_until(23_000);
    // Stopping at 2.1 s asks too; then every ten seconds. All end when grace does.
    assert_eq!(server.times("EXTEND"), [0, 2_100, 12_100, 22_100]);
    server.handle(Event::DeadlineChanged { grace: Duration::from_secs(60) }, 23_000);
    assert_eq!(server.lines("EXTEND_TIMEOUT_USEC=").last(), Some(&"37000000"));
    assert_eq!(server.times("EXTEND").len(), 5);
    // A shorter one needs nothing: what was asked for cannot be given back.
    server.handle(Event::DeadlineChanged { grace: Duration::from_secs(40) }, 23_500);
    assert_eq!(server.times("EXTEND").len(), 5);
}

#[test]
fn unlimited_time_is_asked_for_in_steps() {
    let mut server = Server::new(Settings { grace: Some(Grace::Unlimited), ..window(2) });
    server.stop(0, 1);
    server.run_until(33_000);
    assert_eq!(server.times("EXTEND"), [0, 2_100, 12_100, 22_100, 32_100]);
    assert!(server.lines("EXTEND_TIMEOUT_USEC=").iter().all(|line| *line == "60000000"));
    assert!(EXTEND_EVERY * 2 < UNLIMITED_STEP, "one may be lost");
}

#[test]
fn a_loss_is_the_last_status() {
    let mut server = Server::new(window(2));
    server.stop(0, 2);
    server.run_until(40_000);
    let last = "done: 2 requests were cut at the drain deadline";
    assert_eq!(server.lines("STATUS=").last(), Some(&last));
}

#[test]
fn a_label_cannot_begin_an_assignment_nor_make_the_status_long() {
    let mut server = Server::new(window(2));
    server.stop(0, 1);
    server.describe(&format!("GET /\nMAINPID=1\r\n{}", "ü".repeat(300)), 0);
    server.run_until(1_500);
    let keys = ["STATUS=", "EXTEND_TIMEOUT_USEC="];
    let lines = server.told.iter().flat_map(|(_, message)| message.lines());
    for line in lines {
        assert!(keys.iter().any(|key| line.starts_with(key)), "{line:?}");
        assert!(line.len() <= STATUS_MAX + "STATUS=".len(), "{line:?}");
    }
    let long = server.lines("STATUS=").pop().unwrap();
    assert!(long.contains("GET / MAINPID=1") && long.ends_with("ü…"), "{long:?}");
    assert!(long.len() > STATUS_MAX - 4);
}
