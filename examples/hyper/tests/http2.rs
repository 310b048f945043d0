//! HTTP/2 clients, which honour GOAWAY and repeat nothing that may have been processed, lose nothing while one of two
//! servers stops.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::sleep;

const CLIENTS: usize = 40;
const PAUSE: Duration = Duration::from_millis(5);

struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(env!("CARGO_BIN_EXE_example-hyper"))
            .env("PORT", port.to_string())
            .env("LAMEDUCK_GRACE", "8")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        while TcpStream::connect(address).await.is_err() {
            sleep(PAUSE).await;
        }
        Self { process, address }
    }

    fn terminate(&self) {
        let id = i32::try_from(self.process.id()).expect("a process id");
        // SAFETY: it sends a signal to our own child, which nobody has waited for yet.
        assert_eq!(unsafe { libc::kill(id, libc::SIGTERM) }, 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Of a test that failed; of one that passed it is gone.
        let _ = self.process.kill();
    }
}

type Sender = SendRequest<Full<Bytes>>;

async fn connect(servers: &[SocketAddr], turn: usize) -> Sender {
    for turn in turn.. {
        // One that has stopped refuses, and the next one is asked: what a balancer does.
        if let Ok(stream) = TcpStream::connect(servers[turn % servers.len()]).await {
            let shaken = handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            if let Ok((sender, connection)) = shaken {
                tokio::spawn(connection);
                return sender;
            }
        }
    }
    unreachable!("turns do not end")
}

/// What a client saw.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    reconnected: AtomicUsize,
    failed: AtomicUsize,
}

/// Whether the server said that it will not process this stream, or said goodbye before it was opened: then it may be
/// repeated elsewhere (RFC 9113 §6.8 and §8.7).
fn not_processed(error: &hyper::Error) -> bool {
    let http2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    http2.is_some_and(|error| {
        let goodbye = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (goodbye || refused)
    })
}

/// One request after the other, on a connection that is replaced when it has said GOAWAY.
async fn client(
    servers: Arc<Vec<SocketAddr>>,
    turn: usize,
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
) {
    let mut sender = connect(&servers, turn).await;
    while !stop.load(Ordering::Relaxed) {
        let body = Full::new(Bytes::from(vec![b'x'; 1000 * (turn % 7)]));
        let request = Request::builder().method(Method::POST).uri("http://localhost/echo");
        let request = request.body(body.clone()).expect("a request");
        if sender.ready().await.is_err() {
            tally.reconnected.fetch_add(1, Ordering::Relaxed);
            sender = connect(&servers, turn + 1).await;
            continue;
        }
        match sender.try_send_request(request).await {
            Ok(response) => {
                let status = response.status();
                let echoed = response.into_body().collect().await.map(|body| body.to_bytes());
                let sent = body.collect().await.expect("ours").to_bytes();
                if status == StatusCode::OK && echoed.is_ok_and(|echoed| echoed == sent) {
                    tally.answered.fetch_add(1, Ordering::Relaxed);
                } else {
                    tally.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(mut error) => {
                let repeats = error.take_message().is_some() || not_processed(error.error());
                let count = if repeats { &tally.reconnected } else { &tally.failed };
                count.fetch_add(1, Ordering::Relaxed);
                sender = connect(&servers, turn + 1).await;
            }
        }
        sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_fails_while_a_server_stops() {
    let (mut leaving, staying) = (Server::start().await, Server::start().await);
    let servers = Arc::new(vec![leaving.address, staying.address]);
    let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|turn| {
            let (servers, stop, tally) =
                (Arc::clone(&servers), Arc::clone(&stop), Arc::clone(&tally));
            tokio::spawn(client(servers, turn, stop, tally))
        })
        .collect();
    sleep(Duration::from_millis(500)).await;
    leaving.terminate();
    let status = loop {
        match leaving.process.try_wait().expect("our child") {
            Some(status) => break status,
            None => sleep(PAUSE).await,
        }
    };
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no panic");
    }
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    assert_eq!((count(&tally.failed), status.code()), (0, Some(0)));
    assert!(count(&tally.answered) > 1000, "{}", count(&tally.answered));
    assert!(count(&tally.reconnected) >= CLIENTS / 2, "half of them were told to go");
}
