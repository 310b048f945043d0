//! The built-in TCP balancer: round robin over the copies that are in, readiness checks that put
//! them in and out, a refused connect tried again on the other copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::drill::delay::DelayLine;
use crate::drill::probe::{self, Check};
use crate::drill::splice::{close_with_reset, splice};
use crate::drill::wire::Target;

/// How long a connect to a copy may take before the other one is tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Between the checks of a copy that is out; HAProxy calls it `downinter`.
const INTERVAL_WHILE_OUT: Duration = Duration::from_millis(100);

/// One copy as the balancer sees it.
pub struct Backend {
    target: Target,
    check: Check,
    is_in: AtomicBool,
}

/// What the balancer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerCounts {
    /// Connections taken from clients.
    pub connections: u64,
    /// Connects that one copy refused and that were tried on the other.
    pub retried: u64,
    /// Connections reset because no copy took them.
    pub unserved: u64,
}

/// How readiness is checked, the same for every copy.
#[derive(Clone, Debug)]
pub struct CheckRule {
    /// Path of the readiness check.
    pub path: String,
    /// Time between two checks of a copy that is in.
    pub interval: Duration,
    /// Failed checks in a row that take a copy out.
    pub threshold: u32,
}

impl CheckRule {
    /// How long a check of a copy that is in may take: a busy machine is no reason to lose it.
    fn limit_while_in(&self) -> Duration {
        self.interval.max(Duration::from_secs(1))
    }

    /// How long a check of a copy that is out may take. Short, since one that began while the old
    /// process had stopped answering would hold up the new one.
    fn limit_while_out(&self) -> Duration {
        self.interval.clamp(Duration::from_millis(200), Duration::from_secs(1))
    }
}

/// The state that the balancer shares with who asks about it.
pub struct Balancer {
    backends: Vec<Backend>,
    next: AtomicUsize,
    connections: AtomicU64,
    retried: AtomicU64,
    unserved: AtomicU64,
}

impl Balancer {
    /// A balancer over copies that are in from the beginning.
    pub fn new(copies: &[(Target, Check)]) -> Arc<Self> {
        let backends = copies
            .iter()
            .map(|&(target, check)| Backend { target, check, is_in: AtomicBool::new(true) })
            .collect();
        Arc::new(Self {
            backends,
            next: AtomicUsize::new(0),
            connections: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            unserved: AtomicU64::new(0),
        })
    }

    /// Whether this copy gets new connections.
    pub fn is_in(&self, copy: usize) -> bool {
        self.backends[copy].is_in.load(Relaxed)
    }

    /// What it did so far.
    pub fn counts(&self) -> BalancerCounts {
        BalancerCounts {
            connections: self.connections.load(Relaxed),
            retried: self.retried.load(Relaxed),
            unserved: self.unserved.load(Relaxed),
        }
    }

    /// Accepts and carries connections until dropped. Every byte arrives `delay` later.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, delay: Duration) {
        let line = DelayLine::new(delay);
        let mut connections = JoinSet::new();
        loop {
            let Ok((client, _)) = listener.accept().await else {
                // Out of descriptors, most likely: give the connections time to end.
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            self.connections.fetch_add(1, Relaxed);
            let (this, line) = (Arc::clone(&self), line.clone());
            connections.spawn(async move {
                match this.connect().await {
                    Some(server) => {
                        // Best effort, as in the client.
                        let _ = (client.set_nodelay(true), server.set_nodelay(true));
                        splice(client, server, &line).await;
                    }
                    None => {
                        this.unserved.fetch_add(1, Relaxed);
                        close_with_reset(client);
                    }
                }
            });
            while connections.try_join_next().is_some() {}
        }
    }

    /// Checks one copy for ever and calls `changed` with each change of its state.
    pub async fn watch(self: Arc<Self>, copy: usize, rule: CheckRule, changed: impl Fn(bool)) {
        let backend = &self.backends[copy];
        let mut failed = 0;
        loop {
            let was_in = backend.is_in.load(Relaxed);
            let (pause, limit) = if was_in {
                (rule.interval, rule.limit_while_in())
            } else {
                (rule.interval.min(INTERVAL_WHILE_OUT), rule.limit_while_out())
            };
            sleep(pause).await;
            let fine = probe::check(backend.check, backend.target, &rule.path, limit).await;
            failed = if fine { 0 } else { failed + 1 };
            let is_in = fine || (was_in && failed < rule.threshold);
            if is_in != was_in {
                backend.is_in.store(is_in, Relaxed);
                changed(is_in);
            }
        }
    }

    /// Connects to the copy whose turn it is, or to the next one if that one refuses. When every
    /// copy is out, all of them are tried, as nginx and Envoy do rather than serve nobody.
    async fn connect(&self) -> Option<TcpStream> {
        let turn = self.next.fetch_add(1, Relaxed);
        let count = self.backends.len();
        let in_turn = (0..count).map(|step| &self.backends[(turn + step) % count]);
        let mut candidates: Vec<_> =
            in_turn.clone().filter(|backend| backend.is_in.load(Relaxed)).collect();
        if candidates.is_empty() {
            candidates = in_turn.collect();
        }
        for (at, backend) in candidates.iter().enumerate() {
            if let Ok(Ok(stream)) =
                timeout(CONNECT_LIMIT, TcpStream::connect(backend.target.address)).await
            {
                return Some(stream);
            }
            if at + 1 < candidates.len() {
                self.retried.fetch_add(1, Relaxed);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A copy that greets each connection with one byte.
    async fn copy(name: u8) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(&[name]).await;
            }
        });
        address
    }

    async fn free_address() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    async fn start(addresses: [SocketAddr; 2]) -> (Arc<Balancer>, SocketAddr) {
        let balancer = Balancer::new(
            &addresses.map(|address| (Target { address, tls: false, http2: false }, Check::Tcp)),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = listener.local_addr().unwrap();
        tokio::spawn(Arc::clone(&balancer).serve(listener, Duration::ZERO));
        (balancer, front)
    }

    async fn greeting(front: SocketAddr) -> Result<u8, ErrorKind> {
        let mut stream = TcpStream::connect(front).await.unwrap();
        stream.read_u8().await.map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn connections_go_round() {
        let (balancer, front) = start([copy(b'a').await, copy(b'b').await]).await;
        for expected in [b'a', b'b', b'a', b'b'] {
            assert_eq!(greeting(front).await, Ok(expected));
        }
        assert_eq!(balancer.counts(), BalancerCounts { connections: 4, retried: 0, unserved: 0 });
    }

    #[tokio::test]
    async fn a_refused_connect_goes_to_the_other_copy() {
        let (balancer, front) = start([free_address().await, copy(b'b').await]).await;
        for _ in 0..4 {
            assert_eq!(greeting(front).await, Ok(b'b'));
        }
        assert_eq!(balancer.counts().retried, 2);
    }

    #[tokio::test]
    async fn nobody_left_is_a_reset() {
        let (balancer, front) = start([free_address().await, free_address().await]).await;
        assert_eq!(greeting(front).await, Err(ErrorKind::ConnectionReset));
        assert_eq!(balancer.counts().unserved, 1);
    }

    #[tokio::test]
    async fn checks_take_a_copy_out_and_in_again() {
        let gone = free_address().await;
        let (balancer, front) = start([gone, copy(b'b').await]).await;
        let rule =
            CheckRule { path: "/readyz".into(), interval: Duration::from_millis(10), threshold: 3 };
        let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(Arc::clone(&balancer).watch(0, rule, move |is_in| {
            let _ = sender.send(is_in);
        }));
        assert_eq!(changes.recv().await, Some(false));
        let before = balancer.counts().retried;
        assert_eq!(greeting(front).await, Ok(b'b'));
        assert_eq!(balancer.counts().retried, before, "a copy that is out is not tried");
        let _back = TcpListener::bind(gone).await.unwrap();
        assert_eq!(changes.recv().await, Some(true));
        assert!(balancer.is_in(0));
    }
}
