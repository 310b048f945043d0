//! The `LAMEDUCK_*` variables: times in seconds, decimals allowed.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use crate::policy::{Contradiction, Grace, Settings};

const GRACE: &str = "LAMEDUCK_GRACE";
const REPORT_FILE: &str = "LAMEDUCK_REPORT_FILE";

/// Reads the settings from variables that the caller looks up.
///
/// `LAMEDUCK_GRACE` (also `unlimited`), `LAMEDUCK_WINDOW`, `LAMEDUCK_MARGIN`,
/// `LAMEDUCK_RESERVE`, `LAMEDUCK_SETTLE`, `LAMEDUCK_QUIET`.
///
/// # Errors
/// When a value is not a number of seconds, zero or more: a sentence that names it.
pub fn settings(variable: impl Fn(&str) -> Option<String>) -> Result<Settings, Contradiction> {
    let seconds = |name: &str| match variable(name) {
        Some(value) if !value.trim().is_empty() => parse(name, value.trim()).map(Some),
        _ => Ok(None),
    };
    let grace = match variable(GRACE) {
        Some(value) if value.trim() == "unlimited" => Some(Grace::Unlimited),
        _ => seconds(GRACE)?.map(Grace::Limited),
    };
    Ok(Settings {
        grace,
        margin: seconds("LAMEDUCK_MARGIN")?,
        reserve: seconds("LAMEDUCK_RESERVE")?,
        window: seconds("LAMEDUCK_WINDOW")?,
        settle: seconds("LAMEDUCK_SETTLE")?,
        quiet: seconds("LAMEDUCK_QUIET")?,
        ..Settings::default()
    })
}

/// The file that shall get the report, `LAMEDUCK_REPORT_FILE`: beats what the program asked for.
pub fn report_file(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    variable(REPORT_FILE).filter(|path| !path.trim().is_empty())
}

fn parse(name: &str, value: &str) -> Result<Duration, Contradiction> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    value
        .parse::<f64>()
        .ok()
        .filter(|_| digits)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| {
            let unlimited =
                if name == GRACE { format!(" or {name}=unlimited") } else { String::new() };
            Contradiction(format!(
                "{name}={} is not a number of seconds, zero or more; write {name}=30 or \
                 {name}=0.5{unlimited}",
                value.escape_debug() // somebody else's text: the sentence stays one line
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn one(name: &'static str, value: &'static str) -> Result<Settings, Contradiction> {
        settings(|asked| (asked == name).then(|| value.to_string()))
    }

    #[test]
    fn seconds_with_decimals() {
        assert_eq!(
            one("LAMEDUCK_WINDOW", " 2.5 ").unwrap().window,
            Some(Duration::from_millis(2_500))
        );
        assert_eq!(one("LAMEDUCK_GRACE", "unlimited").unwrap().grace, Some(Grace::Unlimited));
        assert_eq!(one("LAMEDUCK_QUIET", "").unwrap().quiet, None);
    }

    #[test]
    fn each_variable_sets_its_own_setting() {
        let second = Some(Duration::from_secs(1));
        let unset = Settings::default;
        for (name, expected) in [
            ("LAMEDUCK_GRACE", Settings { grace: second.map(Grace::Limited), ..unset() }),
            ("LAMEDUCK_MARGIN", Settings { margin: second, ..unset() }),
            ("LAMEDUCK_QUIET", Settings { quiet: second, ..unset() }),
            ("LAMEDUCK_RESERVE", Settings { reserve: second, ..unset() }),
            ("LAMEDUCK_SETTLE", Settings { settle: second, ..unset() }),
            ("LAMEDUCK_WINDOW", Settings { window: second, ..unset() }),
        ] {
            assert_eq!(one(name, "1"), Ok(expected));
            assert_eq!(one(name, " "), Ok(unset()), "{name} blank is {name} unset");
        }
    }

    #[test]
    fn a_file_for_the_report() {
        let file = |value: &str| {
            report_file(|asked| (asked == "LAMEDUCK_REPORT_FILE").then(|| value.to_string()))
        };
        assert_eq!(file("/var/log/a b.json").as_deref(), Some("/var/log/a b.json"));
        assert_eq!(file(" "), None, "blank is unset");
        assert_eq!(report_file(|_| None), None);
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for value in ["-1", "30s", "1e3", "NaN", "inf", "1.2.3", ".", "unlimited"] {
            let error = one("LAMEDUCK_MARGIN", value).unwrap_err().to_string();
            assert!(error.starts_with(&format!("LAMEDUCK_MARGIN={value} is not")), "{error}");
        }
        assert!(one("LAMEDUCK_GRACE", "99999999999999999999999").is_err());
    }
}
