//! The simulated distance between a balancer of others and a copy: a port that stands for the
//! copy's, carries every byte later, and is open exactly while the copy's is.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::drill::delay::DelayLine;
use crate::drill::splice::{close_with_reset, splice};

/// How often the copy's port is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// A listening socket in the kernel's tables.
const LISTENING: &str = "0A";

/// Stands in for `copy` at `here`. A connection that comes in the instant after the copy closed its
/// port is taken to one of `others`, as a balancer does with a connection that is refused.
pub async fn stand_in(
    here: SocketAddr,
    copy: SocketAddr,
    others: Vec<SocketAddr>,
    line: DelayLine,
) {
    let mut connections = JoinSet::new();
    loop {
        while !is_listening(copy.port()) {
            sleep(LOOK).await;
        }
        let Ok(listener) = TcpListener::bind(here).await else {
            sleep(LOOK).await;
            continue;
        };
        let mut is_open = true;
        while is_open {
            tokio::select! {
                biased;
                accepted = listener.accept() => {
                    let Ok((client, _)) = accepted else { continue };
                    connections.spawn(carry(client, copy, others.clone(), line.clone()));
                }
                () = sleep(LOOK) => is_open = is_listening(copy.port()),
            }
            while connections.try_join_next().is_some() {}
        }
        // Who came while it was looked is not reset.
        for client in take_the_rest(listener) {
            connections.spawn(carry(client, copy, others.clone(), line.clone()));
        }
    }
}

/// Whom the kernel has completed and nobody accepted.
fn take_the_rest(listener: TcpListener) -> Vec<TcpStream> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    // Not blocking: the end of the queue is an error.
    let rest = std::iter::from_fn(|| listener.accept().ok());
    rest.filter_map(|(client, _)| {
        client.set_nonblocking(true).ok()?;
        TcpStream::from_std(client).ok()
    })
    .collect()
}

async fn carry(client: TcpStream, copy: SocketAddr, others: Vec<SocketAddr>, line: DelayLine) {
    for address in std::iter::once(&copy).chain(&others) {
        if let Ok(server) = TcpStream::connect(address).await {
            // Best effort, as in the client.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            return splice(client, server, &line).await;
        }
    }
    close_with_reset(client);
}

/// Whether the kernel's tables can be read here.
pub fn is_possible() -> bool {
    fs::metadata("/proc/net/tcp").is_ok()
}

fn is_listening(port: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        // Listening sockets come first: the many others need not be read.
        read_begin(table).is_ok_and(|text| lists(&text, port))
    })
}

fn read_begin(table: &str) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    fs::File::open(table)?.take(16 * 1024).read_to_string(&mut text)?;
    Ok(text)
}

fn lists(table: &str, port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        local.is_some_and(|local| local.ends_with(&suffix)) && state == Some(LISTENING)
    })
}

/// The address of the port that stands for a copy's.
pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn until(open: bool, address: SocketAddr) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(address).await.is_ok() != open {
            assert!(Instant::now() < deadline, "open is not {open}");
            sleep(LOOK).await;
        }
    }

    #[tokio::test]
    async fn whoever_the_kernel_has_completed_is_taken() {
        let listener = TcpListener::bind(address(0)).await.unwrap();
        let here = listener.local_addr().unwrap();
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(here).await.unwrap());
        }
        let mut taken = take_the_rest(listener);
        assert_eq!(taken.len(), 3);
        taken[2].write_all(b"x").await.unwrap();
        clients[2].read_exact(&mut [0]).await.unwrap();
    }

    #[tokio::test]
    async fn it_is_open_while_the_copy_is_and_late_by_the_delay() {
        let ports = crate::drill::ports::free(2).unwrap();
        let (here, copy) = (address(ports[0]), address(ports[1]));
        let line = DelayLine::new(Duration::from_millis(20));
        tokio::spawn(stand_in(here, copy, Vec::new(), line));
        until(false, here).await;
        for _ in 0..2 {
            let listener = TcpListener::bind(copy).await.unwrap();
            let serving = tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(async move {
                        let mut byte = [0];
                        if stream.read_exact(&mut byte).await.is_ok() {
                            let _ = stream.write_all(&byte).await;
                        }
                    });
                }
            });
            until(true, here).await;
            let begun = Instant::now();
            let mut client = TcpStream::connect(here).await.unwrap();
            client.write_all(b"x").await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
            assert!(begun.elapsed() >= Duration::from_millis(40));
            serving.abort();
            until(false, here).await;
        }
    }
}
