//! Whether the server hears the signal, and whether a check restarts it in mid-drain.

use crate::plan::args::Plan;
use crate::plan::command::InTheWay;
use crate::plan::findings::Planned;
use crate::plan::model::{Id, Platform};

/// What lameduck listens to unless told otherwise.
const SIGNALS: [&str; 2] = ["TERM", "INT"];

impl Planned {
    pub(super) fn signal(&mut self, options: &Plan) {
        let Some(given) = self.process.signal.clone() else { return };
        let plain = |name: &str| {
            let upper = name.trim().trim_matches(['"', '\'']).to_ascii_uppercase();
            match upper.trim_start_matches("SIG") {
                "2" => "INT".to_owned(),
                "15" => "TERM".to_owned(),
                other => other.to_owned(),
            }
        };
        let asked = plain(&given.value);
        let heard = if options.signal.is_empty() {
            SIGNALS.contains(&asked.as_str())
        } else {
            options.signal.iter().any(|signal| plain(signal) == asked)
        };
        if !heard && !given.value.contains("${") {
            self.add(
                Id::StopSignal,
                &given.place,
                format!("the stop signal is {}", given.value.trim()),
                "lameduck listens to SIGTERM and SIGINT; any other signal ends the process at once, or is not heard at all",
                "leave it at SIGTERM, or say with --signal what the program listens to".into(),
            );
        }
    }

    pub(super) fn command(&mut self) {
        let Some(given) = self.process.command.clone() else {
            if matches!(self.process.platform, Platform::Ecs | Platform::Kubernetes) {
                let note = "what the image starts is not in these files: give its Dockerfile, too";
                self.process.notes.push(note.into());
            }
            return;
        };
        let line = given.value.line();
        let platform = self.process.platform;
        let everybody = self.process.signals_children;
        match given.value.in_the_way() {
            Some(InTheWay::PackageManager(words)) if !(everybody && platform == Platform::Systemd) => {
                let why = if everybody {
                    "it ends at once, which its manager takes for the end: the next process is started while this one still drains"
                } else {
                    "it gets the stop signal and ends at once; the server never hears it and is killed with its container"
                };
                self.add(
                    Id::PackageManager,
                    &given.place,
                    format!("{words:?} starts the server"),
                    why,
                    "start the server itself: node server.js, as package.json's script does".into(),
                );
            }
            Some(InTheWay::Shell(shell)) if !everybody => self.add(
                Id::ShellSwallowsSignal,
                &given.place,
                format!("{shell} starts the server: {line}"),
                "the shell gets the stop signal; most keep it (dash, Debian's sh) or die of it, and the server never hears it",
                "start the server itself, as in CMD [\"node\", \"server.js\"], or write exec before it: exec node server.js".into(),
            ),
            _ => {
                if let Some(script) = given.value.script().filter(|_| !everybody) {
                    self.process.notes.push(format!(
                        "{}:{}: {script} must start the server with exec, or it does not hear the stop signal; its inside is not read",
                        given.place.file, given.place.line
                    ));
                }
            }
        }
    }

    pub(super) fn liveness(&mut self) {
        let Some(live) = self.process.liveness.clone() else { return };
        let asks = |what: &str| what.contains("GET ") || what.contains('/');
        let same = self.process.readiness.as_ref().is_some_and(|ready| ready.what == live.what);
        let named = live
            .what
            .split([' ', '/', '\'', '"', '|'])
            .any(|word| matches!(word, "ready" | "readyz" | "readiness"));
        if !asks(&live.what) || !(same || named) {
            return;
        }
        let why = match self.process.platform {
            Platform::Kubernetes => {
                "readiness fails from the first moment of a drain, and whenever a database is away: then a check that restarts makes it worse, and older kubelets restart the draining pod"
            }
            _ => {
                "readiness fails from the first moment of a drain, and whenever a database is away: then a check that restarts makes it worse"
            }
        };
        self.add(
            Id::LivenessIsReadiness,
            &live.place,
            format!("the check that restarts it asks for readiness: {}", live.what),
            why,
            "let it ask the live path (livePath, live_path: /livez), which answers 200 while draining".into(),
        );
    }
}
