//! What a balancer asks a server to learn whether it may get connections.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::drill::http::{self, AtEof, Response, ResponseParser};

/// How readiness is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// `GET` of the readiness path; any 2xx is ready.
    Http,
    /// The port accepts a connection.
    Tcp,
}

/// What a first look at a starting server shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstLook {
    /// Ready, to be checked like this from now on.
    Ready(Check),
    /// Not yet: what is missing.
    NotYet(NotYet),
}

/// What keeps a starting server from being ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotYet {
    /// The port refuses connections.
    Refused,
    /// It accepts connections, but no HTTP response comes.
    Mute,
    /// It answers with this status.
    Status(u16),
}

/// One request on a connection of its own.
pub async fn get(address: SocketAddr, path: &str, limit: Duration) -> Result<Response, NotYet> {
    ask(address, path, None, limit).await
}

/// One request on a connection of its own; `body` makes it a POST.
///
/// # Errors
/// No whole response came within `limit`.
pub async fn ask(
    address: SocketAddr,
    path: &str,
    body: Option<&[u8]>,
    limit: Duration,
) -> Result<Response, NotYet> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.map_err(|_| NotYet::Refused)?;
        let request = http::encode(path, &address.to_string(), body, true);
        stream.write_all(&request).await.map_err(|_| NotYet::Mute)?;
        let mut parser = ResponseParser::default();
        let mut chunk = [0_u8; 4096];
        loop {
            match stream.read(&mut chunk).await {
                Ok(0) => match parser.eof() {
                    AtEof::Complete(response) => return Ok(response),
                    _ => return Err(NotYet::Mute),
                },
                Ok(count) => match parser.push(&chunk[..count]) {
                    Ok(Some(response)) => return Ok(response),
                    Ok(None) => {}
                    Err(_) => return Err(NotYet::Mute),
                },
                Err(_) => return Err(NotYet::Mute),
            }
        }
    };
    timeout(limit, exchange).await.unwrap_or(Err(NotYet::Mute))
}

/// Looks at a server that was just started for the first time. A 404 on the readiness path means
/// that there is no such route, so that only the port can be checked.
pub async fn first_look(address: SocketAddr, ready_path: &str, limit: Duration) -> FirstLook {
    match get(address, ready_path, limit).await {
        Ok(response) => match response.status {
            200..=299 => FirstLook::Ready(Check::Http),
            404 => FirstLook::Ready(Check::Tcp),
            status => FirstLook::NotYet(NotYet::Status(status)),
        },
        Err(not_yet) => FirstLook::NotYet(not_yet),
    }
}

/// One check as the balancer makes it.
pub async fn check(check: Check, address: SocketAddr, ready_path: &str, limit: Duration) -> bool {
    match check {
        Check::Http => get(address, ready_path, limit)
            .await
            .is_ok_and(|response| (200..=299).contains(&response.status)),
        Check::Tcp => {
            timeout(limit, TcpStream::connect(address)).await.is_ok_and(|opened| opened.is_ok())
        }
    }
}
