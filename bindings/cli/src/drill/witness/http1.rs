//! The witnesses that speak HTTP/1.1.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::drill::client::{Client, Failure};
use crate::drill::http::{self, AtEof, Response, ResponseParser};
use crate::drill::observation::{Close, Exchange, ExchangeEnd, Ms, ReadinessAnswer, Sender};
use crate::drill::probe::{self, Check, NotYet};
use crate::drill::witness::log::Log;
use crate::drill::witness::{Place, Scene};

/// Between two readiness checks and two newcomers: finer than any balancer, to know the moment.
const STEP: Duration = Duration::from_millis(25);
/// Between two slow requests.
const SLOW_STEP: Duration = Duration::from_millis(100);
/// How long a readiness check may take.
const CHECK_LIMIT: Duration = Duration::from_millis(500);
/// A check that ended sooner than this ended with its connection.
const MUTE_MS: Ms = 450.0;
/// Requests of one kind under way at the same time.
const UNDER_WAY: usize = 32;
/// Between two requests of a kept-alive client.
const THINK_MS: std::ops::Range<u64> = 40..120;
/// How soon after SIGTERM a server must have heard of it.
const HEARD_MS: Ms = 50.0;
/// What the slow reader's socket buffers, so that most of a response stays with the server.
const SMALL_BUFFER: u32 = 16 * 1024;
/// How long the slow reader dawdles at most after SIGTERM, if no grace was said; else half of that.
const DAWDLE: Duration = Duration::from_secs(5);

/// Checks readiness all the time.
pub async fn watch_readiness((scene, log, leave): Place) {
    let mut under_way = JoinSet::new();
    let mut steps = interval(STEP);
    loop {
        tokio::select! {
            () = leave.cancelled() => break,
            _ = steps.tick() => {}
        }
        while under_way.try_join_next().is_some() {}
        if under_way.len() < UNDER_WAY {
            let (scene, log) = (Arc::clone(&scene), Arc::clone(&log));
            under_way.spawn(async move { check_readiness(&scene, &log).await });
        }
    }
    while under_way.join_next().await.is_some() {}
}

async fn check_readiness(scene: &Scene, log: &Log) {
    let begun = log.now();
    let answer = match scene.check {
        Check::Http => match probe::get(scene.target, &scene.ready_path, CHECK_LIMIT).await {
            Ok(response) if (200..=299).contains(&response.status) => ReadinessAnswer::Ready,
            Ok(response) => ReadinessAnswer::Unready(response.status),
            Err(NotYet::Refused) => ReadinessAnswer::Refused,
            Err(NotYet::Status(status)) => ReadinessAnswer::Unready(status),
            Err(NotYet::Mute) if log.now() - begun < MUTE_MS => ReadinessAnswer::Broken,
            Err(NotYet::Mute) => ReadinessAnswer::Mute,
        },
        Check::Tcp => {
            match probe::check(Check::Tcp, scene.target, &scene.ready_path, CHECK_LIMIT).await {
                true => ReadinessAnswer::Ready,
                false => ReadinessAnswer::Refused,
            }
        }
    };
    // That there is no answer is known only at the end.
    log.check(if answer == ReadinessAnswer::Mute { log.now() } else { begun }, answer);
}

/// Sends one request after the other, each on a connection of its own, as long as a balancer does.
pub async fn send_newcomers((scene, log, leave): Place) {
    let path = scene.get_path.clone();
    // A TLS handshake is work for both sides.
    let step = if scene.target.tls { 4 * STEP } else { STEP };
    send((scene, log, leave), Sender::Newcomer, path, step).await;
}

/// The same with slow requests, so that some are always in flight.
pub async fn send_slow((scene, log, leave): Place) {
    let Some(path) = scene.slow_path.clone() else { return };
    send((scene, log, leave), Sender::Slow, path, SLOW_STEP).await;
}

async fn send((scene, log, leave): Place, sender: Sender, path: String, step: Duration) {
    let mut under_way = JoinSet::new();
    let mut steps = interval(step);
    loop {
        tokio::select! {
            () = leave.cancelled() => break,
            _ = steps.tick() => {}
        }
        if log.has_looked_away() {
            break;
        }
        while under_way.try_join_next().is_some() {}
        if under_way.len() < UNDER_WAY {
            let (log, path) = (Arc::clone(&log), path.clone());
            let mut client = Client::new(scene.target, scene.timeout);
            under_way.spawn(async move {
                exchange(&mut client, &log, sender, &path, false).await;
            });
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// One request; whether it was answered, and whether the answer let the connection live.
async fn exchange(
    client: &mut Client,
    log: &Log,
    sender: Sender,
    path: &str,
    answered_before: bool,
) -> Exchange {
    let begun = log.now();
    let result = client.exchange(path, None).await;
    let announced = result.as_ref().is_ok_and(|response| !response.keep_alive);
    let end = end_of(&result);
    let exchange = Exchange { sender, begun, ended: log.now(), answered_before, announced, end };
    log.exchange(exchange);
    exchange
}

pub fn end_of(result: &Result<Response, Failure>) -> ExchangeEnd {
    match result {
        Ok(response) if response.status == 200 => ExchangeEnd::Answered,
        Ok(response) => ExchangeEnd::Status(response.status),
        Err(Failure::ConnectRefused) => ExchangeEnd::Refused,
        Err(Failure::ResetFresh) => ExchangeEnd::UnansweredFresh(true),
        Err(Failure::EofFresh) => ExchangeEnd::UnansweredFresh(false),
        Err(Failure::ResetReused) => ExchangeEnd::UnansweredReused(true),
        Err(Failure::EofReused) => ExchangeEnd::UnansweredReused(false),
        Err(Failure::Truncated) => ExchangeEnd::Truncated,
        Err(Failure::Timeout) => ExchangeEnd::Timeout,
        Err(Failure::WrongStatus | Failure::BodyMismatch | Failure::Malformed) => {
            ExchangeEnd::Wrong
        }
    }
}

/// A client that uses one connection again and again, and leaves it only when told to.
pub async fn keep_alive((scene, log, leave): Place, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut client = Client::new(scene.target, scene.timeout);
    let mut answered_before = false;
    let mut idle_since = log.now();
    loop {
        let think = Duration::from_millis(random.random_range(THINK_MS));
        let closed = tokio::select! {
            () = leave.cancelled() => {
                // What happened together with the end of the process is not missed.
                timeout(STEP, client.closed_while_idle()).await.is_ok()
            }
            () = client.closed_while_idle() => true,
            () = sleep(think) => false,
        };
        if closed {
            client.disconnect();
            let at = log.now();
            log.close(Close { at, idle: at - idle_since, answered_before });
        }
        if leave.is_cancelled() {
            return;
        }
        if !client.is_connected() {
            // The next connection is the balancer's to give.
            answered_before = false;
            if log.has_looked_away() {
                return;
            }
        }
        let done =
            exchange(&mut client, &log, Sender::KeptAlive, &scene.get_path, answered_before).await;
        answered_before |= !done.is_failure() && log.is_after_sigterm(done.begun - HEARD_MS);
        idle_since = done.ended;
    }
}

/// A client that takes its time over a large response until the listener has closed.
pub async fn read_slowly((scene, log, leave): Place) {
    let Some(path) = &scene.large_path else { return };
    let begun = log.now();
    let note = |end: ExchangeEnd, ended: Ms| {
        log.exchange(Exchange {
            sender: Sender::SlowReader,
            begun,
            ended,
            answered_before: false,
            announced: false,
            end,
        });
    };
    let Ok(mut stream) = scene.target.dial_narrow(SMALL_BUFFER).await else { return };
    let request = http::encode("GET", path, &scene.target.address.to_string(), None, false);
    if stream.write_all(&request).await.is_err() || stream.flush().await.is_err() {
        return;
    }
    let mut parser = ResponseParser::default();
    let mut chunk = vec![0_u8; 256 * 1024];
    let hurry = async {
        log.refuses().await;
        // The server has its last chance to cut this response.
        sleep(SLOW_STEP).await;
    };
    let dawdle_until = async {
        while !log.is_after_sigterm(log.now()) {
            sleep(STEP).await;
        }
        sleep(scene.terms.grace.map_or(DAWDLE, |ms| Duration::from_secs_f64(ms / 2000.0))).await;
    };
    tokio::pin!(hurry, dawdle_until);
    let mut dawdling = true;
    loop {
        if dawdling {
            tokio::select! {
                () = &mut hurry => dawdling = false,
                () = &mut dawdle_until => dawdling = false,
                () = leave.cancelled() => dawdling = false,
                () = sleep(SLOW_STEP) => {}
            }
        }
        let most = if dawdling { 4096 } else { chunk.len() };
        let end = match stream.read(&mut chunk[..most]).await {
            Ok(0) => match std::mem::take(&mut parser).eof() {
                AtEof::Complete(_) => ExchangeEnd::Answered,
                AtEof::Nothing => ExchangeEnd::UnansweredFresh(false),
                AtEof::Truncated => ExchangeEnd::Truncated,
            },
            Ok(count) => match parser.push(&chunk[..count]) {
                Ok(None) => continue,
                Ok(Some(_)) => ExchangeEnd::Answered,
                Err(_) => ExchangeEnd::Wrong,
            },
            Err(_) if parser.begun() => ExchangeEnd::Truncated,
            Err(_) => ExchangeEnd::UnansweredFresh(true),
        };
        return note(end, log.now());
    }
}
