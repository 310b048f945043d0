//! Each rule by an example that breaks it: one edit of a deployment that keeps them all.

use std::collections::BTreeSet;

use clap::Parser;
use proptest::prelude::*;

use super::*;
use crate::args::{Cli, Command};

macro_rules! deployment {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../../docs/deployments/", $name)))
    };
}

const COMPOSE: (&str, &str) = deployment!("compose.yaml");
const DOCKERFILE: (&str, &str) = deployment!("Dockerfile");
const ECS: (&str, &str) = deployment!("ecs.yaml");
const KUBERNETES: (&str, &str) = deployment!("kubernetes.yaml");
const OXMGR: (&str, &str) = deployment!("oxfile.toml");
const PM2: (&str, &str) = deployment!("ecosystem.config.cjs");
const SYSTEMD: (&str, &str) = deployment!("web.service");
const ALL: [(&str, &str); 7] = [COMPOSE, DOCKERFILE, ECS, KUBERNETES, OXMGR, PM2, SYSTEMD];

/// The options of a command line without its files.
fn options(words: &[&str]) -> Plan {
    let all = ["lameduck", "plan", "-"].iter().chain(words);
    match Cli::try_parse_from(all).expect("a sound command line").command {
        Command::Plan(plan) => *plan,
        other => panic!("{other:?}"),
    }
}

fn outcome(files: &[(&str, &str)], words: &[&str]) -> Result<Outcome, String> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    plan(&files.iter().map(owned).collect::<Vec<_>>(), &options(words))
}

fn findings(files: &[(&str, &str)], words: &[&str]) -> Vec<(Id, u32)> {
    let outcome = outcome(files, words).expect("well-formed");
    let all = outcome.processes.iter().flat_map(|(planned, _)| &planned.findings);
    all.map(|finding| (finding.id, finding.place.line)).collect()
}

/// A rule, a deployment that keeps it, and the edit that breaks it.
type Case = (Id, (&'static str, &'static str), &'static str, &'static str);

/// What replaces the line of Kubernetes' grace, to have a hook, too.
const BEHIND_A_SLEEP: &str =
    "          lifecycle: { preStop: { sleep: { seconds: 5 } } }\n          readinessProbe:";

#[rustfmt::skip]
const CASES: &[Case] = &[
    (Id::DefaultLimit, COMPOSE, "    stop_grace_period: 30s\n", ""),
    (Id::DefaultLimit, ECS, "          StopTimeout: 60\n", ""),
    (Id::DefaultLimit, OXMGR, "stop_timeout_secs = 30\n", ""),
    (Id::DefaultLimit, PM2, "      kill_timeout: grace * 1000,\n", ""),
    (Id::DefaultLimit, PM2, "kill_timeout: grace * 1000", "kill_timeout: 0"),
    (Id::DeregistrationDelay, ECS, "        - { Key: deregistration_delay.timeout_seconds, Value: \"30\" }\n", ""),
    (Id::DeregistrationDelay, ECS, "Value: \"30\"", "Value: \"0\""),
    (Id::GraceOverLimit, COMPOSE, "stop_grace_period: 30s", "stop_grace_period: 0m29s"),
    (Id::GraceOverLimit, COMPOSE, "LAMEDUCK_GRACE: 30", "LAMEDUCK_GRACE: unlimited"),
    (Id::GraceOverLimit, ECS, "StopTimeout: 60", "StopTimeout: 59"),
    (Id::GraceOverLimit, KUBERNETES, "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 29"),
    (Id::GraceOverLimit, KUBERNETES, "value: \"30\"", "value: \"30.001\""),
    (Id::GraceOverLimit, OXMGR, "LAMEDUCK_GRACE = \"30\"", "LAMEDUCK_GRACE = \"31\""),
    (Id::GraceOverLimit, PM2, "grace * 1000", "grace * 999"),
    (Id::KeepAliveBelowProxy, ECS, "--timeout-keep-alive, \"75\"", "--timeout-keep-alive, \"60\""),
    (Id::KeepAliveBelowProxy, ECS, ", --timeout-keep-alive, \"75\"", ""),
    (Id::KillMode, SYSTEMD, "KillMode=mixed", "KillMode=process"),
    (Id::KillMode, SYSTEMD, "KillMode=mixed", "KillMode=none"),
    (Id::KillMode, SYSTEMD, "KillMode=mixed", "KillMode=mixed\nExecStop=/bin/kill -s KILL $MAINPID"),
    (Id::LimitRefused, ECS, "StopTimeout: 60", "StopTimeout: 121"),
    (Id::LivenessIsReadiness, KUBERNETES, "path: /livez", "path: /readyz"),
    (Id::LivenessIsReadiness, OXMGR, "3000/livez", "3000/readyz"),
    (Id::NoRestart, OXMGR, "restart_policy = \"on_failure\"", "restart_policy = \"never\""),
    (Id::NoRestart, PM2, "wait_ready: true", "autorestart: false"),
    (Id::NoRestart, SYSTEMD, "Restart=on-failure\n", ""),
    (Id::NoRestart, SYSTEMD, "Restart=on-failure", "Restart=on-failure\nRestart=no"),
    (Id::PackageManager, DOCKERFILE, "CMD [\"node\", \"server.mjs\"]", "CMD [\"npm\", \"start\"]"),
    (Id::PackageManager, DOCKERFILE, "CMD [\"node\", \"server.mjs\"]", "CMD exec yarn run serve"),
    (Id::PackageManager, DOCKERFILE, "CMD [\"node\", \"server.mjs\"]", "ENTRYPOINT [\"/usr/bin/tini\", \"--\"]\nCMD [\"npm\", \"start\"]"),
    (Id::PackageManager, OXMGR, "node server.mjs", "npm start"),
    (Id::PackageManager, PM2, "'./server.mjs'", "'npm', args: ['run', 'serve']"),
    (Id::PolicyContradiction, COMPOSE, "LAMEDUCK_WINDOW: 3", "LAMEDUCK_WINDOW: 31"),
    (Id::PolicyContradiction, KUBERNETES, "value: \"5\"", "value: 5s"),
    (Id::ShellSwallowsSignal, DOCKERFILE, "CMD [\"node\", \"server.mjs\"]", "CMD node server.mjs"),
    (Id::ShellSwallowsSignal, DOCKERFILE, "CMD [\"node\", \"server.mjs\"]", "CMD [\"sh\", \"-c\", \"npx migrate && node server.mjs\"]"),
    (Id::ShellSwallowsSignal, DOCKERFILE, "CMD [\"node\", \"server.mjs\"]", "CMD [\"bash\", \"-c\", \"node server.mjs | tee log\"]"),
    (Id::ShellSwallowsSignal, SYSTEMD, "/usr/bin/node /srv/web/server.mjs", "/bin/sh -c 'node server.mjs'"),
    (Id::StopSignal, COMPOSE, "    build: .", "    build: .\n    stop_signal: SIGQUIT"),
    (Id::StopSignal, DOCKERFILE, "USER node", "STOPSIGNAL SIGUSR2"),
    (Id::StopSignal, OXMGR, "\"SIGINT\"", "\"SIGHUP\""),
    (Id::StopSignal, SYSTEMD, "KillMode=mixed", "KillSignal=3\nKillMode=mixed"),
    (Id::UnknownVariable, DOCKERFILE, "USER node", "ENV LAMEDUCK_GRACE_SECONDS=30"),
    (Id::UnknownVariable, SYSTEMD, "LAMEDUCK_GRACE=30", "LAMEDUCK_GRACE=30 LAMEDUCK_WINDW=3"),
    (Id::WindowDoubled, KUBERNETES, "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 35"),
    (Id::WindowTooShort, COMPOSE, "interval: 2s", "interval: 4s"),
    (Id::WindowTooShort, KUBERNETES, "value: \"5\"", "value: \"0\""),
];

#[test]
fn every_rule_is_broken_by_its_example_and_by_nothing_else() {
    for (id, (name, text), from, to) in CASES {
        assert_eq!(findings(&[(name, text)], &[]), [], "{name} as it is");
        assert_eq!(text.matches(from).count(), 1, "{name} has {from:?} once");
        let mut broken = text.replacen(from, to, 1);
        if *id == Id::WindowDoubled {
            broken = broken.replacen("          readinessProbe:", BEHIND_A_SLEEP, 1);
        }
        let found = findings(&[(name, &broken)], &[]);
        assert_eq!(
            found.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            [*id],
            "{name}: {from} → {to}"
        );
        let last = broken.lines().count();
        assert!(found.iter().all(|(_, line)| (1..=last).contains(&(*line as usize))), "{name}");
    }
    let shown: BTreeSet<Id> = CASES.iter().map(|(id, ..)| *id).collect();
    assert_eq!(shown, Id::ALL.iter().copied().collect(), "every rule has an example");
}

#[test]
fn findings_name_the_line_that_is_to_blame() {
    let text = KUBERNETES
        .1
        .replace("terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 20");
    let line = |text: &str, what: &str| {
        u32::try_from(text.lines().position(|line| line.contains(what)).unwrap() + 1).unwrap()
    };
    let expected = line(&text, "terminationGracePeriodSeconds: 20");
    assert_eq!(findings(&[("k.yaml", &text)], &[]), [(Id::GraceOverLimit, expected)]);
    let text = KUBERNETES.1.replace("path: /livez", "path: /readyz");
    let outcome = outcome(&[("k.yaml", &text)], &[]).unwrap();
    let place = &outcome.processes[0].0.findings[0].place;
    assert_eq!(place.path, "spec.template.spec.containers[0].livenessProbe");
    // The map begins on the line after its key.
    assert_eq!(place.line, line(&text, "livenessProbe:") + 1);
}

#[test]
fn a_hook_spends_the_same_budget() {
    let text = KUBERNETES
        .1
        .replace("          readinessProbe:", BEHIND_A_SLEEP)
        .replace("value: \"5\"", "value: \"0\"");
    assert_eq!(findings(&[("k.yaml", &text)], &[])[0].0, Id::GraceOverLimit);
    let enough =
        text.replace("terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 35");
    assert_eq!(findings(&[("k.yaml", &enough)], &[]), [], "a window of 0 is right behind a sleep");
    let unknown = enough.replace("sleep: { seconds: 5 }", "exec: { command: [/drain] }");
    assert_eq!(findings(&[("k.yaml", &unknown)], &["--pre-stop", "5s"]), []);
    assert_eq!(findings(&[("k.yaml", &unknown)], &["--pre-stop", "6s"])[0].0, Id::GraceOverLimit);
}

#[test]
fn options_say_what_the_files_do_not() {
    let bare = "services: { web: { build: ., stop_grace_period: 20s } }";
    let files = [("compose.yml", bare)];
    let ids =
        |words: &[&str]| findings(&files, words).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(&[]), [Id::GraceOverLimit], "lameduck's default is 30 s");
    assert_eq!(ids(&["--grace", "20s"]), []);
    assert_eq!(
        ids(&["--grace", "20s", "--probe-interval", "2s", "--probe-threshold", "3"]),
        [Id::WindowTooShort]
    );
    assert_eq!(
        ids(&[
            "--grace",
            "20s",
            "--probe-interval",
            "2s",
            "--probe-threshold",
            "3",
            "--window",
            "6s"
        ]),
        []
    );
    assert_eq!(
        ids(&["--grace", "20s", "--keep-alive", "5s", "--proxy-keep-alive", "60s"]),
        [Id::KeepAliveBelowProxy]
    );
    assert_eq!(
        ids(&["--grace", "20s", "--window", "20s", "--reserve", "1s"]),
        [Id::PolicyContradiction]
    );
    // The environment beats what the program sets, as in the core.
    let set = [(
        "c.yml",
        "services: { web: { stop_grace_period: 20s, environment: [LAMEDUCK_GRACE=20] } }",
    )];
    assert_eq!(findings(&set, &["--grace", "60s"]), []);
    assert!(
        outcome(&files, &["--only", "db"])
            .unwrap_err()
            .contains("there is no db in these files; there are web")
    );
}

#[test]
fn an_image_is_part_of_what_runs_it() {
    let both = [
        KUBERNETES,
        ("Dockerfile", "FROM node\nENV LAMEDUCK_QUITE=1\nSTOPSIGNAL SIGQUIT\nCMD npm start\n"),
    ];
    let outcome = outcome(&both, &[]).unwrap();
    assert_eq!(outcome.processes.len(), 1);
    let mut ids: Vec<Id> =
        outcome.processes[0].0.findings.iter().map(|finding| finding.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [Id::PackageManager, Id::StopSignal, Id::UnknownVariable]);
    let file = |at: usize| outcome.processes[0].0.findings[at].place.file.as_str();
    assert_eq!((file(0), file(1), file(2)), ("Dockerfile", "Dockerfile", "Dockerfile"));
}

#[test]
fn what_stands_in_the_way_of_a_signal() {
    use command::{Command, InTheWay};
    let shell = |name: &str| Some(InTheWay::Shell(name.into()));
    let manager = |words: &str| Some(InTheWay::PackageManager(words.into()));
    let words = |line: &str| Command::Words(command::split(line));
    for (command, expected) in [
        (words("node server.js"), None),
        (words("npm start"), manager("npm start")),
        (
            words("/usr/local/bin/npm run start:prod"),
            manager("npm run start:prod").and(manager("/usr/local/bin/npm run start:prod")),
        ),
        (words("dumb-init -- npx serve"), manager("npx serve")),
        (words("npm --version"), None),
        (words("sh -c 'node server.js'"), shell("sh")),
        (words("sh -ec 'exec node server.js'"), None),
        (words("sh -c 'migrate; exec node server.js'"), None),
        (words("sh -c 'exec npm start'"), manager("npm start")),
        (words("bash -c 'migrate && node server.js'"), None),
        (words("bash -c 'node server.js &'"), shell("bash")),
        (words("tini -- sh -c 'node server.js'"), shell("sh")),
        (words("tini -g -- sh -c 'node server.js'"), None),
        (words("dumb-init sh -c 'node server.js'"), None),
        (words("dumb-init --single-child sh -c 'node server.js'"), shell("sh")),
        (words("gosu app env A=1 node server.js"), None),
        (Command::Line("node server.js".into()), shell("sh")),
        (Command::Line("exec node server.js".into()), None),
        (Command::Line(String::new()), None),
    ] {
        assert_eq!(command.in_the_way(), expected, "{command:?}");
    }
}

#[test]
fn bad_input_is_one_sentence_with_its_line() {
    for (name, text, parts) in [
        ("a.yaml", "a: [1, 2", &["a.yaml, line 2", "not YAML"][..]),
        ("a.yaml", "kind: x\napiVersion: v1\n\tb: 1\n", &["a.yaml, line 2, column 13", "a tab"]),
        ("a.yaml", "a: {{ .Values.a }}\n", &["line 1", "helm template"]),
        ("a.yaml", "a: &a [*a]\n", &["line 1", "alias"]),
        (
            "a.yaml",
            "services: {web: {stop_grace_period: 10}}",
            &["services.web.stop_grace_period is 10", "a time like 30s"],
        ),
        ("a.yaml", "", &["nothing in these files", "a.yaml is empty"]),
        ("a.yaml", "just a word", &["nothing in these files", "a kind of file that is not known"]),
        (
            "a.yaml",
            "kind: Service\napiVersion: v1\nmetadata: {name: web}",
            &["Service web is left out"],
        ),
        ("a.json", "{\"family\": }", &["a.json, line 1, column 12", "not JSON", "expected value"]),
        ("a.json", "{\n \"a\": 1,\n}", &["a.json, line 3", "trailing comma"]),
        ("Oxfile.toml", "[[apps]\nname = 1", &["line 1", "not TOML"]),
        (
            "oxfile.toml",
            "[[apps]]\ncommand = 'x'\nstop_timeout_secs = 'long'",
            &["apps[0].stop_timeout_secs is \"long\", expected a number of seconds"],
        ),
        ("ecosystem.config.js", "module.exports = { apps: [", &["line 1", "not JavaScript"]),
        (
            "ecosystem.config.js",
            "module.exports = require('./apps');",
            &["computed, and nothing is executed"],
        ),
        ("ecosystem.config.js", "const a = 1;", &["computed"]),
        ("Dockerfile", "RUN true", &["Dockerfile, a Dockerfile needs a FROM"]),
        ("Dockerfile", "FROM x\nSTART node", &["line 2", "\"START\" is no instruction"]),
        ("web.service", "[Unit]\nAfter=x", &["no [Service] section"]),
        ("web.service", "[Service]\nnonsense", &["line 2", "neither [Section] nor Key=value"]),
        ("web.service", "[Service]\nTimeoutStopSec=soon", &["line 2", "TimeoutStopSec is soon"]),
        ("web.socket", "[Socket]", &["web.socket is left out"]),
        ("a.yaml", "a\0b", &["not a text file"]),
    ] {
        let sentence = outcome(&[(name, text)], &[]).expect_err(text);
        for part in parts {
            assert!(sentence.contains(part), "{name} {text:?}: {sentence}");
        }
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
    }
}

#[test]
fn what_is_computed_is_said_and_not_guessed() {
    let pm2 = "const { env } = process; const common = { kill_timeout: 20000 };
        exports.apps = [{ ...common, name: 'a', script: 'a.js', env: { LAMEDUCK_GRACE: env.G, LAMEDUCK_WINDOW: '1' } },
                        { name: 'b', script: 'b.js', kill_timeout: 10 * env.SECONDS }, more];";
    let outcome = outcome(&[("ecosystem.config.js", pm2)], &["--grace", "1s"]).unwrap();
    assert_eq!(outcome.processes[0].1.kill, Some(std::time::Duration::from_secs(20)));
    assert!(outcome.processes[1].0.process.notes[0].contains("apps[1].kill_timeout is computed"));
    assert!(outcome.notes[0].contains("this app is computed"));
    let compose =
        "services: {web: {stop_grace_period: '${GRACE:-40s}', environment: {LAMEDUCK_GRACE: 40}}}";
    assert_eq!(findings(&[("c.yml", compose)], &[]), []);
}

#[test]
fn yaml_as_people_write_it() {
    // Anchors, merge keys, lists of documents, config maps, several containers.
    let compose = "x-base: &base {stop_grace_period: 30s, stop_signal: SIGQUIT}
services:
  web: {<<: *base, build: ., environment: [LAMEDUCK_GRACE=30]}
  db: {image: postgres}";
    assert_eq!(findings(&[("c.yml", compose)], &[]), [(Id::StopSignal, 1)]);
    let list = "apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: lame}, data: {LAMEDUCK_GRACE: '31'}}
- apiVersion: v1
  kind: Pod
  metadata: {name: one}
  spec:
    containers:
    - {name: app, envFrom: [{configMapRef: {name: lame}}]}
    - {name: mesh, lifecycle: {preStop: {sleep: {seconds: 99}}}}";
    let outcome = outcome(&[("k.yml", list)], &[]).unwrap();
    assert_eq!(outcome.processes.len(), 1, "the mesh is left out");
    let finding = &outcome.processes[0].0.findings[0];
    assert_eq!(finding.id, Id::DefaultLimit);
    assert!(finding.remedy.contains("terminationGracePeriodSeconds: 31"), "{}", finding.remedy);
}

#[test]
fn nobody_steers_the_terminal() {
    let compose = "services: {\"a\\e[2Jb\": {stop_signal: \"c\\nd\\e[1m\"}}";
    let outcome = outcome(&[("x\u{1b}.yml", compose)], &[]).unwrap();
    let shown = text::render(&outcome, Screen { width: 80 });
    assert!(
        !shown.contains("\u{1b}[2J") && !shown.contains("d\u{1b}[1m") && !shown.contains("x\u{1b}"),
        "{shown:?}"
    );
    assert!(!svg::render(&outcome).contains('\u{1b}'));
}

#[test]
fn every_form_of_amazon_s_files() {
    let task = r#"{"taskDefinition": {"family": "web", "containerDefinitions": [{"name": "app",
        "stopTimeout": 30, "command": ["node", "s.mjs"], "environment": [{"name": "LAMEDUCK_GRACE", "value": "30"}]}]}}"#;
    let group =
        r#"{"Attributes": [{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]}"#;
    let groups = r#"{"TargetGroups": [{"TargetGroupArn": "a", "HealthCheckIntervalSeconds": 10, "UnhealthyThresholdCount": 3}]}"#;
    assert_eq!(findings(&[("task.json", task)], &[]), []);
    assert_eq!(
        findings(&[("task.json", task), ("tg.json", group)], &[]),
        [(Id::DeregistrationDelay, 1)]
    );
    assert_eq!(
        findings(&[("task.json", task), ("tg.json", groups)], &[]),
        [(Id::DeregistrationDelay, 1)]
    );
    let mended = group.replace("\"0\"", "\"30\"");
    assert_eq!(findings(&[("task.json", task), ("a.json", groups), ("b.json", &mended)], &[]), []);
    // Behind a target group, a unit is found leaving only by its health check.
    assert_eq!(findings(&[SYSTEMD, ("tg.json", groups)], &[]), [(Id::WindowTooShort, 1)]);
    let quick = groups.replace("\"UnhealthyThresholdCount\": 3", "\"UnhealthyThresholdCount\": 1");
    assert_eq!(findings(&[SYSTEMD, ("tg.json", &quick)], &["--window", "10s"]), []);
}

#[test]
fn nesting_is_bounded() {
    let deep = |open: &str, times: usize| open.repeat(times);
    for (name, text) in [
        ("a.yaml", deep("[", 100_000)),
        ("a.yaml", deep("- ", 5_000)),
        ("a.json", deep("[", 100_000)),
        ("oxfile.toml", format!("a = {}", deep("[", 100_000))),
        ("e.js", format!("module.exports = {}", deep("[", 60_000))),
        ("e.js", format!("module.exports = {}1", deep("!", 60_000))),
        ("e.js", deep("if(a)", 12_000)),
        ("e.js", format!("module.exports = {}1", deep("a=>", 20_000))),
        ("e.js", format!("module.exports = [{}1{}]", deep("[", 400), deep("]", 400))),
        ("e.js", "const a = [a, a]; module.exports = { apps: a };".into()),
        (
            "e.js",
            (0..30).fold(String::from("const a0 = [1];"), |s, n| {
                format!("{s} const a{} = [a{n}, a{n}];", n + 1)
            }) + " module.exports = a30;",
        ),
    ] {
        assert!(outcome(&[(name, &text)], &[]).is_err(), "{name}");
    }
}

/// One of the examples with a part of it cut out, doubled, or replaced by something else.
fn mutated() -> impl Strategy<Value = (usize, String)> {
    let piece = prop_oneof![
        "\\PC{0,12}",
        Just("\n\t- ".to_owned()),
        Just("999999999999999999999".to_owned()),
        Just("*a".into()),
        Just("{{".into()),
        Just("infinity".into())
    ];
    (0..ALL.len(), any::<prop::sample::Index>(), 0_usize..40, piece).prop_map(
        |(which, at, cut, piece)| {
            let text = ALL[which].1;
            let letters: Vec<char> = text.chars().collect();
            let at = at.index(letters.len());
            let end = (at + cut).min(letters.len());
            (
                which,
                letters[..at]
                    .iter()
                    .chain(piece.chars().collect::<Vec<_>>().iter())
                    .chain(&letters[end..])
                    .collect(),
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_file_panics((which, text) in mutated(), name in prop::sample::select(&["", "a.yaml", "a.json", "a.toml", "a.js", "Dockerfile", "a.service"][..])) {
        let name = if name.is_empty() { ALL[which].0 } else { name };
        if let Ok(outcome) = outcome(&[(name, &text)], &[]) {
            text::render(&outcome, Screen { width: 60 });
            json::render(&outcome);
            svg::render(&outcome);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}|[-{}\\[\\]:\"'a-z0-9 \n,&*<]{0,200}", name in prop::sample::select(&["a.yaml", "a.json", "a.toml", "a.js", "Dockerfile", "a.service"][..])) {
        let _ = outcome(&[(name, &text)], &[]);
    }
}
