//! The load: keep-alive clients that each send GET, POST and slow requests at random moments drawn
//! from one seed, and judge every answer.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::drill::client::{Client, Failure};
use crate::drill::http::Response;
use crate::drill::journal::{Done, Journal, Sort};
use crate::drill::paths::Line;
use crate::drill::wire::Target;

/// How far a client may fall behind its own schedule before it gives up the missed moments.
const BACKLOG: Duration = Duration::from_millis(250);

/// What is sent, and how much.
#[derive(Clone, Debug)]
pub struct Load {
    /// Keep-alive clients.
    pub connections: u32,
    /// Requests per second of all clients together.
    pub rate: u32,
    /// Path of GET requests.
    pub get_path: String,
    /// Path of POST requests.
    pub post_path: String,
    /// Percentage of POST among the requests that are not slow.
    pub post_share: u32,
    /// Whether a POST must bring its body back.
    pub echo: bool,
    /// Path of slow requests, if any are sent.
    pub slow_path: Option<String>,
    /// Percentage of slow requests.
    pub slow_share: u32,
    /// Largest body of a POST.
    pub max_body: usize,
    /// What is sent instead of GET and POST, if a file says so.
    pub lines: Vec<Line>,
    /// Time a request may take.
    pub timeout: Duration,
    /// Seed of everything that is random.
    pub seed: u64,
}

/// Starts the clients. They end after their current request once `stop` is cancelled.
pub fn start(
    load: &Load,
    target: Target,
    journal: &Arc<Journal>,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let load = Arc::new(load.clone());
    let bytes = Arc::new(random_bytes(&load));
    let mut clients = JoinSet::new();
    for number in 0..load.connections {
        let user = User {
            load: Arc::clone(&load),
            bytes: Arc::clone(&bytes),
            journal: Arc::clone(journal),
            random: StdRng::seed_from_u64(load.seed ^ (u64::from(number) + 1).rotate_left(32)),
        };
        clients.spawn(user.run(Client::new(target, load.timeout), stop.clone()));
    }
    clients
}

/// Judges the response to a request that sent `body`.
///
/// # Errors
/// What is wrong with it, and the status if that is it.
pub fn judge(
    response: &Response,
    body: Option<&[u8]>,
    echo: bool,
) -> Result<(), (Failure, Option<u16>)> {
    if response.status != 200 {
        return Err((Failure::WrongStatus, Some(response.status)));
    }
    match body {
        Some(sent) if echo && sent != response.body => Err((Failure::BodyMismatch, None)),
        _ => Ok(()),
    }
}

/// Judges the response to a line of a file.
///
/// # Errors
/// Its status is neither a success nor a redirection.
pub fn judge_line(response: &Response) -> Result<(), (Failure, Option<u16>)> {
    match response.status {
        200..=399 => Ok(()),
        status => Err((Failure::WrongStatus, Some(status))),
    }
}

/// Twice the largest body, so that bodies cut from it differ although nothing is generated while
/// the clock of a request runs.
fn random_bytes(load: &Load) -> Vec<u8> {
    let largest = load.lines.iter().filter_map(|line| line.body).max().unwrap_or(load.max_body);
    let mut bytes = vec![0; 2 * largest];
    StdRng::seed_from_u64(load.seed).fill_bytes(&mut bytes);
    bytes
}

struct User {
    load: Arc<Load>,
    bytes: Arc<Vec<u8>>,
    journal: Arc<Journal>,
    random: StdRng,
}

impl User {
    async fn run(mut self, mut client: Client, stop: CancellationToken) {
        let mut next = Instant::now() + self.think_time();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(next) => {}
            }
            if !self.journal.may_start() {
                return;
            }
            self.one_request(&mut client).await;
            let now = Instant::now();
            next += self.think_time();
            if next + BACKLOG < now {
                next = now;
            }
        }
    }

    async fn one_request(&mut self, client: &mut Client) {
        let load = Arc::clone(&self.load);
        let bytes = Arc::clone(&self.bytes);
        let sort = self.sort();
        let line = (sort != Sort::Slow).then(|| self.line(&load)).flatten();
        let (method, path, body) = match (line, sort) {
            (Some(line), _) => {
                let body = line.body.map(|size| self.piece(&bytes, size));
                (line.method.as_str(), line.path.as_str(), body)
            }
            (None, Sort::Get) => ("GET", load.get_path.as_str(), None),
            (None, Sort::Slow) => {
                ("GET", load.slow_path.as_deref().unwrap_or(&load.get_path), None)
            }
            (None, Sort::Post) => ("POST", load.post_path.as_str(), Some(self.body(&bytes))),
        };
        let begun = Instant::now();
        let failure = match client.send(method, path, body).await {
            Ok(response) if line.is_some() => judge_line(&response).err(),
            Ok(response) => judge(&response, body, load.echo).err(),
            Err(failure) => Some((failure, None)),
        };
        let sort = match line {
            Some(line) if line.body.is_some() => Sort::Post,
            Some(_) => Sort::Get,
            None => sort,
        };
        self.journal.done(&Done { sort, method, path, took: begun.elapsed(), failure });
        self.journal.connections(std::mem::take(&mut client.counts));
    }

    fn sort(&mut self) -> Sort {
        if self.load.slow_path.is_some() && self.random.random_range(0..100) < self.load.slow_share
        {
            Sort::Slow
        } else if self.random.random_range(0..100) < self.load.post_share {
            Sort::Post
        } else {
            Sort::Get
        }
    }

    /// A line of the file, by weight; none without a file.
    fn line<'a>(&mut self, load: &'a Load) -> Option<&'a Line> {
        let total: u64 = load.lines.iter().map(|line| u64::from(line.weight)).sum();
        if total == 0 {
            return None;
        }
        let mut at = self.random.random_range(0..total);
        load.lines.iter().find(|line| {
            let weight = u64::from(line.weight);
            let here = at < weight;
            at = at.saturating_sub(weight);
            here
        })
    }

    /// A piece of the common bytes: every magnitude from one byte to the largest equally often.
    fn body<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let largest = self.load.max_body;
        let magnitude = self.random.random_range(0..=largest.ilog2());
        let size = self.random.random_range(1..=(2_usize << magnitude)).min(largest);
        self.piece(bytes, size)
    }

    fn piece<'a>(&mut self, bytes: &'a [u8], size: usize) -> &'a [u8] {
        let offset = self.random.random_range(0..=bytes.len() - size);
        &bytes[offset..offset + size]
    }

    /// Exponential, so that all clients together are a Poisson process while none is held up.
    fn think_time(&mut self) -> Duration {
        let mean = f64::from(self.load.connections) / f64::from(self.load.rate);
        let uniform: f64 = self.random.random();
        Duration::from_secs_f64(mean * -(1.0 - uniform).ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BODY: usize = 64 * 1024;

    fn load() -> Load {
        Load {
            connections: 10,
            rate: 100,
            get_path: "/".into(),
            post_path: "/echo".into(),
            post_share: 50,
            echo: true,
            slow_path: Some("/slow".into()),
            slow_share: 2,
            max_body: MAX_BODY,
            lines: Vec::new(),
            timeout: Duration::from_secs(1),
            seed: 7,
        }
    }

    fn user(load: Load) -> User {
        User {
            bytes: Arc::new(random_bytes(&load)),
            journal: Arc::new(Journal::new(1)),
            random: StdRng::seed_from_u64(load.seed),
            load: Arc::new(load),
        }
    }

    #[test]
    fn the_mix_is_what_was_asked_for() {
        let mut user = user(load());
        let sorts: Vec<_> = (0..20_000).map(|_| user.sort()).collect();
        let share = |sort| sorts.iter().filter(|&&s| s == sort).count() * 1000 / sorts.len();
        assert!((15..25).contains(&share(Sort::Slow)));
        assert!((475..505).contains(&share(Sort::Post)));
        user.load = Arc::new(Load { slow_path: None, post_share: 0, ..load() });
        assert!((0..1000).all(|_| user.sort() == Sort::Get));
    }

    #[test]
    fn lines_of_a_file_are_sent_by_their_weight() {
        let lines = crate::drill::paths::parse("GET /a 3\nPOST /b 1 10").unwrap();
        let load = Load { lines, ..self::load() };
        let mut user = user(load.clone());
        let sent: Vec<_> = (0..4000).map(|_| user.line(&load).unwrap().path.clone()).collect();
        let share = sent.iter().filter(|path| *path == "/a").count();
        assert!((2850..3150).contains(&share), "{share}");
        assert_eq!(user.line(&self::load()), None);
    }

    #[test]
    fn think_times_have_the_right_mean() {
        let mut user = user(load());
        let total: Duration = (0..20_000).map(|_| user.think_time()).sum();
        let mean = total / 20_000;
        assert!((Duration::from_millis(96)..Duration::from_millis(104)).contains(&mean));
    }

    #[test]
    fn the_same_seed_sends_the_same() {
        let run = |mut user: User| -> Vec<(Sort, Duration, usize)> {
            let bytes = Arc::clone(&user.bytes);
            (0..50).map(|_| (user.sort(), user.think_time(), user.body(&bytes).len())).collect()
        };
        assert_eq!(run(user(load())), run(user(load())));
        assert_ne!(run(user(load())), run(user(Load { seed: 8, ..load() })));
    }

    #[test]
    fn bodies_are_of_mixed_sizes() {
        let mut user = user(load());
        let bytes = Arc::clone(&user.bytes);
        let sizes: Vec<_> = (0..2000).map(|_| user.body(&bytes).len()).collect();
        assert!(sizes.contains(&1) && sizes.iter().any(|&size| size > 50_000));
        assert!(sizes.iter().all(|size| (1..=MAX_BODY).contains(size)));
    }

    #[test]
    fn answers_are_judged() {
        let response =
            |status, body: &[u8]| Response { status, keep_alive: true, body: body.into() };
        assert_eq!(judge(&response(200, b"x"), Some(b"x"), true), Ok(()));
        assert_eq!(judge(&response(200, b"y"), None, true), Ok(()));
        assert_eq!(
            judge(&response(200, b"y"), Some(b"x"), true),
            Err((Failure::BodyMismatch, None))
        );
        assert_eq!(judge(&response(200, b"y"), Some(b"x"), false), Ok(()));
        for status in [201, 204, 301, 404, 503] {
            assert_eq!(
                judge(&response(status, b"x"), Some(b"x"), true),
                Err((Failure::WrongStatus, Some(status)))
            );
        }
    }
}
