//! Times with units, as Compose and systemd write them: `1m30s`, `1min 30s`.

use std::time::Duration;

/// Compose: `90s`, `1m30s`, `1.5s`.
pub fn compose(text: &str) -> Option<Duration> {
    sum(text, |unit| {
        Some(match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        })
    })
}

/// systemd: `90`, `1min 30s`.
pub fn systemd(text: &str) -> Option<Duration> {
    sum(text, |unit| {
        Some(match unit {
            "us" | "usec" | "µs" => 1e-6,
            "ms" | "msec" => 1e-3,
            "" | "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            _ => return None,
        })
    })
}

fn sum(text: &str, factor: impl Fn(&str) -> Option<f64>) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let seconds = number.parse::<f64>().ok()? * factor(unit)?;
        total = total.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        rest = after.trim_start();
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_their_files_write_them() {
        let seconds = Duration::from_secs;
        for (text, expected) in [("90s", 90), ("1m30s", 90), ("1h", 3600), ("0s", 0)] {
            assert_eq!(compose(text), Some(seconds(expected)), "{text}");
        }
        assert_eq!(compose("1.5s"), Some(Duration::from_millis(1_500)));
        for (text, expected) in [("90", 90), ("1min 30s", 90), ("2 min", 120), ("1d", 86_400)] {
            assert_eq!(systemd(text), Some(seconds(expected)), "{text}");
        }
        for text in ["", "s", "10", "-1s", "1x", "1e9s", "9999999999999999999999s"] {
            assert_eq!(compose(text), None, "{text}");
        }
        for text in ["", "s", "infinity", "1y 2z"] {
            assert_eq!(systemd(text), None, "{text}");
        }
    }
}
