//! One keep-alive HTTP client that never retries and says exactly how a request failed.

use std::io::ErrorKind;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::drill::http::{self, AtEof, Response, ResponseParser};
use crate::drill::http2::Http2;
use crate::drill::wire::{NoConnection, Target, Wire};

/// How a request failed, as the client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// A new connection could not be opened.
    ConnectRefused,
    /// Reset before the first byte of the response, on a connection's first request.
    ResetFresh,
    /// Reset before the first byte of the response, on a connection that had served before.
    ResetReused,
    /// End of stream before the first byte of the response, on a connection's first request.
    EofFresh,
    /// End of stream before the first byte of the response, on a connection that had served.
    EofReused,
    /// The response began and broke off.
    Truncated,
    /// A whole response with a status other than 200.
    WrongStatus,
    /// 200, but the content that came back is not the content that was sent.
    BodyMismatch,
    /// Bytes that are not a valid HTTP/1.1 response.
    Malformed,
    /// No whole response within `--timeout`.
    Timeout,
}

impl Failure {
    /// Every kind, in the order in which tables print them.
    pub const ALL: [Self; 10] = [
        Self::ConnectRefused,
        Self::ResetFresh,
        Self::ResetReused,
        Self::EofFresh,
        Self::EofReused,
        Self::Truncated,
        Self::WrongStatus,
        Self::BodyMismatch,
        Self::Malformed,
        Self::Timeout,
    ];

    /// In words, for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::ConnectRefused => "connect refused",
            Self::ResetFresh => "reset, new connection",
            Self::ResetReused => "reset, kept-alive connection",
            Self::EofFresh => "closed unanswered, new connection",
            Self::EofReused => "closed unanswered, kept-alive",
            Self::Truncated => "response cut short",
            Self::WrongStatus => "status other than 200",
            Self::BodyMismatch => "body came back changed",
            Self::Malformed => "not valid HTTP",
            Self::Timeout => "no answer in time",
        }
    }
}

/// What the client did with its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCounts {
    /// Connections opened.
    pub opened: u64,
    /// Closed by the client because the response said `Connection: close`.
    pub announced: u64,
    /// Found closed by the server while idle, before a request was written: no failure.
    pub found_closed: u64,
}

struct Connection {
    wire: Wire,
    reused: bool,
}

/// A client with at most one connection.
pub struct Client {
    target: Target,
    authority: String,
    limit: Duration,
    connection: Option<Connection>,
    http2: Option<Http2>,
    once: bool,
    /// What it did with its connections so far.
    pub counts: ConnectionCounts,
}

impl Client {
    /// A client of `target` that gives each request at most `limit`.
    pub fn new(target: Target, limit: Duration) -> Self {
        Self {
            target,
            authority: target.address.to_string(),
            limit,
            connection: None,
            http2: None,
            once: false,
            counts: ConnectionCounts::default(),
        }
    }

    /// A client for one request, which says so with `Connection: close`.
    pub fn once(target: Target, limit: Duration) -> Self {
        Self { once: true, ..Self::new(target, limit) }
    }

    /// Sends one request and reads its whole response. `body` makes it a POST.
    ///
    /// # Errors
    /// The request failed on the wire. The status is the caller's to judge.
    pub async fn exchange(&mut self, path: &str, body: Option<&[u8]>) -> Result<Response, Failure> {
        self.send(if body.is_some() { "POST" } else { "GET" }, path, body).await
    }

    /// The same with any method.
    ///
    /// # Errors
    /// The request failed on the wire. The status is the caller's to judge.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Response, Failure> {
        let limit = self.limit;
        if self.target.http2 {
            let result = timeout(limit, self.over_http2(method, path, body)).await;
            return result.unwrap_or_else(|_| {
                self.http2 = None;
                Err(Failure::Timeout)
            });
        }
        let bytes = http::encode(method, path, &self.authority, body, self.once);
        let mut taken = self.connection.take();
        if let Some(connection) = &mut taken
            && !connection.wire.is_open_and_silent()
        {
            self.counts.found_closed += 1;
            taken = None;
        }
        let (result, kept) = match timeout(limit, self.on_wire(taken, &bytes)).await {
            Ok(outcome) => outcome,
            Err(_) => (Err(Failure::Timeout), None),
        };
        self.connection = kept;
        result
    }

    /// Whether it has a connection for its next request.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some() || self.http2.is_some()
    }

    /// Gives its connection up.
    pub fn disconnect(&mut self) {
        (self.connection, self.http2) = (None, None);
    }

    /// Waits until the server closes the connection, which is idle; for ever if there is none.
    pub async fn closed_while_idle(&mut self) {
        let Some(connection) = &mut self.connection else { return std::future::pending().await };
        loop {
            connection.wire.readable().await;
            if !connection.wire.is_open_and_silent() {
                return;
            }
        }
    }

    /// The same on an HTTP/2 connection, which is left once GOAWAY has come. What the server says
    /// it has not processed is sent once more, on a new one.
    async fn over_http2(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Response, Failure> {
        for _ in 0..2 {
            let mut connection = match self.http2.take() {
                Some(connection) if connection.is_going_away() => {
                    self.counts.announced += 1;
                    self.dial_http2().await?
                }
                Some(connection) if connection.has_ended() => {
                    self.counts.found_closed += 1;
                    self.dial_http2().await?
                }
                Some(connection) => connection,
                None => self.dial_http2().await?,
            };
            if let Some(response) = connection.exchange(method, path, body).await? {
                self.http2 = Some(connection);
                return Ok(response);
            }
        }
        Err(Failure::EofFresh)
    }

    async fn dial_http2(&mut self) -> Result<Http2, Failure> {
        let wire = self.dial().await?;
        Http2::begin(wire, self.target).await
    }

    async fn dial(&mut self) -> Result<Wire, Failure> {
        let wire = self.target.dial().await.map_err(|why| match why {
            NoConnection::Refused => Failure::ConnectRefused,
            NoConnection::Handshake(true) => Failure::ResetFresh,
            NoConnection::Handshake(false) => Failure::EofFresh,
        })?;
        self.counts.opened += 1;
        Ok(wire)
    }

    async fn on_wire(
        &mut self,
        connection: Option<Connection>,
        bytes: &[u8],
    ) -> (Result<Response, Failure>, Option<Connection>) {
        let mut connection = match connection {
            Some(connection) => connection,
            None => match self.dial().await {
                Ok(wire) => Connection { wire, reused: false },
                Err(failure) => return (Err(failure), None),
            },
        };
        match exchange_on(&mut connection.wire, bytes).await {
            Ok((response, reusable)) => {
                connection.reused = true;
                self.counts.announced += u64::from(!response.keep_alive);
                let keep = response.keep_alive && reusable;
                (Ok(response), keep.then_some(connection))
            }
            Err(broken) => (Err(broken.failure(connection.reused)), None),
        }
    }
}

/// How an exchange broke, before it is known whether the connection was a fresh one.
enum Broken {
    Eof,
    Reset,
    Truncated,
    Malformed,
}

impl Broken {
    fn failure(self, reused: bool) -> Failure {
        match (self, reused) {
            (Self::Eof, false) => Failure::EofFresh,
            (Self::Eof, true) => Failure::EofReused,
            (Self::Reset, false) => Failure::ResetFresh,
            (Self::Reset, true) => Failure::ResetReused,
            (Self::Truncated, _) => Failure::Truncated,
            (Self::Malformed, _) => Failure::Malformed,
        }
    }
}

/// Writes and reads at once, since a server may answer before it has read everything. The flag
/// says whether the request had been written to its end when the response was complete.
async fn exchange_on(wire: &mut Wire, bytes: &[u8]) -> Result<(Response, bool), Broken> {
    let (mut reader, mut writer) = tokio::io::split(wire);
    let mut parser = ResponseParser::default();
    let mut written = false;
    // A reset that the write met is not reported a second time by the read.
    let mut reset = false;
    let mut chunk = vec![0_u8; 16 * 1024];
    // With TLS, what is written waits for a flush.
    let write = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    tokio::pin!(write);
    loop {
        let count = tokio::select! {
            outcome = &mut write, if !written => {
                written = true;
                reset = outcome.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
                continue;
            }
            outcome = reader.read(&mut chunk) => match outcome {
                Ok(count) => count,
                Err(_) if parser.begun() => return Err(Broken::Truncated),
                Err(_) => return Err(Broken::Reset),
            },
        };
        if count == 0 {
            return match parser.eof() {
                AtEof::Complete(response) => Ok((response, false)),
                AtEof::Nothing if reset => Err(Broken::Reset),
                AtEof::Nothing => Err(Broken::Eof),
                AtEof::Truncated => Err(Broken::Truncated),
            };
        }
        match parser.push(&chunk[..count]) {
            Ok(Some(response)) => return Ok((response, written)),
            Ok(None) => {}
            Err(_) => return Err(Broken::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::splice::close_with_reset;
    use std::net::SocketAddr;
    use tokio::net::TcpListener;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    /// A server that answers one connection after the other by script: per request the bytes to
    /// send, then what to do with the connection after the script's last.
    async fn server(scripts: Vec<(Vec<&'static [u8]>, bool)>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for (answers, reset) in scripts {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0_u8; 4096];
                for answer in answers {
                    assert!(stream.read(&mut buffer).await.unwrap() > 0);
                    stream.write_all(answer).await.unwrap();
                }
                if reset {
                    // Wait for the request that is to be lost.
                    let _ = stream.read(&mut buffer).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    close_with_reset(stream);
                }
            }
        });
        address
    }

    fn plain(address: SocketAddr) -> Target {
        Target { address, tls: false, http2: false }
    }

    fn client(address: SocketAddr) -> Client {
        Client::new(plain(address), Duration::from_millis(500))
    }

    #[tokio::test]
    async fn resets_tell_new_from_kept_alive() {
        let mut client = client(server(vec![(vec![OK], true), (vec![], true)]).await);
        assert!(client.exchange("/", None).await.is_ok());
        assert_eq!(client.exchange("/", None).await, Err(Failure::ResetReused));
        assert_eq!(client.exchange("/", None).await, Err(Failure::ResetFresh));
        assert_eq!(client.counts.opened, 2);
    }

    #[tokio::test]
    async fn ends_and_truncation() {
        let cut: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok";
        let mut client = client(
            server(vec![(vec![b""], false), (vec![OK, b""], false), (vec![cut], false)]).await,
        );
        assert_eq!(client.exchange("/", None).await, Err(Failure::EofFresh));
        assert!(client.exchange("/", None).await.is_ok());
        assert_eq!(client.exchange("/", None).await, Err(Failure::EofReused));
        assert_eq!(client.exchange("/", None).await, Err(Failure::Truncated));
    }

    #[tokio::test]
    async fn an_idle_connection_found_closed_is_no_failure() {
        let mut client = client(server(vec![(vec![OK], false), (vec![OK], false)]).await);
        assert!(client.exchange("/", None).await.is_ok());
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(client.exchange("/", None).await.is_ok());
        assert_eq!((client.counts.opened, client.counts.found_closed), (2, 1));
    }

    #[tokio::test]
    async fn connection_close_is_honoured() {
        let last: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        let mut client = client(server(vec![(vec![last], false), (vec![OK], false)]).await);
        assert!(client.exchange("/", None).await.is_ok());
        assert!(client.connection.is_none());
        assert!(client.exchange("/", None).await.is_ok());
        assert_eq!((client.counts.opened, client.counts.announced), (2, 1));
    }

    #[tokio::test]
    async fn nobody_listens_and_nobody_answers() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(client(free).exchange("/", None).await, Err(Failure::ConnectRefused));
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client =
            Client::new(plain(silent.local_addr().unwrap()), Duration::from_millis(50));
        assert_eq!(client.exchange("/", None).await, Err(Failure::Timeout));
    }

    #[tokio::test]
    async fn an_answer_before_the_whole_upload_counts_and_ends_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(OK).await.unwrap();
            // Never reads: the upload cannot be written to its end.
            std::future::pending::<()>().await;
        });
        let mut client = client(address);
        let body = vec![b'x'; 32 * 1024 * 1024];
        assert_eq!(client.exchange("/", Some(&body)).await.unwrap().status, 200);
        assert!(client.connection.is_none());
    }
}
