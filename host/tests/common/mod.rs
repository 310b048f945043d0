//! A test harness for what cannot be tested in a thread of a test runner: processes that must die, and
//! process-wide state such as signal handlers. A scenario runs on the main thread, the only one, of a process of its own.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use lameduck_host::clock::now_ns;

const SCENARIO: &str = "LAMEDUCK_TEST_SCENARIO";

/// Something with a name that can be run.
pub type Named = (&'static str, fn());

/// The `main` of a test binary: runs the tests whose names contain one of the arguments (all without any), or, in
/// a child process, one scenario.
pub fn run(tests: &[Named], scenarios: &[Named]) -> ExitCode {
    if let Ok(name) = std::env::var(SCENARIO) {
        // Whatever the watchdog fails to end, this does.
        // SAFETY: no preconditions; nobody handles the signal.
        unsafe { libc::alarm(20) };
        let scenario = scenarios.iter().find(|scenario| scenario.0 == name);
        scenario.unwrap_or_else(|| panic!("there is no scenario {name}")).1();
        return ExitCode::SUCCESS;
    }
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if std::env::args().any(|argument| argument == "--list") {
        tests.iter().for_each(|test| println!("{}: test", test.0));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    let chosen: Vec<_> = tests
        .iter()
        .filter(|test| {
            filters.is_empty() || filters.iter().any(|filter| test.0.contains(&**filter))
        })
        .collect();
    for (name, test) in &chosen {
        let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    println!("\ntest result: {} passed; {failed} failed\n", chosen.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// Whether this process runs a scenario for another.
#[allow(dead_code)]
pub fn is_scenario() -> bool {
    std::env::var_os(SCENARIO).is_some()
}

/// A process that runs a scenario. It is killed when the test ends, whatever happens.
pub struct Process {
    pub child: Child,
}

/// How a process ended.
#[derive(Debug)]
#[allow(dead_code)] // not every test binary looks at everything
pub struct End {
    pub status: ExitStatus,
    /// When it was seen to be gone, in monotonic nanoseconds.
    pub gone: u64,
    pub stdout: String,
    pub stderr: String,
}

#[allow(dead_code)]
impl Process {
    pub fn command(scenario: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(SCENARIO, scenario).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn start(scenario: &str) -> Self {
        Self { child: Self::command(scenario).spawn().unwrap() }
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the process was started here and has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    /// Reads one line of its standard output, byte by byte, so that nothing is read ahead.
    pub fn line(&mut self) -> String {
        let stdout = self.child.stdout.as_mut().unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// Reads a line that consists of a number.
    pub fn number(&mut self) -> u64 {
        let line = self.line();
        line.parse().unwrap_or_else(|_| panic!("not a number: {line:?}"))
    }

    /// Waits until it is gone, then reads what it left in its pipes (less than a pipe holds).
    pub fn end(mut self) -> End {
        let status = self.child.wait().unwrap();
        let gone = now_ns();
        let mut end = End { status, gone, stdout: String::new(), stderr: String::new() };
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut end.stdout).unwrap();
        }
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut end.stderr).unwrap();
        }
        end
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
