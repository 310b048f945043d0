//! What the server under drill has that the witnesses can watch.

use crate::drill::course::{Conductor, Running, Trouble, undisturbed};
use crate::drill::load::Load;
use crate::drill::observation::Terms;
use crate::drill::probe::{self, Check};
use crate::drill::record::Outcome;
use crate::drill::witness::{self, Scene};

/// A response smaller than this fits into the buffers on its way.
const LARGE: usize = 1024 * 1024;

impl Conductor<'_> {
    /// Tries each path that only the witnesses use.
    pub(super) async fn scene(
        &self,
        copies: &mut [Running],
        load: &Load,
    ) -> Result<Scene, Trouble> {
        let options = self.options;
        let (target, check) = (copies[0].target, copies[0].check);
        let period = options.probe_interval.as_secs_f64() * f64::from(options.probe_threshold);
        let mut scene = Scene {
            target,
            check,
            ready_path: options.ready_path.clone(),
            get_path: load.get_path.clone(),
            slow_path: load.slow_path.clone(),
            large_path: None,
            websocket_path: options.websocket_path.clone(),
            stream_path: options.stream_path.clone(),
            http2: false,
            timeout: options.timeout,
            terms: Terms {
                readiness: check == Check::Http,
                looks_away_after: period * 1000.0,
                grace: options.grace.map(|grace| grace.as_secs_f64() * 1000.0),
            },
        };
        let tries = async {
            scene.http2 = witness::is_spoken(&scene).await;
            if target.http2 {
                // The rest speaks HTTP/1.1.
                return Ok(());
            }
            let large = probe::get(target, &options.large_path, options.timeout).await;
            match large {
                Ok(response) if response.status == 200 && response.body.len() >= LARGE => {
                    scene.large_path = Some(options.large_path.clone());
                }
                Ok(response) if response.status == 200 => self.journal.note(format!(
                    "no slow reader: {} answers less than 1 MiB (--large-path)",
                    options.large_path
                )),
                _ => self.journal.note(format!(
                    "no slow reader: {} does not answer 200 (--large-path)",
                    options.large_path
                )),
            }
            witness::try_long_lived(&scene).await
        };
        match undisturbed(copies, tries).await? {
            Ok(()) => Ok(scene),
            Err(sentence) => Err(copies[0].trouble(Outcome::Unsuitable, sentence).await),
        }
    }
}
