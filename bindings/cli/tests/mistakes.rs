//! Every diagnosis on a server that has that one mistake: `lameduck drill` names it and no other,
//! and says nothing of the fixed twin. In Node, Python and C, where the mistake exists there.
//!
//! One language each takes half a minute; LAMEDUCK_MISTAKES=all takes every pair.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use serde_json::Value;

const NODE: &str = "node";
const PYTHON: &str = "python3";
const C: &str = "c";
/// The server in Node with other protocols; h2 has HTTP/1.1 beside it, which is what its load speaks.
const HTTPS: &str = "https";
const H2C: &str = "h2c";
const H2: &str = "h2";

/// The habit of a server, the mistake that the drill must name, and the languages that have it;
/// the first is the one that is always tried.
const CASES: [(&str, &str, &[&str]); 21] = [
    ("none", "", &[NODE, PYTHON, C]),
    ("no-handler", "no-handler", &[C, NODE, PYTHON]),
    ("exits-at-once", "exits-at-once", &[NODE, PYTHON, C]),
    ("never-exits", "never-exits", &[PYTHON, NODE, C]),
    ("exits-late", "exits-late", &[C, NODE, PYTHON]),
    ("readiness-stays-green", "readiness-stays-green", &[PYTHON, NODE, C]),
    ("listener-closes-early", "listener-closes-early", &[C, NODE, PYTHON]),
    ("accept-queue-reset", "accept-queue-reset", &[PYTHON, C]),
    ("idle-keep-alive-reset", "idle-keep-alive-reset", &[NODE, PYTHON, C]),
    ("no-connection-close", "no-connection-close", &[PYTHON, NODE, C]),
    ("response-cut", "response-cut", &[NODE, PYTHON, C]),
    ("refuses-requests", "refuses-requests", &[C, NODE, PYTHON]),
    ("pool-closed-early", "pool-closed-early", &[NODE, PYTHON, C]),
    ("websocket-cut", "websocket-cut", &[PYTHON, NODE]),
    ("event-stream-cut", "event-stream-cut", &[C, NODE, PYTHON]),
    ("exit-code-lies", "exit-code-lies", &[NODE, PYTHON, C]),
    ("exit-code-lies-after-a-loss", "exit-code-lies", &[PYTHON, NODE, C]),
    ("no-goaway", "no-goaway", &[H2C, H2]),
    // Words that mean nothing to the servers: they are themselves again.
    ("fixed-h2c", "", &[H2C]),
    ("fixed-tls", "", &[H2, HTTPS]),
    ("fixed", "", &[C, PYTHON, NODE]),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes")
}

fn compile() -> PathBuf {
    let binary = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mistakes-server");
    let source = folder().join("server.c");
    let built = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
        .args([&binary, &source])
        .status()
        .expect("a C compiler, cc, is on the path");
    assert!(built.success(), "{} compiles", source.display());
    binary
}

fn make_certificate() {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("openssl is on the path");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// What the drill finds, or what went wrong with it.
fn drill(language: &str, habit: &str, c_server: &PathBuf) -> Result<Vec<String>, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lameduck"));
    command.args(["drill", "--mode", "single", "--json", "--restarts", "1", "--warm-up", "300ms"]);
    command.args(["--probe-interval", "300ms", "--grace", "2500ms", "--exit-timeout", "4500ms"]);
    match language {
        C => command.args(["--stream-path", "/events"]),
        H2C => command.arg("--http2"),
        // Neither WebSockets over HTTP/2 nor TLS under this server's WebSockets.
        H2 | HTTPS => command.args(["--tls", "--stream-path", "/events"]),
        _ => command.args(["--stream-path", "/events", "--websocket-path", "/socket"]),
    };
    let certificate = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    command.env("KEY", certificate.join("key.pem")).env("CERT", certificate.join("cert.pem"));
    command.arg("--");
    match language {
        HTTPS | H2C | H2 => {
            command.env("PROTOCOL", language).arg(NODE).arg(folder().join("server.mjs"))
        }
        NODE => command.arg(NODE).arg(folder().join("server.mjs")),
        PYTHON => command.arg(PYTHON).arg(folder().join("server.py")),
        _ => command.arg(c_server),
    };
    let output = command.arg(habit).output().map_err(|error| error.to_string())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let record: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("no JSON ({error}): {stderr}"))?;
    let found: Vec<String> = record["findings"]
        .as_array()
        .ok_or("no findings")?
        .iter()
        .map(|finding| finding["mistake"].as_str().unwrap_or_default().to_owned())
        .collect();
    let status = output.status.code();
    if status != Some(i32::from(!found.is_empty())) {
        return Err(format!("exit status {status:?} with {found:?}: {}", record["sentence"]));
    }
    Ok(found)
}

#[test]
fn the_right_mistake_and_no_other() {
    let all = std::env::var("LAMEDUCK_MISTAKES").is_ok_and(|which| which == "all");
    let c_server = compile();
    make_certificate();
    let runs = CASES.iter().flat_map(|(habit, mistake, languages)| {
        let most = if all { languages.len() } else { 1 };
        languages[..most].iter().map(move |language| (*language, *habit, *mistake))
    });
    let queue = Mutex::new(runs.collect::<Vec<_>>());
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic").pop();
                    let Some((language, habit, mistake)) = next else { return };
                    let expected: Vec<String> = [mistake]
                        .iter()
                        .filter(|name| !name.is_empty())
                        .map(|&n| n.into())
                        .collect();
                    let found = drill(language, habit, &c_server);
                    if found.as_ref() != Ok(&expected) {
                        let sentence = format!("{language} server, {habit}: {found:?}");
                        wrong.lock().expect("no panic").push(sentence);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
