//! Lays every time of a process on one line, from the moment somebody stops it.

use std::time::Duration;

use lameduck::Grace;
use lameduck::policy::Origin;

use crate::plan::findings::Planned;
use crate::plan::model::Limit;
use crate::plan::node::Place;
use crate::timeline::{Stage, Stretch};

/// One time and who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Its name.
    pub name: String,
    /// Its value; none is without end.
    pub time: Option<Duration>,
    /// What it is made of: `10s × 3`.
    pub sum: Option<String>,
    /// Who set it.
    pub origin: String,
    /// Where, if in a file.
    pub place: Option<Place>,
}

/// The line of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// In order, without gaps.
    pub stretches: Vec<Stretch>,
    /// When it is killed.
    pub kill: Option<Duration>,
    /// When everybody has looked away.
    pub looked_away: Option<Duration>,
    /// Where the line ends.
    pub end: Duration,
    /// Every time.
    pub timers: Vec<Timer>,
}

impl Line {
    /// Lays it.
    pub fn of(planned: &Planned) -> Self {
        let before = planned.pre_stop();
        let kill = planned.kill();
        let mut stretches = Vec::new();
        let mut at = Duration::ZERO;
        let mut add = |stage, length: Duration| {
            let to = at.saturating_add(length);
            if to > at {
                stretches.push(Stretch { stage, from: at, to });
            }
            at = to;
        };
        add(Stage::PreStop, before);
        if let Some(policy) = &planned.policy {
            let window = policy.window.value;
            add(Stage::Window, window);
            match policy.budget() {
                Some(budget) => {
                    let reserve = policy.reserve.value;
                    add(Stage::Emptying, budget.saturating_sub(window).saturating_sub(reserve));
                    add(Stage::Closing, reserve.min(budget.saturating_sub(window)));
                    add(Stage::Margin, policy.margin.value);
                }
                // Without an end of its own, until it is killed.
                None => {
                    let rest = kill.unwrap_or(before.saturating_add(window).saturating_mul(3));
                    add(Stage::Emptying, rest.saturating_sub(before).saturating_sub(window));
                }
            }
        }
        let end = [Some(at), kill, planned.looked_away].into_iter().flatten().max();
        Self {
            stretches,
            kill,
            looked_away: planned.looked_away,
            end: end.unwrap_or_default().max(Duration::from_millis(1)),
            timers: timers(planned),
        }
    }
}

fn timers(planned: &Planned) -> Vec<Timer> {
    let process = &planned.process;
    let platform = process.platform;
    let mut timers = Vec::new();
    let mut add = |name: &str, time, sum: Option<String>, origin: &str, place: Option<&Place>| {
        timers.push(Timer {
            name: name.into(),
            time,
            sum,
            origin: origin.into(),
            place: place.cloned(),
        });
    };
    match &process.limit {
        Some(limit) => {
            let time = match limit.value {
                Limit::After(time) => Some(time),
                Limit::Never => None,
            };
            add("SIGKILL", time, None, platform.limit_key(), Some(&limit.place));
        }
        None => {
            if let Some(time) = platform.default_limit() {
                let origin = format!("{}, default of {}", platform.limit_key(), platform.name());
                add("SIGKILL", Some(time), None, &origin, None);
            }
        }
    }
    if let Some(hook) = &process.pre_stop
        && let Some(time) = hook.time
    {
        add("preStop", Some(time), None, &hook.what, Some(&hook.place));
    }
    if let Some(policy) = &planned.policy {
        for (name, time, origin) in policy.times() {
            let variable = format!("LAMEDUCK_{}", name.to_ascii_uppercase());
            let place = process.environment.iter().rev().find(|(known, _)| *known == variable);
            match origin {
                Origin::Environment => {
                    add(name, time, None, &variable, place.map(|(_, given)| &given.place));
                }
                Origin::Code => {
                    add(name, time, None, &format!("--{}", name.replace('_', "-")), None)
                }
                Origin::Default => add(name, time, None, "lameduck's default", None),
            }
        }
        if policy.grace.value == Grace::Unlimited {
            add("T", None, None, "none: grace is unlimited", None);
        }
    }
    let checks = [
        ("balancer's check", &process.balancer.check),
        ("readiness check", &process.readiness),
        ("restarting check", &process.liveness),
    ];
    for (name, check) in checks {
        if let Some(check) = check {
            let sum = format!("{} × {}", lameduck::policy::text(check.interval), check.threshold);
            add(name, Some(check.takes()), Some(sum), &check.what, Some(&check.place));
        }
    }
    if let Some((time, place, explicit)) = &process.balancer.deregistration {
        let origin = if *explicit { "deregistration delay" } else { "default of the target group" };
        add("deregistration", Some(*time), None, origin, Some(place));
    }
    if let Some(given) = &process.balancer.keep_alive {
        add("proxy's keep-alive", Some(given.value), None, "idle timeout", Some(&given.place));
    }
    timers
}
