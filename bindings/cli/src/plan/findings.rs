//! The rules: what does not add up between a process, its policy and what is around it.

use std::time::Duration;

use lameduck::policy::{Origin, text};
use lameduck::{Grace, Policy, Settings, environment};

use crate::plan::args::Plan;
use crate::plan::command::InTheWay;
use crate::plan::model::{Finding, Id, Limit, Platform, Probe, Process};

/// What an orchestrator is given to tell everybody that a server is leaving.
const PROPAGATION: Duration = Duration::from_secs(2);
/// What lameduck listens to unless told otherwise.
const SIGNALS: [&str; 2] = ["TERM", "INT"];

/// A process with its policy in force.
#[derive(Debug)]
pub struct Planned {
    /// The process.
    pub process: Process,
    /// Its policy; none if lameduck would refuse it.
    pub policy: Option<Policy>,
    /// What does not add up.
    pub findings: Vec<Finding>,
    /// When everybody has looked away, since the stop began.
    pub looked_away: Option<Duration>,
}

impl Planned {
    /// Applies the rules.
    pub fn new(mut process: Process, options: &Plan) -> Self {
        if let (Some(time), Some(pre_stop)) = (options.pre_stop, &mut process.pre_stop) {
            pre_stop.time = Some(pre_stop.time.unwrap_or(time));
            process.notes.retain(|note| !note.ends_with("say it with --pre-stop"));
        }
        if let Some(interval) = options.probe_interval {
            process.balancer.check = Some(Probe {
                what: "the balancer's check".into(),
                interval,
                threshold: options.probe_threshold,
                place: process.place.clone(),
            });
        }
        let mut planned =
            Self { findings: process.findings.clone(), process, policy: None, looked_away: None };
        planned.resolve(options);
        planned.looked_away = planned.looks_away(options);
        planned.limit();
        planned.window(options);
        planned.signal(options);
        planned.command();
        planned.liveness();
        planned.balancer(options);
        planned
    }

    fn add(
        &mut self,
        id: Id,
        place: &crate::plan::node::Place,
        what: String,
        why: &str,
        remedy: String,
    ) {
        let finding = Finding { id, place: place.clone(), what, why: why.into(), remedy };
        self.findings.push(finding);
    }

    /// What is said before the process hears its signal.
    pub fn pre_stop(&self) -> Duration {
        self.process.pre_stop.as_ref().and_then(|hook| hook.time).unwrap_or_default()
    }

    /// When the process is killed; `None` is never, or not known.
    pub fn kill(&self) -> Option<Duration> {
        match &self.process.limit {
            Some(limit) => match limit.value {
                Limit::After(time) => Some(time),
                Limit::Never => None,
            },
            None => self.process.platform.default_limit(),
        }
    }

    fn resolve(&mut self, options: &Plan) {
        let code = Settings {
            grace: options.grace,
            window: options.window,
            margin: options.margin,
            reserve: options.reserve,
            settle: options.settle,
            quiet: options.quiet,
            ..Settings::default()
        };
        let variables = self.process.environment.clone();
        let look = |name: &str| {
            let found = variables.iter().rev().find(|(known, _)| known == name);
            found.map(|(_, given)| given.value.clone())
        };
        for (name, given) in &variables {
            if let Some(sentence) = environment::unknown(name) {
                let why = "whoever set it believes that it counts";
                self.add(
                    Id::UnknownVariable,
                    &given.place,
                    sentence,
                    why,
                    "mend its name, or leave it out".into(),
                );
            }
        }
        let resolved = environment::settings(look)
            .and_then(|environment| Policy::resolve(&code, &environment));
        match resolved {
            Ok(policy) => {
                if policy.grace.origin == Origin::Default {
                    self.process.notes.push(
                        "no grace is set in these files: lameduck's default, 30s, is assumed (--grace says what the program sets)"
                            .into(),
                    );
                }
                self.policy = Some(policy);
            }
            Err(contradiction) => {
                let sentence = contradiction.to_string();
                let about = |(name, _): &&(String, _)| {
                    let short = name.trim_start_matches("LAMEDUCK_").to_ascii_lowercase();
                    sentence.starts_with(name.as_str()) || sentence.starts_with(&short)
                };
                let place = variables.iter().find(about).map(|(_, given)| given.place.clone());
                let place = place.unwrap_or_else(|| self.process.place.clone());
                let why = "lameduck refuses to start with settings that cannot all be true";
                self.add(
                    Id::PolicyContradiction,
                    &place,
                    sentence,
                    why,
                    "shrink one of them, or raise grace together with the time until SIGKILL"
                        .into(),
                );
            }
        }
    }

    fn limit(&mut self) {
        let (Some(policy), Some(kill)) = (&self.policy, self.kill()) else { return };
        if self.process.asks_for_time {
            return;
        }
        let before = self.pre_stop();
        let platform = self.process.platform;
        let hook =
            if before.is_zero() { String::new() } else { format!("preStop {} + ", text(before)) };
        let (needed, says) = match policy.grace.value {
            Grace::Limited(grace) => {
                let needed = before.saturating_add(grace);
                let sum =
                    if before.is_zero() { String::new() } else { format!(" = {}", text(needed)) };
                (Some(needed), format!("{hook}grace {}{sum}", text(grace)))
            }
            Grace::Unlimited => (None, format!("{hook}unlimited grace")),
        };
        if needed.is_some_and(|needed| needed <= kill) {
            return;
        }
        let explicit = self.process.limit.is_some();
        let id = if explicit { Id::GraceOverLimit } else { Id::DefaultLimit };
        let whose = if explicit { "" } else { ", the default" };
        let what = format!(
            "{says}, but {} kills it {} after the stop began ({}{whose})",
            platform.name(),
            text(kill),
            platform.limit_key(),
        );
        let why = if before.is_zero() {
            "what is still in flight then is cut, and neither pools are closed nor is there a report"
        } else {
            "the time of the preStop hook comes out of the same budget; what is still in flight at its end is cut"
        };
        let left = kill.saturating_sub(before);
        let shrink = if left.is_zero() {
            "a shorter preStop hook".to_owned()
        } else {
            format!("LAMEDUCK_GRACE={}", left.as_secs_f64())
        };
        let remedy = match needed {
            Some(needed) => format!("set {}, or {shrink}", platform.limit_line(needed)),
            None => format!("set {shrink}"),
        };
        let place = self.process.limit_place().clone();
        self.add(id, &place, what, why, remedy);
    }

    /// When nobody sends anything new any more, since the stop began.
    fn looks_away(&self, options: &Plan) -> Option<Duration> {
        let process = &self.process;
        if !process.serves {
            return None;
        }
        let takes_out = process.platform.deregisters() && options.probe_interval.is_none();
        if takes_out {
            // ECS waits for the load balancer before it sends the signal at all.
            let waited = process.platform == Platform::Ecs
                && process
                    .balancer
                    .deregistration
                    .as_ref()
                    .is_some_and(|(time, ..)| !time.is_zero());
            return (!waited).then(|| options.propagation.unwrap_or(PROPAGATION));
        }
        let check = process.balancer.check.as_ref()?;
        let told = options.propagation.unwrap_or_default();
        Some(self.pre_stop().saturating_add(check.takes()).saturating_add(told))
    }

    fn window(&mut self, options: &Plan) {
        let (Some(policy), Some(away)) = (&self.policy, self.looked_away) else { return };
        let window = policy.window.value;
        let before = self.pre_stop();
        let accepts = before.saturating_add(window);
        let origin = self.named("LAMEDUCK_WINDOW");
        let place = origin.unwrap_or_else(|| self.process.place.clone());
        if accepts < away {
            let check = self.process.balancer.check.as_ref();
            let told = options.propagation.unwrap_or_default();
            let takes = match check.filter(|_| {
                !self.process.platform.deregisters() || options.probe_interval.is_some()
            }) {
                Some(check) => format!(
                    "{} takes {} × {} = {}{} to notice",
                    check.what,
                    text(check.interval),
                    check.threshold,
                    text(check.takes()),
                    if told.is_zero() {
                        String::new()
                    } else {
                        format!(" + {} until everybody knows", text(told))
                    },
                ),
                None => format!(
                    "{} needs about {} until every proxy has taken it out (--propagation)",
                    self.process.platform.name(),
                    text(away)
                ),
            };
            let hook = if before.is_zero() {
                String::new()
            } else {
                format!("preStop {} + ", text(before))
            };
            let what = format!("{takes}, but it accepts only for {hook}window {}", text(window));
            let wanted = away.saturating_sub(before);
            let grow = wanted.as_secs_f64().ceil();
            let place = match check {
                Some(check)
                    if options.probe_interval.is_none() && !self.process.platform.deregisters() =>
                {
                    check.place.clone()
                }
                _ => place,
            };
            self.add(
                Id::WindowTooShort,
                &place,
                what,
                "whoever still sends new requests meets a closed listener",
                format!("set LAMEDUCK_WINDOW={grow} (grace must hold it), or check more often"),
            );
        } else if self.process.platform.deregisters()
            && before >= away
            && !window.is_zero()
            && !before.is_zero()
        {
            let place = self.process.pre_stop.as_ref().map_or(place, |hook| hook.place.clone());
            self.add(
                Id::WindowDoubled,
                &place,
                format!("preStop waits {} and then the window {}", text(before), text(window)),
                "both wait until nobody sends new requests any more: every stop takes that much longer, out of one budget",
                "set LAMEDUCK_WINDOW=0, or leave the preStop sleep out".into(),
            );
        }
    }

    fn named(&self, variable: &str) -> Option<crate::plan::node::Place> {
        let found = self.process.environment.iter().rev().find(|(name, _)| name == variable);
        found.map(|(_, given)| given.place.clone())
    }

    fn signal(&mut self, options: &Plan) {
        let Some(given) = self.process.signal.clone() else { return };
        let plain = |name: &str| {
            let upper = name.trim().trim_matches(['"', '\'']).to_ascii_uppercase();
            match upper.trim_start_matches("SIG") {
                "2" => "INT".to_owned(),
                "15" => "TERM".to_owned(),
                other => other.to_owned(),
            }
        };
        let asked = plain(&given.value);
        let heard = if options.signal.is_empty() {
            SIGNALS.contains(&asked.as_str())
        } else {
            options.signal.iter().any(|signal| plain(signal) == asked)
        };
        if !heard && !given.value.contains("${") {
            self.add(
                Id::StopSignal,
                &given.place,
                format!("the stop signal is {}", given.value.trim()),
                "lameduck listens to SIGTERM and SIGINT; any other signal ends the process at once, or is not heard at all",
                "leave it at SIGTERM, or say with --signal what the program listens to".into(),
            );
        }
    }

    fn command(&mut self) {
        let Some(given) = self.process.command.clone() else {
            if matches!(self.process.platform, Platform::Ecs | Platform::Kubernetes) {
                let note = "what the image starts is not in these files: give its Dockerfile, too";
                self.process.notes.push(note.into());
            }
            return;
        };
        let line = given.value.line();
        let platform = self.process.platform;
        let everybody = self.process.signals_children;
        match given.value.in_the_way() {
            Some(InTheWay::PackageManager(words)) if !(everybody && platform == Platform::Systemd) => {
                let why = if everybody {
                    "it ends at once, which its manager takes for the end: the next process is started while this one still drains"
                } else {
                    "it gets the stop signal and ends at once; the server never hears it and is killed with its container"
                };
                self.add(
                    Id::PackageManager,
                    &given.place,
                    format!("{words:?} starts the server"),
                    why,
                    "start the server itself: node server.js, as package.json's script does".into(),
                );
            }
            Some(InTheWay::Shell(shell)) if !everybody => self.add(
                Id::ShellSwallowsSignal,
                &given.place,
                format!("{shell} starts the server: {line}"),
                "the shell gets the stop signal; most keep it (dash, Debian's sh) or die of it, and the server never hears it",
                "start the server itself, as in CMD [\"node\", \"server.js\"], or write exec before it: exec node server.js".into(),
            ),
            _ => {
                if let Some(script) = given.value.script().filter(|_| !everybody) {
                    self.process.notes.push(format!(
                        "{}:{}: {script} must start the server with exec, or it does not hear the stop signal; its inside is not read",
                        given.place.file, given.place.line
                    ));
                }
            }
        }
    }

    fn liveness(&mut self) {
        let Some(live) = self.process.liveness.clone() else { return };
        let asks = |what: &str| what.contains("GET ") || what.contains('/');
        let same = self.process.readiness.as_ref().is_some_and(|ready| ready.what == live.what);
        let named = live
            .what
            .split([' ', '/', '\'', '"', '|'])
            .any(|word| matches!(word, "ready" | "readyz" | "readiness"));
        if !asks(&live.what) || !(same || named) {
            return;
        }
        let why = match self.process.platform {
            Platform::Kubernetes => {
                "readiness fails from the first moment of a drain, and whenever a database is away: then a check that restarts makes it worse, and older kubelets restart the draining pod"
            }
            _ => {
                "readiness fails from the first moment of a drain, and whenever a database is away: then a check that restarts makes it worse"
            }
        };
        self.add(
            Id::LivenessIsReadiness,
            &live.place,
            format!("the check that restarts it asks for readiness: {}", live.what),
            why,
            "let it ask the live path (livePath, live_path: /livez), which answers 200 while draining".into(),
        );
    }

    fn balancer(&mut self, options: &Plan) {
        if !self.process.serves {
            return;
        }
        if let Some((time, place, explicit)) = self.process.balancer.deregistration.clone() {
            if time.is_zero() {
                self.add(
                    Id::DeregistrationDelay,
                    &place,
                    "the deregistration delay is 0".into(),
                    "the load balancer cuts what is in flight as soon as the target is taken out",
                    "set deregistration_delay.timeout_seconds to the longest request, 30 for most"
                        .into(),
                );
            } else if !explicit && self.process.platform == Platform::Ecs {
                self.add(
                    Id::DeregistrationDelay,
                    &place,
                    format!("the deregistration delay is left at its default, {}", text(time)),
                    "ECS sends the stop signal only when the load balancer is done with the task: each deploy waits that long",
                    "set deregistration_delay.timeout_seconds to the longest request, 30 for most".into(),
                );
            }
        }
        let proxy =
            options.proxy_keep_alive.map(|time| (time, self.process.place.clone())).or_else(|| {
                self.process.balancer.keep_alive.clone().map(|given| (given.value, given.place))
            });
        let Some((proxy, proxy_place)) = proxy else { return };
        match options.keep_alive.or_else(|| self.keep_alive_of_command()) {
            Some(server) if server <= proxy => {
                let place = self.process.command.as_ref().map_or(proxy_place, |given| given.place.clone());
                self.add(
                    Id::KeepAliveBelowProxy,
                    &place,
                    format!(
                        "the server closes idle connections after {}, the proxy in front keeps them {}",
                        text(server),
                        text(proxy)
                    ),
                    "the proxy sends a request just as the server closes: a 502, on every day of the year",
                    format!(
                        "keep them longer than the proxy does: {} s, say",
                        proxy.as_secs_f64().ceil() + 5.0
                    ),
                );
            }
            Some(_) => {}
            None => self.process.notes.push(format!(
                "the proxy keeps idle connections for {}: the server must keep them longer (Node's default is 5 s); say --keep-alive to have it checked",
                text(proxy)
            )),
        }
    }

    /// For servers whose command line says it, or whose default is known.
    fn keep_alive_of_command(&self) -> Option<Duration> {
        let words = self.process.command.as_ref()?.value.server();
        let has =
            |name: &str| words.iter().take(4).any(|word| word.rsplit('/').next() == Some(name));
        let (option, default) = if has("uvicorn") {
            ("--timeout-keep-alive", 5.0)
        } else if has("hypercorn") {
            ("--keep-alive", 5.0)
        } else if has("gunicorn") {
            ("--keep-alive", 2.0)
        } else {
            return None;
        };
        let mut value = default;
        for (at, word) in words.iter().enumerate() {
            let Some(rest) = word.strip_prefix(option) else { continue };
            let number = rest.strip_prefix('=').or_else(|| words.get(at + 1).map(String::as_str));
            value = number?.parse::<f64>().ok()?;
        }
        Duration::try_from_secs_f64(value).ok()
    }
}
