//! The witnesses that stay: a WebSocket and an event stream.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::drill::http::{self, AtEof, ResponseParser};
use crate::drill::observation::{LongLived, Protocol};
use crate::drill::wire::Wire;
use crate::drill::witness::{Place, Scene};

/// Opens each long-lived connection once.
///
/// # Errors
/// A sentence about a path that is not what its option says.
pub async fn try_long_lived(scene: &Scene) -> Result<(), String> {
    if let Some(path) = &scene.websocket_path
        && let Err(why) = open_websocket(scene, path).await
    {
        return Err(format!("{path} opens no WebSocket ({why}); --websocket-path names one"));
    }
    if let Some(path) = &scene.stream_path
        && let Err(why) = timeout(scene.timeout, open_event_stream(scene, path))
            .await
            .unwrap_or_else(|_| Err("it gives no answer".into()))
    {
        return Err(format!("GET {path} opens no event stream: {why}; --stream-path names one"));
    }
    Ok(())
}

type Socket = tokio_tungstenite::WebSocketStream<Wire>;

async fn open_websocket(scene: &Scene, path: &str) -> Result<Socket, String> {
    let open = async {
        let stream = scene.target.dial().await.map_err(|_| "no connection")?;
        let url = format!("ws://{}{path}", scene.target.address);
        let opened = tokio_tungstenite::client_async(url, stream).await;
        opened.map(|(socket, _)| socket).map_err(|error| error.to_string())
    };
    timeout(scene.timeout, open).await.unwrap_or_else(|_| Err("no answer".into()))
}

/// The connection and the parser, which has seen the head of a 200.
async fn open_event_stream(scene: &Scene, path: &str) -> Result<(Wire, ResponseParser), String> {
    let mut stream = scene.target.dial().await.map_err(|_| "no connection")?;
    let request = http::encode("GET", path, &scene.target.address.to_string(), None, false);
    let sent = async {
        stream.write_all(&request).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| error.to_string())?;
    let mut parser = ResponseParser::default();
    let mut chunk = vec![0_u8; 16 * 1024];
    loop {
        match stream.read(&mut chunk).await {
            Ok(count @ 1..) => match parser.push(&chunk[..count]) {
                Ok(None) => {}
                Ok(Some(response)) if response.status == 200 => {
                    return Err("its response ends at once".into());
                }
                Ok(Some(response)) => return Err(format!("it answers {}", response.status)),
                Err(malformed) => return Err(malformed.to_string()),
            },
            Ok(0) => return Err("its response ends at once".into()),
            Err(error) => return Err(error.to_string()),
        }
        match parser.status() {
            Some(200) => return Ok((stream, parser)),
            Some(status) => return Err(format!("it answers {status}")),
            None => {}
        }
    }
}

/// A WebSocket that answers what it must and says nothing else.
pub async fn websocket((scene, log, _leave): Place) {
    let Some(path) = &scene.websocket_path else { return };
    let Ok(mut socket) = open_websocket(&scene, path).await else { return };
    let mut properly = false;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(_) = message {
            properly = true;
            // The answer to a close frame goes out with the next flush.
            let _ = socket.flush().await;
        }
    }
    log.stream(LongLived { protocol: Protocol::Websocket, ended: log.now(), properly });
}

/// A reader of an event stream.
pub async fn event_stream((scene, log, _leave): Place) {
    let Some(path) = &scene.stream_path else { return };
    let Ok((mut stream, mut parser)) = open_event_stream(&scene, path).await else { return };
    let mut chunk = vec![0_u8; 16 * 1024];
    let properly = loop {
        match stream.read(&mut chunk).await {
            Ok(0) => break matches!(parser.eof(), AtEof::Complete(_)),
            Ok(count) => match parser.push(&chunk[..count]) {
                Ok(None) => {}
                Ok(Some(_)) => break true,
                Err(_) => break false,
            },
            Err(_) => break false,
        }
    };
    log.stream(LongLived { protocol: Protocol::EventStream, ended: log.now(), properly });
}
