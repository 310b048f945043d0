//! The command line: one subcommand a folder.

use clap::{Parser, Subcommand};

use crate::drill::Drill;

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
