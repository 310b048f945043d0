//! The `LAMEDUCK_*` variables: times in seconds, decimals allowed.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::policy::{Contradiction, Grace, Settings};

const PREFIX: &str = "LAMEDUCK_";
const GRACE: &str = "LAMEDUCK_GRACE";
const MARGIN: &str = "LAMEDUCK_MARGIN";
const QUIET: &str = "LAMEDUCK_QUIET";
const REPORT_FILE: &str = "LAMEDUCK_REPORT_FILE";
const RESERVE: &str = "LAMEDUCK_RESERVE";
const SETTLE: &str = "LAMEDUCK_SETTLE";
const WINDOW: &str = "LAMEDUCK_WINDOW";

/// Every variable that is read.
pub const NAMES: [&str; 7] = [GRACE, MARGIN, QUIET, REPORT_FILE, RESERVE, SETTLE, WINDOW];

/// How many letters a misspelt name may be away from the one that was meant.
const TYPOS: usize = 2;

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
        margin: seconds(MARGIN)?,
        reserve: seconds(RESERVE)?,
        window: seconds(WINDOW)?,
        settle: seconds(SETTLE)?,
        quiet: seconds(QUIET)?,
        ..Settings::default()
    })
}

/// The file that shall get the report, `LAMEDUCK_REPORT_FILE`: beats what the program asked for.
pub fn report_file(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    variable(REPORT_FILE).filter(|path| !path.trim().is_empty())
}

/// A sentence for the log if `variable` looks like one of [`NAMES`] and is none: whoever set it believes that it counts.
pub fn unknown(variable: &str) -> Option<String> {
    let upper = variable.to_ascii_uppercase();
    if !upper.starts_with("LAMEDUCK") || NAMES.contains(&variable) {
        return None;
    }
    let variable = variable.escape_debug();
    Some(match meant(&upper) {
        Some(name) => format!("{variable} is not read; did you mean {name}?"),
        None => format!("{variable} is not read; there are {}", NAMES.join(", ")),
    })
}

/// The name that `variable`, in capitals, was probably meant to be.
fn meant(variable: &str) -> Option<&'static str> {
    let word = |name: &'static str| &name[PREFIX.len()..];
    let given = variable.trim_start_matches("LAMEDUCK").trim_matches('_');
    let part = NAMES.into_iter().find(|name| given.split('_').any(|part| part == word(name)));
    part.or_else(|| {
        let nearest = NAMES.into_iter().min_by_key(|name| distance(given, word(name)))?;
        (distance(given, word(nearest)) <= TYPOS).then_some(nearest)
    })
}

/// How many letters must be put in, left out or changed to make one of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], line + 1);
        for (column, wanted) in other.chars().enumerate() {
            let changed = diagonal + usize::from(letter != wanted);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
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
    fn what_is_not_read_names_what_was_meant() {
        for (given, name) in [
            ("LAMEDUCK_WINDW", WINDOW),
            ("LAMEDUCK_GRACE_PERIOD", GRACE),
            ("LAMEDUCK_DRAIN_WINDOW", WINDOW),
            ("lameduck_grace", GRACE),
            ("LAMEDUCK_REPORTFILE", REPORT_FILE),
            ("LAMEDUCKGRACE", GRACE),
            ("LAMEDUCK_SETLE", SETTLE),
            ("LAMEDUCK_QUITE", QUIET),
        ] {
            let sentence = format!("{given} is not read; did you mean {name}?");
            assert_eq!(unknown(given), Some(sentence));
        }
        assert_eq!(
            unknown("LAMEDUCK_\n_DATABASE").unwrap(),
            "LAMEDUCK_\\n_DATABASE is not read; there are LAMEDUCK_GRACE, LAMEDUCK_MARGIN, LAMEDUCK_QUIET, \
             LAMEDUCK_REPORT_FILE, LAMEDUCK_RESERVE, LAMEDUCK_SETTLE, LAMEDUCK_WINDOW"
        );
        assert!(unknown("LAMEDUCK_").is_some(), "even the prefix alone");
        for fine in NAMES.into_iter().chain(["PATH", "LAME_DUCK_GRACE", ""]) {
            assert_eq!(unknown(fine), None, "{fine}");
        }
    }

    #[test]
    fn every_name_is_read() {
        for name in NAMES {
            let asked = core::cell::Cell::new(false);
            let look = |variable: &str| {
                asked.set(asked.get() || variable == name);
                None
            };
            settings(look).unwrap();
            report_file(look);
            assert!(asked.get(), "{name}");
        }
    }

    #[test]
    fn distances_are_the_textbook_s() {
        for (one, other, letters) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(one, other), letters, "{one} {other}");
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
