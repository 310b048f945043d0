//! One running copy of the server command: a child in a process group of its own, its output
//! drained and its end remembered. Dropping it ends the whole group.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Lines of output kept for the report of a failed start.
const LINES: usize = 40;
/// Bytes of a line that are kept.
const LINE: usize = 500;
/// How long a killed group may take to disappear before the drill goes on without it.
const GONE: Duration = Duration::from_secs(2);

/// How a copy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, when it exited by itself.
    pub code: Option<i32>,
    /// The signal that ended it otherwise.
    pub signal: Option<i32>,
}

impl Exit {
    /// In words, for people.
    pub fn words(self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "an unknown status".into(),
        }
    }
}

/// A running copy.
pub struct Server {
    child: Child,
    group: Pid,
    ended: bool,
    output: Arc<Mutex<Ring>>,
    readers: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts `command` with `{port}` replaced in its arguments and `PORT` in its environment.
    ///
    /// Call it on the thread that lives as long as the program: on Linux the child is killed when
    /// the thread that started it ends.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(command: &[String], port: u16) -> io::Result<Self> {
        let mut words = command.iter().map(|word| word.replace("{port}", &port.to_string()));
        let program = words.next().unwrap_or_default();
        let mut builder = Command::new(program);
        builder
            .args(words)
            .env("PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        #[cfg(target_os = "linux")]
        {
            adopt_orphans();
            die_with_this_process(&mut builder);
        }
        let mut child = builder.spawn()?;
        let group = child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .ok_or_else(|| io::Error::other("the child has no process id"))?;
        let output = Arc::new(Mutex::new(Ring::default()));
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(tokio::spawn(drain(stdout, Arc::clone(&output))));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(tokio::spawn(drain(stderr, Arc::clone(&output))));
        }
        Ok(Self { child, group, ended: false, output, readers })
    }

    /// Sends SIGTERM to the command itself, not to its group, as an orchestrator does.
    pub fn terminate(&self) {
        // The only possible error is that it is gone already, and `exited` tells.
        let _ = rustix::process::kill_process(self.group, Signal::TERM);
    }

    /// Sends SIGKILL to the whole group.
    pub fn kill(&self) {
        let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
    }

    /// Waits until the command ends, then ends what it left behind in its group, as the end of a
    /// container does. May be dropped and called again.
    pub async fn exited(&mut self) -> Exit {
        let status = self.child.wait().await;
        if !self.ended {
            self.ended = true;
            self.kill();
            let deadline = Instant::now() + GONE;
            while self.group_exists() && Instant::now() < deadline {
                sleep(Duration::from_millis(5)).await;
            }
        }
        match status {
            Ok(status) => {
                use std::os::unix::process::ExitStatusExt;
                Exit { code: status.code(), signal: status.signal() }
            }
            Err(_) => Exit { code: None, signal: None },
        }
    }

    /// The last lines it wrote to its standard output and error.
    pub async fn last_output(&mut self) -> Vec<String> {
        if self.ended {
            // What it wrote just before its end is still in the pipes.
            for reader in &mut self.readers {
                let _ = timeout(Duration::from_millis(300), reader).await;
            }
            self.readers.clear();
        }
        self.output.lock().unwrap_or_else(PoisonError::into_inner).lines()
    }

    /// Whether anybody is left in the group, after reaping whom this process has adopted. Only
    /// once the command itself has been waited for, whose status this would eat.
    fn group_exists(&self) -> bool {
        while let Ok(Some(_)) = rustix::process::waitpgid(self.group, WaitOptions::NOHANG) {}
        rustix::process::test_kill_process_group(self.group).is_ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for reader in &self.readers {
            reader.abort();
        }
        if self.ended {
            return;
        }
        self.kill();
        let deadline = Instant::now() + GONE;
        while Instant::now() < deadline {
            let reaped = !matches!(self.child.try_wait(), Ok(None));
            if reaped && !self.group_exists() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Makes the orphans of a wrapper children of this process, so that they can be reaped whoever runs
/// as process 1, and found by [`end_orphans`].
#[cfg(target_os = "linux")]
fn adopt_orphans() {
    // Not possible on a very old kernel: then process 1 reaps them, as always.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Kills what is left of this process's descendants: those who left the group of their copy.
/// For the very end of the program, when no [`Server`] exists any more.
pub fn end_orphans() {
    let deadline = Instant::now() + GONE;
    loop {
        let orphans = children();
        if orphans.is_empty() || Instant::now() > deadline {
            return;
        }
        for orphan in orphans {
            let _ = rustix::process::kill_process(orphan, Signal::KILL);
            let _ = rustix::process::waitpid(Some(orphan), WaitOptions::NOHANG);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The children of this process, where the system tells.
fn children() -> Vec<Pid> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let ids = list.split_whitespace().filter_map(|id| id.parse().ok());
            ids.filter_map(Pid::from_raw).collect::<Vec<_>>()
        })
        .collect()
}

/// Even when the drill itself is killed, no copy stays behind.
#[cfg(target_os = "linux")]
fn die_with_this_process(builder: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are
    // allowed: it makes two system calls, allocates nothing and takes no lock.
    unsafe {
        builder.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            if rustix::process::getppid() == Some(parent) {
                Ok(())
            } else {
                // The drill ended between fork and the line above.
                Err(io::ErrorKind::NotFound.into())
            }
        });
    }
}

/// Reads to the end, whatever comes, so that a full pipe never blocks the child.
async fn drain(mut stream: impl AsyncRead + Unpin, output: Arc<Mutex<Ring>>) {
    let mut chunk = [0_u8; 8192];
    let mut line = Vec::new();
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        let mut ring = output.lock().unwrap_or_else(PoisonError::into_inner);
        for &byte in &chunk[..count] {
            if byte == b'\n' {
                ring.push(&line);
                line.clear();
            } else if line.len() < LINE {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        output.lock().unwrap_or_else(PoisonError::into_inner).push(&line);
    }
}

#[derive(Default)]
struct Ring(VecDeque<String>);

impl Ring {
    fn push(&mut self, line: &[u8]) {
        if self.0.len() == LINES {
            self.0.pop_front();
        }
        let text: String = String::from_utf8_lossy(line)
            .chars()
            .filter(|c| *c == '\t' || !c.is_control())
            .collect();
        self.0.push_back(text.trim_end().to_owned());
    }

    fn lines(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(String::from).to_vec()
    }

    #[tokio::test]
    async fn port_output_and_exit_code() {
        let script = "echo $PORT {port}; echo oops >&2; exit 7";
        let mut server = Server::start(&command(script), 4321).unwrap();
        assert_eq!(server.exited().await, Exit { code: Some(7), signal: None });
        let mut lines = server.last_output().await;
        lines.sort();
        assert_eq!(lines, ["4321 4321", "oops"]);
    }

    #[tokio::test]
    async fn only_the_last_lines_are_kept_and_nothing_blocks() {
        let script = "i=0; while [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done";
        let mut server = Server::start(&command(script), 1).unwrap();
        assert_eq!(server.exited().await.code, Some(0));
        let lines = server.last_output().await;
        assert_eq!((lines.len(), lines[39].as_str()), (40, "line 59999"));
    }

    #[tokio::test]
    async fn grandchildren_end_with_the_command_and_with_the_drop() {
        for waits in [false, true] {
            let script = if waits { "sleep 60 & echo $!; wait" } else { "sleep 60 & echo $!" };
            let mut server = Server::start(&command(script), 1).unwrap();
            let grandchild: i32 = loop {
                if let Some(line) = server.output.lock().unwrap().lines().first() {
                    break line.parse().unwrap();
                }
                sleep(Duration::from_millis(5)).await;
            };
            if !waits {
                server.exited().await;
            }
            drop(server);
            let state = std::fs::read_to_string(format!("/proc/{grandchild}/stat"));
            assert!(state.is_err() || state.unwrap().contains(") Z"), "waits: {waits}");
        }
    }

    #[tokio::test]
    async fn a_signal_is_told_from_an_exit_code() {
        let mut server = Server::start(&command("exec sleep 60"), 1).unwrap();
        server.terminate();
        assert_eq!(server.exited().await, Exit { code: None, signal: Some(15) });
    }
}
