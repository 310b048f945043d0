//! A Dockerfile's last stage: what the image starts, its stop signal, its variables.

use crate::plan::command::{Command, split};
use crate::plan::model::{Given, Platform, Process};
use crate::plan::node::{Malformed, Place};
use crate::plan::read::Read;

/// The image as a process that nobody runs yet.
pub fn read(name: &str, text: &str) -> Result<Read, Malformed> {
    let place = |line: u32, path: &str| Place { file: name.into(), line, path: path.into() };
    let start = || Process::new(Platform::Image, "image", format!("image of {name}"), place(1, ""));
    let mut process = start();
    let mut shell: Option<Vec<String>> = None;
    let (mut entry, mut command): (Option<Given<Command>>, Option<Given<Command>>) = (None, None);
    let mut stages = 0;
    for (line, instruction) in instructions(text) {
        let (word, rest) = match instruction.split_once(char::is_whitespace) {
            Some((word, rest)) => (word.to_ascii_uppercase(), rest.trim()),
            None => (instruction.to_ascii_uppercase(), ""),
        };
        let at = place(line, &word);
        match word.as_str() {
            "FROM" => {
                // A later stage begins anew.
                (process, shell, entry, command) = (start(), None, None, None);
                process.place = at;
                stages += 1;
            }
            "STOPSIGNAL" => process.signal = Some(Given { value: rest.into(), place: at }),
            "ENTRYPOINT" => entry = Some(Given { value: form(rest, shell.as_deref()), place: at }),
            "CMD" => command = Some(Given { value: form(rest, shell.as_deref()), place: at }),
            "SHELL" => shell = serde_json::from_str(rest).ok(),
            "ENV" => {
                let words = split(rest);
                let pairs: Vec<(String, String)> = match words.first() {
                    Some(first) if first.contains('=') => words
                        .iter()
                        .filter_map(|word| word.split_once('='))
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .collect(),
                    Some(first) => vec![(first.clone(), words[1..].join(" "))],
                    None => Vec::new(),
                };
                process.environment.extend(
                    pairs
                        .into_iter()
                        .filter(|(_, value)| !value.contains('$'))
                        .map(|(name, value)| (name, Given { value, place: at.clone() })),
                );
            }
            "ADD" | "ARG" | "COPY" | "EXPOSE" | "HEALTHCHECK" | "LABEL" | "MAINTAINER"
            | "ONBUILD" | "RUN" | "USER" | "VOLUME" | "WORKDIR" => {}
            _ => {
                let shown: String = word.chars().take(20).collect();
                let sentence = format!(
                    "{shown:?} is no instruction of a Dockerfile, expected FROM, RUN, CMD or the like"
                );
                return Err(Malformed::at(line, None, &sentence));
            }
        }
    }
    if stages == 0 {
        return Err(Malformed("a Dockerfile needs a FROM".into()));
    }
    process.command = match (entry, command) {
        // The shell form of ENTRYPOINT ignores CMD.
        (Some(Given { value: Command::Words(mut words), place }), Some(command)) => {
            if let Command::Words(more) = command.value {
                words.extend(more);
            }
            Some(Given { value: Command::Words(words), place })
        }
        (Some(entry), _) => Some(entry),
        (None, command) => command,
    };
    process.takes_image = true;
    Ok(Read { image: Some(process), ..Read::default() })
}

/// `["node", "server.js"]` is started as it is, anything else by a shell.
fn form(text: &str, shell: Option<&[String]>) -> Command {
    match (serde_json::from_str::<Vec<String>>(text), shell) {
        (Ok(words), _) => Command::Words(words),
        (Err(_), Some(shell)) => {
            let mut words = shell.to_vec();
            words.push(text.into());
            Command::Words(words)
        }
        (Err(_), None) => Command::Line(text.into()),
    }
}

/// Instructions and the lines they begin at: comments left out, continued lines joined, and the
/// texts of here-documents skipped.
fn instructions(text: &str) -> Vec<(u32, String)> {
    let escape = if text.lines().take(3).any(|line| {
        let line: String = line.to_ascii_lowercase().split_whitespace().collect();
        line == "#escape=`"
    }) {
        '`'
    } else {
        '\\'
    };
    let mut found: Vec<(u32, String)> = Vec::new();
    let mut open: Option<(u32, String)> = None;
    let mut until: Vec<String> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim();
        if let Some(end) = until.first() {
            if trimmed == end {
                until.remove(0);
            }
            continue;
        }
        if trimmed.starts_with('#') || trimmed.is_empty() {
            continue;
        }
        let (part, goes_on) = match trimmed.strip_suffix(escape) {
            Some(part) => (part, true),
            None => (trimmed, false),
        };
        let (_, whole) = open.get_or_insert((number, String::new()));
        whole.push_str(part);
        whole.push(' ');
        if !goes_on && let Some((begin, whole)) = open.take() {
            let first = whole.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            if matches!(first.as_str(), "ADD" | "COPY" | "RUN") {
                until = here_documents(&whole);
            }
            found.push((begin, whole.trim().to_owned()));
        }
    }
    found.extend(open.map(|(begin, whole)| (begin, whole.trim().to_owned())));
    found
}

/// The words that end the here-documents of a line.
fn here_documents(line: &str) -> Vec<String> {
    let word = |part: &str| {
        let part = part.trim_start_matches('-').trim_start_matches(['"', '\'']);
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            .then(|| part[..end].to_owned())
    };
    line.split("<<").skip(1).filter_map(word).collect()
}
