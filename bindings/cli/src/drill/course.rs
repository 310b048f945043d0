//! Conducts a drill: starts the copies, puts them behind the balancer and under load, restarts one
//! after the other, and says how it ended.
//!
//! Everything that is started belongs to the future of [`run`]; when that ends for any reason, a
//! signal included, its tasks are aborted and its copies are killed with their process groups.

mod front;
mod scene;
mod single;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::drill::args::{Drill, Mode};
use crate::drill::balancer::{Balancer, BalancerCounts};
use crate::drill::client::Client;
use crate::drill::diagnosis::diagnose;
use crate::drill::journal::Journal;
use crate::drill::load::{self, Load};
use crate::drill::paths::Line;
use crate::drill::ports;
use crate::drill::probe::{self, Check, FirstLook, NotYet};
use crate::drill::progress::Progress;
use crate::drill::record::{Conditions, Event, Latency, Outcome, Record, SCHEMA};
use crate::drill::server::{Exit, Server};
use crate::drill::wire::Target;
use crate::drill::witness::{Scene, Witnesses};
use front::Front;
use futures_util::future::select_all;

/// How long the witnesses have for their places before SIGTERM.
const GATHER: Duration = Duration::from_millis(300);
/// How often a starting copy is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// Why a drill ended before its end.
struct Trouble {
    outcome: Outcome,
    exit_status: u8,
    sentence: String,
    last_output: Vec<String>,
}

impl Trouble {
    fn new(outcome: Outcome, sentence: String) -> Self {
        let exit_status = if outcome.is_about_the_command() { 2 } else { 1 };
        Self { outcome, exit_status, sentence, last_output: Vec::new() }
    }

    fn interrupted(by: &str, exit_status: u8) -> Self {
        let sentence = format!("interrupted by {by}; these are the figures so far");
        Self { exit_status, ..Self::new(Outcome::Interrupted, sentence) }
    }
}

/// One copy, running or between two runs.
struct Running {
    index: usize,
    target: Target,
    check: Check,
    server: Server,
}

impl Running {
    fn name(&self) -> String {
        format!("copy {}", self.index + 1)
    }

    async fn trouble(&mut self, outcome: Outcome, sentence: String) -> Trouble {
        let last_output = self.server.last_output().await;
        Trouble { last_output, ..Trouble::new(outcome, sentence) }
    }

    async fn died(&mut self, exit: Exit) -> Trouble {
        let sentence = format!("{} ended without being asked to: {}", self.name(), exit.words());
        self.trouble(Outcome::Died, sentence).await
    }
}

/// Runs a whole drill. Whatever happens, the record says so.
pub async fn run(options: &Drill, lines: &[Line]) -> Record {
    let journal = Arc::new(Journal::new(options.max_requests));
    let progress = Progress::new(options.restarts);
    let mut balancer_counts = BalancerCounts::default();
    let trouble = {
        let display = tokio::spawn(Arc::clone(&progress).refresh(Arc::clone(&journal)));
        let mut conductor = Conductor {
            options,
            lines,
            journal: Arc::clone(&journal),
            progress: Arc::clone(&progress),
            balancer: None,
            killed: None,
        };
        let ended = tokio::select! {
            // First, so that signals are caught before the first copy starts.
            biased;
            trouble = ended_early(options, &journal) => Some(trouble),
            ended = conductor.conduct() => ended.err(),
        };
        if let Some(balancer) = &conductor.balancer {
            balancer_counts = balancer.counts();
        }
        display.abort();
        ended
    };
    progress.finish();
    write_record(options, &journal, balancer_counts, trouble)
}

/// Waits for whatever may end a drill before its time.
async fn ended_early(options: &Drill, journal: &Journal) -> Trouble {
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        let sentence = "the drill cannot handle signals here, so it does not start".into();
        return Trouble::new(Outcome::CannotStart, sentence);
    };
    tokio::select! {
        _ = interrupt.recv() => Trouble::interrupted("Ctrl-C", 130),
        _ = terminate.recv() => Trouble::interrupted("SIGTERM", 143),
        _ = hangup.recv() => Trouble::interrupted("SIGHUP", 129),
        () = journal.full() => Trouble::new(
            Outcome::CutShort,
            format!("cut short after {} requests (--max-requests)", options.max_requests),
        ),
        () = sleep(options.max_time) => Trouble::new(
            Outcome::CutShort,
            format!("cut short after {:?} (--max-time)", options.max_time),
        ),
    }
}

/// The work of one drill.
struct Conductor<'a> {
    options: &'a Drill,
    lines: &'a [Line],
    journal: Arc<Journal>,
    progress: Arc<Progress>,
    balancer: Option<Arc<Balancer>>,
    /// The latest copy that had to be killed, when the drill went on nevertheless.
    killed: Option<Trouble>,
}

impl Conductor<'_> {
    async fn conduct(&mut self) -> Result<(), Trouble> {
        match self.options.mode {
            Mode::Rolling => self.roll().await,
            Mode::Single => self.stop_again_and_again().await,
        }
    }

    async fn roll(&mut self) -> Result<(), Trouble> {
        let mut copies = self.start_copies(self.options.copies as usize).await?;
        let load = self.try_paths(&mut copies).await?;
        let scene = self.scene(&mut copies, &load).await?;
        let mut front = self.start_front(&copies).await?;
        let stop = CancellationToken::new();
        let mut clients = load::start(&load, front.target(), &self.journal, &stop);
        self.progress.stage("warming up".into());
        self.progress.line(&format!("{} copies are ready; the load begins", copies.len()));
        undisturbed(&mut copies, sleep(self.options.warm_up)).await?;
        for number in 1..=self.options.restarts {
            let index = (number as usize - 1) % copies.len();
            self.restart(&mut copies, index, number, &front, &scene).await?;
            front.still_there().await?;
        }

        self.progress.stage("stopping".into());
        stop.cancel();
        // Each client ends with its current request, and that has a limit of its own.
        while let Some(ended) = clients.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.stop_copies(&mut copies).await?;
        self.killed.take().map_or(Ok(()), Err)
    }

    fn start(&self, index: usize, port: u16) -> Result<Server, Trouble> {
        let server = Server::start(&self.options.cmd, port).map_err(|error| {
            let program = &self.options.cmd[0];
            Trouble::new(Outcome::CannotStart, format!("cannot start {program}: {error}"))
        })?;
        self.journal.event(index, Event::Started);
        Ok(server)
    }

    /// Starts all copies at once and waits until all are ready.
    async fn start_copies(&self, count: usize) -> Result<Vec<Running>, Trouble> {
        let ports = ports::free(count).map_err(|error| {
            Trouble::new(Outcome::CannotStart, format!("the drill needs free ports: {error}"))
        })?;
        let mut copies = Vec::new();
        for (index, port) in ports.into_iter().enumerate() {
            self.journal.add_copy(port);
            let server = self.start(index, port)?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let target = Target { address, tls: self.options.tls, http2: self.options.http2 };
            copies.push(Running { index, target, check: Check::Http, server });
        }
        for copy in &mut copies {
            self.progress.stage(format!("waiting until {} is ready", copy.name()));
            copy.check = self.wait_ready(copy, None).await?;
            self.journal.event(copy.index, Event::Ready);
        }
        let check = copies[0].check;
        self.journal.check(check);
        if check == Check::Tcp {
            self.journal.note(format!(
                "no readiness route: {} answered 404, so the balancer only checked that the port \
                 accepts connections (--ready-path)",
                self.options.ready_path
            ));
        }
        Ok(copies)
    }

    /// Waits until a started copy is ready. `known` is how its readiness is checked, once that
    /// has been found out.
    async fn wait_ready(&self, copy: &mut Running, known: Option<Check>) -> Result<Check, Trouble> {
        let (target, path) = (copy.target, &self.options.ready_path);
        let deadline = Instant::now() + self.options.start_timeout;
        let mut missing = NotYet::Refused;
        let ready = async {
            loop {
                let limit = Duration::from_secs(2).min(self.options.start_timeout);
                let look = match (known, probe::first_look(target, path, limit).await) {
                    // A route that was there at the first start is there at the next.
                    (Some(Check::Http), FirstLook::Ready(Check::Tcp)) => {
                        FirstLook::NotYet(NotYet::Status(404))
                    }
                    (Some(Check::Tcp), FirstLook::NotYet(not_yet))
                        if not_yet != NotYet::Refused =>
                    {
                        FirstLook::Ready(Check::Tcp)
                    }
                    (_, look) => look,
                };
                match look {
                    FirstLook::Ready(check) => return check,
                    FirstLook::NotYet(not_yet) => missing = not_yet,
                }
                sleep(LOOK).await;
            }
        };
        let ended = tokio::select! {
            ready = tokio::time::timeout_at(deadline, ready) => ready.map_err(|_| None),
            exit = copy.server.exited() => Err(Some(exit)),
        };
        match ended {
            Ok(check) => Ok(known.unwrap_or(check)),
            Err(Some(exit)) => {
                let sentence =
                    format!("{} ended before it was ready: {}", copy.name(), exit.words());
                Err(copy.trouble(Outcome::DiedAtOnce, sentence).await)
            }
            Err(None) => {
                let why = match missing {
                    NotYet::Refused => format!("nothing accepts connections on {}", target.address),
                    NotYet::Mute => format!(
                        "{} gives no {} answer to GET {path}",
                        target.address,
                        words(target)
                    ),
                    NotYet::Status(status) => format!("GET {path} answers {status}"),
                };
                let sentence = format!(
                    "{} was not ready within {:?} (--start-timeout): {why}; a copy must listen on \
                     the port in $PORT or {{port}}",
                    copy.name(),
                    self.options.start_timeout
                );
                Err(copy.trouble(Outcome::NeverReady, sentence).await)
            }
        }
    }

    /// Tries each path once, so that a wrong one is a sentence and not a million failures.
    async fn try_paths(&self, copies: &mut [Running]) -> Result<Load, Trouble> {
        let options = self.options;
        let mut load = Load {
            connections: options.connections,
            rate: options.rate,
            get_path: options.get_path.clone(),
            post_path: options.post_path.clone(),
            post_share: options.post_share,
            echo: !options.no_echo,
            slow_path: (options.slow_share > 0).then(|| options.slow_path.clone()),
            slow_share: options.slow_share,
            max_body: options.max_body as usize,
            lines: self.lines.to_vec(),
            timeout: options.timeout,
            seed: options.seed,
        };
        self.progress.stage("trying the paths".into());
        let target = copies[0].target;
        if !load.lines.is_empty() {
            let first = load.lines.iter().find(|line| line.method == "GET");
            load.get_path = first.map_or(options.ready_path.clone(), |line| line.path.clone());
            let wrong = undisturbed(copies, try_lines(target, &load)).await?;
            if let Some(sentence) = wrong {
                return Err(copies[0].trouble(Outcome::Unsuitable, sentence).await);
            }
            load.post_share = 0;
        }
        let body = (load.post_share > 0).then_some(b"lameduck drill".as_slice());
        let tries = async {
            let mut wrong = None;
            let get = probe::get(target, &load.get_path, load.timeout).await;
            if let Err(why) = answer_is_200(&get) {
                let path = &load.get_path;
                wrong = Some(format!("GET {path} {why}; --get-path names a path that answers 200"));
            }
            if let (None, Some(body)) = (&wrong, body) {
                let post = probe::ask(target, &load.post_path, Some(body), load.timeout).await;
                let path = &load.post_path;
                if let Err(why) = answer_is_200(&post) {
                    wrong = Some(format!(
                        "POST {path} {why}; --post-path names a path that answers 200 with the \
                         body it got, --post-share 0 sends no POST"
                    ));
                } else if load.echo && post.is_ok_and(|response| response.body != body) {
                    wrong = Some(format!(
                        "POST {path} does not answer with the body it got; --post-path names a \
                         path that does, --no-echo does without"
                    ));
                }
            }
            if let (None, Some(path)) = (&wrong, &load.slow_path) {
                let slow = probe::get(target, path, load.timeout).await;
                match answer_is_200(&slow) {
                    Ok(()) => {}
                    Err(_) if slow.is_ok_and(|response| response.status == 404) => {
                        self.journal
                            .note(format!("no slow requests: {path} answered 404 (--slow-path)"));
                        load.slow_path = None;
                    }
                    Err(why) => {
                        wrong = Some(format!(
                            "GET {path} {why}; --slow-path names a slow path that answers 200, \
                             --slow-share 0 sends no slow requests"
                        ));
                    }
                }
            }
            wrong
        };
        match undisturbed(copies, tries).await? {
            None => Ok(load),
            Some(sentence) => Err(copies[0].trouble(Outcome::Unsuitable, sentence).await),
        }
    }

    async fn restart(
        &mut self,
        copies: &mut [Running],
        index: usize,
        number: u32,
        balancer: &Front,
        scene: &Scene,
    ) -> Result<(), Trouble> {
        // First of them while it is restarted, so that the others are in one piece.
        copies.swap(0, index);
        let (copy, others) = copies.split_first_mut().expect("there are copies");
        let name = copy.name();

        let here = Scene { target: copy.target, ..scene.clone() };
        let witnesses = Witnesses::gather(&here, self.options.seed ^ u64::from(number));
        undisturbed(others, undisturbed(slice::from_mut(copy), sleep(GATHER))).await??;
        let asked = Instant::now();
        let exit = self.stop(copy, others, witnesses).await?;
        let took = asked.elapsed();

        self.progress.stage(format!("waiting until {name} is ready"));
        copy.server = self.start(index, copy.target.address.port())?;
        let known = copy.check;
        undisturbed(others, self.wait_ready(copy, Some(known))).await??;
        self.journal.event(index, Event::Ready);
        let back = balancer.trusts(index);
        let limit = self.options.start_timeout;
        let in_time = undisturbed(copies, timeout(limit, back)).await?;
        copies.swap(0, index);
        if in_time.is_err() {
            let copy = &mut copies[index];
            let sentence = format!("{name} was ready, but fails its readiness checks since");
            return Err(copy.trouble(Outcome::NeverReady, sentence).await);
        }
        self.progress.stage("pausing".into());
        undisturbed(copies, sleep(self.options.pause)).await?;
        self.progress.restarted(&format!(
            "restart {number}/{}: {name} ended with {} after {:.2} s; requests failed: {}",
            self.options.restarts,
            exit.words(),
            took.as_secs_f64(),
            self.journal.failed_in_this_restart(),
        ));
        Ok(())
    }

    /// Asks a copy to stop, waits until it is gone, and keeps what the witnesses saw.
    async fn stop(
        &mut self,
        copy: &mut Running,
        others: &mut [Running],
        witnesses: Witnesses,
    ) -> Result<Exit, Trouble> {
        self.progress.stage(format!("waiting until {} exits", copy.name()));
        self.journal.restart(copy.index);
        witnesses.sigterm();
        copy.server.terminate();
        let limit = self.options.exit_timeout;
        let (exit, killed) = match undisturbed(others, timeout(limit, copy.server.exited())).await?
        {
            Ok(exit) => (exit, false),
            Err(_) => {
                copy.server.kill();
                (copy.server.exited().await, true)
            }
        };
        self.journal.restart_exited(copy.index, exit, killed);
        self.journal.stop(witnesses.gone(exit, killed).await);
        if killed {
            let trouble = self.never_exits(copy).await;
            if !self.options.keep_going {
                return Err(trouble);
            }
            self.killed = Some(trouble);
        }
        Ok(exit)
    }

    async fn never_exits(&self, copy: &mut Running) -> Trouble {
        let sentence = format!(
            "{} never exits: it was still running {:?} after SIGTERM (--exit-timeout) and had to \
             be killed",
            copy.name(),
            self.options.exit_timeout
        );
        copy.trouble(Outcome::NeverExits, sentence).await
    }

    /// The end: no more load, both copies are stopped side by side.
    async fn stop_copies(&self, copies: &mut [Running]) -> Result<(), Trouble> {
        for copy in copies.iter() {
            self.journal.event(copy.index, Event::Sigterm);
            copy.server.terminate();
        }
        let deadline = Instant::now() + self.options.exit_timeout;
        let mut trouble = None;
        for copy in copies {
            match tokio::time::timeout_at(deadline, copy.server.exited()).await {
                Ok(_) => self.journal.event(copy.index, Event::Exited),
                Err(_) => {
                    copy.server.kill();
                    copy.server.exited().await;
                    self.journal.event(copy.index, Event::Killed);
                    trouble = Some(self.never_exits(copy).await);
                }
            }
        }
        trouble.map_or(Ok(()), Err)
    }
}

/// Sends each line of the file once; what is wrong with the first that fails.
async fn try_lines(target: Target, load: &Load) -> Option<String> {
    for line in &load.lines {
        let body = line.body.map(|size| vec![b'x'; size]);
        let mut client = Client::once(target, load.timeout);
        let Line { number, method, path, .. } = line;
        let why = match client.send(method, path, body.as_deref()).await {
            Ok(response) if load::judge_line(&response).is_ok() => continue,
            Ok(response) => format!("answers {}", response.status),
            Err(failure) => format!("fails ({})", failure.words()),
        };
        return Some(format!("{method} {path} (line {number} of --paths) {why}"));
    }
    None
}

fn words(target: Target) -> &'static str {
    match (target.tls, target.http2) {
        (false, false) => "HTTP",
        (true, false) => "HTTPS",
        (false, true) => "HTTP/2 (h2c)",
        (true, true) => "HTTP/2 (TLS)",
    }
}

fn answer_is_200(answer: &Result<crate::drill::http::Response, NotYet>) -> Result<(), String> {
    match answer {
        Ok(response) if response.status == 200 => Ok(()),
        Ok(response) => Err(format!("answers {}", response.status)),
        Err(_) => Err("gives no answer".into()),
    }
}

/// Runs `work` unless one of `copies` ends meanwhile, which none of them was asked to.
async fn undisturbed<T>(
    copies: &mut [Running],
    work: impl Future<Output = T>,
) -> Result<T, Trouble> {
    if copies.is_empty() {
        return Ok(work.await);
    }
    let ends = copies.iter_mut().map(|copy| Box::pin(copy.server.exited()));
    let (exit, at) = tokio::select! {
        biased;
        done = work => return Ok(done),
        (exit, at, _) = select_all(ends) => (exit, at),
    };
    Err(copies[at].died(exit).await)
}

/// The thresholds of latency that were missed, as parts of a sentence.
fn too_slow(options: &Drill, latency: &Latency) -> Vec<String> {
    let limits = [
        ("p99", "--max-p99", latency.p99, options.max_p99),
        ("p99.9", "--max-p999", latency.p999, options.max_p999),
        ("maximum", "--max-latency", latency.max, options.max_latency),
    ];
    let missed = limits.into_iter().filter_map(|(name, option, ms, limit)| {
        let limit = limit?.as_secs_f64() * 1000.0;
        (ms > limit).then(|| {
            format!("the {name} of the latency is {ms:.1} ms, above {limit} ms ({option})")
        })
    });
    missed.collect()
}

fn write_record(
    options: &Drill,
    journal: &Journal,
    balancer: BalancerCounts,
    trouble: Option<Trouble>,
) -> Record {
    let contents = journal.contents();
    let requests = contents.requests;
    let findings = diagnose(&contents.stops);
    let mut summary = format!(
        "{} of {} requests failed in {} restart{}",
        requests.failed,
        requests.total,
        options.restarts,
        if options.restarts == 1 { "" } else { "s" }
    );
    let too_slow = too_slow(options, &contents.latency_ms.ordinary);
    for sentence in &too_slow {
        summary.push_str(&format!("; {sentence}"));
    }
    for finding in &findings {
        summary.push_str(&format!("; {}", finding.mistake.words()));
    }
    let all_done = contents.restarts.iter().filter(|restart| restart.ready_ms.is_some()).count()
        == options.restarts as usize;
    let trouble = match trouble {
        Some(trouble) if all_done && trouble.outcome == Outcome::NeverExits => {
            let sentence = format!("{summary}; {}", trouble.sentence);
            Some(Trouble { sentence, ..trouble })
        }
        other => other,
    };
    let trouble = trouble.unwrap_or_else(|| {
        let faults = findings.iter().filter(|finding| !options.allow.contains(&finding.mistake));
        let fine = requests.failed <= options.max_failed
            && requests.ok > 0
            && faults.count() == 0
            && too_slow.is_empty();
        let outcome = if fine { Outcome::Passed } else { Outcome::Failed };
        let sentence = if requests.total == 0 {
            "not one request was sent: a higher --rate or longer --pause is needed".into()
        } else {
            summary
        };
        Trouble {
            exit_status: u8::from(outcome != Outcome::Passed),
            ..Trouble::new(outcome, sentence)
        }
    });
    Record {
        schema: SCHEMA.into(),
        label: options.name(),
        command: options.cmd.clone(),
        outcome: trouble.outcome,
        sentence: trouble.sentence,
        exit_status: trouble.exit_status,
        mode: options.mode,
        findings,
        notes: contents.notes,
        conditions: Conditions {
            restarts: options.restarts,
            connections: options.connections,
            rate: options.rate,
            copies: options.copies,
            balancer: options.balancer,
            delay_ms: options.delay.as_secs_f64() * 1000.0,
            probe_interval_ms: options.probe_interval.as_secs_f64() * 1000.0,
            probe_threshold: options.probe_threshold,
            seed: options.seed,
            check: contents.check,
        },
        duration_ms: contents.duration_ms,
        requests,
        failures: contents.failures,
        latency_ms: contents.latency_ms,
        connections: contents.connections,
        balancer,
        restarts: contents.restarts,
        failed_before_restarts: contents.failed_before_restarts,
        copies: contents.copies,
        timeline: contents.timeline,
        first_failures: contents.first_failures,
        last_output: trouble.last_output,
    }
}
