//! The requests of a load, from a file: a line each, `METHOD PATH [WEIGHT] [BODY BYTES]`.

use crate::drill::args::path;

/// Largest body that a line may ask for, in bytes.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// One line: what is sent, and how often in comparison with the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its line number in the file.
    pub number: usize,
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// How often.
    pub weight: u32,
    /// How long its body is; none has none.
    pub body: Option<usize>,
}

/// The lines of a file; empty ones and those that begin with # say nothing.
///
/// # Errors
/// A sentence with the number of the line and what it should have been.
pub fn parse(text: &str) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        lines.push(parse_line(line, at + 1).map_err(|why| format!("line {}: {why}", at + 1))?);
    }
    if lines.is_empty() {
        return Err("it names no request; a line is METHOD PATH [WEIGHT] [BODY BYTES]".into());
    }
    Ok(lines)
}

fn parse_line(line: &str, number: usize) -> Result<Line, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (method, target, weight, body) = match words[..] {
        [method, target] => (method, target, None, None),
        [method, target, weight] => (method, target, Some(weight), None),
        [method, target, weight, body] => (method, target, Some(weight), Some(body)),
        _ => return Err("a line is METHOD PATH [WEIGHT] [BODY BYTES]".into()),
    };
    if !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("{method} is no method; write it in capitals, like GET"));
    }
    if method == "HEAD" || method == "CONNECT" {
        return Err(format!("the drill cannot send {method}"));
    }
    let weight = match weight {
        None => 1,
        Some(text) => match text.parse() {
            Ok(weight @ 1..=1_000_000) => weight,
            _ => return Err(format!("the weight is a number from 1 to 1000000, not {text}")),
        },
    };
    let body = match body {
        None => None,
        Some(text) => match text.parse() {
            Ok(bytes @ 0..=MAX_BODY) => Some(bytes),
            _ => {
                return Err(format!("the body is a number of bytes up to {MAX_BODY}, not {text}"));
            }
        },
    };
    Ok(Line { number, method: method.into(), path: path(target)?, weight, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = "# the shop\n\nGET /\nGET /items?page=2 30\n  POST /orders 5 2048 \n";
        let found = parse(text).unwrap();
        let short: Vec<_> = found
            .iter()
            .map(|line| (line.number, &*line.method, &*line.path, line.weight, line.body))
            .collect();
        let expected = [
            (3, "GET", "/", 1, None),
            (4, "GET", "/items?page=2", 30, None),
            (5, "POST", "/orders", 5, Some(2048)),
        ];
        assert_eq!(short, expected);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, needed) in [
            ("", "names no request"),
            ("# nothing", "names no request"),
            ("GET", "line 1: a line is METHOD PATH"),
            ("GET /\nget /", "line 2: get is no method"),
            ("GET x", "line 1: a path begins with /"),
            ("GET / often", "line 1: the weight is a number"),
            ("GET / 0", "line 1: the weight is a number"),
            ("POST / 1 huge", "line 1: the body is a number"),
            ("POST / 1 99999999999", "line 1: the body is a number"),
            ("HEAD /", "line 1: the drill cannot send HEAD"),
            ("GET / 1 2 3", "line 1: a line is METHOD PATH"),
        ] {
            let sentence = parse(text).unwrap_err();
            assert!(sentence.contains(needed), "{text:?}: {sentence}");
        }
    }
}
