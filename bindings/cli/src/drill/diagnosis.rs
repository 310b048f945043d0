//! From what was seen to what is wrong: each rule looks at one stop and either says what it found
//! or nothing. Pure: no clock, no socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::drill::mistake::Mistake;
use crate::drill::observation::{
    Close, Exchange, ExchangeEnd, LongLived, Ms, Protocol, ReadinessAnswer, Sender, Stop,
};

/// A connection idle for no longer than this was in use.
const IN_USE: Ms = 250.0;
/// What is less than this before the end of the process was done by that end.
const AT_THE_END: Ms = 50.0;
/// A process that is gone so soon cannot have drained anything.
const AT_ONCE: Ms = 500.0;
/// How finely the witnesses look.
const RESOLUTION: Ms = 40.0;
/// Up to this part of its grace a server has no reason to cut anything.
const PATIENCE: f64 = 0.7;
const SIGTERM: i32 = 15;

/// A mistake, seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which; its id is stable.
    pub mistake: Mistake,
    /// The stops in which it was seen.
    pub stops: u32,
    /// What was seen, as one sentence about the first of them.
    pub evidence: String,
    /// What to do, as one sentence.
    pub remedy: String,
}

type Rule = fn(&Stop) -> Option<String>;

/// Every mistake with the rule that finds it, gravest first.
const RULES: [(Mistake, Rule); 17] = [
    (Mistake::NoHandler, no_handler),
    (Mistake::ExitsAtOnce, exits_at_once),
    (Mistake::NeverExits, never_exits),
    (Mistake::ReadinessStaysGreen, readiness_stays_green),
    (Mistake::ListenerClosesEarly, listener_closes_early),
    (Mistake::AcceptQueueReset, accept_queue_reset),
    (Mistake::IdleKeepAliveReset, idle_keep_alive_reset),
    (Mistake::NoConnectionClose, no_connection_close),
    (Mistake::ResponseCut, response_cut),
    (Mistake::RefusesRequests, refuses_requests),
    (Mistake::PoolClosedEarly, pool_closed_early),
    (Mistake::WebsocketCut, websocket_cut),
    (Mistake::EventStreamCut, event_stream_cut),
    (Mistake::NoGoaway, no_goaway),
    (Mistake::ExitsLate, exits_late),
    (Mistake::ExitCodeLies, exit_code_lies),
    (Mistake::RequestsLost, requests_lost),
];

/// What these stops of one server show, gravest first, without what follows from something else.
pub fn diagnose(stops: &[Stop]) -> Vec<Finding> {
    let mut seen: BTreeMap<Mistake, (u32, String)> = BTreeMap::new();
    for stop in stops {
        for (mistake, rule) in RULES {
            if let Some(evidence) = rule(stop) {
                seen.entry(mistake).or_insert((0, evidence)).0 += 1;
            }
        }
    }
    let explained: Vec<Mistake> = seen.keys().flat_map(|found| found.explains()).copied().collect();
    RULES
        .iter()
        .filter(|(mistake, _)| !explained.contains(mistake))
        .filter_map(|(mistake, _)| {
            let (stops, evidence) = seen.remove(mistake)?;
            let remedy = mistake.remedy().into();
            Some(Finding { mistake: *mistake, stops, evidence, remedy })
        })
        .collect()
}

fn no_handler(stop: &Stop) -> Option<String> {
    let exit = stop.end.exit;
    let by_signal = exit.signal == Some(SIGTERM) || exit.code == Some(128 + SIGTERM);
    let cut = cut_by_the_end(stop);
    (!stop.end.killed && by_signal && !did_anything(stop) && (cut > 0 || stop.end.at < AT_ONCE))
        .then(|| {
            format!(
                "SIGTERM ended the process after {} ({}), with {} in flight",
                ms(stop.end.at),
                exit.words(),
                count(cut, "request")
            )
        })
}

fn exits_at_once(stop: &Stop) -> Option<String> {
    let exit = stop.end.exit;
    let by_itself = exit.code.is_some_and(|code| code != 128 + SIGTERM);
    let cut = cut_by_the_end(stop);
    (!stop.end.killed
        && by_itself
        && stop.end.at < AT_ONCE
        && !did_anything(stop)
        && (cut > 0 || !stop.closes.is_empty()))
    .then(|| {
        format!(
            "the process exited by itself after {} ({}), with {} in flight and its connections open",
            ms(stop.end.at),
            exit.words(),
            count(cut, "request")
        )
    })
}

/// Whether it did anything about its end before it came.
fn did_anything(stop: &Stop) -> bool {
    let before_the_end = |at: Ms| at >= 0.0 && at < stop.end.at - AT_THE_END;
    let unready = |answer| matches!(answer, ReadinessAnswer::Unready(_));
    stop.checks.iter().any(|check| check.at >= 0.0 && unready(check.answer))
        || stop.first_refused().is_some_and(before_the_end)
        || stop.closes.iter().any(|close| before_the_end(close.at))
        || stop.exchanges.iter().any(|exchange| {
            exchange.ended >= 0.0
                && (exchange.announced
                    // Waited for: the others were not cut.
                    || (exchange.sender == Sender::Slow
                        && exchange.begun < 0.0
                        && exchange.ended > RESOLUTION
                        && !exchange.is_failure()
                        && cut_by_the_end(stop) == 0))
        })
}

/// Requests in flight that ended together with the process.
fn cut_by_the_end(stop: &Stop) -> usize {
    let broken = |end| {
        matches!(
            end,
            ExchangeEnd::UnansweredFresh(_)
                | ExchangeEnd::UnansweredReused(_)
                | ExchangeEnd::Truncated
        )
    };
    let at_the_end = |exchange: &&Exchange| exchange.ended >= stop.end.at - AT_THE_END;
    stop.exchanges.iter().filter(|exchange| broken(exchange.end)).filter(at_the_end).count()
}

fn never_exits(stop: &Stop) -> Option<String> {
    stop.end
        .killed
        .then(|| format!("it was still running {} after SIGTERM and was killed", ms(stop.end.at)))
}

fn exits_late(stop: &Stop) -> Option<String> {
    let grace = stop.terms.grace?;
    (!stop.end.killed && stop.end.at > grace + RESOLUTION).then(|| {
        format!("it was gone {} after SIGTERM; its grace is {}", ms(stop.end.at), ms(grace))
    })
}

fn readiness_stays_green(stop: &Stop) -> Option<String> {
    let green = stop.last_green()?;
    (stop.terms.readiness && stop.turned_red().is_none() && green >= stop.terms.looks_away_after)
        .then(|| {
            format!(
                "{} after SIGTERM the readiness check still answered 2xx, and it never answered \
                 anything else",
                ms(green)
            )
        })
}

fn listener_closes_early(stop: &Stop) -> Option<String> {
    let refused = stop.first_refused()?;
    let red = stop.answered_red().filter(|&red| red <= refused);
    if red.is_none() && stop.turned_red().is_some() {
        // It was open and not accepting: another mistake.
        return None;
    }
    if red.is_none() && stop.terms.readiness && stop.last_green()? >= stop.terms.looks_away_after {
        return None;
    }
    let away = red.unwrap_or(0.0) + stop.terms.looks_away_after;
    (refused + RESOLUTION < away).then(|| {
        let check = match red {
            Some(red) => format!("the readiness check had failed for {}", ms(refused - red)),
            None => "no readiness check had failed before".into(),
        };
        format!(
            "new connections were refused {} after SIGTERM; {check}, and a balancer needs {}",
            ms(refused),
            ms(stop.terms.looks_away_after)
        )
    })
}

fn accept_queue_reset(stop: &Stop) -> Option<String> {
    let reset = |exchange: &&Exchange| {
        exchange.ended >= 0.0 && exchange.end == ExchangeEnd::UnansweredFresh(true)
    };
    let resets: Vec<_> = stop.lost().filter(reset).collect();
    let first = resets.first()?;
    Some(format!(
        "{} opened from {} after SIGTERM on {} reset without having been accepted, the first {} later",
        count(resets.len(), "connection"),
        ms(first.begun),
        was(resets.len()),
        ms(first.ended - first.begun)
    ))
}

fn idle_keep_alive_reset(stop: &Stop) -> Option<String> {
    let closes: Vec<_> = closed_in_use(stop).filter(|close| !close.answered_before).collect();
    let lost = raced(stop).filter(|exchange| !exchange.answered_before).count();
    if let Some(first) = closes.first() {
        return Some(format!(
            "{} in use {} closed, the first {} after SIGTERM and {} after its last response; the \
             race lost {}",
            count(closes.len(), "kept-alive connection"),
            was(closes.len()),
            ms(first.at),
            ms(first.idle),
            count(lost, "request")
        ));
    }
    (lost > 0).then(|| {
        format!("{} on kept-alive connections met a connection just closed", count(lost, "request"))
    })
}

fn no_connection_close(stop: &Stop) -> Option<String> {
    let closes: Vec<_> = closed_in_use(stop).filter(|close| close.answered_before).collect();
    let lost = raced(stop).filter(|exchange| exchange.answered_before).count();
    (!closes.is_empty() || lost > 0).then(|| {
        format!(
            "{} {} closed although responses after SIGTERM could have said Connection: close; the \
             race lost {}",
            count(closes.len(), "kept-alive connection"),
            was(closes.len()),
            count(lost, "request")
        )
    })
}

/// Connections closed without a word although their client used them.
fn closed_in_use(stop: &Stop) -> impl Iterator<Item = &Close> {
    stop.closes.iter().filter(|close| close.at >= 0.0 && close.idle < IN_USE)
}

/// Requests that were on their way when their kept-alive connection was closed.
fn raced(stop: &Stop) -> impl Iterator<Item = &Exchange> {
    stop.lost().filter(|exchange| {
        exchange.ended >= 0.0
            && exchange.sender == Sender::KeptAlive
            && matches!(exchange.end, ExchangeEnd::UnansweredReused(_))
            && !exchange.was_in_hand()
    })
}

fn response_cut(stop: &Stop) -> Option<String> {
    let goaway =
        stop.streams.iter().all(|stream| stream.protocol != Protocol::Http2 || stream.properly);
    let early = |exchange: &&Exchange| exchange.ended >= 0.0 && before_the_deadline(stop, exchange);
    let lost: Vec<_> = stop
        .lost()
        .filter(early)
        .filter(|exchange| match exchange.end {
            _ if exchange.sender == Sender::Http2 && !goaway => false,
            ExchangeEnd::Truncated | ExchangeEnd::Timeout | ExchangeEnd::UnansweredFresh(false) => {
                true
            }
            ExchangeEnd::UnansweredReused(_) => exchange.was_in_hand(),
            _ => false,
        })
        .collect();
    let first = lost.first()?;
    let cut = lost.iter().filter(|exchange| exchange.end == ExchangeEnd::Truncated).count();
    let unanswered = lost.len() - cut;
    let what = match first.sender {
        Sender::SlowReader => "the response of a slow reader",
        Sender::Slow => "a slow request",
        _ => "a request",
    };
    Some(format!(
        "{} broke off and {} no answer; the first, {what}, {} after SIGTERM",
        count(cut, "response"),
        if unanswered == 1 { "1 request got".into() } else { format!("{unanswered} requests got") },
        ms(first.ended)
    ))
}

/// Whether it ended so soon that the grace was no reason to end it.
fn before_the_deadline(stop: &Stop, exchange: &Exchange) -> bool {
    stop.terms.grace.is_none_or(|grace| exchange.ended < grace * PATIENCE)
}

fn refuses_requests(stop: &Stop) -> Option<String> {
    answered_with(stop, |status| status == 503)
}

fn pool_closed_early(stop: &Stop) -> Option<String> {
    answered_with(stop, |status| status >= 500 && status != 503)
}

fn answered_with(stop: &Stop, matching: fn(u16) -> bool) -> Option<String> {
    let in_the_drain = stop.lost().filter(|exchange| exchange.ended >= 0.0);
    let statuses: Vec<_> = in_the_drain
        .filter_map(|exchange| match exchange.end {
            ExchangeEnd::Status(status) if matching(status) => Some((exchange, status)),
            _ => None,
        })
        .collect();
    let (first, status) = statuses.first()?;
    Some(format!(
        "{} {} answered {status}, the first {} after SIGTERM",
        count(statuses.len(), "request"),
        was(statuses.len()),
        ms(first.ended)
    ))
}

fn websocket_cut(stop: &Stop) -> Option<String> {
    let (ended, how_many) = cut(stop, Protocol::Websocket)?;
    Some(format!(
        "{} ended {} after SIGTERM without a close frame",
        count(how_many, "WebSocket"),
        ms(ended)
    ))
}

fn event_stream_cut(stop: &Stop) -> Option<String> {
    let (ended, how_many) = cut(stop, Protocol::EventStream)?;
    Some(format!(
        "{} broke off {} after SIGTERM, without a last chunk",
        count(how_many, "event stream"),
        ms(ended)
    ))
}

fn no_goaway(stop: &Stop) -> Option<String> {
    let (ended, how_many) = cut(stop, Protocol::Http2)?;
    Some(format!(
        "{} ended {} after SIGTERM without GOAWAY",
        count(how_many, "HTTP/2 connection"),
        ms(ended)
    ))
}

fn cut(stop: &Stop, protocol: Protocol) -> Option<(Ms, usize)> {
    let improper = |stream: &&LongLived| stream.protocol == protocol && !stream.properly;
    let first = stop.streams.iter().find(improper)?;
    Some((first.ended, stop.streams.iter().filter(improper).count()))
}

fn exit_code_lies(stop: &Stop) -> Option<String> {
    if stop.end.killed {
        return None;
    }
    let exit = stop.end.exit;
    let lost = stop.lost().filter(|exchange| exchange.ended >= 0.0).count();
    let clean = exit.code == Some(0);
    // Who ends by raising SIGTERM again tells the truth in its own way, and systemd takes it so.
    let raised = exit.signal == Some(SIGTERM);
    if clean && lost > 0 {
        Some(format!("exit code 0, although {} {} lost", count(lost, "request"), was(lost)))
    } else if !clean && !raised && lost == 0 {
        Some(format!("{}, although no request was lost", exit.words()))
    } else {
        None
    }
}

fn requests_lost(stop: &Stop) -> Option<String> {
    let lost: Vec<_> = stop.lost().filter(|exchange| exchange.ended >= 0.0).collect();
    let first = lost.first()?;
    Some(format!(
        "{} failed after SIGTERM, the first after {} ({:?})",
        count(lost.len(), "request"),
        ms(first.ended),
        first.end
    ))
}

fn ms(time: Ms) -> String {
    // What was under way at SIGTERM may have begun a little before.
    let time = time.max(0.0);
    if time >= 9_999.5 { format!("{:.1} s", time / 1000.0) } else { format!("{time:.0} ms") }
}

fn count(how_many: usize, what: &str) -> String {
    format!("{how_many} {what}{}", if how_many == 1 { "" } else { "s" })
}

fn was(how_many: usize) -> &'static str {
    if how_many == 1 { "was" } else { "were" }
}

#[cfg(test)]
#[path = "diagnosis_tests.rs"]
mod tests;
