//! The witness that speaks HTTP/2, on one connection that stays.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::drill::http2::Http2;
use crate::drill::observation::{Exchange, ExchangeEnd, LongLived, Protocol, Sender};
use crate::drill::wire::Target;
use crate::drill::witness::http1::end_of;
use crate::drill::witness::{Place, Scene};

/// Between two requests.
const THINK: Duration = Duration::from_millis(50);

/// Whether the server answers over HTTP/2, by ALPN or with prior knowledge.
pub async fn is_spoken(scene: &Scene) -> bool {
    let answered = async {
        let mut connection = connect(scene).await?;
        connection.exchange("GET", &scene.get_path, None).await.ok().flatten()
    };
    let answer = timeout(Duration::from_secs(2), answered).await.ok().flatten();
    answer.is_some_and(|response| response.status == 200)
}

async fn connect(scene: &Scene) -> Option<Http2> {
    let target = Target { http2: true, ..scene.target };
    let wire = target.dial().await.ok()?;
    if target.tls && !wire.agreed_on_http2() {
        return None;
    }
    Http2::begin(wire, target).await.ok()
}

/// Sends one request after the other on one connection until GOAWAY, then waits for its end.
pub async fn stay((scene, log, _leave): Place) {
    let Some(mut connection) = connect(&scene).await else { return };
    while !connection.is_going_away() && !connection.has_ended() {
        let begun = log.now();
        let result =
            match timeout(scene.timeout, connection.exchange("GET", &scene.get_path, None)).await {
                Ok(Ok(Some(response))) => Ok(response),
                // Said not to be processed, or on a connection that had ended: nothing is lost.
                Ok(Ok(None)) => break,
                Ok(Err(failure)) => Err(failure),
                Err(_) => break,
            };
        let end = end_of(&result);
        log.exchange(Exchange {
            sender: Sender::Http2,
            begun,
            ended: log.now(),
            answered_before: false,
            announced: false,
            end,
        });
        if end != ExchangeEnd::Answered {
            break;
        }
        tokio::select! {
            () = sleep(THINK) => {}
            () = connection.ended() => {}
        }
    }
    connection.ended().await;
    let properly = connection.is_going_away();
    log.stream(LongLived { protocol: Protocol::Http2, ended: log.now(), properly });
}
