//! A socket that knows whether bytes of a next request have arrived, and that closes without a reset.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use lameduck::Protocol;
use lameduck::async_layer::Connection;
use lameduck_host::last_look::unread;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::body::Unsent;

/// How long a half-closed connection is read on: a reset would eat the response that the client has
/// not read yet. Less than the machine allows.
const LINGER: Duration = Duration::from_millis(800);
/// How an HTTP/2 connection begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI";

/// Whether the connection is as idle as it looks.
#[derive(Debug)]
pub(crate) struct Look {
    socket: RawFd,
    /// hyper has read bytes since the last request began or ended.
    fresh: AtomicBool,
}

impl Look {
    /// Whether bytes of a next request have arrived, read or not. The socket must still be open.
    pub(crate) fn finds_bytes(&self) -> bool {
        self.fresh.load(Relaxed) || unread(self.socket).is_ok_and(|bytes| bytes > 0)
    }

    /// What was read so far belongs to a request that is counted.
    pub(crate) fn reset(&self) {
        self.fresh.store(false, Relaxed);
    }
}

pub(crate) struct Socket {
    stream: TcpStream,
    look: Arc<Look>,
    unsent: Arc<Unsent>,
    /// Until the protocol is known.
    connection: Option<Connection>,
    lingering: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(crate) fn new(
        stream: TcpStream,
        connection: Connection,
        unsent: Arc<Unsent>,
    ) -> (Self, Arc<Look>) {
        let look = Look { socket: stream.as_raw_fd(), fresh: AtomicBool::new(false) };
        let look = Arc::new(look);
        let (connection, watched) = (Some(connection), Arc::clone(&look));
        (Self { stream, look: watched, unsent, connection, lingering: None }, look)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = &buffer.filled()[before..];
        if !read.is_empty() {
            self.look.fresh.store(true, Relaxed);
            if let Some(connection) = self.connection.take()
                && read.starts_with(PREFACE)
            {
                // Refused only when its time is over.
                let _ = connection.upgraded(Protocol::Http2);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    /// hyper flushes when it has written all it holds.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.unsent.flushed();
        Poll::Ready(Ok(()))
    }

    /// Half-close, bounded reading; the close is the drop.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.lingering = Some(Box::pin(sleep(LINGER)));
        }
        let mut scrap = [0; 4096];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            match Pin::new(&mut self.stream).poll_read(context, &mut scrap) {
                Poll::Ready(Ok(())) if !scrap.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        match &mut self.lingering {
            Some(lingering) => lingering.as_mut().poll(context).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
