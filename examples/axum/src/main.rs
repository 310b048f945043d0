//! An axum server that ends without dropping anybody. `PORT` says where it listens.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use example_hyper::{Process, accept, serve};
use hyper_util::service::TowerToHyperService;
use lameduck::Protocol;
use lameduck::async_layer::Shutdown;
use tokio::net::TcpListener;

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_millis(300)).await;
    "slowly\n"
}

async fn ready(State(shutdown): State<Shutdown>) -> (StatusCode, &'static str) {
    if shutdown.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let process = Process::start()?;
    let shutdown = process.shutdown().clone();
    let routes = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/echo", post(async |body: Bytes| body))
        .route("/slow", get(slow))
        .route("/readyz", get(ready))
        .with_state(shutdown.clone());
    let guard = shutdown.listener()?;
    tokio::spawn(accept(listener, guard, move |stream, peer| {
        // Refused once the drain is over: then it is dropped, and closed.
        if let Ok(connection) = shutdown.connection(Protocol::Http1, peer) {
            tokio::spawn(serve(connection, stream, TowerToHyperService::new(routes.clone())));
        }
    }));
    Ok(process.ended().await)
}
