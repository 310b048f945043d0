//! The options of `lameduck plan`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};
use lameduck::Grace;

use crate::time::{positive, time};

/// The options of `lameduck plan`.
#[derive(Args, Debug)]
#[command(
    args_override_self = true,
    after_long_help = "\
Reads Kubernetes manifests, Compose files, a Dockerfile, systemd units, PM2's ecosystem file (nothing
in it is executed), Oxmgr's Oxfile, ECS task definitions with their target group (JSON of the aws
command, or CloudFormation). Give together what is deployed together: the Dockerfile beside the
manifest that runs its image, the target group beside the task definition.

lameduck's own times come from the LAMEDUCK_ variables in these files, then from the options, then
from its defaults; what the files cannot tell, other options say.

Examples:
  lameduck plan k8s/*.yaml Dockerfile
  helm template chart | lameduck plan -
  lameduck plan compose.yaml --grace 25s --probe-interval 2s --probe-threshold 3
  lameduck plan task.json target-group.json --keep-alive 75s --svg plan.svg
  lameduck plan --json deploy/ecosystem.config.cjs"
)]
pub struct Plan {
    /// What is deployed with; - is standard input
    #[arg(required_unless_present = "rules", value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// List the rules, and do nothing else
    #[arg(long)]
    pub rules: bool,

    /// Look only at this container, service, unit or app; may be repeated
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,

    /// The grace that the program sets: a time, or unlimited
    #[arg(long, value_name = "TIME", value_parser = grace, help_heading = "What the program sets")]
    pub grace: Option<Grace>,

    /// The window that the program sets
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "What the program sets")]
    pub window: Option<Duration>,

    /// The margin that the program sets
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "What the program sets")]
    pub margin: Option<Duration>,

    /// The reserve that the program sets
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "What the program sets")]
    pub reserve: Option<Duration>,

    /// The settle time that the program sets
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "What the program sets")]
    pub settle: Option<Duration>,

    /// The quiet period that the program sets
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "What the program sets")]
    pub quiet: Option<Duration>,

    /// A signal that the program listens to; may be repeated [default: SIGTERM, SIGINT]
    #[arg(long, value_name = "SIGNAL", help_heading = "What the program sets")]
    pub signal: Vec<String>,

    /// How long the program keeps idle connections
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "What the program sets")]
    pub keep_alive: Option<Duration>,

    /// How long the preStop hook takes, if the file does not tell
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "What is around it")]
    pub pre_stop: Option<Duration>,

    /// Time between the balancer's own checks
    #[arg(long, value_name = "TIME", value_parser = positive, help_heading = "What is around it")]
    pub probe_interval: Option<Duration>,

    /// Failed checks in a row that take a server out
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=100), help_heading = "What is around it")]
    pub probe_threshold: u32,

    /// Time until every balancer knows that a server is leaving [default: 2s in Kubernetes and ECS, else 0s]
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "What is around it")]
    pub propagation: Option<Duration>,

    /// How long the proxy keeps idle connections to the program
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "What is around it")]
    pub proxy_keep_alive: Option<Duration>,

    /// Print JSON (schema lameduck-plan/1)
    #[arg(long, help_heading = "Result")]
    pub json: bool,

    /// Write a picture to FILE
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub svg: Option<PathBuf>,
}

fn grace(text: &str) -> Result<Grace, String> {
    match text {
        "unlimited" => Ok(Grace::Unlimited),
        _ => time(text).map(Grace::Limited),
    }
}
