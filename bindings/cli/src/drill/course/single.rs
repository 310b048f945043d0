//! Mode single: one process, started and stopped again and again, its clients connected to it
//! directly.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::drill::client::Failure;
use crate::drill::course::{Conductor, Trouble, undisturbed};
use crate::drill::journal::{Done, Sort};
use crate::drill::observation::{ExchangeEnd, Ms, Sender};
use crate::drill::record::Event;
use crate::drill::witness::{Scene, Witnesses};

impl Conductor<'_> {
    pub(super) async fn stop_again_and_again(&mut self) -> Result<(), Trouble> {
        let mut copies = self.start_copies(1).await?;
        let load = self.try_paths(&mut copies).await?;
        let scene = self.scene(&mut copies, &load).await?;
        self.progress.line("the process is ready; its clients come");
        for number in 1..=self.options.restarts {
            if number > 1 {
                let copy = &mut copies[0];
                copy.server = self.start(0, copy.target.address.port())?;
                self.progress.stage("waiting until it is ready".into());
                let known = copy.check;
                self.wait_ready(copy, Some(known)).await?;
                self.journal.event(0, Event::Ready);
                self.journal.event(0, Event::In);
            }
            let witnesses = Witnesses::gather(&scene, self.options.seed ^ u64::from(number));
            undisturbed(&mut copies, sleep(self.options.warm_up)).await?;
            let asked = Instant::now();
            let stopped = self.stop(&mut copies[0], &mut [], witnesses).await;
            let took = asked.elapsed();
            self.count_requests(&scene);
            let exit = stopped?;
            self.progress.restarted(&format!(
                "stop {number}/{}: it ended with {} after {:.2} s; requests failed: {}",
                self.options.restarts,
                exit.words(),
                took.as_secs_f64(),
                self.journal.failed_in_this_restart(),
            ));
        }
        self.killed.take().map_or(Ok(()), Err)
    }

    /// Here the witnesses are the only clients: what they saw of the latest stop is what counts.
    fn count_requests(&self, scene: &Scene) {
        let Some((stop, sigterm_ms)) = self.journal.last_stop() else { return };
        if let Some(away) = stop.looked_away().filter(|&away| away < stop.end.at) {
            self.journal.out(0, ms(sigterm_ms, away));
        }
        for exchange in stop.exchanges.iter().filter(|exchange| stop.counts(exchange)) {
            self.journal.done_uncounted(
                ms(sigterm_ms, exchange.ended),
                &Done {
                    sort: match exchange.sender {
                        Sender::Slow | Sender::SlowReader => Sort::Slow,
                        Sender::KeptAlive | Sender::Newcomer | Sender::Http2 => Sort::Get,
                    },
                    method: "GET",
                    path: match exchange.sender {
                        Sender::Slow => scene.slow_path.as_deref(),
                        Sender::SlowReader => scene.large_path.as_deref(),
                        Sender::KeptAlive | Sender::Newcomer | Sender::Http2 => None,
                    }
                    .unwrap_or(&scene.get_path),
                    took: Duration::from_secs_f64((exchange.ended - exchange.begun) / 1000.0),
                    failure: failure(exchange.end),
                },
            );
        }
    }
}

/// A moment after SIGTERM in the drill's own time.
fn ms(sigterm_ms: u64, after: Ms) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
    let at = Duration::from_secs_f64((sigterm_ms as f64 + after).max(0.0) / 1000.0);
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

fn failure(end: ExchangeEnd) -> Option<(Failure, Option<u16>)> {
    let kind = match end {
        ExchangeEnd::Answered => return None,
        ExchangeEnd::Status(status) => return Some((Failure::WrongStatus, Some(status))),
        ExchangeEnd::Refused => Failure::ConnectRefused,
        ExchangeEnd::UnansweredFresh(true) => Failure::ResetFresh,
        ExchangeEnd::UnansweredFresh(false) => Failure::EofFresh,
        ExchangeEnd::UnansweredReused(true) => Failure::ResetReused,
        ExchangeEnd::UnansweredReused(false) => Failure::EofReused,
        ExchangeEnd::Truncated => Failure::Truncated,
        ExchangeEnd::Wrong => Failure::Malformed,
        ExchangeEnd::Timeout => Failure::Timeout,
    };
    Some((kind, None))
}
