//! Jobs, and guards that are asked for too late.

use futures::FutureExt;
use lameduck::async_layer::JobOptions;
use lameduck::{Cause, OnDrain, Phase, Protocol, Refused, Settings};

use crate::world::{World, on_every_runtime};

on_every_runtime! {
    async fn jobs_end_in_every_way(world, Settings::default()) {
        let job = |name: &'static str| world.shutdown.job(name).unwrap();
        drop(job("ended while serving"));
        let (completed, failed, aborted, hung) = (job("a"), job("b"), job("c"), job("hung"));
        world.shutdown.request(Cause::Terminate).unwrap();
        assert_eq!(world.shutdown.blockers(10).jobs, 4);
        drop(completed);
        failed.failed();
        let connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        let panicking = connection.begin().unwrap().job("panics").unwrap();
        world.spawn(std::panic::AssertUnwindSafe(async move {
            let _job = panicking;
            panic!("in a job");
        }).catch_unwind().map(|_| ()));
        let clock = world.clock.clone();
        world.spawn(async move {
            assert!(!aborted.is_cancelled());
            aborted.cancelled().await;
            assert_eq!((aborted.is_cancelled(), clock.ms()), (true, 23_000));
            aborted.aborted();
        });
        let report = world.finished().await;
        let jobs = &report.jobs;
        assert_eq!((jobs.completed, jobs.failed, jobs.aborted, jobs.forced), (1, 2, 1, 1));
        assert!(report.to_json().contains(r#""name":"hung""#));
        drop(hung);
    }

    async fn more_than_a_connection_can_have_are_refused(world, Settings::default()) {
        let connection = world.shutdown.connection(Protocol::Http2, "").unwrap();
        let most: Vec<_> = std::iter::from_fn(|| connection.begin().ok()).take(1 << 16).collect();
        assert_eq!(most.len(), 1 << 15, "they stop long before the count would wrap");
        assert_eq!(connection.begin().unwrap_err(), Refused::TooMany);
        world.shutdown.request(Cause::Terminate).unwrap();
        assert_eq!(connection.begin().unwrap_err(), Refused::TooMany);
        assert_eq!(world.shutdown.blockers(0).requests, 1 << 15);
        drop(connection);
        drop(most);
        assert_eq!(world.finished().await.requests.client_gone, 1 << 15);
    }

    async fn one_that_begins_late_is_cancelled_too(world, Settings::default()) {
        let other = world.shutdown.job("other").unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        world.run(23_500).await;
        let connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        let late = connection.begin().unwrap().job("late").unwrap();
        late.cancelled().await;
        drop((late, other, connection));
        world.finished().await;
    }

    async fn one_that_yields_is_cancelled_by_the_drain(world, Settings::default()) {
        let yields = JobOptions::new("cache").on_drain(OnDrain::Cancel);
        let job = world.shutdown.job(yields).unwrap();
        let other = world.shutdown.job("other").unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        job.cancelled().await;
        assert!(!other.is_cancelled());
        job.aborted();
        drop(other);
        let report = world.finished().await;
        assert_eq!((report.jobs.cancelled, report.jobs.completed, report.exit_code), (1, 1, 0));
    }

    async fn too_late_is_refused_with_the_reason(world, Settings::default()) {
        let shutdown = world.shutdown.clone();
        let idle = shutdown.connection(Protocol::Http1, "").unwrap();
        shutdown.request(Cause::Terminate).unwrap();
        assert_eq!(shutdown.listener().unwrap_err(), Refused::Draining);
        assert_eq!(shutdown.job("late").unwrap_err(), Refused::Draining);
        assert_eq!(shutdown.on_drain("late", || async {}), Err(Refused::Draining));
        assert_eq!(shutdown.on_close("still possible", || async {}), Ok(()));
        let seen = shutdown.clone();
        shutdown.on_close("asks in Closing", move || async move {
            assert_eq!(seen.phase(), Phase::Closing);
            assert_eq!(seen.listener().unwrap_err(), Refused::Closing);
            assert_eq!(seen.connection(Protocol::Http1, "").unwrap_err(), Refused::Closing);
            assert_eq!(seen.job("late").unwrap_err(), Refused::Closing);
            assert_eq!(seen.on_flush("late", || async {}), Err(Refused::Closing));
        }).unwrap();
        // Not closed: it is cut at the deadline, and its handle still answers.
        let report = world.finished().await;
        assert_eq!(report.exit_code, 0, "{:?}", report.lost);
        assert_eq!(idle.begin().unwrap_err(), Refused::Done);
        assert_eq!(shutdown.connection(Protocol::Http1, "").unwrap_err(), Refused::Done);
        assert_eq!(shutdown.job("late").unwrap_err(), Refused::Done);
        assert_eq!(shutdown.listener().unwrap_err(), Refused::Done);
    }
}
