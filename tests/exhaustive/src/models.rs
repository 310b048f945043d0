//! The models: small ones, in which everything is reached and every seeded bug is found, and
//! large ones, in which as much as possible meets.

use lameduck::{Cause, Outcome, Protocol, RequestKind, Stage};

use crate::bounds::{Begins, Bounds, Connection, Hook, Times};

const NOTHING: Bounds = Bounds {
    name: "",
    times: Times::TEN_SECONDS,
    listeners: 0,
    connections: &[],
    hooks: &[],
    job: None,
    causes: &[Cause::Terminate],
    later_causes: &[],
    escalations: 0,
    graces: &[],
    late: (0, &[]),
    between: 0,
    prompt: false,
    farthest_first: false,
};

const DRAIN: Hook =
    Hook { stage: Stage::Drain, order: 0, timeout: None, begins: Begins::Serving, fails: false };
const CLOSE: Hook = Hook { stage: Stage::Close, ..DRAIN };
const FLUSH: Hook = Hook { stage: Stage::Flush, ..DRAIN };

const ORDINARY: &[RequestKind] = &[RequestKind::Ordinary];
const STREAM: &[RequestKind] = &[RequestKind::Stream];
const LONG_POLL: &[RequestKind] = &[RequestKind::LongPoll];

const HTTP1: Connection = Connection::HTTP1;
const HTTP2: Connection = Connection { protocol: Protocol::Http2, ..HTTP1 };
const WEBSOCKET: Connection = Connection { protocol: Protocol::Websocket, ..HTTP1 };
const TUNNEL: Connection = Connection { protocol: Protocol::Tunnel, ..HTTP1 };

/// The models that run in a moment; each seeded bug is found by one of them.
pub const REDUCED: &[Bounds] = &[
    Bounds {
        name: "hooks",
        listeners: 1,
        hooks: &[
            Hook { timeout: Some(300), ..DRAIN },
            Hook { fails: true, ..CLOSE },
            Hook { timeout: Some(200), begins: Begins::Late, ..CLOSE },
        ],
        job: Some(Begins::Serving),
        late: (1, &[9_000]),
        ..NOTHING
    },
    Bounds {
        name: "stages",
        hooks: &[CLOSE, Hook { order: 1, ..CLOSE }, FLUSH],
        escalations: 4,
        ..NOTHING
    },
    Bounds {
        name: "http1",
        listeners: 1,
        connections: &[Connection {
            requests: &[ORDINARY, ORDINARY],
            heads: &[false, true],
            flushes_late: true,
            ..HTTP1
        }],
        ..NOTHING
    },
    Bounds {
        name: "http2",
        connections: &[Connection {
            requests: &[ORDINARY, &[RequestKind::Stream, RequestKind::LongPoll]],
            ..HTTP2
        }],
        hooks: &[FLUSH],
        job: Some(Begins::Serving),
        ..NOTHING
    },
    Bounds {
        name: "told before",
        connections: &[
            Connection { adopted: Some(1), announced: true, ..HTTP1 },
            Connection { adopted: Some(1), announced: true, requests: &[&[], ORDINARY], ..HTTP2 },
        ],
        ..NOTHING
    },
    Bounds {
        name: "streams",
        connections: &[Connection { requests: &[STREAM, ORDINARY], described: LONG_POLL, ..HTTP1 }],
        ..NOTHING
    },
    Bounds {
        name: "upgraded",
        connections: &[
            Connection { adopted: Some(1), upgrades: &[Protocol::Websocket], ..HTTP1 },
            TUNNEL,
        ],
        ..NOTHING
    },
    Bounds {
        name: "deadlines",
        listeners: 1,
        hooks: &[CLOSE],
        job: Some(Begins::Late),
        escalations: 1,
        graces: &[1_000, 5_000, 20_000],
        later_causes: &[Cause::UncaughtException],
        ..NOTHING
    },
    Bounds {
        name: "refused",
        times: Times {
            refuse_new: true,
            keep_ready: true,
            window_idle: Some(700),
            ..NOTHING.times
        },
        listeners: 1,
        connections: &[Connection {
            adopted: None,
            requests: &[ORDINARY],
            outcomes: &[Outcome::Refused],
            ..HTTP1
        }],
        hooks: &[CLOSE],
        ..NOTHING
    },
    Bounds {
        name: "unlimited",
        times: Times { grace: None, ..NOTHING.times },
        connections: &[Connection { adopted: Some(1), ..HTTP1 }],
        hooks: &[CLOSE],
        escalations: 4,
        graces: &[5_000],
        ..NOTHING
    },
];

/// Listeners settle when the first quiet period is over, so that fewer times differ.
const GRID: Times = Times { settle: 500, ..Times::TEN_SECONDS };

/// The models that look at as much as possible. Their bounds are where memory and ten minutes end.
pub const FULL: &[Bounds] = &[
    Bounds {
        name: "everything",
        times: GRID,
        listeners: 2,
        connections: &[
            Connection { adopted: Some(1), ..HTTP1 },
            Connection { requests: &[STREAM], ..HTTP2 },
            WEBSOCKET,
        ],
        hooks: &[Hook { timeout: Some(500), ..CLOSE }, FLUSH],
        job: Some(Begins::Serving),
        escalations: 1,
        graces: &[20_000],
        prompt: true,
        farthest_first: true,
        ..NOTHING
    },
    Bounds {
        name: "hooks",
        listeners: 2,
        hooks: &[
            Hook { timeout: Some(300), ..DRAIN },
            Hook { fails: true, ..CLOSE },
            Hook { timeout: Some(200), fails: true, ..FLUSH },
        ],
        job: Some(Begins::Serving),
        escalations: 2,
        late: (1, &[3_000, 9_000]),
        between: 1,
        ..NOTHING
    },
    Bounds {
        name: "late hooks",
        hooks: &[
            Hook { begins: Begins::Late, ..CLOSE },
            Hook { order: 1, timeout: Some(200), begins: Begins::Late, ..CLOSE },
            Hook { begins: Begins::Late, fails: true, ..FLUSH },
        ],
        job: Some(Begins::Late),
        escalations: 4,
        graces: &[5_000],
        late: (1, &[9_000]),
        between: 1,
        ..NOTHING
    },
    Bounds {
        name: "http1",
        listeners: 1,
        connections: &[
            Connection {
                requests: &[ORDINARY, ORDINARY],
                heads: &[false, true],
                flushes_late: true,
                outcomes: &[Outcome::Completed, Outcome::ClientGone],
                ..HTTP1
            },
            Connection { adopted: None, requests: &[ORDINARY], heads: &[true], ..HTTP1 },
        ],
        ..NOTHING
    },
    Bounds {
        name: "http2",
        connections: &[
            Connection {
                adopted: Some(1),
                requests: &[
                    &[],
                    &[RequestKind::Ordinary, RequestKind::Stream, RequestKind::LongPoll],
                ],
                heads: &[false],
                ..HTTP2
            },
            Connection { adopted: None, requests: &[STREAM, LONG_POLL], ..HTTP2 },
        ],
        late: (1, &[3_000]),
        ..NOTHING
    },
    Bounds {
        name: "long-lived",
        connections: &[
            Connection {
                adopted: Some(1),
                described: STREAM,
                upgrades: &[Protocol::Websocket, Protocol::Http2],
                ..HTTP1
            },
            WEBSOCKET,
            Connection { adopted: None, ..TUNNEL },
        ],
        listeners: 1,
        ..NOTHING
    },
    Bounds {
        name: "mixed",
        listeners: 1,
        connections: &[
            Connection { requests: &[ORDINARY, ORDINARY], ..HTTP1 },
            Connection { requests: &[STREAM, LONG_POLL], ..HTTP2 },
            WEBSOCKET,
        ],
        ..NOTHING
    },
    Bounds {
        name: "deadlines",
        listeners: 1,
        connections: &[Connection { adopted: Some(1), ..HTTP1 }],
        hooks: &[Hook { timeout: Some(300), ..CLOSE }],
        escalations: 4,
        graces: &[1_000, 20_000],
        later_causes: &[Cause::Interrupt, Cause::UncaughtException],
        late: (1, &[3_000]),
        prompt: true,
        ..NOTHING
    },
    Bounds {
        name: "unlimited",
        times: Times { grace: None, ..NOTHING.times },
        listeners: 1,
        connections: &[Connection { adopted: Some(1), ..HTTP1 }, WEBSOCKET],
        hooks: &[CLOSE, FLUSH],
        job: Some(Begins::Serving),
        escalations: 4,
        graces: &[5_000],
        prompt: true,
        ..NOTHING
    },
    Bounds {
        name: "refused",
        times: Times {
            refuse_new: true,
            keep_ready: true,
            window_idle: Some(700),
            ..NOTHING.times
        },
        listeners: 1,
        connections: &[
            Connection {
                adopted: None,
                requests: &[ORDINARY],
                outcomes: &[Outcome::Refused],
                ..HTTP1
            },
            Connection { requests: &[STREAM], outcomes: &[Outcome::Refused], ..HTTP2 },
        ],
        hooks: &[CLOSE],
        ..NOTHING
    },
];
