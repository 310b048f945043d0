//! Carries bytes between two TCP streams as a layer 4 balancer does: both ways, each half closed
//! on its own, a reset passed on as a reset, everything later by the configured delay.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use crate::drill::delay::{DelayLine, Passing};

const CHUNK: usize = 16 * 1024;
/// Chunks under way per direction; bounds the memory of a connection whose reader is slow.
const UNDER_WAY: usize = 16;

/// How one direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// End of stream, passed on as a half-close.
    HalfClosed,
    /// The source was reset.
    SourceReset,
    /// The sink takes no more bytes.
    SinkGone,
}

enum Item {
    Bytes(Vec<u8>),
    Eof,
    Reset,
}

/// Runs until both directions have ended. Whatever either side sends reaches the other by way of
/// `line`.
pub async fn splice(mut one: TcpStream, mut other: TcpStream, line: &DelayLine) {
    // A reset that a write met is not reported again by the read, which then sees a mere end.
    let (one_gone, other_gone) = (AtomicBool::new(false), AtomicBool::new(false));
    let reset = {
        let (one_read, one_write) = one.split();
        let (other_read, other_write) = other.split();
        both(
            pump(one_read, other_write, line, &one_gone, &other_gone),
            pump(other_read, one_write, line, &other_gone, &one_gone),
        )
        .await
    };
    if reset {
        close_with_reset(one);
        close_with_reset(other);
    }
}

/// Drives both directions; true when the pair has to end with a reset.
async fn both(there: impl Future<Output = Ended>, back: impl Future<Output = Ended>) -> bool {
    tokio::pin!(there, back);
    tokio::select! {
        ended = &mut there => ends_with_reset(ended, back).await,
        ended = &mut back => ends_with_reset(ended, there).await,
    }
}

async fn ends_with_reset(first: Ended, other: impl Future<Output = Ended>) -> bool {
    match first {
        Ended::SourceReset => true,
        // The sink is gone for writing, yet what it sent before may still be in its buffer and
        // must reach the other side before the reset does.
        Ended::SinkGone => {
            other.await;
            true
        }
        Ended::HalfClosed => other.await != Ended::HalfClosed,
    }
}

async fn pump(
    mut source: ReadHalf<'_>,
    mut sink: WriteHalf<'_>,
    line: &DelayLine,
    source_gone: &AtomicBool,
    sink_gone: &AtomicBool,
) -> Ended {
    let (sender, mut receiver) = mpsc::channel::<(Passing, Item)>(UNDER_WAY);
    let read = async move {
        loop {
            let mut bytes = Vec::with_capacity(CHUNK);
            let item = match source.read_buf(&mut bytes).await {
                Ok(0) => Item::Eof,
                Ok(_) => Item::Bytes(bytes),
                Err(_) => Item::Reset,
            };
            let last = !matches!(item, Item::Bytes(_));
            if sender.send((line.enter(), item)).await.is_err() || last {
                return;
            }
        }
    };
    let write = async move {
        while let Some((passing, item)) = receiver.recv().await {
            passing.out().await;
            match item {
                Item::Bytes(bytes) => {
                    if sink.write_all(&bytes).await.is_err() {
                        sink_gone.store(true, Relaxed);
                        return Ended::SinkGone;
                    }
                }
                Item::Eof if source_gone.load(Relaxed) => return Ended::SourceReset,
                Item::Eof => {
                    return match sink.shutdown().await {
                        Ok(()) => Ended::HalfClosed,
                        Err(_) => Ended::SinkGone,
                    };
                }
                Item::Reset => return Ended::SourceReset,
            }
        }
        Ended::SinkGone
    };
    tokio::pin!(read, write);
    tokio::select! {
        ended = &mut write => ended,
        () = &mut read => write.await,
    }
}

/// Closes a stream so that its peer sees a reset instead of an end of stream.
pub fn close_with_reset(stream: TcpStream) {
    // If the option cannot be set the peer sees an end of stream: still a failure, other name.
    let _ = stream.set_zero_linger();
    drop(stream);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::time::{Duration, Instant};
    use tokio::net::TcpListener;
    use tokio::time::{sleep, timeout};

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    /// A client and a server with a splice between them.
    async fn spliced(delay: Duration) -> (TcpStream, TcpStream) {
        let (client, one) = pair().await;
        let (other, server) = pair().await;
        tokio::spawn(async move { splice(one, other, &DelayLine::new(delay)).await });
        (client, server)
    }

    #[tokio::test]
    async fn bytes_and_half_close_pass_both_ways() {
        let (mut client, mut server) = spliced(Duration::ZERO).await;
        let sent = vec![7_u8; 3_000_000];
        let echo = tokio::spawn(async move {
            let mut received = Vec::new();
            server.read_to_end(&mut received).await.unwrap();
            // The client's half is closed; the other half must still carry all of this.
            server.write_all(&received).await.unwrap();
        });
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut back = Vec::new();
        let read = client.read_to_end(&mut back);
        timeout(Duration::from_secs(10), read).await.expect("the end passes").unwrap();
        echo.await.unwrap();
        assert!(back == sent);
    }

    #[tokio::test]
    async fn a_reset_of_the_server_is_a_reset_at_the_client() {
        for delay in [Duration::ZERO, Duration::from_millis(5)] {
            let (mut client, server) = spliced(delay).await;
            close_with_reset(server);
            let error = client.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn a_reset_of_the_client_is_a_reset_at_the_server() {
        let (client, mut server) = spliced(Duration::from_millis(1)).await;
        close_with_reset(client);
        let error = server.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn unread_bytes_at_close_reset_the_client_too() {
        let (mut client, server) = spliced(Duration::ZERO).await;
        client.write_all(b"request").await.unwrap();
        server.peek(&mut [0; 1]).await.unwrap();
        // A close with unread bytes is a reset on the wire, without any socket option.
        drop(server);
        let error = client.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn what_was_sent_before_a_reset_arrives_before_it() {
        let (mut client, mut server) = spliced(Duration::from_millis(2)).await;
        server.write_all(b"last words").await.unwrap();
        sleep(Duration::from_millis(20)).await;
        close_with_reset(server);
        let mut heard = [0; 10];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"last words");
        assert!(client.read(&mut heard).await.is_err());
    }

    #[tokio::test]
    async fn a_write_that_fails_does_not_overtake_the_last_words() {
        let (mut client, mut server) = spliced(Duration::from_millis(100)).await;
        client.write_all(b"too late").await.unwrap();
        sleep(Duration::from_millis(40)).await;
        server.write_all(b"last words").await.unwrap();
        sleep(Duration::from_millis(20)).await;
        close_with_reset(server);
        // "too late" now meets a closed socket while "last words" are still on their way.
        let mut heard = [0; 10];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"last words");
        assert!(client.read(&mut heard).await.is_err());
    }

    #[tokio::test]
    async fn a_plain_close_is_no_reset() {
        let (mut client, server) = spliced(Duration::from_millis(1)).await;
        drop(server);
        let mut nothing = [0; 8];
        let read = timeout(Duration::from_secs(10), client.read(&mut nothing));
        assert_eq!(read.await.expect("the end passes").unwrap(), 0);
    }

    #[tokio::test]
    async fn the_delay_is_kept() {
        let (mut client, mut server) = spliced(Duration::from_millis(30)).await;
        let begun = Instant::now();
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0; 1]).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(30));
    }
}
