use std::collections::HashMap;

use lameduck::Settings;

use super::*;

/// A made-up process.
#[derive(Default)]
struct Seen {
    process: u32,
    variables: HashMap<&'static str, String>,
    files: HashMap<String, Vec<u8>>,
}

impl Seen {
    fn new(process: u32) -> Self {
        Self { process, ..Self::default() }
    }

    fn set(mut self, name: &'static str, value: &str) -> Self {
        self.variables.insert(name, value.to_owned());
        self
    }

    fn file(mut self, path: &str, contents: &str) -> Self {
        self.files.insert(path.to_owned(), contents.as_bytes().to_vec());
        self
    }

    fn process(self, process: u32, parent: u32, words: &[&str]) -> Self {
        let name = words[0].rsplit('/').next().unwrap();
        self.file(&format!("/proc/{process}/stat"), &format!("{process} ({name}) S {parent} 1 1 0"))
            .file(&format!("/proc/{process}/cmdline"), &(words.join("\0") + "\0"))
    }

    fn detect(&self) -> Surroundings {
        detect(&View {
            process: self.process,
            variable: &|name| self.variables.get(name).cloned(),
            file: &|path| self.files.get(path).cloned(),
        })
    }
}

fn policy(grace: Option<Grace>, by_environment: bool) -> Policy {
    let set = Settings { grace, ..Settings::default() };
    let none = Settings::default();
    let (code, environment) = if by_environment { (&none, &set) } else { (&set, &none) };
    Policy::resolve(code, environment).unwrap()
}

fn seconds(seconds: u64) -> Option<Grace> {
    Some(Grace::Limited(Duration::from_secs(seconds)))
}

fn pm2() -> Seen {
    // As PM2 7 starts an app in fork mode: its settings, flat.
    Seen::new(4711)
        .set("pm_id", "0")
        .set("name", "shop")
        .set("exec_mode", "fork_mode")
        .set("pm_exec_path", "/srv/shop/server.js")
        .set("PM2_HOME", "/root/.pm2")
        .set("treekill", "true")
}

#[test]
fn nobody() {
    let found = Seen::new(4711).process(4711, 100, &["node", "s.js"]).detect();
    assert_eq!(found, Surroundings::default());
    assert_eq!(found.describe(), "supervised by nobody that is known");
    assert!(found.warnings(&policy(None, false)).is_empty());
}

#[test]
fn pm2_tells_its_kill_timeout() {
    let found = pm2().detect();
    assert_eq!(found.supervisors, [Supervisor::Pm2 { kill_timeout: None }]);
    assert_eq!(found.describe(), "supervised by PM2 (kills after 1.6s, its default)");
    assert_eq!(
        found.warnings(&policy(None, false)),
        [
            "grace is 30s, but PM2 kills this process 1.6s after it asked it to stop: set kill_timeout: 30000 for this app in PM2's configuration, or set LAMEDUCK_GRACE=1.6"
        ]
    );
    // It is known, so nobody's word weighs more.
    assert_eq!(found.warnings(&policy(seconds(2), true)).len(), 1);
    assert!(found.warnings(&policy(seconds(1), false)).is_empty());

    let set = pm2().set("kill_timeout", "30000").detect();
    let kill_timeout = Some(Duration::from_secs(30));
    assert_eq!(set.supervisors, [Supervisor::Pm2 { kill_timeout }]);
    assert!(set.warnings(&policy(None, false)).is_empty());
    let daemons = pm2().set("PM2_KILL_TIMEOUT", "5000").detect();
    let kill_timeout = Some(Duration::from_secs(5));
    assert_eq!(daemons.supervisors, [Supervisor::Pm2 { kill_timeout }]);
    for nonsense in ["", "0", "soon"] {
        let found = pm2().set("kill_timeout", nonsense).detect();
        assert_eq!(found.supervisors, [Supervisor::Pm2 { kill_timeout: None }]);
    }
}

#[test]
fn kubernetes_by_each_of_its_signs() {
    let signs = [
        Seen::new(7).set("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        Seen::new(7).file("/var/run/secrets/kubernetes.io/serviceaccount", ""),
        Seen::new(7).file("/proc/self/cgroup", "0::/kubepods.slice/kubepods-burstable.slice/x\n"),
        // Not Docker's, though it runs the containers.
        Seen::new(7).set("KUBERNETES_SERVICE_HOST", "10.96.0.1").file("/.dockerenv", ""),
    ];
    for sign in signs {
        assert_eq!(sign.detect().supervisors, [Supervisor::Kubernetes]);
    }
    let found = Seen::new(1).set("KUBERNETES_SERVICE_HOST", "10.96.0.1").detect();
    assert_eq!(
        found.describe(),
        "supervised by Kubernetes (kills after 30s unless terminationGracePeriodSeconds says otherwise), as the first process of its container"
    );
    assert!(found.warnings(&policy(None, false)).is_empty());
    assert_eq!(
        found.warnings(&policy(seconds(60), false)),
        [
            "grace is 60s, but Kubernetes kills this process 30s after it asked it to stop unless somebody has set more: set terminationGracePeriodSeconds: 60 in the pod's spec, and more if a preStop hook sleeps, or set LAMEDUCK_GRACE=30 (LAMEDUCK_GRACE=60 if that much is allowed already)"
        ]
    );
    assert!(found.warnings(&policy(seconds(60), true)).is_empty(), "the operator's word");
}

#[test]
fn containers_by_each_of_their_signs() {
    for (path, contents, runtime) in [
        ("/.dockerenv", "", "Docker"),
        ("/proc/self/cgroup", "12:pids:/docker/0123456789abcdef\n", "Docker"),
        ("/proc/self/cgroup", "0::/system.slice/docker-0123.scope\n", "Docker"),
        ("/run/.containerenv", "", "Podman"),
        ("/proc/self/cgroup", "0::/machine.slice/libpod-0123.scope\n", "Podman"),
        (
            "/proc/self/cgroup",
            "0::/system.slice/cri-containerd-01.scope\n",
            "the container runtime",
        ),
    ] {
        let found = Seen::new(7).file(path, contents).detect();
        assert_eq!(found.supervisors, [Supervisor::Container { runtime }], "{path} {contents}");
    }
    let warnings = Seen::new(1).file("/.dockerenv", "").detect().warnings(&policy(None, false));
    assert_eq!(
        warnings,
        [
            "grace is 30s, but Docker kills this process 10s after it asked it to stop unless somebody has set more: stop it with --stop-timeout 30 (in Compose: stop_grace_period: 30s), or set LAMEDUCK_GRACE=10 (LAMEDUCK_GRACE=30 if that much is allowed already)"
        ]
    );
}

#[test]
fn systemd_by_each_of_its_signs() {
    let group = "0::/system.slice/shop.service\n";
    let unit = || Some(String::from("shop.service"));
    let direct = Seen::new(7).set("SYSTEMD_EXEC_PID", "7").file("/proc/self/cgroup", group);
    let inherited = Seen::new(7).set("INVOCATION_ID", "c0ffee").file("/proc/self/cgroup", group);
    for sign in [direct, inherited] {
        let systemd = Supervisor::Systemd { unit: unit(), hears: false };
        assert_eq!(sign.detect().supervisors, [systemd]);
    }
    let silent =
        Seen::new(7).set("SYSTEMD_EXEC_PID", "7").file("/proc/self/cgroup", group).detect();
    assert_eq!(
        silent.warnings(&policy(seconds(120), false)),
        [
            "grace is 120s, but systemd kills this process 90s after it asked it to stop unless somebody has set more: set TimeoutStopSec=120 in the unit, or NotifyAccess=main so that it can be asked for more time, or set LAMEDUCK_GRACE=90 (LAMEDUCK_GRACE=120 if that much is allowed already)"
        ]
    );
    assert_eq!(silent.warnings(&policy(Some(Grace::Unlimited), false)).len(), 1);

    let hears = Seen::new(7).set("NOTIFY_SOCKET", "/run/systemd/notify").detect();
    assert_eq!(hears.supervisors, [Supervisor::Systemd { unit: None, hears: true }]);
    assert!(hears.warnings(&policy(seconds(120), false)).is_empty(), "it is asked for the time");
    assert!(hears.warnings(&policy(Some(Grace::Unlimited), false)).is_empty());
}

#[test]
fn what_a_unit_of_somebody_elses_passed_on_is_not_ours() {
    // A person's terminal: the variables are those of the unit in which it runs.
    let found = Seen::new(7)
        .set("SYSTEMD_EXEC_PID", "3")
        .set("INVOCATION_ID", "c0ffee")
        .file(
            "/proc/self/cgroup",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/terminal.scope\n",
        )
        .detect();
    assert_eq!(found, Surroundings::default());
    // A variable that is set to nothing is not set.
    assert_eq!(Seen::new(7).set("NOTIFY_SOCKET", "").detect(), Surroundings::default());
}

#[test]
fn all_that_supervise_are_named_the_nearest_first() {
    let found = pm2().set("KUBERNETES_SERVICE_HOST", "10.96.0.1").detect();
    assert_eq!(
        found.describe(),
        "supervised by PM2 (kills after 1.6s, its default) in Kubernetes (kills after 30s unless terminationGracePeriodSeconds says otherwise)"
    );
    assert_eq!(found.warnings(&policy(seconds(60), false)).len(), 2);
}

fn contained() -> Seen {
    Seen::new(14).file("/.dockerenv", "").process(14, 13, &["node", "server.js"])
}

#[test]
fn npm_and_shells_swallow_signals() {
    let swallower = |seen: Seen| seen.detect().swallower;
    let named = |program: &str, process| Some(Swallower { program: program.to_owned(), process });
    // As npm 11 does it: a shell between.
    let shell = || contained().process(13, 1, &["sh", "-c", "node server.js"]);
    assert_eq!(swallower(shell().process(1, 0, &["npm start"])), named("npm", 1));
    assert_eq!(
        swallower(shell().process(1, 0, &["node", "/usr/bin/npm-cli.js", "start"])),
        named("npm", 1)
    );
    assert_eq!(
        swallower(shell().process(1, 0, &["node", "/usr/bin/yarn.js", "start"])),
        named("yarn", 1)
    );
    // A script that does not exec, under an init that passes signals on to it.
    let script = contained().process(13, 1, &["/bin/bash", "/entrypoint.sh"]);
    assert_eq!(swallower(script.process(1, 0, &["/sbin/tini", "--"])), named("bash", 13));

    let seen = shell().process(1, 0, &["npm start"]);
    let warnings = seen.detect().warnings(&policy(seconds(10), false));
    assert_eq!(
        warnings,
        [
            "a request to stop this container goes to 'npm' (process 1), which does not pass it on: this process would be killed without notice. Start it directly, as in CMD [\"node\", \"server.js\"], or with exec in each script between: exec node server.js"
        ]
    );
}

#[test]
fn odd_names_and_unreadable_ancestors_hide_nothing() {
    let odd = contained().file("/proc/14/stat", "14 (a) S 1 (b) S 13 1 1").process(
        13,
        12,
        &["yarn start"],
    );
    let yarn = Swallower { program: String::from("yarn"), process: 13 };
    assert_eq!(odd.detect().swallower, Some(yarn));
}

#[test]
fn others_do_not() {
    let swallower = |seen: Seen| seen.detect().swallower;
    let gunicorn = contained().process(13, 1, &["/usr/bin/python3", "/usr/bin/gunicorn", "app"]);
    assert_eq!(swallower(gunicorn.process(1, 0, &["tini", "--", "gunicorn"])), None);
    // npm passes the signal on to a script that begins with exec.
    assert_eq!(
        swallower(contained().process(13, 1, &["npm start"]).process(1, 0, &["tini"])),
        None
    );
    assert_eq!(
        swallower(Seen::new(14).file("/.dockerenv", "").process(14, 1, &["node", "a.js"]).process(
            1,
            0,
            &["npm start"]
        )),
        None
    );
    // Somebody's interactive shell inside the container.
    let shell = contained().process(13, 1, &["bash"]);
    assert_eq!(swallower(shell.process(1, 0, &["sleep", "infinity"])), None);
    // Whoever is above decides; this one started a daemon, and its shell has nothing to do with us.
    let daemon = contained().process(13, 12, &["PM2 v7.0.4: God Daemon (/root/.pm2)"]);
    let started = daemon.process(12, 1, &["bash", "-c", "pm2 start app.js; sleep infinity"]);
    assert_eq!(swallower(started.process(1, 0, &["/usr/bin/agent"])), None);
    // Somebody's work far below: the container's stop signal is not meant for it.
    let deep = (3..=13).fold(contained(), |seen, n| seen.process(n, n - 1, &["tini"]));
    let deep = deep.process(2, 1, &["npm start"]).process(1, 0, &["tini"]);
    assert_eq!(swallower(deep), None);
    // Outside a container the whole control group is told, or the terminal's foreground.
    let outside =
        Seen::new(14).process(14, 13, &["node", "s.js"]).process(13, 1, &["sh", "-c", "node s.js"]);
    assert_eq!(swallower(outside.process(1, 0, &["/sbin/init"])), None);
}

#[test]
fn the_real_reader_finds_this_process() {
    // Whatever runs the tests: it must not panic, and says the same twice.
    let here = Surroundings::here();
    assert_eq!(here, Surroundings::here());
    assert!(!here.is_first_process);
    assert!(here.describe().starts_with("supervised by "));
}
