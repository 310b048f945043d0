//! Sequences of operations from plain bytes, for the property test and the fuzzer alike.
//! Names are few, so that operations meet each other.

use std::time::Duration;

use lameduck::{
    Cause, ConnectionId, Event, Grace, HookId, JobId, JobOutcome, JobSource, ListenerId,
    NewRequests, OnDrain, Outcome, Protocol, Readiness, RequestId, RequestKind, Settings, Stage,
    Time,
};

/// One operation, before it is decoded: when, what, and three choices.
pub type Bytes = [u8; 5];

/// What is done, and how the clock moves before.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Microseconds; negative when the clock runs back.
    pub advance_us: i64,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Event(Event),
    Tick,
    /// Jump to the machine's next wake and tick there.
    Wake,
}

/// A policy in which every time is set, and fits. `None` when the bytes contradict.
pub fn settings([grace, window, reserve, quiet, flags]: Bytes) -> Settings {
    let graces = [0, 1, 40, 1_000, 1_600, 10_000, 30_000, 3_600_000];
    let grace_ms = graces[usize::from(grace) % graces.len()];
    let unlimited = grace >= 224;
    let budget = if unlimited { 30_000 } else { grace_ms - grace_ms / 10 };
    let part = |byte: u8, of: u64| Duration::from_millis(of * u64::from(byte) / 255);
    let window = part(window, budget / 2);
    let reserve = part(reserve, budget / 4);
    let small = part(quiet, budget / 8);
    Settings {
        grace: Some(if unlimited {
            Grace::Unlimited
        } else {
            Grace::Limited(Duration::from_millis(grace_ms))
        }),
        margin: Some(Duration::from_millis(grace_ms / 10)),
        reserve: Some(reserve),
        window: Some(window),
        settle: Some(small / 2),
        quiet: Some(small),
        abort_lead: Some(small),
        window_idle: (flags & 8 != 0).then_some(window / 3),
        new_requests: Some(if flags & 1 == 0 { NewRequests::Serve } else { NewRequests::Refuse }),
        readiness: Some(if flags & 2 == 0 { Readiness::Fail } else { Readiness::Keep }),
        seed: Some(u64::from(flags)),
        interactive: flags & 4 != 0,
        development: false,
    }
}

/// Every sequence of bytes is a sequence of operations.
pub fn operation([when, what, a, b, c]: Bytes) -> Operation {
    let steps = [0, 0, 0, 1, 1_000, 20_000, 100_000, 500_000, 1_000_000, 2_500_000, 5_000_000];
    let advance_us = match when {
        250..=255 => -i64::from(when) * 10_000,
        240..=249 => 40_000_000,
        _ => steps[usize::from(when) % steps.len()],
    };
    Operation { advance_us, what: kind(what, a, b, c) }
}

fn kind(what: u8, a: u8, b: u8, c: u8) -> What {
    let connection = ConnectionId(u64::from(a % 4) << 32 | 1);
    let request = RequestId(u32::from(b % 4));
    let protocols = Protocol::ALL;
    let protocol = protocols[usize::from(b) % protocols.len()];
    let kinds =
        [RequestKind::Ordinary, RequestKind::Stream, RequestKind::LongPoll, RequestKind::Upload];
    let kind = kinds[usize::from(c) % kinds.len()];
    let hook = HookId(u32::from(a % 5));
    let job = JobId(u32::from(a % 3));
    let listener = ListenerId(u32::from(a % 3));
    let flag = c & 1 == 0;
    What::Event(match what % 32 {
        0 | 1 => Event::ConnectionAdopted {
            connection,
            protocol,
            in_flight: if c == 255 { u32::MAX } else { u32::from(c % 4) },
            announced: c >= 240,
        },
        2 => Event::ConnectionBusy { connection },
        3 | 4 => Event::ConnectionClosed { connection },
        5 => Event::ConnectionDescribed { connection, peer: "peer".into() },
        6 => Event::ConnectionOpened { connection, protocol },
        7 => Event::ConnectionUpgraded { connection, protocol },
        8 if a < 64 => {
            Event::DeadlineChanged { grace: Duration::from_millis(u64::from(b) * u64::from(c)) }
        }
        9 if a < 32 => Event::Escalate,
        10 | 11 => Event::HookFinished { hook, error: (c & 3 == 0).then(|| "failed".into()) },
        12 | 13 => Event::HookRegistered {
            hook,
            stage: [Stage::Drain, Stage::Close, Stage::Flush][usize::from(b) % 3],
            name: "hook".into(),
            order: i32::from(b / 3 % 3) - 1,
            timeout: flag.then(|| Duration::from_millis(u64::from(c) * 20)),
        },
        14 | 15 => Event::JobFinished {
            job,
            outcome: [JobOutcome::Aborted, JobOutcome::Completed, JobOutcome::Failed]
                [usize::from(b) % 3],
        },
        16 => Event::JobStarted {
            job,
            name: "job".into(),
            source: if b & 1 == 0 { JobSource::Request } else { JobSource::Background },
            on_drain: if b & 2 == 0 { OnDrain::Wait } else { OnDrain::Cancel },
        },
        17 | 18 => Event::ListenerClosed { listener },
        19 => Event::ListenerFailed { listener, error: "EIO".into() },
        20 => Event::ListenerOpened { listener },
        21 => Event::RequestDescribed {
            connection,
            request,
            kind,
            label: "GET /".into(),
            since: Time::from_nanos(u64::from(b) * 1_000_000),
        },
        22 | 23 => Event::RequestFinished {
            connection,
            request,
            outcome: [Outcome::Completed, Outcome::ClientGone, Outcome::Ended, Outcome::Refused]
                [usize::from(c / 2) % 4],
            flushed: flag,
        },
        24 => Event::RequestFlushed { connection, request },
        25 => Event::RequestHeadersSent { connection, request, announced: flag },
        26 | 27 => Event::RequestStarted { connection, request, kind },
        28 => Event::Shutdown {
            cause: Cause::ALL[usize::from(a) % Cause::ALL.len()],
            ever_accepted: flag,
        },
        29 | 30 => return What::Wake,
        _ => return What::Tick,
    })
}
