//! The rules on observations made by hand: a good stop shows nothing, and each habit shows itself
//! and nothing else.

use super::*;
use crate::drill::observation::{ProcessEnd, ReadinessCheck, Terms};
use crate::drill::server::Exit;

const EXITED: Exit = Exit { code: Some(0), signal: None };

/// A stop without a fault: readiness fails at once, the listener closes after 600 ms, gone at 700.
fn good() -> Stop {
    let check = |at, answer| ReadinessCheck { at, answer };
    Stop {
        terms: Terms { readiness: true, looks_away_after: 300.0, grace: Some(2000.0) },
        checks: vec![
            check(-10.0, ReadinessAnswer::Ready),
            check(5.0, ReadinessAnswer::Unready(503)),
            check(580.0, ReadinessAnswer::Unready(503)),
            check(605.0, ReadinessAnswer::Refused),
        ],
        exchanges: vec![
            exchange(Sender::Slow, -50.0, 150.0, ExchangeEnd::Answered),
            exchange(Sender::KeptAlive, 60.0, 61.0, ExchangeEnd::Answered),
            exchange(Sender::Newcomer, 290.0, 291.0, ExchangeEnd::Answered),
            exchange(Sender::SlowReader, -200.0, 690.0, ExchangeEnd::Answered),
        ],
        closes: Vec::new(),
        streams: [Protocol::Websocket, Protocol::EventStream, Protocol::Http2]
            .map(|protocol| LongLived { protocol, ended: 610.0, properly: true })
            .to_vec(),
        end: ProcessEnd { at: 700.0, exit: EXITED, killed: false },
    }
}

fn exchange(sender: Sender, begun: Ms, ended: Ms, end: ExchangeEnd) -> Exchange {
    let announced = ended > 0.0 && end == ExchangeEnd::Answered;
    Exchange { sender, begun, ended, answered_before: false, announced, end }
}

/// A good stop with one thing changed, diagnosed.
fn found(change: impl FnOnce(&mut Stop)) -> Vec<Mistake> {
    let mut stop = good();
    change(&mut stop);
    diagnose(&[stop]).iter().map(|finding| finding.mistake).collect()
}

/// The process ends on its own at once, and everything with it.
fn dies(stop: &mut Stop, exit: Exit) {
    stop.end = ProcessEnd { at: 4.0, exit, killed: false };
    stop.checks = vec![
        ReadinessCheck { at: -10.0, answer: ReadinessAnswer::Ready },
        ReadinessCheck { at: 6.0, answer: ReadinessAnswer::Refused },
    ];
    stop.exchanges = vec![
        exchange(Sender::Slow, -50.0, 5.0, ExchangeEnd::UnansweredFresh(false)),
        exchange(Sender::SlowReader, -200.0, 5.0, ExchangeEnd::Truncated),
    ];
    stop.closes = vec![Close { at: 5.0, idle: 30.0, answered_before: false }];
    for stream in &mut stop.streams {
        (stream.ended, stream.properly) = (5.0, false);
    }
}

#[test]
fn a_good_stop_shows_nothing() {
    assert_eq!(found(|_| {}), []);
}

#[test]
fn the_end_of_the_process_explains_everything_else() {
    let signal = Exit { code: None, signal: Some(15) };
    assert_eq!(found(|stop| dies(stop, signal)), [Mistake::NoHandler]);
    let by_npm = Exit { code: Some(143), signal: None };
    assert_eq!(found(|stop| dies(stop, by_npm)), [Mistake::NoHandler]);
    assert_eq!(found(|stop| dies(stop, EXITED)), [Mistake::ExitsAtOnce]);
    // On a busy machine it hears of SIGTERM late, and answers somebody meanwhile.
    let late = found(|stop| {
        dies(stop, EXITED);
        stop.end.at = 76.0;
        (stop.checks[1].at, stop.closes[0].at) = (78.0, 77.0);
        for exchange in &mut stop.exchanges {
            exchange.ended = 77.0;
        }
        let mut answered = exchange(Sender::Slow, -150.0, 60.0, ExchangeEnd::Answered);
        answered.announced = false;
        stop.exchanges.push(answered);
    });
    assert_eq!(late, [Mistake::ExitsAtOnce]);
}

#[test]
fn a_signal_raised_again_after_the_drain_is_no_mistake() {
    assert_eq!(found(|stop| stop.end.exit = Exit { code: None, signal: Some(15) }), []);
}

#[test]
fn readiness_and_listener() {
    let all = |stop: &mut Stop, answer| {
        for check in stop.checks.iter_mut().filter(|check| (0.0..600.0).contains(&check.at)) {
            check.answer = answer;
        }
    };
    let green = found(|stop| all(stop, ReadinessAnswer::Ready));
    assert_eq!(green, [Mistake::ReadinessStaysGreen]);
    // What comes in the very moment of the close breaks: still green.
    let broken = found(|stop| {
        all(stop, ReadinessAnswer::Ready);
        stop.checks[3].answer = ReadinessAnswer::Broken;
    });
    assert_eq!(broken, [Mistake::ReadinessStaysGreen]);
    assert_eq!(found(|stop| stop.checks[3].at = 250.0), [Mistake::ListenerClosesEarly]);
    assert_eq!(found(|stop| stop.checks[3].at = 290.0), [], "as good as 300");
    let at_once = found(|stop| {
        stop.checks.truncate(1);
        stop.checks.push(ReadinessCheck { at: 2.0, answer: ReadinessAnswer::Refused });
        let lost = exchange(Sender::Newcomer, 5.0, 5.2, ExchangeEnd::Refused);
        let race = exchange(Sender::Newcomer, 1.0, 2.0, ExchangeEnd::UnansweredFresh(true));
        stop.exchanges.extend([lost, race]);
    });
    assert_eq!(at_once, [Mistake::ListenerClosesEarly]);
    let no_route = found(|stop| {
        stop.terms.readiness = false;
        all(stop, ReadinessAnswer::Ready);
    });
    assert_eq!(no_route, [], "what is not asked for cannot fail");
}

#[test]
fn whoever_comes_after_the_balancer_looked_away_does_not_count() {
    for end in [ExchangeEnd::Refused, ExchangeEnd::UnansweredFresh(true)] {
        assert_eq!(
            found(|stop| stop.exchanges.push(exchange(Sender::Newcomer, 604.0, 605.0, end))),
            []
        );
    }
}

#[test]
fn an_open_listener_that_does_not_accept() {
    let mute = found(|stop| {
        stop.checks[1].answer = ReadinessAnswer::Mute;
        stop.checks[1].at = 510.0;
        stop.checks[2].answer = ReadinessAnswer::Broken;
        let reset = exchange(Sender::Newcomer, 5.0, 602.0, ExchangeEnd::UnansweredFresh(true));
        stop.exchanges.push(reset);
    });
    assert_eq!(mute, [Mistake::AcceptQueueReset]);
}

#[test]
fn kept_alive_connections() {
    let closed = |idle, answered_before| {
        found(|stop| stop.closes.push(Close { at: 8.0, idle, answered_before }))
    };
    assert_eq!(closed(40.0, false), [Mistake::IdleKeepAliveReset]);
    assert_eq!(closed(40.0, true), [Mistake::NoConnectionClose]);
    assert_eq!(closed(500.0, false), [], "a quiet connection may be closed");
    let lost = |sent: Ms, answered_before| {
        found(|stop| {
            let end = ExchangeEnd::UnansweredReused(true);
            let lost = exchange(Sender::KeptAlive, sent, 300.0, end);
            stop.exchanges.push(Exchange { answered_before, ..lost });
        })
    };
    assert_eq!(lost(299.0, false), [Mistake::IdleKeepAliveReset]);
    assert_eq!(lost(299.0, true), [Mistake::NoConnectionClose]);
    assert_eq!(lost(20.0, true), [Mistake::ResponseCut], "the server had it in hand");
}

#[test]
fn responses() {
    let ends = |sender, end| found(|stop| stop.exchanges.push(exchange(sender, -20.0, 600.0, end)));
    assert_eq!(ends(Sender::SlowReader, ExchangeEnd::Truncated), [Mistake::ResponseCut]);
    assert_eq!(ends(Sender::Slow, ExchangeEnd::UnansweredFresh(false)), [Mistake::ResponseCut]);
    assert_eq!(ends(Sender::KeptAlive, ExchangeEnd::Status(503)), [Mistake::RefusesRequests]);
    assert_eq!(ends(Sender::KeptAlive, ExchangeEnd::Status(500)), [Mistake::PoolClosedEarly]);
    assert_eq!(ends(Sender::KeptAlive, ExchangeEnd::Status(404)), [Mistake::ExitCodeLies]);
    let honest = found(|stop| {
        stop.end.exit.code = Some(1);
        let odd = exchange(Sender::KeptAlive, 100.0, 101.0, ExchangeEnd::Wrong);
        stop.exchanges.push(odd);
    });
    assert_eq!(honest, [Mistake::RequestsLost], "nothing explains it, and it is not passed over");
}

#[test]
fn exits() {
    let killed = found(|stop| {
        stop.end =
            ProcessEnd { at: 5000.0, exit: Exit { code: None, signal: Some(9) }, killed: true };
        stop.checks[1].answer = ReadinessAnswer::Ready;
        stop.checks[2] = ReadinessCheck { at: 4900.0, answer: ReadinessAnswer::Ready };
        stop.exchanges.push(exchange(Sender::SlowReader, -20.0, 5001.0, ExchangeEnd::Truncated));
        stop.streams[0].properly = false;
    });
    assert_eq!(killed, [Mistake::NeverExits]);
    assert_eq!(found(|stop| stop.end.at = 2100.0), [Mistake::ExitsLate]);
    assert_eq!(found(|stop| stop.end.exit.code = Some(1)), [Mistake::ExitCodeLies]);
    assert_eq!(
        found(|stop| stop.end.exit = Exit { code: None, signal: Some(11) }),
        [Mistake::ExitCodeLies]
    );
    // Cut at its deadline, not before: no mistake, but it must say so.
    let forced = |code| {
        found(|stop| {
            let cut = exchange(Sender::Slow, -20.0, 1900.0, ExchangeEnd::UnansweredFresh(false));
            stop.exchanges.push(cut);
            stop.end = ProcessEnd {
                at: 1900.0,
                exit: Exit { code: Some(code), signal: None },
                killed: false,
            };
        })
    };
    assert_eq!(forced(0), [Mistake::ExitCodeLies]);
    assert_eq!(forced(1), [Mistake::RequestsLost]);
}

#[test]
fn long_lived_connections() {
    let cut = |at: usize| found(|stop| stop.streams[at].properly = false);
    assert_eq!(cut(0), [Mistake::WebsocketCut]);
    assert_eq!(cut(1), [Mistake::EventStreamCut]);
    assert_eq!(cut(2), [Mistake::NoGoaway]);
}

#[test]
fn stops_are_counted_and_the_first_is_the_evidence() {
    let mut late = good();
    late.end.at = 2500.0;
    let mut later = good();
    later.end.at = 2600.0;
    let findings = diagnose(&[good(), late, later]);
    assert_eq!((findings.len(), findings[0].stops), (1, 2));
    assert_eq!(findings[0].evidence, "it was gone 2500 ms after SIGTERM; its grace is 2000 ms");
    assert_eq!(findings[0].remedy, Mistake::ExitsLate.remedy());
}
