//! A server in five minutes: what a driver does, from the request to stop to the exit code.
//! Time is simulated; a real driver asks its monotonic clock.

use lameduck::{
    Cause, ConnectionId, Effect, Event, ListenerId, Machine, Outcome, Phase, Policy, Protocol,
    RequestId, Settings, Time,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let at_ms = |ms: u64| Time::from_nanos(ms * 1_000_000);
    let policy = Policy::resolve(&Settings::default(), &Settings::default())?;
    println!("{}\n", policy.describe());

    // While Serving the machine is told of listeners, hooks and jobs; requests are counted in
    // the driver's own ledger.
    let mut machine = Machine::new(policy);
    machine.handle(Event::ListenerOpened { listener: ListenerId(1) }, at_ms(0))?;

    // The request to stop, then the hand-over of every open connection, then ticks.
    let cause = Cause::Terminate;
    machine.handle(Event::Shutdown { cause, ever_accepted: true }, at_ms(1_000))?;
    let connection = ConnectionId(1);
    let adopted = Event::ConnectionAdopted {
        connection,
        protocol: Protocol::Http1,
        in_flight: 1,
        announced: false,
    };
    machine.handle(adopted, at_ms(1_000))?;

    let mut now = at_ms(1_000);
    let mut answered = false;
    while machine.phase() != Phase::Done {
        while let Some(effect) = machine.poll_effect() {
            println!("{:>9.3} s  {effect:?}", now.since(at_ms(1_000)).as_secs_f64());
            match effect {
                Effect::CloseListener { listener } => {
                    machine.handle(Event::ListenerClosed { listener }, now)?;
                }
                Effect::CloseIdle { connection, .. }
                | Effect::ForceConnection { connection, .. } => {
                    machine.handle(Event::ConnectionClosed { connection }, now)?;
                }
                // The rest (readiness, announcing, hooks …) is left out here.
                _ => {}
            }
        }
        // The handler answers seven seconds after the request to stop.
        if !answered && now >= at_ms(8_000) {
            answered = true;
            let request = RequestId(0);
            let head = Event::RequestHeadersSent { connection, request, announced: true };
            machine.handle(head, now)?;
            let outcome = Outcome::Completed;
            let end = Event::RequestFinished { connection, request, outcome, flushed: true };
            machine.handle(end, now)?;
        }
        let wake = machine.next_wake().map_or(now, |(at, _)| at);
        now = now.max(if answered { wake } else { wake.min(at_ms(8_000)) });
        machine.tick(now);
    }
    while let Some(effect) = machine.poll_effect() {
        println!("{:>9.3} s  {effect:?}", now.since(at_ms(1_000)).as_secs_f64());
    }
    println!("\n{}", machine.report(now).to_json());
    Ok(())
}
