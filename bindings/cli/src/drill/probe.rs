//! What a balancer asks a server to learn whether it may get connections.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::drill::client::{Client, Failure};
use crate::drill::http::Response;
use crate::drill::wire::Target;

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
pub async fn get(target: Target, path: &str, limit: Duration) -> Result<Response, NotYet> {
    ask(target, path, None, limit).await
}

/// One request on a connection of its own; `body` makes it a POST.
///
/// # Errors
/// No whole response came within `limit`.
pub async fn ask(
    target: Target,
    path: &str,
    body: Option<&[u8]>,
    limit: Duration,
) -> Result<Response, NotYet> {
    let mut client = Client::once(target, limit);
    client.exchange(path, body).await.map_err(|failure| match failure {
        Failure::ConnectRefused => NotYet::Refused,
        _ => NotYet::Mute,
    })
}

/// Looks at a server that was just started for the first time. A 404 on the readiness path means
/// that there is no such route, so that only the port can be checked.
pub async fn first_look(target: Target, ready_path: &str, limit: Duration) -> FirstLook {
    match get(target, ready_path, limit).await {
        Ok(response) => match response.status {
            200..=299 => FirstLook::Ready(Check::Http),
            404 => FirstLook::Ready(Check::Tcp),
            status => FirstLook::NotYet(NotYet::Status(status)),
        },
        Err(not_yet) => FirstLook::NotYet(not_yet),
    }
}

/// One check as the balancer makes it.
pub async fn check(check: Check, target: Target, ready_path: &str, limit: Duration) -> bool {
    match check {
        Check::Http => get(target, ready_path, limit)
            .await
            .is_ok_and(|response| (200..=299).contains(&response.status)),
        Check::Tcp => timeout(limit, TcpStream::connect(target.address))
            .await
            .is_ok_and(|opened| opened.is_ok()),
    }
}
