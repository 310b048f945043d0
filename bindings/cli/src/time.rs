//! Times on the command line: a number and its unit.

use std::time::Duration;

/// A time with its unit.
pub fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let per_unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "" => return Err(format!("a time needs its unit: write {text}ms or {text}s")),
        _ => return Err("a time is a number with its unit, like 400ms, 2s or 1m".into()),
    };
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = match digits.parse() {
        Ok(number) if plain => number,
        _ => return Err("a time is a number with its unit, like 400ms, 2s or 1m".into()),
    };
    let seconds = number * per_unit;
    if seconds > 3600.0 {
        return Err("a time here is at most one hour (60m)".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A time of at least a millisecond.
pub fn positive(text: &str) -> Result<Duration, String> {
    match time(text)? {
        time if time < Duration::from_millis(1) => Err("this time is at least 1ms".into()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected) in [("0s", 0), ("400ms", 400), ("1.5s", 1500), ("2m", 120_000)] {
            assert_eq!(time(text), Ok(Duration::from_millis(expected)), "{text}");
        }
        for text in
            ["", "s", "-1s", "1h", "inf s", "infs", "nans", "1e3s", "1 s", "61m", "..s", "30"]
        {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
