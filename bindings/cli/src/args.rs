//! The command line: one subcommand a folder.

use clap::{Parser, Subcommand};

use crate::drill::Drill;
use crate::plan::Plan;

/// Ends servers without dropping anybody.
#[derive(Debug, Parser)]
#[command(name = "lameduck", version, about, arg_required_else_help = true)]
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
