//! What the operator decides, and how it is made to fit.
//!
//! All times come out of one budget, `grace`:
//!
//! ```text
//! t0 ─ window ─ t1 ─ emptying ─ t2 ─ reserve (Closing) ─ T ─ margin ─ grace
//!                                T = t0 + grace − margin     t2 = T − reserve
//! ```
//!
//! Values that nobody set shrink to fit. Only explicitly set values can contradict, and
//! they are refused with the sum spelled out.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

const DEFAULT_GRACE: Duration = Duration::from_secs(30);
const DEFAULT_WINDOW: Duration = Duration::from_secs(5);
const DEFAULT_MARGIN: Duration = Duration::from_secs(1);
const DEFAULT_RESERVE: Duration = Duration::from_secs(5);
const DEFAULT_SETTLE: Duration = Duration::from_millis(100);
const DEFAULT_QUIET: Duration = Duration::from_millis(500);
const DEFAULT_ABORT_LEAD: Duration = Duration::from_secs(1);

/// The whole budget, from the request to stop until the process must be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// What the orchestrator allows.
    Limited(Duration),
    /// Nobody is waiting: there is no drain deadline and no T.
    Unlimited,
}

/// What happens to a request that arrives while draining.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewRequests {
    /// 503 and `Connection: close`.
    Refuse,
    /// Served: the balancer has not looked away yet.
    #[default]
    Serve,
}

/// What readiness probes answer while draining.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// Not ready from t0 on.
    #[default]
    Fail,
    /// Ready until the listeners close: KEP-1669 sends traffic to terminating endpoints
    /// that are still serving when there are no others.
    Keep,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Set by the program.
    Code,
    /// Nobody set it.
    Default,
    /// A `LAMEDUCK_*` variable: beats code.
    Environment,
}

impl Origin {
    /// The name used in the start line and the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Default => "default",
            Self::Environment => "environment",
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value in force.
    pub value: T,
    /// Who decided it.
    pub origin: Origin,
}

/// What somebody asked for; `None` leaves the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // each is the policy's field of the same name
pub struct Settings {
    pub grace: Option<Grace>,
    pub margin: Option<Duration>,
    pub reserve: Option<Duration>,
    pub window: Option<Duration>,
    pub settle: Option<Duration>,
    pub quiet: Option<Duration>,
    pub abort_lead: Option<Duration>,
    pub window_idle: Option<Duration>,
    pub new_requests: Option<NewRequests>,
    pub readiness: Option<Readiness>,
    pub seed: Option<u64>,
    /// Somebody is developing: standard input is a terminal, or a watcher restarts us.
    /// Unset, the window, settle and quiet are 0, so that nobody waits for a restart.
    pub interactive: bool,
    /// This is not production: when no connection was ever accepted, an unset window
    /// is skipped.
    pub development: bool,
}

/// The policy in force: every value, and who decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The whole budget. Default 30 s.
    pub grace: Setting<Grace>,
    /// Kept free before the orchestrator's SIGKILL. Default min(1 s, grace/10).
    pub margin: Setting<Duration>,
    /// Kept for Closing. Default min(5 s, grace/5).
    pub reserve: Setting<Duration>,
    /// The lame-duck window: longer than the balancer's probe period × threshold plus
    /// propagation. Default min(5 s, grace/4); 0 is legal behind a preStop sleep.
    pub window: Setting<Duration>,
    /// How long a fenced listener still accepts: more than the client's round trip.
    /// Default 100 ms.
    pub settle: Setting<Duration>,
    /// How long a connection must have been silent before the server closes it.
    /// Default 500 ms.
    pub quiet: Setting<Duration>,
    /// How long before the drain deadline the abort signals fire. Default 1 s.
    pub abort_lead: Setting<Duration>,
    /// The window ends early once neither a connection nor a request arrived for this long.
    /// Default never: a balancer that sends one request a minute has not looked away because
    /// it is silent for a second. Set it where silence proves that it has.
    pub window_idle: Option<Duration>,
    /// What happens to a request that arrives while draining. Default serve.
    pub new_requests: Setting<NewRequests>,
    /// What readiness probes answer while draining. Default fail.
    pub readiness: Setting<Readiness>,
    /// Seeds every spread. Default 0.
    pub seed: Setting<u64>,
    /// See [`Settings::interactive`].
    pub interactive: bool,
    /// See [`Settings::development`].
    pub development: bool,
}

/// Settings that cannot all be true, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction(pub(crate) String);

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Contradiction {}

impl Policy {
    /// The policy that `code` and `environment` make together.
    ///
    /// # Errors
    /// When explicitly set values contradict; the sentence spells the sum out.
    pub fn resolve(code: &Settings, environment: &Settings) -> Result<Self, Contradiction> {
        let asked = Asked { code, environment };
        let grace = asked.pick(|s| s.grace, || Grace::Limited(DEFAULT_GRACE));
        let base = match grace.value {
            Grace::Limited(span) => span,
            Grace::Unlimited => Duration::MAX,
        };

        let window = asked.explicit(|s| s.window);
        let reserve = asked.explicit(|s| s.reserve);
        let settle = asked.explicit(|s| s.settle);
        let quiet = asked.explicit(|s| s.quiet);
        let abort_lead = asked.explicit(|s| s.abort_lead);
        let kept = or_zero(window).saturating_add(or_zero(reserve));
        let after_window = or_zero(settle).max(or_zero(quiet)).max(or_zero(abort_lead));

        let taken = kept.saturating_add(after_window);

        let margin = asked
            .pick(|s| s.margin, || DEFAULT_MARGIN.min(base / 10).min(base.saturating_sub(taken)));
        let budget = base.checked_sub(margin.value).ok_or_else(|| {
            Contradiction(format!("margin {} exceeds grace {}", exact(margin.value), exact(base)))
        })?;
        for (name, extra) in [("settle", settle), ("quiet", quiet), ("abort_lead", abort_lead)] {
            let parts = [("window", window), (name, extra), ("reserve", reserve)];
            check_sum(&parts, budget, base, margin.value)?;
        }

        let left = budget.saturating_sub(taken);
        let reserve = asked.pick(|s| s.reserve, || DEFAULT_RESERVE.min(base / 5).min(left));
        let taken = or_zero(window).saturating_add(reserve.value).saturating_add(after_window);
        let left = budget.saturating_sub(taken);
        let interactive = code.interactive || environment.interactive;
        let eager = |span: Duration| if interactive { Duration::ZERO } else { span };
        let window = asked.pick(|s| s.window, || eager(DEFAULT_WINDOW.min(base / 4).min(left)));
        let emptying = budget.saturating_sub(window.value).saturating_sub(reserve.value);
        let quarter = emptying / 4;
        Ok(Self {
            grace,
            margin,
            reserve,
            window,
            settle: asked.pick(|s| s.settle, || eager(DEFAULT_SETTLE.min(quarter))),
            quiet: asked.pick(|s| s.quiet, || eager(DEFAULT_QUIET.min(quarter))),
            abort_lead: asked.pick(|s| s.abort_lead, || DEFAULT_ABORT_LEAD.min(quarter)),
            window_idle: asked.explicit(|s| s.window_idle),
            new_requests: asked.pick(|s| s.new_requests, NewRequests::default),
            readiness: asked.pick(|s| s.readiness, Readiness::default),
            seed: asked.pick(|s| s.seed, || 0),
            interactive,
            development: code.development || environment.development,
        })
    }

    /// The same policy under another grace, in the middle of a shutdown: what nobody set
    /// fits itself to the new budget, but the window does not grow; what was set stays.
    pub(crate) fn refit(&self, grace: Grace) -> Self {
        let set = |origin: Origin, window: Duration| {
            let only = |s: Setting<Duration>| (s.origin == origin).then_some(s.value);
            Settings {
                grace: (origin == Origin::Environment).then_some(grace),
                margin: only(self.margin),
                reserve: only(self.reserve),
                window: only(Setting { value: window, ..self.window }),
                settle: only(self.settle),
                quiet: only(self.quiet),
                abort_lead: only(self.abort_lead),
                interactive: self.interactive,
                ..Settings::default()
            }
        };
        let fit = |window| {
            Self::resolve(&set(Origin::Code, window), &set(Origin::Environment, window)).ok()
        };
        // A set window that no longer fits is cut by the drain deadline; the rest need not suffer.
        let fitted = fit(self.window.value).or_else(|| fit(Duration::ZERO));
        let fitted = fitted.unwrap_or_else(|| self.clone());
        let window = match self.window.origin {
            Origin::Default => fitted.window.value.min(self.window.value),
            Origin::Code | Origin::Environment => self.window.value,
        };
        Self {
            grace: Setting { value: grace, ..self.grace },
            margin: fitted.margin,
            reserve: fitted.reserve,
            window: Setting { value: window, ..self.window },
            settle: fitted.settle,
            quiet: fitted.quiet,
            abort_lead: fitted.abort_lead,
            ..self.clone()
        }
    }

    /// The time from the request to stop until T: grace − margin. `None` is unlimited.
    pub fn budget(&self) -> Option<Duration> {
        match self.grace.value {
            Grace::Limited(grace) => Some(grace.saturating_sub(self.margin.value)),
            Grace::Unlimited => None,
        }
    }

    /// The whole grace of a child process, so that it is gone before this process begins to
    /// close what they share: t2 − t0. See [`crate::Machine::child_grace`] in mid-shutdown.
    pub fn child_grace(&self) -> Grace {
        self.budget().map_or(Grace::Unlimited, |budget| {
            Grace::Limited(budget.saturating_sub(self.reserve.value))
        })
    }

    /// Every time with its name and origin, in the order of the start line.
    pub fn times(&self) -> Vec<(&'static str, Option<Duration>, Origin)> {
        let grace = match self.grace.value {
            Grace::Limited(span) => Some(span),
            Grace::Unlimited => None,
        };
        let mut times = alloc::vec![("grace", grace, self.grace.origin)];
        times.extend(
            [
                ("window", self.window),
                ("margin", self.margin),
                ("reserve", self.reserve),
                ("settle", self.settle),
                ("quiet", self.quiet),
                ("abort_lead", self.abort_lead),
            ]
            .map(|(name, setting)| (name, Some(setting.value), setting.origin)),
        );
        let code = Origin::Code; // no variable sets it
        times.extend(self.window_idle.map(|span| ("window_idle", Some(span), code)));
        times
    }

    /// The start line: each time and where it came from.
    pub fn describe(&self) -> String {
        let parts: Vec<String> = self
            .times()
            .into_iter()
            .map(|(name, span, origin)| {
                let span = span.map_or_else(|| String::from("unlimited"), text);
                format!("{name} {span} ({})", origin.name())
            })
            .collect();
        parts.join(", ")
    }
}

/// The two places a value can be set in.
struct Asked<'a> {
    code: &'a Settings,
    environment: &'a Settings,
}

impl Asked<'_> {
    fn explicit<T>(&self, field: impl Fn(&Settings) -> Option<T>) -> Option<T> {
        field(self.environment).or_else(|| field(self.code))
    }

    fn pick<T>(
        &self,
        field: impl Fn(&Settings) -> Option<T>,
        default: impl FnOnce() -> T,
    ) -> Setting<T> {
        if let Some(value) = field(self.environment) {
            Setting { value, origin: Origin::Environment }
        } else if let Some(value) = field(self.code) {
            Setting { value, origin: Origin::Code }
        } else {
            Setting { value: default(), origin: Origin::Default }
        }
    }
}

fn or_zero(span: Option<Duration>) -> Duration {
    span.unwrap_or_default()
}

fn check_sum(
    parts: &[(&str, Option<Duration>)],
    budget: Duration,
    grace: Duration,
    margin: Duration,
) -> Result<(), Contradiction> {
    let set: Vec<(&str, Duration)> =
        parts.iter().filter_map(|(name, span)| span.map(|span| (*name, span))).collect();
    let sum = set.iter().fold(Duration::ZERO, |sum, (_, span)| sum.saturating_add(*span));
    if sum <= budget {
        return Ok(());
    }
    let terms: Vec<String> =
        set.iter().map(|(name, span)| format!("{name} {}", exact(*span))).collect();
    Err(Contradiction(format!(
        "{} exceeds grace {} − margin {}",
        terms.join(" + "),
        exact(grace),
        exact(margin)
    )))
}

/// A duration as people write it: `30s`, `1.5s`, `400ms`.
pub fn text(span: Duration) -> String {
    if span.is_zero() {
        String::from("0s")
    } else if span < Duration::from_secs(1) {
        decimal(span.as_micros(), 3, "ms")
    } else {
        decimal(span.as_millis(), 3, "s")
    }
}

/// The same to its last digit: a sum that is a nanosecond too long must look too long.
fn exact(span: Duration) -> String {
    if span.is_zero() || span >= Duration::from_secs(1) {
        decimal(span.as_nanos(), 9, "s")
    } else {
        decimal(span.as_nanos(), 6, "ms")
    }
}

fn decimal(value: u128, places: usize, suffix: &str) -> String {
    // With a digit before the point, then as many as there are places after it.
    let digits = format!("{value:0width$}", width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    match part.trim_end_matches('0') {
        "" => format!("{whole}{suffix}"),
        part => format!("{whole}.{part}{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn with_grace(grace: u64) -> Settings {
        Settings { grace: Some(Grace::Limited(ms(grace))), ..Settings::default() }
    }

    fn resolve(code: Settings) -> Policy {
        Policy::resolve(&code, &Settings::default()).expect("fits")
    }

    fn refused(code: Settings) -> String {
        Policy::resolve(&code, &Settings::default()).expect_err("contradicts").to_string()
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let policy = resolve(Settings::default());
        assert_eq!(
            policy.describe(),
            "grace 30s (default), window 5s (default), margin 1s (default), reserve 5s (default), \
             settle 100ms (default), quiet 500ms (default), abort_lead 1s (default)"
        );
        assert_eq!(policy.budget(), Some(ms(29_000)));
    }

    #[test]
    fn defaults_shrink_for_docker_and_pm2() {
        let docker = resolve(with_grace(10_000));
        assert_eq!(
            (docker.window.value, docker.margin.value, docker.reserve.value),
            (ms(2_500), ms(1_000), ms(2_000))
        );
        let pm2 = resolve(with_grace(1_600));
        assert_eq!(
            (pm2.window.value, pm2.margin.value, pm2.reserve.value),
            (ms(400), ms(160), ms(320))
        );
        assert_eq!((pm2.settle.value, pm2.quiet.value), (ms(100), ms(180)));
    }

    #[test]
    fn unset_values_make_room_for_set_ones() {
        let policy = resolve(Settings { window: Some(ms(29_500)), ..with_grace(30_000) });
        assert_eq!(policy.margin.value, ms(500));
        assert_eq!(policy.reserve.value, ms(0));
        let policy = resolve(Settings { reserve: Some(ms(28_000)), ..with_grace(30_000) });
        assert_eq!(policy.window.value, ms(1_000));
    }

    #[test]
    fn a_child_is_gone_before_its_parent_closes() {
        let parent = resolve(with_grace(30_000));
        assert_eq!(parent.child_grace(), Grace::Limited(ms(24_000)));
        let child = resolve(Settings { grace: Some(parent.child_grace()), ..Settings::default() });
        assert_eq!(child.budget(), Some(ms(23_000)));
        assert_eq!(child.child_grace(), Grace::Limited(ms(18_200)));
        let unlimited = Settings { grace: Some(Grace::Unlimited), ..Settings::default() };
        assert_eq!(resolve(unlimited).child_grace(), Grace::Unlimited);
        assert_eq!(resolve(with_grace(0)).child_grace(), Grace::Limited(ms(0)));
    }

    #[test]
    fn contradictions_spell_the_sum_out() {
        let both =
            Settings { window: Some(ms(20_000)), reserve: Some(ms(15_000)), ..with_grace(30_000) };
        assert_eq!(
            refused(Settings { margin: Some(ms(1_000)), ..both }),
            "window 20s + reserve 15s exceeds grace 30s − margin 1s"
        );
        assert_eq!(
            refused(Settings { window: Some(ms(40_000)), ..with_grace(30_000) }),
            "window 40s exceeds grace 30s − margin 0s"
        );
        assert_eq!(
            refused(Settings { margin: Some(ms(2_000)), ..with_grace(1_500) }),
            "margin 2s exceeds grace 1.5s"
        );
        let three = Settings {
            window: Some(ms(600)),
            quiet: Some(ms(300)),
            reserve: Some(ms(200)),
            margin: Some(ms(0)),
            ..with_grace(1_000)
        };
        assert_eq!(
            refused(three),
            "window 600ms + quiet 300ms + reserve 200ms exceeds grace 1s − margin 0s"
        );
    }

    #[test]
    fn environment_beats_code_and_says_so() {
        let environment = with_grace(10_000);
        let policy = Policy::resolve(&with_grace(60_000), &environment).expect("fits");
        assert_eq!(policy.grace.value, Grace::Limited(ms(10_000)));
        assert_eq!(policy.grace.origin, Origin::Environment);
    }

    #[test]
    fn grace_may_be_zero_or_unlimited() {
        assert_eq!(resolve(with_grace(0)).budget(), Some(Duration::ZERO));
        let unlimited = resolve(Settings { grace: Some(Grace::Unlimited), ..Settings::default() });
        assert_eq!(unlimited.budget(), None);
        assert_eq!((unlimited.window.value, unlimited.reserve.value), (ms(5_000), ms(5_000)));
    }

    #[test]
    fn absurd_times_are_refused_or_fit_and_never_overflow() {
        let forever = Some(Duration::MAX);
        let all = Settings { window: forever, reserve: forever, quiet: forever, ..with_grace(1) };
        assert!(refused(all.clone()).starts_with("window 18446744073709551615.999999999s + "));
        let unlimited = Settings { grace: Some(Grace::Unlimited), ..all };
        assert_eq!(resolve(unlimited).window.value, Duration::MAX);
        let long = Settings { grace: Some(Grace::Limited(Duration::MAX)), ..Settings::default() };
        assert_eq!(resolve(long).window.value, ms(5_000));
    }

    #[test]
    fn interactive_waits_for_nothing_that_was_not_asked_for() {
        let policy = resolve(Settings { interactive: true, ..Settings::default() });
        assert_eq!((policy.window.value, policy.quiet.value), (ms(0), ms(0)));
        let asked = Settings { interactive: true, window: Some(ms(300)), ..Settings::default() };
        assert_eq!(resolve(asked).window.value, ms(300));
    }
}
