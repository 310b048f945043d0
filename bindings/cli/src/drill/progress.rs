//! What a person sees while a drill runs: a bar on a terminal, otherwise one line per restart.
//! Both on standard error.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::interval;

use crate::drill::journal::Journal;

/// The display. Gone from the terminal when dropped.
pub struct Progress {
    bar: Option<ProgressBar>,
    stage: Mutex<String>,
}

impl Progress {
    /// A display for so many restarts.
    pub fn new(restarts: u32) -> Arc<Self> {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{spinner:.cyan} {bar:24.cyan/238} {pos}/{len} restarts  {wide_msg}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━╸─");
            let target = ProgressDrawTarget::stderr();
            ProgressBar::with_draw_target(Some(restarts.into()), target).with_style(style)
        });
        Arc::new(Self { bar, stage: Mutex::new("starting".into()) })
    }

    /// Says what is going on.
    pub fn stage(&self, text: String) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// One restart is done.
    pub fn restarted(&self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        self.line(line);
    }

    /// A line for the logs, where there is no bar.
    pub fn line(&self, line: &str) {
        if self.bar.is_none() {
            eprintln!("{line}");
        }
    }

    /// Keeps the bar up to date; never ends.
    pub async fn refresh(self: Arc<Self>, journal: Arc<Journal>) {
        let Some(bar) = &self.bar else { return };
        let mut ticks = interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            let so_far = journal.so_far();
            let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner).clone();
            bar.set_message(format!(
                "{} requests, {} failed · {stage}",
                so_far.total, so_far.failed
            ));
            bar.tick();
        }
    }

    /// Clears the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
