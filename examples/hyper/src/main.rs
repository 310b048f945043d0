//! A hyper server that ends without dropping anybody. `PORT` says where it listens.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use example_hyper::{Process, accept, serve};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use lameduck::Protocol;
use lameduck::async_layer::Shutdown;
use tokio::net::TcpListener;

type Body = Either<Incoming, Full<Bytes>>;

/// More than the kernel takes at once.
const BIG: usize = 30 << 20;

async fn route(
    shutdown: Shutdown,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let text = |status, text: &'static str| {
        let mut response = Response::new(Either::Right(Full::from(text)));
        *response.status_mut() = status;
        response
    };
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/") => text(StatusCode::OK, "hello\n"),
        (&Method::POST, "/echo") => Response::new(Either::Left(request.into_body())),
        (&Method::GET, "/slow") => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            text(StatusCode::OK, "slowly\n")
        }
        (&Method::GET, "/big") => Response::new(Either::Right(Full::from(vec![b'.'; BIG]))),
        (&Method::GET, "/stuck") => std::future::pending().await,
        (&Method::GET, "/readyz") if shutdown.is_ready() => text(StatusCode::OK, "ready\n"),
        (&Method::GET, "/readyz") => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        _ => text(StatusCode::NOT_FOUND, "nothing here\n"),
    })
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let process = Process::start()?;
    let shutdown = process.shutdown().clone();
    shutdown.on_close("database", || async {
        tokio::time::sleep(Duration::from_millis(20)).await; // pool.close()
    })?;
    let guard = shutdown.listener()?;
    tokio::spawn(accept(listener, guard, move |stream, peer| {
        let routes = {
            let shutdown = shutdown.clone();
            service_fn(move |request| route(shutdown.clone(), request))
        };
        // Refused once the drain is over: then it is dropped, and closed.
        if let Ok(connection) = shutdown.connection(Protocol::Http1, peer) {
            tokio::spawn(serve(connection, stream, routes));
        }
    }));
    Ok(process.ended().await)
}
