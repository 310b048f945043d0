//! The options of `lameduck report`.

use std::path::PathBuf;

use clap::Args;

/// The options of `lameduck report`.
#[derive(Args, Debug)]
#[command(
    args_override_self = true,
    after_long_help = "\
FILE is the report itself (LAMEDUCK_REPORT_FILE, reportFile), or a log in which it is a line among
others, also inside another JSON object; of several the last one counts.

Examples:
  lameduck report /var/log/web/report.json
  kubectl logs web-7d4b9 --previous | lameduck report -
  lameduck report before.json after.json --html deploy.html"
)]
pub struct Report {
    /// A report, or a log with one; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Another one, to compare
    #[arg(value_name = "FILE2")]
    pub other: Option<PathBuf>,

    /// Write a picture to OUT
    #[arg(long, value_name = "OUT")]
    pub svg: Option<PathBuf>,

    /// Write a page with picture and tables to OUT
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
}
