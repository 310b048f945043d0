//! `lameduck drill` from the outside: the binary, real child processes, loopback only.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn server(name: &str) -> String {
    format!("{}/tests/servers/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn drill(options: &[&str], cmd: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lameduck"));
    command.arg("drill").args(options).arg("--").args(cmd);
    command
}

/// A short drill of one of `servers/`.
fn short(options: &[&str], name: &str) -> Command {
    let file = server(name);
    let mut all = vec!["--restarts", "2", "--warm-up", "300ms", "--pause", "200ms"];
    all.extend_from_slice(options);
    drill(&all, &["node", &file])
}

fn run(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("it exits"), text(stdout), text(stderr))
}

fn run_json(mut command: Command) -> (i32, Value, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    let stderr = String::from_utf8(stderr).expect("UTF-8");
    let value = serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("no JSON: {stderr}"));
    (status.code().expect("it exits"), value, stderr)
}

/// Live processes with `marker` among their arguments or in their environment.
fn processes(marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("Linux").flatten() {
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let mut bytes = read("cmdline");
        bytes.push(0);
        bytes.extend(read("environ"));
        let text = String::from_utf8_lossy(&bytes);
        let is_drill = text.contains("/lameduck\0drill\0");
        if text.contains(marker) && !is_drill {
            found.push(text.replace('\0', " "));
        }
    }
    found
}

/// A value for the environment variable MARKER that only one test uses.
fn marker(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

fn assert_gone(marker: &str) {
    // A killed process may be listed for a moment until its adopted parent has reaped it.
    let deadline = Instant::now() + Duration::from_secs(2);
    while !processes(marker).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(processes(marker), Vec::<String>::new());
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("lameduck-cli-test-{}-{name}", std::process::id()))
}

#[test]
fn a_server_that_loses_requests_fails_the_drill() {
    let marker = marker("lossy");
    let mut command = short(&["--json", "--rate", "1500", "--slow-share", "10"], "lossy.mjs");
    command.env("MARKER", &marker);
    let (status, result, stderr) = run_json(command);
    assert_eq!(status, 1, "{stderr}");
    assert_eq!(result["schema"], "lameduck-drill/2");
    assert_eq!((&result["outcome"], &result["exit_status"]), (&"failed".into(), &1.into()));
    let failed = result["requests"]["failed"].as_u64().unwrap();
    assert!(failed >= 2, "{result}");
    assert_eq!(result["findings"][0]["mistake"], "exits-at-once", "{result}");
    assert_eq!(result["findings"].as_array().unwrap().len(), 1, "{result}");
    let kinds = result["failures"].as_object().unwrap();
    assert_eq!(kinds.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), failed);
    let broken = ["reset_reused", "reset_fresh", "eof_reused", "eof_fresh", "truncated"];
    let broken: u64 = broken.iter().map(|kind| kinds[*kind].as_u64().unwrap()).sum();
    assert_eq!(broken, failed, "nothing but broken connections: {kinds:?}");
    let restarts = result["restarts"].as_array().unwrap();
    assert_eq!(restarts.len(), 2);
    for restart in restarts {
        assert_eq!(restart["exit"]["code"], 0);
        assert!(restart["ready_ms"].as_u64() > restart["exited_ms"].as_u64());
    }
    let sum = |at: &str| -> u64 {
        let row = result["timeline"][at].as_array().unwrap();
        row.iter().map(|count| count.as_u64().unwrap()).sum()
    };
    assert_eq!(sum("failed"), failed);
    assert_eq!(sum("ok") + failed, result["requests"]["total"].as_u64().unwrap());
    assert_gone(&marker);
}

#[test]
fn a_good_server_passes_and_stands_beside_an_earlier_result() {
    let (first, picture) = (temporary("first.json"), temporary("picture.svg"));
    let json_file = first.to_str().unwrap();
    let (status, stdout, stderr) =
        run(short(&["--label", "the <first>", "--json-file", json_file], "graceful.mjs"));
    assert_eq!(status, 0, "{stdout}{stderr}");
    assert!(stdout.contains("passed: 0 of "), "{stdout}");
    assert_eq!(stderr.lines().count(), 3, "one line, then one per restart: {stderr}");

    let svg = picture.to_str().unwrap();
    let options = ["--against", json_file, "--label", "again", "--svg", svg, "--restarts", "1"];
    let file = server("graceful.mjs");
    let (status, stdout, stderr) = run(drill(&options, &["node", &file]));
    assert_eq!(status, 0, "{stdout}{stderr}");
    let header = stdout.lines().next().unwrap();
    assert!(header.contains("the <first>") && header.contains("again"), "{stdout}");
    let drawn = fs::read_to_string(&picture).unwrap();
    assert!(drawn.contains("the &lt;first&gt;") && drawn.contains(">again<"));
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
    assert!(!drawn.contains("NaN") && !drawn.contains("inf"));
    for path in [first, picture] {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn the_balancers_of_others_leave_nothing_behind() {
    for (balancer, program) in
        [("nginx", "nginx"), ("haproxy", "haproxy"), ("haproxy-tcp", "haproxy")]
    {
        if !["/usr/sbin", "/usr/bin", "/usr/local/sbin"]
            .iter()
            .any(|at| PathBuf::from(at).join(program).exists())
        {
            // `make test` installs both.
            eprintln!("not tried: {program} is not installed");
            continue;
        }
        let marker = marker(balancer);
        let folder = temporary(balancer);
        fs::create_dir_all(&folder).unwrap();
        let options =
            ["--json", "--balancer", balancer, "--copies", "3", "--restarts", "1", "--rate", "200"];
        let mut command = short(&options, "lossy.mjs");
        command.env("MARKER", &marker).env("TMPDIR", &folder);
        let (status, result, stderr) = run_json(command);
        assert_eq!(status, 1, "{stderr}");
        assert_eq!(result["conditions"]["balancer"], balancer);
        assert_eq!(result["copies"].as_array().unwrap().len(), 3);
        assert_eq!(result["findings"][0]["mistake"], "exits-at-once", "{result}");
        assert!(result["requests"]["ok"].as_u64().unwrap() > 50, "{result}");
        assert_gone(&marker);
        fs::remove_dir(&folder).expect("its own folder is gone, this one empty");
    }
}

#[test]
fn thresholds_decide_and_a_page_shows_it() {
    let page = temporary("page.html");
    let lines = temporary("paths");
    fs::write(&lines, "# the shop\nGET / 3\nPUT /echo 1 5000\n").unwrap();
    let common = [
        "--restarts",
        "1",
        "--json",
        "--max-failed",
        "1000000",
        "--allow",
        "exits-at-once",
        "--paths",
        lines.to_str().unwrap(),
        "--html",
        page.to_str().unwrap(),
    ];
    let (status, result, stderr) = run_json(short(&common, "lossy.mjs"));
    assert_eq!((status, &result["outcome"]), (0, &"passed".into()), "{stderr}");
    assert_eq!(result["findings"][0]["mistake"], "exits-at-once", "allowed, and still reported");
    assert!(result["requests"]["post"].as_u64().unwrap() > 10, "{result}");
    let html = fs::read_to_string(&page).unwrap();
    assert!(
        html.contains("exits-at-once")
            && html.contains("<svg ")
            && html.contains("class=\"verdict passed\"")
    );
    assert!(
        !html.contains("http://")
            || html.matches("http://").count()
                == html.matches("http://www.w3.org/2000/svg").count()
    );

    let strict = [&common[..], &["--max-p99", "1ms", "--max-latency", "1ms"]].concat();
    let (status, result, _) = run_json(short(&strict, "lossy.mjs"));
    let sentence = result["sentence"].as_str().unwrap();
    assert_eq!(status, 1, "{sentence}");
    assert!(sentence.contains("(--max-p99)") && sentence.contains("(--max-latency)"), "{sentence}");

    fs::write(&lines, "GET /\nGET /nowhere\n").unwrap();
    let (status, _, stderr) = run(short(&["--paths", lines.to_str().unwrap()], "lossy.mjs"));
    assert_eq!(status, 2);
    assert!(stderr.contains("GET /nowhere (line 2 of --paths) answers 404"), "{stderr}");
    for path in [page, lines] {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_server_that_speaks_no_http() {
    let script = "import os, socket\n\
                  listener = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\n\
                  while True:\n    listener.accept()[0].sendall(b'220 mail.example ESMTP\\r\\n')\n";
    let marker = marker("smtp");
    for mode in ["rolling", "single"] {
        let mut command =
            drill(&["--start-timeout", "2500ms", "--mode", mode], &["python3", "-c", script]);
        command.env("MARKER", &marker);
        let (status, _, stderr) = run(command);
        assert_eq!(status, 2, "{stderr}");
        assert!(stderr.contains("gives no HTTP answer to GET /readyz"), "{stderr}");
        assert_gone(&marker);
    }
}

#[test]
fn a_port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let script = format!("PORT={port} exec node {}", server("lossy.mjs"));
    let (status, _, stderr) = run(drill(&["--mode", "single"], &["sh", "-c", &script]));
    assert_eq!(status, 2);
    assert!(
        stderr.contains("ended before it was ready") && stderr.contains("EADDRINUSE"),
        "{stderr}"
    );
}

#[test]
fn missing_routes_are_said() {
    let (status, result, stderr) =
        run_json(short(&["--json", "--restarts", "1", "--rate", "100"], "no-readiness.mjs"));
    assert!(status <= 1, "{stderr}");
    let notes = result["notes"].to_string();
    assert!(notes.contains("/readyz answered 404") && notes.contains("/slow answered 404"));
    assert_eq!(result["conditions"]["check"], "tcp");
    assert_eq!(result["requests"]["slow"], 0);
}

#[test]
fn a_command_that_does_not_exist() {
    let (status, stdout, stderr) = run(drill(&[], &["no-such-server-anywhere"]));
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert!(stderr.contains("cannot start no-such-server-anywhere"), "{stderr}");
}

#[test]
fn a_command_that_dies_at_once() {
    let (status, _, stderr) = run(drill(&[], &["sh", "-c", "echo no config for $PORT; exit 3"]));
    assert_eq!(status, 2);
    assert!(stderr.contains("ended before it was ready: exit code 3"), "{stderr}");
    assert!(stderr.contains("no config for "), "{stderr}");
}

#[test]
fn a_command_that_never_becomes_ready() {
    let marker = marker("unready");
    let mut command = short(&["--start-timeout", "900ms", "--json"], "unready.mjs");
    command.env("MARKER", &marker);
    let (status, result, stderr) = run_json(command);
    assert_eq!((status, &result["outcome"]), (2, &"never_ready".into()));
    assert!(stderr.contains("GET /readyz answers 503"), "{stderr}");
    assert!(stderr.contains("waiting for the database"), "{stderr}");
    assert_eq!(result["last_output"][0], "waiting for the database");
    assert_gone(&marker);

    let (status, _, stderr) = run(drill(&["--start-timeout", "300ms"], &["sleep", "60"]));
    assert_eq!(status, 2);
    assert!(stderr.contains("nothing accepts connections on 127.0.0.1:"), "{stderr}");
}

#[test]
fn a_command_that_never_exits() {
    let marker = marker("stubborn");
    let mut command = short(&["--json", "--exit-timeout", "700ms"], "stubborn.mjs");
    command.env("MARKER", &marker);
    let (status, result, stderr) = run_json(command);
    assert_eq!((status, &result["outcome"]), (1, &"never_exits".into()));
    assert!(stderr.contains("copy 1 never exits") && stderr.contains("not now"), "{stderr}");
    assert_eq!(result["restarts"].as_array().unwrap().len(), 1, "the drill ends there");
    assert_eq!(result["restarts"][0]["killed"], true);
    assert_gone(&marker);

    let options = ["--json", "--exit-timeout", "300ms", "--keep-going", "--restarts", "3"];
    let (status, result, _) = run_json(short(&options, "stubborn.mjs"));
    assert_eq!((status, &result["outcome"]), (1, &"never_exits".into()));
    assert_eq!(result["restarts"].as_array().unwrap().len(), 3, "asked to go on, it does");
}

#[test]
fn a_copy_that_dies_on_its_own() {
    let (status, result, stderr) = run_json(short(&["--json", "--warm-up", "5s"], "crashing.mjs"));
    assert_eq!((status, &result["outcome"]), (1, &"died".into()));
    assert!(stderr.contains("ended without being asked to: exit code 3"), "{stderr}");
    assert!(stderr.contains("out of memory"), "{stderr}");
}

#[test]
fn a_changed_echo_is_caught() {
    let options = ["--json", "--restarts", "1", "--rate", "400"];
    let (status, result, stderr) = run_json(short(&options, "garbling.mjs"));
    assert_eq!(status, 1, "{stderr}");
    let mismatched = result["failures"]["body_mismatch"].as_u64().unwrap();
    let posts = result["requests"]["post"].as_u64().unwrap();
    assert!(mismatched > 0 && mismatched <= posts / 10 + 4, "{mismatched} of {posts}");
    assert_eq!(result["first_failures"][0]["method"], "POST");

    // Without an echo at all it is not a million failures but one sentence.
    let (status, _, stderr) = run(short(&["--post-path", "/"], "lossy.mjs"));
    assert_eq!(status, 2);
    assert!(stderr.contains("--no-echo"), "{stderr}");
    let (status, _, stderr) = run(short(&["--get-path", "/nowhere"], "lossy.mjs"));
    assert_eq!(status, 2);
    assert!(stderr.contains("GET /nowhere answers 404"), "{stderr}");
}

#[test]
fn limits_cut_a_drill_short() {
    for (option, value) in [("--max-requests", "50"), ("--max-time", "900ms")] {
        let marker = marker(option);
        let mut command = short(&["--json", "--warm-up", "20s", option, value], "graceful.mjs");
        command.env("MARKER", &marker);
        let begun = Instant::now();
        let (status, result, _) = run_json(command);
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!((status, &result["outcome"]), (1, &"cut_short".into()));
        assert!(result["sentence"].as_str().unwrap().contains(option));
        assert!(result["requests"]["total"].as_u64().unwrap() <= 900);
        assert_gone(&marker);
    }
}

#[test]
fn bad_options_are_sentences() {
    for (options, needed) in [
        (vec!["--exit-timeout", "30"], "write 30ms or 30s"),
        (vec!["--restarts", "0"], "--restarts"),
        (vec!["--against", "/nonexistent.json"], "--against: cannot read /nonexistent.json"),
        (vec!["--svg", "/nonexistent/x.svg"], "--svg: there is no folder /nonexistent"),
        (vec!["--json-file", "/"], "--json-file: / is a folder"),
        (vec!["--html", "/"], "--html: / is a folder"),
        (vec!["--paths", "/nonexistent"], "--paths: cannot read /nonexistent"),
        (vec!["--allow", "rudeness"], "there is no mistake rudeness"),
        (vec!["--mode", "double"], "rolling, single"),
    ] {
        let (status, stdout, stderr) = run(drill(&options, &["sleep", "60"]));
        assert_eq!((status, stdout.as_str()), (2, ""), "{options:?}");
        assert!(stderr.contains(needed), "{stderr}");
    }
    let file = temporary("other.json");
    fs::write(&file, r#"{"schema": "lameduck-drill/0"}"#).unwrap();
    let (status, _, stderr) = run(drill(&["--against", file.to_str().unwrap()], &["sleep", "60"]));
    fs::remove_file(file).unwrap();
    assert_eq!(status, 2);
    assert!(stderr.contains("its schema is lameduck-drill/0"), "{stderr}");
}

/// Starts a drill of a wrapped server with a grandchild and waits until it is under load.
fn under_way(marker: &str) -> Child {
    // One grandchild leaves the process group, as a daemon does.
    let file = server("graceful.mjs");
    let script = format!("sleep 61 & setsid sleep 62 & node {file} & wait");
    let mut child = drill(&["--warm-up", "60s", "--json"], &["sh", "-c", &script])
        .env("MARKER", marker)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("it says something");
    assert!(line.contains("the load begins"), "{line}");
    assert_eq!(processes(marker).len(), 8, "two of each: {:?}", processes(marker));
    std::thread::sleep(Duration::from_millis(1500));
    child
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([name, &id]).status().expect("kill runs").success());
}

#[test]
fn interrupts_leave_nobody_behind_and_print_the_figures() {
    for (name, expected) in [("-INT", 130), ("-TERM", 143)] {
        let marker = marker(&format!("interrupt{name}"));
        let child = under_way(&marker);
        signal(&child, name);
        let begun = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(3));
        assert_eq!(output.status.code(), Some(expected));
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["outcome"], "interrupted");
        assert!(result["requests"]["ok"].as_u64().unwrap() > 0);
        assert_gone(&marker);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_drill_takes_its_copies_along() {
    let marker = marker("killed");
    let file = server("graceful.mjs");
    let mut child = drill(&["--warm-up", "60s"], &["node", &file])
        .env("MARKER", &marker)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while processes(&marker).len() < 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    signal(&child, "-KILL");
    child.wait().unwrap();
    assert_gone(&marker);
}
