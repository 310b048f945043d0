//! The rules: what does not add up between a process, its policy and what is around it.

mod balancer;
mod process;

use std::time::Duration;

use lameduck::policy::{Origin, text};
use lameduck::{Grace, Policy, Settings, environment};

use crate::plan::args::Plan;
use crate::plan::model::{Finding, Id, Limit, Probe, Process};
use crate::plan::node::Place;

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

    fn add(&mut self, id: Id, place: &Place, what: String, why: &str, remedy: String) {
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

    fn named(&self, variable: &str) -> Option<Place> {
        let found = self.process.environment.iter().rev().find(|(name, _)| name == variable);
        found.map(|(_, given)| given.place.clone())
    }
}
