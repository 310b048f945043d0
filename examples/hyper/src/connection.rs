//! One connection from its first byte to its end.

use std::convert::Infallible;
use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use lameduck::async_layer::{Connection, ConnectionGuard, Cue, RequestCue, RequestGuard};
use lameduck::{Protocol, Refused, RequestKind};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::body::{Guarded, Unsent};
use crate::io::{Look, Socket};

/// How long the 503s of a connection whose time is over may take to leave: less than the machine waits.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

type BoxError = Box<dyn Error + Send + Sync>;
/// The application's body, or ours.
type Answer = UnsyncBoxBody<Bytes, BoxError>;

/// Serves one connection and does what lameduck says with it.
pub async fn serve<S, B>(mut guard: ConnectionGuard, stream: TcpStream, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // Else a response in two writes waits for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let unsent = Arc::new(Unsent::default());
    let (socket, look) = Socket::new(stream, guard.handle().clone(), Arc::clone(&unsent));
    let counter = Counter { connection: guard.handle().clone(), look: Arc::clone(&look), unsent };
    let counted = service_fn(move |request| counter.clone().answer(service.clone(), request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), counted));
    let mut over: Option<Pin<Box<Sleep>>> = None;
    let _ = loop {
        tokio::select! {
            // In this order, so that what has arrived is served before a cue closes the connection.
            biased;
            // An error is the client's going, or ours; either way the connection is gone.
            gone = connection.as_mut() => break gone,
            () = elapsed(&mut over) => break Ok(()),
            cue = guard.cue() => match cue {
                // HTTP/2: hyper sends both GOAWAYs, the second once the client has answered a PING.
                // HTTP/1: the next response says so; hyper would close an idle connection at once.
                Cue::AnnounceClose if guard.protocol() == Protocol::Http2 => {
                    connection.as_mut().graceful_shutdown();
                }
                Cue::AnnounceClose | Cue::RefuseStreams => {}
                Cue::CloseIdle { look: true } if look.finds_bytes() && stays(guard.busy()) => {}
                Cue::CloseIdle { .. } => connection.as_mut().graceful_shutdown(),
                // Each request answers 503 if it can, see below.
                Cue::Force { .. } => {
                    connection.as_mut().graceful_shutdown();
                    over = Some(Box::pin(sleep(LAST_ANSWERS)));
                }
                // This server upgrades nothing.
                Cue::CloseLongLived | Cue::NotifyLongLived => {}
            },
        }
    };
    // Before what hyper still held: a response that was never flushed has not completed.
    drop(guard);
}

/// Never, if there is nothing to wait for.
async fn elapsed(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

/// Whether a connection on which bytes have arrived stays open.
fn stays(busy: Result<(), Refused>) -> bool {
    !matches!(busy, Err(Refused::AllowanceSpent | Refused::Forced))
}

/// Counts the requests of a connection.
#[derive(Clone)]
struct Counter {
    connection: Connection,
    look: Arc<Look>,
    unsent: Arc<Unsent>,
}

impl Counter {
    /// Counts a request from its head to the end of its response's body.
    ///
    /// Not an `async fn`: the request begins when hyper has parsed its head, not when somebody polls this.
    fn answer<S, B>(
        self,
        service: S,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Guarded<Answer>>, h2::Error>> + Send
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let begun = self.connection.begin();
        self.look.reset();
        async move {
            // Not processed: HTTP/2 says so, and the client may repeat it elsewhere (RFC 9113 §8.7); over HTTP/1
            // hyper closes the connection.
            let mut guard = begun.map_err(|_| h2::Error::from(h2::Reason::REFUSED_STREAM))?;
            let (head_only, version) = (request.method() == Method::HEAD, request.version());
            let upload = !request.body().is_end_stream();
            let kind = if upload { RequestKind::Upload } else { RequestKind::Ordinary };
            guard.describe(kind, format!("{} {}", request.method(), request.uri().path()));
            let mut response = if guard.is_refused() {
                unavailable()
            } else {
                tokio::select! {
                    response = service.call(request) => {
                        let Ok(response) = response;
                        response.map(|body| body.map_err(Into::into).boxed_unsync())
                    }
                    () = forced(&mut guard) => unavailable(),
                }
            };
            // HTTP/2 knows no such header; its GOAWAY goes its own way.
            let announces = self.connection.should_announce() && version < Version::HTTP_2;
            if announces {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            guard.headers_sent(announces);
            self.look.reset();
            let unsent = self.unsent;
            let guard = if head_only {
                // Its body is never asked for, and never missed.
                unsent.complete(guard);
                None
            } else {
                Some(guard)
            };
            Ok(response.map(|body| Guarded::new(body, guard, unsent)))
        }
    }
}

/// Resolves when the request's time is over.
async fn forced(guard: &mut RequestGuard) {
    while guard.cue().await != RequestCue::Force {}
}

fn unavailable() -> Response<Answer> {
    let body = Full::from("the server is stopping\n").map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
