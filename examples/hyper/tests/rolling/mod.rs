//! `lameduck drill` on an example's server.

use std::process::Command;

/// The drill, built if it is not there yet.
fn drill() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--package", "lameduck-cli"]);
    assert!(cargo.status().expect("cargo runs").success());
    // Beside this test's own folder in the target folder.
    let mut path = std::env::current_exe().expect("this test");
    while !path.join("lameduck").is_file() {
        assert!(path.pop(), "the drill was built, but is not to be found");
    }
    Command::new(path.join("lameduck"))
}

/// Restarts the server under load: no request may fail.
pub fn no_request_fails(server: &str) {
    let output = drill()
        .args(["drill", "--restarts", "2", "--rate", "400", "--"])
        .arg(server)
        .env("LAMEDUCK_GRACE", "10")
        .output()
        .expect("the drill runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{}{said}", String::from_utf8_lossy(&output.stdout));
}
