//! An HTTP/2 connection as a client sees it: requests on streams, and whether GOAWAY came.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;

use crate::drill::client::Failure;
use crate::drill::http::Response;
use crate::drill::wire::{Target, Wire};

/// A connection. Dropped, it is closed.
pub struct Http2 {
    sender: SendRequest<Bytes>,
    goaway: Arc<AtomicBool>,
    driver: JoinHandle<()>,
    target: Target,
    used: bool,
}

impl Http2 {
    /// Begins HTTP/2 on a connection.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn begin(wire: Wire, target: Target) -> Result<Self, Failure> {
        let goaway = Arc::new(AtomicBool::new(false));
        let tap = Tap { wire, frames: Frames::default(), goaway: Arc::clone(&goaway) };
        let (sender, connection) =
            h2::client::handshake(tap).await.map_err(|error| failure(&error, false))?;
        let driver = tokio::spawn(async move {
            // How it ended, whoever has a stream on it learns.
            let _ = connection.await;
        });
        Ok(Self { sender, goaway, driver, target, used: false })
    }

    /// Whether GOAWAY has come.
    pub fn is_going_away(&self) -> bool {
        self.goaway.load(Relaxed)
    }

    /// Whether there is a connection no more.
    pub fn has_ended(&self) -> bool {
        self.driver.is_finished()
    }

    /// Waits until there is a connection no more.
    pub async fn ended(&mut self) {
        if !self.driver.is_finished() {
            // A panic of the driver is an end too.
            let _ = (&mut self.driver).await;
        }
    }

    /// Sends one request and reads its whole response. `None`: the server has said that it did not
    /// process it, so that any client sends it again elsewhere (RFC 9113 §8.7).
    ///
    /// # Errors
    /// The request failed on the wire.
    pub async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Option<Response>, Failure> {
        let used = std::mem::replace(&mut self.used, true);
        let Ok(mut sender) = self.sender.clone().ready().await else { return Ok(None) };
        let uri = format!("{}://{}{path}", self.target.scheme(), self.target.address);
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("user-agent", "lameduck-drill")
            .body(())
            .map_err(|_| Failure::Malformed)?;
        let judged = |error: h2::Error, begun: bool| match failure(&error, used) {
            _ if is_unprocessed(&error) => Ok(None),
            _ if begun => Err(Failure::Truncated),
            failure => Err(failure),
        };
        let (response, mut upload) = match sender.send_request(request, body.is_none()) {
            Ok(sent) => sent,
            Err(error) => return judged(error, false),
        };
        if let Some(body) = body {
            // h2 splits it as the server's windows allow; an error is the response's too.
            let _ = upload.send_data(Bytes::copy_from_slice(body), true);
        }
        let response = match response.await {
            Ok(response) => response,
            Err(error) => return judged(error, false),
        };
        let (head, mut stream) = response.into_parts();
        let mut content = Vec::new();
        while let Some(chunk) = stream.data().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return judged(error, true),
            };
            // The window is given back at once; an error shows with the next chunk.
            let _ = stream.flow_control().release_capacity(chunk.len());
            content.extend_from_slice(&chunk);
        }
        Ok(Some(Response {
            status: head.status.as_u16(),
            keep_alive: !self.is_going_away(),
            body: content,
        }))
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A stream that the server refused, or one above the last that its GOAWAY promises.
fn is_unprocessed(error: &h2::Error) -> bool {
    error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || (error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR))
}

fn failure(error: &h2::Error, used: bool) -> Failure {
    let reset = error.get_io().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset);
    match (reset, used) {
        (true, true) => Failure::ResetReused,
        (true, false) => Failure::ResetFresh,
        (false, true) => Failure::EofReused,
        (false, false) => Failure::EofFresh,
    }
}

/// A connection that notices GOAWAY as it passes.
struct Tap {
    wire: Wire,
    frames: Frames,
    goaway: Arc<AtomicBool>,
}

impl AsyncRead for Tap {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.wire).poll_read(context, buffer);
        if this.frames.holds_goaway(&buffer.filled()[before..]) {
            this.goaway.store(true, Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(context)
    }
}

/// The frames of a stream of bytes (RFC 9113 §4.1).
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    payload_left: usize,
}

impl Frames {
    const HEAD: usize = 9;
    const GOAWAY: u8 = 7;

    fn holds_goaway(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while !bytes.is_empty() {
            let skipped = self.payload_left.min(bytes.len());
            (self.payload_left, bytes) = (self.payload_left - skipped, &bytes[skipped..]);
            let wanted = (Self::HEAD - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if let [a, b, c, kind, ..] = self.head[..]
                && self.head.len() == Self::HEAD
            {
                self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                found |= kind == Self::GOAWAY;
                self.head.clear();
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goaway_is_found_wherever_the_bytes_are_cut() {
        // SETTINGS with 6 bytes that look like GOAWAY, then GOAWAY with 8.
        let mut bytes = vec![0, 0, 6, 4, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7];
        assert!(!Frames::default().holds_goaway(&bytes));
        bytes.extend([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for cut in 0..=bytes.len() {
            let mut frames = Frames::default();
            let first = frames.holds_goaway(&bytes[..cut]);
            assert!(first ^ frames.holds_goaway(&bytes[cut..]), "cut at {cut}");
        }
    }
}
