//! Clients that watch one server stop, each in its own way, directly and without a balancer: what
//! they see is what [`crate::drill::diagnosis`] judges.

mod http1;
mod http2;
mod log;
mod long_lived;

use std::sync::Arc;
use std::time::Duration;

pub use http2::is_spoken;
pub use long_lived::try_long_lived;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::drill::observation::{ProcessEnd, Stop, Terms};
use crate::drill::probe::Check;
use crate::drill::server::Exit;
use crate::drill::wire::Target;
use log::Log;

/// How long the witnesses may take to notice that the process has gone.
const NOTICE: Duration = Duration::from_millis(500);
/// Kept-alive clients.
const KEPT_ALIVE: u64 = 12;

/// What the server has that can be watched.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Where it listens.
    pub target: Target,
    /// How readiness is checked.
    pub check: Check,
    /// Path of the readiness check.
    pub ready_path: String,
    /// Path of ordinary requests.
    pub get_path: String,
    /// Path of slow requests, if there is one.
    pub slow_path: Option<String>,
    /// Path of a large response, if there is one.
    pub large_path: Option<String>,
    /// Path of WebSockets, if there is one.
    pub websocket_path: Option<String>,
    /// Path of an event stream, if there is one.
    pub stream_path: Option<String>,
    /// Whether the server speaks HTTP/2, whatever the others speak.
    pub http2: bool,
    /// Time a request may take.
    pub timeout: Duration,
    /// What the server may count on.
    pub terms: Terms,
}

/// The witnesses of one stop. Dropped, they leave.
pub struct Witnesses {
    scene: Arc<Scene>,
    log: Arc<Log>,
    leave: CancellationToken,
    tasks: JoinSet<()>,
}

impl Witnesses {
    /// Lets the witnesses take their places.
    pub fn gather(scene: &Scene, seed: u64) -> Self {
        let (scene, log) = (Arc::new(scene.clone()), Arc::new(Log::new(scene.terms)));
        let leave = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let place = || (Arc::clone(&scene), Arc::clone(&log), leave.clone());
        tasks.spawn(http1::watch_readiness(place()));
        tasks.spawn(http1::send_newcomers(place()));
        if !scene.target.http2 {
            for number in 0..KEPT_ALIVE {
                tasks.spawn(http1::keep_alive(place(), seed.wrapping_mul(31).wrapping_add(number)));
            }
        }
        if scene.http2 {
            tasks.spawn(http2::stay(place()));
        }
        if scene.slow_path.is_some() {
            tasks.spawn(http1::send_slow(place()));
        }
        if scene.large_path.is_some() {
            tasks.spawn(http1::read_slowly(place()));
        }
        if scene.websocket_path.is_some() {
            tasks.spawn(long_lived::websocket(place()));
        }
        if scene.stream_path.is_some() {
            tasks.spawn(long_lived::event_stream(place()));
        }
        Self { scene, log, leave, tasks }
    }

    /// To be called just before SIGTERM is sent.
    pub fn sigterm(&self) {
        self.log.sigterm();
    }

    /// To be called when the process is gone: what they have seen.
    pub async fn gone(mut self, exit: Exit, killed: bool) -> Stop {
        let at = self.log.now();
        self.leave.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // Whoever is still waiting then has seen nothing that counts.
        let _ = timeout(NOTICE, all).await;
        self.log.stop(self.scene.terms, ProcessEnd { at, exit, killed })
    }
}

/// What each witness gets: the scene, where to write down what it sees, and when to leave.
type Place = (Arc<Scene>, Arc<Log>, CancellationToken);
