//! Every event in every phase, by the table: what is refused changes nothing at all.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use lameduck::{
    Cause, ConnectionId, Event, EventKind, HookId, JobId, JobOutcome, JobSource, ListenerId,
    Machine, OnDrain, Phase, Protocol, Refused, RequestId, RequestKind, Stage, Time, table,
};

use support::driver::{Driver, finished, job_started, registered, started};

const C1: ConnectionId = ConnectionId(1);
const R0: RequestId = RequestId(0);
const L1: ListenerId = ListenerId(1);

#[test]
fn every_illegal_event_in_every_phase_is_refused_and_changes_nothing() {
    let machines = [serving(), draining(), closing(), done()];
    for (phase, machine) in Phase::ALL.into_iter().zip(machines) {
        assert_eq!(machine.phase(), phase);
        for event in one_of_each() {
            let mut after = machine.clone();
            let now = Time::from_nanos(90_000_000_000);
            let taken = after.handle(event.clone(), now);
            if let table::Rule::Refuse(reason) = table::rule(phase, event.kind()) {
                assert_eq!(taken, Err(reason), "{event:?} while {phase:?}");
            }
            if taken.is_err() {
                assert!(after == machine, "{event:?} while {phase:?} changed the machine");
                assert!(after.poll_effect() == machine.clone().poll_effect());
            } else {
                assert!(after != machine, "{event:?} while {phase:?} was taken without trace");
            }
        }
    }
}

fn serving() -> Machine {
    Driver::serving().machine
}

fn draining() -> Machine {
    let mut driver = Driver::draining();
    driver.adopt(1, Protocol::Http1, 1);
    driver.machine
}

fn closing() -> Machine {
    let mut driver = Driver::serving();
    driver.hook(1, Stage::Close, None);
    driver.stop(Cause::Terminate);
    driver.obedient = false;
    driver.adopt(1, Protocol::Http1, 1);
    driver.run(25_000);
    driver.machine
}

fn done() -> Machine {
    let mut driver = Driver::draining();
    driver.finished();
    driver.machine
}

fn one_of_each() -> Vec<Event> {
    let (connection, request, job, hook) = (C1, R0, JobId(1), HookId(1));
    let protocol = Protocol::Http2;
    let events = vec![
        Event::ConnectionAdopted { connection, protocol, in_flight: 0, announced: true },
        Event::ConnectionBusy { connection },
        Event::ConnectionClosed { connection },
        Event::ConnectionDescribed { connection, peer: "peer".into() },
        Event::ConnectionOpened { connection: ConnectionId(2), protocol },
        Event::ConnectionUpgraded { connection, protocol },
        Event::DeadlineChanged { grace: Duration::from_secs(9) },
        Event::Escalate,
        Event::HookFinished { hook, error: None },
        registered(2, Stage::Flush, None),
        Event::JobFinished { job, outcome: JobOutcome::Completed },
        job_started(1, JobSource::Request, OnDrain::Wait),
        Event::ListenerClosed { listener: L1 },
        Event::ListenerFailed { listener: L1, error: "EIO".into() },
        Event::ListenerOpened { listener: ListenerId(2) },
        Event::RequestDescribed {
            connection,
            request,
            kind: RequestKind::Upload,
            label: "PUT /".into(),
            since: Time::default(),
        },
        finished(1, 0),
        Event::RequestFlushed { connection, request },
        Event::RequestHeadersSent { connection, request, announced: false },
        started(1, 1),
        Event::Shutdown { cause: Cause::Terminate, ever_accepted: true },
    ];
    assert!(events.iter().map(Event::kind).eq(table::TABLE.iter().map(|(kind, _)| *kind)));
    assert_eq!(events.len(), EventKind::Shutdown as usize + 1);
    events
}

const ALL: [Refused; 17] = [
    Refused::AlreadyKnown,
    Refused::AllowanceSpent,
    Refused::Closing,
    Refused::Done,
    Refused::Draining,
    Refused::Forced,
    Refused::HeadersAlreadySent,
    Refused::NotIdle,
    Refused::NotInFlight,
    Refused::NotRunning,
    Refused::Serving,
    Refused::TooMany,
    Refused::UnknownConnection,
    Refused::UnknownHook,
    Refused::UnknownJob,
    Refused::UnknownListener,
    Refused::UnknownRequest,
];

#[test]
fn every_refusal_has_a_name_and_a_sentence_of_its_own() {
    let names: BTreeSet<&str> = ALL.into_iter().map(Refused::name).collect();
    let sentences: BTreeSet<String> = ALL.iter().map(ToString::to_string).collect();
    assert_eq!((names.len(), sentences.len()), (ALL.len(), ALL.len()));
    assert!(sentences.iter().all(|sentence| sentence.split(' ').count() > 3), "{sentences:?}");
    for refused in ALL {
        assert_eq!(serde_json::json!(refused), refused.name(), "the name is the same everywhere");
    }
}
