//! Under a real systemd: it is the first process of a namespace of its own, and a service in it drives the machine. Needs
//! root, `unshare`, `nsenter` and systemd; so it runs only when `LAMEDUCK_SYSTEMD` is set, as in `make prove`.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use lameduck::{
    Cause, ConnectionId, Effect, Event, Grace, ListenerId, Machine, Outcome, Phase, Policy,
    Protocol, RequestId, Settings, Time,
};
use lameduck_host::clock::now_ns;
use lameduck_host::notices::Notices;
use lameduck_host::notify::Notifier;
use lameduck_host::supervisor::Surroundings;

const LONG: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    if std::env::var_os("LAMEDUCK_SYSTEMD").is_none() && !common::is_scenario() {
        println!(
            "skipped: LAMEDUCK_SYSTEMD is not set (it takes root and starts a systemd of its own)"
        );
        return ExitCode::SUCCESS;
    }
    common::run(
        &[
            (
                "a_drain_longer_than_the_stop_timeout_ends_in_order",
                a_drain_longer_than_the_stop_timeout_ends_in_order,
            ),
            ("without_asking_for_time_it_is_killed", without_asking_for_time_it_is_killed),
            ("the_unit_stops_when_its_listeners_close", the_unit_stops_when_its_listeners_close),
        ],
        &[("service", || service(true)), ("mute", || service(false))],
    )
}

// The service.

static SIGNAL: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(signal: i32) {
    SIGNAL.store(signal, SeqCst);
}

/// Serves until a signal comes (SIGUSR1 is its own wish), has one request in flight for three seconds, and ends.
fn service(asks_for_time: bool) {
    for signal in [libc::SIGTERM, libc::SIGUSR1] {
        // SAFETY: the handler is async-signal-safe.
        unsafe { libc::signal(signal, note as *const () as usize) };
    }
    eprintln!("{}", Surroundings::here().describe());
    let settings = Settings {
        grace: Some(Grace::Limited(Duration::from_secs(10))),
        window: Some(Duration::from_secs(1)),
        ..Settings::default()
    };
    let now = || Time::from_nanos(now_ns());
    let mut machine = Machine::new(Policy::resolve(&settings, &Settings::default()).unwrap());
    machine.handle(Event::ListenerOpened { listener: ListenerId(1) }, now()).unwrap();
    let mut notifier = Notifier::from_environment().unwrap().expect("systemd names a socket");
    let mut notices = Notices::new();
    notices.serves();
    let connection = ConnectionId(1);
    let mut answered_at = None;
    let mut exit = None;
    loop {
        if machine.phase() == Phase::Serving && SIGNAL.load(SeqCst) != 0 {
            let terminate = SIGNAL.load(SeqCst) == libc::SIGTERM;
            let cause = if terminate { Cause::Terminate } else { Cause::Programmatic };
            machine.handle(Event::Shutdown { cause, ever_accepted: true }, now()).unwrap();
            let (protocol, in_flight, announced) = (Protocol::Http1, 1, false);
            let adopted = Event::ConnectionAdopted { connection, protocol, in_flight, announced };
            machine.handle(adopted, now()).unwrap();
            answered_at = Some(now_ns() + 3_000_000_000);
        }
        if answered_at.is_some_and(|at| at <= now_ns()) {
            answered_at = None;
            let (request, outcome) = (RequestId(0), Outcome::Completed);
            let done = Event::RequestFinished { connection, request, outcome, flushed: true };
            machine.handle(done, now()).unwrap();
        }
        machine.tick(now());
        while let Some(effect) = machine.poll_effect() {
            notices.effect(&effect);
            match effect {
                Effect::CloseListener { listener } => {
                    machine.handle(Event::ListenerClosed { listener }, now()).unwrap();
                }
                Effect::CloseIdle { connection, .. } => {
                    machine.handle(Event::ConnectionClosed { connection }, now()).unwrap();
                }
                Effect::Exit { code } => exit = Some(code),
                _ => {}
            }
        }
        if let Some(message) = notices.poll(&machine, now()) {
            let lines = message.lines().filter(|line| asks_for_time || !line.starts_with("EXTEND"));
            let message: String = lines.map(|line| format!("{line}\n")).collect();
            if let Some(trouble) = notifier.send(&message) {
                panic!("{trouble}");
            }
        }
        if let Some(code) = exit {
            std::process::exit(code.into());
        }
        std::thread::sleep(Duration::from_millis(10)); // the loop of a server that has nothing else to do
    }
}

// The systemd around it.

struct Systemd {
    unshare: Child,
    /// The first process of the namespace, by its number outside.
    first: u32,
    group: PathBuf,
}

impl Systemd {
    fn start() -> Self {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mut groups =
            mounts.filter(|mount| mount[2] == "cgroup2").map(|mount| mount[1].to_owned());
        let groups = groups.next_back().expect("control groups, version 2");
        let group = Path::new(&groups).join(format!("lameduck-test-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        let exe = std::env::current_exe().unwrap();
        let unit = |scenario: &str| {
            format!(
                "[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nNotifyAccess=main\nTimeoutStopSec=1\nTimeoutStartSec=20\n\
                 Environment=LAMEDUCK_TEST_SCENARIO={scenario}\nExecStart={}\n",
                exe.display()
            )
        };
        // A new /run and a new view of the control groups; everything else is seen as it is.
        let script = format!(
            "set -e\nmount --make-rprivate /\nmount -t tmpfs tmpfs /run\numount -l /sys/fs/cgroup || true\n\
             mount -t tmpfs tmpfs /sys/fs\nmkdir -p /sys/fs/cgroup\nmount -t cgroup2 none /sys/fs/cgroup\n\
             mkdir -p /run/systemd/system\ncd /run/systemd/system\n\
             printf '%s' '[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n' > nothing.target\n\
             printf '%s' '{}' > service.service\nprintf '%s' '{}' > mute.service\n\
             exec env -i container=test PATH=/usr/bin:/bin /lib/systemd/systemd --system --unit=nothing.target --log-target=null --show-status=0\n",
            unit("service"),
            unit("mute")
        );
        let namespaces = [
            "--pid",
            "--fork",
            "--kill-child",
            "--mount",
            "--mount-proc",
            "--cgroup",
            "--net",
            "--uts",
            "--ipc",
        ];
        let entered = format!(
            "echo $$ > {}/cgroup.procs; exec unshare {} sh -c \"$0\"",
            group.display(),
            namespaces.join(" ")
        );
        let mut command = Command::new("sh");
        command.args(["-c", &entered, &script]);
        let unshare = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut systemd = Self { unshare, first: 0, group };
        let children = format!("/proc/{0}/task/{0}/children", systemd.unshare.id());
        within(LONG, "systemd is up", || {
            let children = std::fs::read_to_string(&children).unwrap_or_default();
            systemd.first = children.split_whitespace().next()?.parse().ok()?;
            systemd
                .ctl(&["show", "nothing.target", "--property=ActiveState"])
                .contains("=active")
                .then_some(())
        });
        systemd
    }

    fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string()]);
        command.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "systemctl"]);
        let output = command.args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    fn show(&self, unit: &str, property: &str) -> String {
        self.ctl(&["show", unit, "--value", "--property", property]).trim().to_owned()
    }

    /// Starts it and returns when it has said that it is ready.
    fn start_unit(&self, unit: &str) {
        assert_eq!(self.ctl(&["start", unit]), "");
        assert_eq!(
            (self.show(unit, "SubState"), self.show(unit, "StatusText")),
            ("running".into(), "serving".into())
        );
    }

    fn is_over(&self, unit: &str) -> Option<()> {
        matches!(&*self.show(unit, "ActiveState"), "inactive" | "failed").then_some(())
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.unshare.kill(); // and with it its child, the first process, and with that all others
        let _ = self.unshare.wait();
        // Its processes end a moment later.
        let mut find = Command::new("find");
        find.arg(&self.group).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
        find.stderr(Stdio::null());
        within(LONG, "its control group can go", || {
            let _ = find.status();
            (!self.group.exists()).then_some(())
        });
    }
}

fn within<T>(limit: Duration, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20)); // somebody else's process is waited for
    }
}

fn a_drain_longer_than_the_stop_timeout_ends_in_order() {
    let systemd = Systemd::start();
    systemd.start_unit("service");
    let began = Instant::now();
    systemd.ctl(&["stop", "--no-block", "service"]);
    let status = within(LONG, "a status with what is waited for", || {
        Some(systemd.show("service", "StatusText"))
            .filter(|status| status.contains("listeners closed: 1 request"))
    });
    within(LONG, "its end", || systemd.is_over("service"));
    assert!(began.elapsed() > Duration::from_secs(3), "it had three seconds of work");
    assert_eq!(
        (systemd.show("service", "Result"), systemd.show("service", "ExecMainStatus")),
        ("success".into(), "0".into())
    );
    println!(
        "  {:.1} s with a stop timeout of 1 s; it said: {status}",
        began.elapsed().as_secs_f64()
    );
}

/// The other way round, so that the test above is known to see it.
fn without_asking_for_time_it_is_killed() {
    let systemd = Systemd::start();
    systemd.start_unit("mute");
    systemd.ctl(&["stop", "--no-block", "mute"]);
    within(LONG, "its end", || systemd.is_over("mute"));
    assert_eq!(systemd.show("mute", "Result"), "timeout");
}

/// A stop that systemd did not ask for.
fn the_unit_stops_when_its_listeners_close() {
    let systemd = Systemd::start();
    systemd.start_unit("service");
    systemd.ctl(&["kill", "--signal=USR1", "service"]);
    within(LONG, "the window", || {
        systemd.show("service", "StatusText").contains("still accepting").then_some(())
    });
    assert_eq!(systemd.show("service", "SubState"), "running", "in the window it still serves");
    within(LONG, "the point of no return", || {
        (systemd.show("service", "SubState") == "stop-sigterm").then_some(())
    });
    assert!(
        systemd.show("service", "StatusText").contains("listeners closed"),
        "not before the listeners close"
    );
    within(LONG, "its end", || systemd.is_over("service"));
    // It took three seconds, two of them after STOPPING=1, which began a timeout of one.
    assert_eq!(systemd.show("service", "Result"), "success");
}
