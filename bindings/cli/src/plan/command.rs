//! What a command line starts, and who of it gets the stop signal.

/// A command as the file gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Words, started as they are.
    Words(Vec<String>),
    /// A line for `/bin/sh -c`.
    Line(String),
}

/// Who gets a stop signal in the server's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InTheWay {
    /// `npm start` and the like: it ends at once, and the server with its container.
    PackageManager(String),
    /// A shell that waits for what it started.
    Shell(String),
}

/// Programs for process 1 of a container, which pass signals on to their one child.
const INITS: [&str; 5] = ["catatonit", "docker-init", "dumb-init", "tini", "tini-static"];
/// Programs that become the program they start.
const REPLACED: [&str; 7] = ["env", "exec", "gosu", "nice", "nohup", "setpriv", "su-exec"];
/// Those of them whose first argument is a user.
const WITH_USER: [&str; 2] = ["gosu", "su-exec"];
const MANAGERS: [&str; 5] = ["bunx", "npm", "npx", "pnpm", "yarn"];
/// Shells that wait for the last command of their line…
const WAITING_SHELLS: [&str; 3] = ["dash", "ksh", "sh"];
/// …and those that become it, when nothing but a plain list of commands stands there.
const BECOMING_SHELLS: [&str; 4] = ["ash", "bash", "busybox", "zsh"];

/// A command line's words in a shell's rules, or as they stand if its quotes do not close.
pub fn split(line: &str) -> Vec<String> {
    shlex::split(line).unwrap_or_else(|| line.split_whitespace().map(str::to_owned).collect())
}

impl Command {
    /// The command as one line.
    pub fn line(&self) -> String {
        match self {
            Self::Words(words) => words.join(" "),
            Self::Line(line) => line.trim().to_owned(),
        }
    }

    /// The words of the program that does the work, as far as it can be told.
    pub fn server(&self) -> Vec<String> {
        let (words, _) = self.unwrapped();
        words
    }

    /// Who stands between the stop signal and the server, if anybody does.
    pub fn in_the_way(&self) -> Option<InTheWay> {
        let (words, shell) = self.unwrapped();
        let program = words.first().map(|word| base(word)).unwrap_or_default();
        if MANAGERS.contains(&program) && !is_plain_node(&words) {
            let short: Vec<&str> = words.iter().take(3).map(String::as_str).collect();
            return Some(InTheWay::PackageManager(short.join(" ")));
        }
        shell.map(InTheWay::Shell)
    }

    /// A script whose inside is not known here.
    pub fn script(&self) -> Option<String> {
        let words = self.server();
        let named = |word: &&String| {
            let name = base(word);
            name.ends_with(".sh") || name.ends_with("entrypoint")
        };
        words.iter().take(2).find(named).cloned()
    }

    /// The program's words without inits, shells and what becomes it; and a shell that stays.
    fn unwrapped(&self) -> (Vec<String>, Option<String>) {
        let (mut words, mut shell) = match self {
            Self::Words(words) => (words.clone(), None),
            Self::Line(line) => of_line("sh", line),
        };
        let mut group = false;
        // Each turn takes at least one word away.
        while let Some(first) = words.first() {
            let name = base(first).to_owned();
            let rest = &words[1..];
            if INITS.contains(&name.as_str()) {
                group |= match name.as_str() {
                    "dumb-init" => !rest
                        .iter()
                        .take_while(|w| w.starts_with('-'))
                        .any(|w| w == "-c" || w == "--single-child"),
                    _ => rest
                        .iter()
                        .take_while(|word| word.starts_with('-'))
                        .any(|word| word == "-g"),
                };
                let options = rest.iter().take_while(|word| word.starts_with('-')).count();
                words = rest[options..].to_vec();
            } else if REPLACED.contains(&name.as_str()) {
                let user = usize::from(WITH_USER.contains(&name.as_str()));
                let skip = rest
                    .iter()
                    .skip(user)
                    .take_while(|word| word.starts_with('-') || word.contains('='))
                    .count();
                words = rest.get(user + skip..).unwrap_or_default().to_vec();
            } else if WAITING_SHELLS.contains(&name.as_str())
                || BECOMING_SHELLS.contains(&name.as_str())
            {
                let option = rest.iter().position(|word| {
                    word.starts_with('-') && !word.starts_with("--") && word.ends_with('c')
                });
                let Some(line) = option.and_then(|at| rest.get(at + 1)) else { break };
                let (inner, stays) = of_line(&name, line);
                shell = shell.or(stays);
                words = inner;
            } else {
                break;
            }
        }
        (words, shell.filter(|_| !group))
    }
}

/// The last command of a shell's line, and the shell if it stays to wait for it.
fn of_line(shell: &str, line: &str) -> (Vec<String>, Option<String>) {
    let last = line
        .split(['\n', ';'])
        .flat_map(|part| part.split("&&"))
        .flat_map(|part| part.split("||"))
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .last()
        .unwrap_or_default();
    let words = split(last);
    let replaces = words.first().is_some_and(|word| word == "exec");
    let plain = !line.contains(['|', '&', '(', '{'])
        || line.replace("&&", "").find(['|', '&', '(', '{']).is_none();
    let becomes = BECOMING_SHELLS.contains(&shell) && plain;
    let stays = (!replaces && !becomes && !words.is_empty()).then(|| shell.to_owned());
    (words, stays)
}

/// `npm exec`-free uses that start nothing, such as `npm --version`, are not worth a word; a
/// first word that is a manager and runs a script is what matters.
fn is_plain_node(words: &[String]) -> bool {
    words.get(1).is_none_or(|word| word.starts_with("--v"))
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// A span that a command waits before it does anything else: `sleep 5`, also inside a shell's line.
pub fn sleep_of(words: &[String]) -> Option<std::time::Duration> {
    let words: Vec<String> =
        words.iter().flat_map(|word| word.split_whitespace()).map(String::from).collect();
    let mut sum = None;
    for pair in words.windows(2) {
        if base(&pair[0]) == "sleep" {
            let text = pair[1].trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '.');
            let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
                Some(at) => text.split_at(at),
                None => (text, "s"),
            };
            let factor = match unit {
                "s" => 1.0,
                "m" => 60.0,
                _ => return None,
            };
            let seconds = number.parse::<f64>().ok()? * factor;
            let span = std::time::Duration::try_from_secs_f64(seconds).ok()?;
            sum = Some(sum.unwrap_or_default() + span);
        }
    }
    sum
}
