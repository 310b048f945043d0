//! The way from Serving to Done, as the handle tells it.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use lameduck::{Cause, Phase, Refused, Settings};

use crate::world::{World, limited, on_every_runtime};

/// What tasks saw, in the order in which they saw it.
type Seen = Arc<Mutex<Vec<(&'static str, u64)>>>;

on_every_runtime! {
    async fn phases_come_in_order_and_none_is_missed(world, Settings::default()) {
        let seen: Seen = Arc::default();
        let note = |what| {
            let (seen, clock) = (Arc::clone(&seen), world.clock.clone());
            move || seen.lock().unwrap().push((what, clock.ms()))
        };
        let (draining, drained, done) = (note("draining"), note("drained"), note("done"));
        let shutdown = world.shutdown.clone();
        world.spawn(async move { shutdown.draining().await; draining(); });
        let shutdown = world.shutdown.clone();
        world.spawn(async move { shutdown.drained().await; drained(); });
        let shutdown = world.shutdown.clone();
        world.spawn(async move { assert_eq!(shutdown.done().await.exit_code, 0); done(); });
        let mut phases = world.shutdown.phases();
        assert_eq!(phases.next().await, Some(Phase::Serving));
        assert!(world.shutdown.is_ready());

        world.run(1_000).await;
        world.shutdown.request(Cause::Terminate).unwrap();
        assert_eq!(world.shutdown.phase(), Phase::Draining, "at once, whenever the driver is polled");
        assert!(!world.shutdown.is_ready());
        world.finished().await;

        assert_eq!(*seen.lock().unwrap(), [("draining", 1_000), ("drained", 6_000), ("done", 6_000)]);
        // A stream that nobody polled meanwhile still has them all.
        assert_eq!(
            phases.collect::<Vec<_>>().await,
            [Phase::Draining, Phase::Closing, Phase::Done]
        );
        assert_eq!(world.shutdown.phases().collect::<Vec<_>>().await, [Phase::Done]);
        world.shutdown.done().await;
    }

    async fn insisting_ends_the_window(world, Settings::default()) {
        assert_eq!(world.shutdown.escalate(), Err(Refused::Serving));
        let job = world.shutdown.job("import").unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        world.run(100).await;
        world.shutdown.escalate().unwrap();
        world.run(200).await;
        assert_eq!(world.shutdown.phase(), Phase::Draining, "the job is waited for");
        world.shutdown.escalate().unwrap();
        let report = world.finished().await;
        assert_eq!((report.jobs.forced, report.exit_code), (1, 1));
        assert_eq!(report.took_ms.0.as_millis(), 200);
        drop(job);
    }

    async fn the_deadline_may_move(world, Settings::default()) {
        assert_eq!(world.shutdown.hard_deadline(), None);
        let job = world.shutdown.job("import").unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        let before = world.shutdown.hard_deadline().unwrap();
        world.shutdown.change_deadline(std::time::Duration::from_secs(10)).unwrap();
        let after = world.shutdown.hard_deadline().unwrap();
        assert_eq!(before.since(after).as_secs(), 20);
        let report = world.finished().await;
        assert_eq!(report.took_ms.0.as_secs(), 7, "the drain deadline of ten seconds");
        drop(job);
    }

    async fn a_second_cause_raises_the_severity(world, Settings::default()) {
        world.shutdown.request(Cause::Terminate).unwrap();
        world.run(100).await;
        world.shutdown.request(Cause::UncaughtException).unwrap();
        let report = world.finished().await;
        assert_eq!((report.cause, report.exit_code), (Some("terminate"), 1));
        assert_eq!(report.took_ms.0.as_millis(), 100, "a fatal error skips the window");
        assert_eq!(world.shutdown.request(Cause::Terminate), Err(Refused::Done));
    }

    async fn without_grace_it_is_over_at_once(world, limited(0)) {
        let connection = world.shutdown.connection(lameduck::Protocol::Http1, "").unwrap();
        let request = connection.begin().unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        let report = world.finished().await;
        assert_eq!((report.requests.forced, report.exit_code), (1, 1));
        drop(request);
    }
}
