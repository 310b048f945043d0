//! The command line: one subcommand a folder.

use std::io::Write as _;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::drill::Drill;
use crate::plan::Plan;
use crate::report::Report;

/// Ends servers without dropping anybody.
#[derive(Debug, Parser)]
#[command(
    name = "lameduck",
    version,
    about,
    arg_required_else_help = true,
    after_help = "\
What does my server lose when it is restarted? Any server, in any language:
  lameduck drill -- node server.mjs

Does what I deploy with give it the time?
  lameduck plan k8s/web.yaml Dockerfile

Why did last night's stop take 20 seconds?
  kubectl logs web-7d4b9 --previous | lameduck report -

`lameduck help drill` and the like tell more."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Restart a server under load and say how many requests failed
    ///
    /// Two copies of CMD run behind a built-in TCP balancer and under load. Each copy in turn gets
    /// SIGTERM, must exit, and is started again, while every request that fails is counted.
    ///
    /// The exit status is 0 only if no request failed and no copy had to be killed; 1 if any did;
    /// 2 for a wrong option or a command that cannot be drilled; 130 after Ctrl-C.
    Drill(Box<Drill>),

    /// Check the timers of what you deploy with, and say what does not add up
    ///
    /// Lays every timer between the request to stop and SIGKILL on one line, lameduck's own among them, and
    /// names what contradicts: where it stands, why it is bad, what to write.
    ///
    /// The exit status is 0 if nothing was found, 1 if anything was, 2 for a file that cannot be read.
    Plan(Box<Plan>),

    /// Show the report of a shutdown as a timeline, and compare two
    ///
    /// Reads the report that a server with lameduck leaves behind, alone or in its log: the phases,
    /// what every request and hook came to, what held the end up, and why it took as long as it did.
    Report(Report),

    /// Print completions for a shell
    ///
    /// bash: lameduck completions bash > /etc/bash_completion.d/lameduck
    /// zsh: lameduck completions zsh > "${fpath[1]}/_lameduck"
    /// fish: lameduck completions fish > ~/.config/fish/completions/lameduck.fish
    #[command(verbatim_doc_comment)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Prints the completions of a shell.
pub fn completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lameduck", &mut script);
    // Nobody may be reading any more.
    let _ = std::io::stdout().write_all(&script);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
