//! Accepting, to the last connection that the kernel has completed.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use lameduck::async_layer::{ListenerCue, ListenerGuard};
use lameduck_host::fence::{self, Fence};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How long to wait after an accept that failed: for descriptors to come free, above all.
const AFTER_A_FAILURE: Duration = Duration::from_millis(20);

/// Gives every connection to `serve` until lameduck says that the listener closes.
pub async fn accept(
    listener: TcpListener,
    mut guard: ListenerGuard,
    mut serve: impl FnMut(TcpStream, SocketAddr),
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => serve(stream, peer),
                Err(_) => sleep(AFTER_A_FAILURE).await,
            },
            cue = guard.cue() => match cue {
                // Where there is no fence, accepting until nothing is left is all there is.
                ListenerCue::Fence => drop(Fence::raise(listener.as_raw_fd())),
                ListenerCue::Close => break,
            },
        }
    }
    // Closing resets what is in the kernel's queue.
    while fence::pending(listener.as_raw_fd()).is_ok_and(|connections| connections > 0) {
        match listener.accept().await {
            Ok((stream, peer)) => serve(stream, peer),
            Err(_) => sleep(AFTER_A_FAILURE).await,
        }
    }
}
