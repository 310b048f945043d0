//! Whether the balancer in front has looked away in time, and what it does with connections.

use std::time::Duration;

use lameduck::policy::text;

use crate::plan::args::Plan;
use crate::plan::findings::Planned;
use crate::plan::model::{Id, Platform};

/// What an orchestrator is given to tell everybody that a server is leaving.
const PROPAGATION: Duration = Duration::from_secs(2);

impl Planned {
    /// When nobody sends anything new any more, since the stop began.
    pub(super) fn looks_away(&self, options: &Plan) -> Option<Duration> {
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

    pub(super) fn window(&mut self, options: &Plan) {
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

    pub(super) fn balancer(&mut self, options: &Plan) {
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
