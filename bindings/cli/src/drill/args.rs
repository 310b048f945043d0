//! The options of `lameduck drill`, and their rules.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};
use serde::{Deserialize, Serialize};

use crate::drill::mistake::Mistake;
use crate::time::{positive, time};

/// What a drill runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Copies behind a balancer, restarted one after the other under load.
    Rolling,
    /// One process with clients of its own, stopped again and again.
    Single,
}

/// What stands between the clients and the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BalancerKind {
    /// The drill's own, layer 4, with readiness checks
    Builtin,
    /// nginx, layer 7, without active checks
    Nginx,
    /// HAProxy, layer 7, with readiness checks
    Haproxy,
    /// HAProxy, layer 4, with readiness checks
    HaproxyTcp,
}

impl BalancerKind {
    /// The program behind it.
    pub fn program(self) -> &'static str {
        match self {
            Self::Builtin => "lameduck",
            Self::Nginx => "nginx",
            Self::Haproxy | Self::HaproxyTcp => "haproxy",
        }
    }

    /// The package it comes in.
    pub fn package(self) -> &'static str {
        if self == Self::Nginx { "nginx-light" } else { self.program() }
    }

    /// In words, for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Builtin => "TCP balancer",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::HaproxyTcp => "HAProxy in TCP mode",
        }
    }
}

/// The options of `lameduck drill`.
#[derive(Args, Debug)]
#[command(
    args_override_self = true,
    after_long_help = "\
Every copy listens on its own port of 127.0.0.1: {port} in CMD's arguments is replaced, and PORT is
set in its environment. Its routes: GET --get-path and --slow-path answer 200, POST --post-path
answers 200 with the same body. No client ever repeats a request.

Examples:
  lameduck drill -- node server.mjs
  lameduck drill --restarts 10 --html drill.html -- uvicorn app:app --port {port}
  lameduck drill --mode single --grace 30s --websocket-path /socket -- node server.mjs
  lameduck drill --balancer nginx --paths shop.txt --max-p99 100ms -- ./server

Two servers side by side, in one table and one picture:
  lameduck drill --label before --json-file before.json -- node old.mjs
  lameduck drill --label after --against before.json --svg both.svg -- node new.mjs"
)]
pub struct Drill {
    /// What runs: two or more copies behind a balancer, or one process and its clients
    #[arg(long, value_enum, default_value_t = Mode::Rolling)]
    pub mode: Mode,

    /// Restarts, of one copy after the other
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u32).range(1..=1000))]
    pub restarts: u32,

    /// The server speaks TLS; any certificate is accepted
    #[arg(long, help_heading = "Load")]
    pub tls: bool,

    /// Speak HTTP/2: over TLS by ALPN, else with prior knowledge (h2c)
    #[arg(long, help_heading = "Load")]
    pub http2: bool,

    /// Keep-alive clients
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = value_parser!(u32).range(1..=5000), help_heading = "Load")]
    pub connections: u32,

    /// Requests per second of all clients together
    #[arg(long, value_name = "N", default_value_t = 800, value_parser = value_parser!(u32).range(1..=50_000), help_heading = "Load")]
    pub rate: u32,

    /// Path of GET requests
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = path, help_heading = "Load")]
    pub get_path: String,

    /// Path of POST requests; must answer with the body it got
    #[arg(long, value_name = "PATH", default_value = "/echo", value_parser = path, help_heading = "Load")]
    pub post_path: String,

    /// POST only has to answer 200, its body is not compared
    #[arg(long, help_heading = "Load")]
    pub no_echo: bool,

    /// Percentage of POST requests; 0 for a server without any
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = value_parser!(u32).range(0..=100), help_heading = "Load")]
    pub post_share: u32,

    /// Largest body of a POST, in bytes; they are of every magnitude
    #[arg(long, value_name = "BYTES", default_value_t = 65_536, value_parser = value_parser!(u32).range(1..=16_777_216), help_heading = "Load")]
    pub max_body: u32,

    /// Send what FILE says instead: a line is METHOD PATH [WEIGHT] [BODY BYTES]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["get_path", "post_path", "post_share", "no_echo"], help_heading = "Load")]
    pub paths: Option<PathBuf>,

    /// Path of slow GET requests; left out if it answers 404 at the start
    #[arg(long, value_name = "PATH", default_value = "/slow", value_parser = path, help_heading = "Load")]
    pub slow_path: String,

    /// Percentage of slow requests
    #[arg(long, value_name = "PERCENT", default_value_t = 2, value_parser = value_parser!(u32).range(0..=100), help_heading = "Load")]
    pub slow_share: u32,

    /// Path of a GET with a large response (some MiB), for a slow reader; left out after a 404
    #[arg(long, value_name = "PATH", default_value = "/large", value_parser = path, help_heading = "Witnesses")]
    pub large_path: String,

    /// Path of a WebSocket that stays open
    #[arg(long, value_name = "PATH", value_parser = path, help_heading = "Witnesses")]
    pub websocket_path: Option<String>,

    /// Path of an event stream (GET) that stays open
    #[arg(long, value_name = "PATH", value_parser = path, help_heading = "Witnesses")]
    pub stream_path: Option<String>,

    /// Time a request may take before it counts as failed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = positive, help_heading = "Load")]
    pub timeout: Duration,

    /// Seed of the load: the same seed sends the same requests
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Load")]
    pub seed: u64,

    /// Balancer; those that are not built in must be installed
    #[arg(long, value_enum, default_value_t = BalancerKind::Builtin, help_heading = "Balancer")]
    pub balancer: BalancerKind,

    /// Copies of the server
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u32).range(2..=20), help_heading = "Balancer")]
    pub copies: u32,

    /// Path of the readiness check; without such a route (404) only the port is checked
    #[arg(long, value_name = "PATH", default_value = "/readyz", value_parser = path, help_heading = "Balancer")]
    pub ready_path: String,

    /// Time between readiness checks
    #[arg(long, value_name = "TIME", default_value = "400ms", value_parser = positive, help_heading = "Balancer")]
    pub probe_interval: Duration,

    /// Failed checks in a row that take a copy out
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=100), help_heading = "Balancer")]
    pub probe_threshold: u32,

    /// Delay each way between balancer and copies
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = delay, help_heading = "Balancer")]
    pub delay: Duration,

    /// Time until a started copy must be ready
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = positive, help_heading = "Limits")]
    pub start_timeout: Duration,

    /// Time from SIGTERM that the server says it needs at most: later is a mistake
    #[arg(long, value_name = "TIME", value_parser = positive, help_heading = "Limits")]
    pub grace: Option<Duration>,

    /// Time from SIGTERM until a copy must be gone, or it is killed
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = positive, help_heading = "Limits")]
    pub exit_timeout: Duration,

    /// Go on with the drill after a copy had to be killed, as an orchestrator would
    #[arg(long, help_heading = "Limits")]
    pub keep_going: bool,

    /// Load before the first restart
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time, help_heading = "Limits")]
    pub warm_up: Duration,

    /// Load after each restart
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = time, help_heading = "Limits")]
    pub pause: Duration,

    /// Requests after which the drill ends in any case
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..=100_000_000), help_heading = "Limits")]
    pub max_requests: u64,

    /// Time after which the drill ends in any case
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = positive, help_heading = "Limits")]
    pub max_time: Duration,

    /// Name of this drill in table and picture [default: the command]
    #[arg(long, value_name = "NAME", value_parser = label, help_heading = "Result")]
    pub label: Option<String>,

    /// Print the result as JSON (schema lameduck-drill/2) instead of a table
    #[arg(long, help_heading = "Result")]
    pub json: bool,

    /// Write the result as JSON to FILE too
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub json_file: Option<PathBuf>,

    /// Write a picture of the drill to FILE
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub svg: Option<PathBuf>,

    /// Write a page for the browser to FILE: verdict, mistakes, timeline, figures
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub html: Option<PathBuf>,

    /// Failed requests that are no failure of the drill
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Thresholds")]
    pub max_failed: u64,

    /// The 99th percentile of the latency may not be above this
    #[arg(long, value_name = "TIME", value_parser = positive, help_heading = "Thresholds")]
    pub max_p99: Option<Duration>,

    /// The 99.9th percentile of the latency may not be above this
    #[arg(long, value_name = "TIME", value_parser = positive, help_heading = "Thresholds")]
    pub max_p999: Option<Duration>,

    /// No request, slow ones left out, may take longer than this
    #[arg(long, value_name = "TIME", value_parser = positive, help_heading = "Thresholds")]
    pub max_latency: Option<Duration>,

    /// A mistake that is reported and does not fail the drill; may be repeated
    #[arg(long, value_name = "ID", value_parser = Mistake::from_id, help_heading = "Thresholds")]
    pub allow: Vec<Mistake>,

    /// Show the result of an earlier drill (its --json-file) beside this one; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub against: Vec<PathBuf>,

    /// The server command; {port} stands for its port
    #[arg(last = true, required = true, value_name = "CMD", value_parser = word)]
    pub cmd: Vec<String>,
}

impl Drill {
    /// The name of this drill: `--label`, or the command without its folders.
    pub fn name(&self) -> String {
        if let Some(label) = &self.label {
            return label.clone();
        }
        let words = self.cmd.iter().map(|word| word.rsplit('/').next().unwrap_or(word));
        let name = words.collect::<Vec<_>>().join(" ");
        match name.char_indices().nth(28) {
            Some((at, _)) => format!("{}…", &name[..at]),
            None => name,
        }
    }
}

fn delay(text: &str) -> Result<Duration, String> {
    match time(text)? {
        time if time > Duration::from_secs(1) => Err("the delay is at most 1s".into()),
        time => Ok(time),
    }
}

/// A path as a request may name it.
pub fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.into())
    } else {
        Err("a path begins with / and holds only printable ASCII without spaces".into())
    }
}

fn label(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=40 if !text.chars().any(char::is_control) => Ok(text.into()),
        _ => Err("a label has 1 to 40 characters on one line".into()),
    }
}

fn word(text: &str) -> Result<String, String> {
    if text.contains('\0') { Err("the command holds a NUL byte".into()) } else { Ok(text.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    use crate::args::{Cli, Command};

    fn parse(options: &[&str]) -> Result<Drill, String> {
        let words = ["lameduck", "drill"].iter().chain(options).chain(&["--", "server", "{port}"]);
        match Cli::try_parse_from(words) {
            Ok(Cli { command: Command::Drill(drill) }) => Ok(*drill),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn defaults() {
        let drill = parse(&[]).unwrap();
        assert_eq!((drill.restarts, drill.connections, drill.rate), (4, 60, 800));
        assert_eq!(drill.probe_interval, Duration::from_millis(400));
        assert_eq!(drill.name(), "server {port}");
    }

    #[test]
    fn wrong_values_name_the_option_and_the_rule() {
        for (options, name, rule) in [
            (["--exit-timeout", "30"], "--exit-timeout", "write 30ms or 30s"),
            (["--exit-timeout", "0s"], "--exit-timeout", "at least 1ms"),
            (["--restarts", "0"], "--restarts", "1..=1000"),
            (["--rate", "many"], "--rate", "invalid digit"),
            (["--post-share", "101"], "--post-share", "0..=100"),
            (["--get-path", "x"], "--get-path", "begins with /"),
            (["--ready-path", "/a b"], "--ready-path", "without spaces"),
            (["--delay", "2s"], "--delay", "at most 1s"),
            (["--label", ""], "--label", "1 to 40"),
            (["--rats", "5"], "--rats", "unexpected argument"),
        ] {
            let message = parse(&options).unwrap_err();
            assert!(message.contains(name) && message.contains(rule), "{message}");
        }
    }

    #[test]
    fn a_command_is_needed() {
        let error = Cli::try_parse_from(["lameduck", "drill", "--restarts", "2"]).unwrap_err();
        assert!(error.to_string().contains("CMD"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn names() {
        let mut drill = parse(&[]).unwrap();
        drill.cmd = ["/usr/bin/node", "a/b/plain.mjs"].map(String::from).to_vec();
        assert_eq!(drill.name(), "node plain.mjs");
        drill.cmd = vec!["ü".repeat(50)];
        assert_eq!(drill.name().chars().count(), 29);
        drill.label = Some("mine".into());
        assert_eq!(drill.name(), "mine");
    }
}
