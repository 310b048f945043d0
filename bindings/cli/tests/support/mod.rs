//! What the tests of the subcommands share: the binary, what it says, and where it may write.
#![allow(dead_code, reason = "not every test file needs all of it")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The command with these words.
pub fn lameduck(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lameduck"));
    command.args(words);
    command
}

/// Exit status, standard output and standard error.
pub fn run(command: Command) -> (i32, String, String) {
    run_with_input(command, "")
}

/// The same, with something on its standard input.
pub fn run_with_input(mut command: Command, input: &str) -> (i32, String, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    // It may be gone before it reads: then it needs nothing.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("it exits"), text(stdout), text(stderr))
}

/// The files of `docs/deployments`, without its README.
pub fn deployments() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/deployments");
    let files = std::fs::read_dir(folder).expect("it is there").flatten();
    let names = files.map(|entry| entry.path().display().to_string());
    let mut found: Vec<String> = names.filter(|name| !name.ends_with(".md")).collect();
    found.sort();
    assert!(found.len() >= 7, "{found:?}");
    found
}

/// A file of this test run.
pub fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("lameduck-cli-test-{}-{name}", std::process::id()))
}
