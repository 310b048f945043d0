//! Connections and listeners: what their tasks are told.

use std::time::Duration;

use lameduck::async_layer::{Cue, ListenerCue};
use lameduck::{Cause, Outcome, Phase, Protocol, Refused, Settings};

use crate::world::{World, on_every_runtime};

/// An idle connection is closed when the window of one second ends, without a spread.
fn without_spread() -> Settings {
    let (window, quiet) = (Some(Duration::from_secs(1)), Some(Duration::from_millis(300)));
    Settings { interactive: true, window, quiet, ..Settings::default() }
}

on_every_runtime! {
    async fn an_idle_one_is_announced_then_closed(world, Settings::default()) {
        let mut connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        let handle = connection.handle().clone();
        assert!(!handle.should_announce());
        let clock = world.clock.clone();
        world.spawn(async move {
            assert_eq!(connection.cue().await, Cue::AnnounceClose);
            assert!(clock.ms() <= 2_500, "in the first half of the window");
            assert_eq!(connection.cue().await, Cue::CloseIdle { look: true });
            assert!(clock.ms() >= 5_000, "after the window, since nothing was announced");
        });
        world.shutdown.request(Cause::Terminate).unwrap();
        world.run(2_500).await;
        assert!(handle.should_announce());
        let report = world.finished().await;
        assert_eq!((report.connections.adopted, report.exit_code), (1, 0));
        assert_eq!(handle.begin().unwrap_err(), Refused::Done);
    }

    async fn one_that_announced_is_closed_at_once(world, Settings::default()) {
        let mut connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        world.run(3_000).await;
        assert_eq!(connection.cue().await, Cue::AnnounceClose);
        let mut request = connection.begin().unwrap();
        request.headers_sent(connection.should_announce());
        request.finish(Outcome::Completed);
        assert_eq!(connection.cue().await, Cue::CloseIdle { look: true });
        assert_eq!(world.clock.ms(), 3_000);
        drop(connection);
        assert_eq!(world.finished().await.requests.completed, 1);
    }

    async fn http2_goes_away_in_two_steps(world, Settings::default()) {
        let mut connection = world.shutdown.connection(Protocol::Http2, "").unwrap();
        let first = connection.begin().unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        let clock = world.clock.clone();
        world.spawn(async move {
            assert_eq!(connection.cue().await, Cue::AnnounceClose);
            let announced = clock.ms();
            let second = connection.begin().expect("the first GOAWAY refuses no stream");
            assert_eq!(connection.cue().await, Cue::RefuseStreams);
            assert_eq!(clock.ms(), announced + 500, "the quiet period later");
            assert_eq!(connection.begin().unwrap_err(), Refused::Draining);
            drop((first, second));
            assert_eq!(connection.cue().await, Cue::CloseIdle { look: false });
            assert_eq!(clock.ms(), announced + 500, "at once, whatever else arrives");
        });
        let requests = world.finished().await.requests;
        assert_eq!((requests.completed, requests.not_processed), (2, 1));
    }

    async fn a_request_on_its_way_spares_the_look(world, without_spread()) {
        let mut connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        // Nobody listens to the cue: the connection's task is about to read a request.
        world.run(1_100).await;
        let mut request = connection.begin().expect("the machine was told that the connection is busy");
        assert_eq!(connection.cue().await, Cue::AnnounceClose);
        request.headers_sent(true);
        request.finish(Outcome::Completed);
        assert_eq!(connection.cue().await, Cue::CloseIdle { look: true });
        drop(connection);
        let report = world.finished().await;
        assert_eq!((report.requests.completed, report.requests.not_processed), (1, 0));
    }

    async fn the_look_may_find_bytes_once(world, without_spread()) {
        let mut connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        world.run(1_100).await;
        assert_eq!(connection.cue().await, Cue::AnnounceClose);
        assert_eq!(connection.cue().await, Cue::CloseIdle { look: true });
        connection.busy().unwrap();
        assert_eq!(connection.busy(), Err(Refused::AllowanceSpent));
        world.run(20_000).await;
        assert_eq!(connection.cue().await, Cue::CloseIdle { look: false }, "its head never came");
        drop(connection);
        world.finished().await;
    }

    async fn it_may_be_closed_with_requests_in_flight(world, Settings::default()) {
        let connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        let handle = connection.handle().clone();
        let request = handle.begin().unwrap();
        drop(connection);
        assert_eq!(handle.begin().unwrap_err(), Refused::UnknownConnection);
        drop(request);
        let connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        let (handle, request) = (connection.handle().clone(), connection.begin().unwrap());
        world.shutdown.request(Cause::Terminate).unwrap();
        drop(connection);
        assert_eq!(world.shutdown.report().requests.client_gone, 1);
        assert_eq!(handle.begin().unwrap_err(), Refused::UnknownConnection);
        request.finish(Outcome::Completed); // too late to matter
        let report = world.finished().await;
        assert_eq!((report.requests.adopted, report.requests.client_gone), (1, 1));
    }

    async fn one_accepted_while_draining_is_served(world, Settings::default()) {
        world.shutdown.request(Cause::Terminate).unwrap();
        world.run(1_000).await;
        let connection = world.shutdown.connection(Protocol::Http1, "192.0.2.9:1").unwrap();
        let request = connection.begin().unwrap();
        let json = world.shutdown.report().to_json();
        assert!(json.contains("192.0.2.9:1"), "{json}");
        request.finish(Outcome::Completed);
        drop(connection);
        let report = world.finished().await;
        assert_eq!((report.connections.opened, report.requests.admitted), (1, 1));
    }

    async fn a_websocket_is_told_and_closed(world, Settings::default()) {
        let mut connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        let upgrade = connection.begin().unwrap();
        connection.upgraded(Protocol::Websocket).unwrap();
        assert_eq!(connection.protocol(), Protocol::Websocket);
        world.shutdown.request(Cause::Terminate).unwrap();
        let clock = world.clock.clone();
        world.spawn(async move {
            assert_eq!(connection.cue().await, Cue::NotifyLongLived);
            assert_eq!(connection.cue().await, Cue::CloseLongLived);
            assert!((2_500..=5_000).contains(&clock.ms()), "in the second half of the window");
            upgrade.finish(Outcome::Ended);
        });
        let report = world.finished().await;
        assert_eq!((report.requests.ended, report.exit_code), (1, 0));
    }

    async fn an_upgrade_in_mid_drain_is_told(world, Settings::default()) {
        let mut connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        let upgrade = connection.begin().unwrap();
        connection.upgraded(Protocol::Websocket).unwrap();
        world.settle().await;
        let cue = loop {
            let cue = connection.cue().await;
            if cue != Cue::AnnounceClose {
                break cue;
            }
        };
        assert_eq!(cue, Cue::NotifyLongLived);
        drop((upgrade, connection));
        world.finished().await;
    }

    async fn at_the_deadline_it_is_forced(world, Settings::default()) {
        let mut connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        let mut request = connection.begin().unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        let clock = world.clock.clone();
        world.spawn(async move {
            assert_eq!(connection.cue().await, Cue::AnnounceClose);
            assert_eq!(connection.cue().await, Cue::Force { unanswered: 1 });
            assert_eq!(clock.ms(), 24_000);
        });
        world.run(25_000).await;
        assert_eq!(request.cue().await, lameduck::async_layer::RequestCue::Abort);
        assert_eq!(request.cue().await, lameduck::async_layer::RequestCue::Force);
        drop(request);
        assert_eq!(world.finished().await.exit_code, 1);
    }

    async fn a_listener_is_fenced_then_closed(world, Settings::default()) {
        let mut listener = world.shutdown.listener().unwrap();
        let failing = world.shutdown.listener().unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        failing.failed("too many open files");
        let clock = world.clock.clone();
        world.spawn(async move {
            assert_eq!((listener.cue().await, clock.ms()), (ListenerCue::Fence, 5_000));
            assert_eq!((listener.cue().await, clock.ms()), (ListenerCue::Close, 5_100));
            drop(listener);
        });
        world.run(5_050).await;
        assert_eq!(world.shutdown.phase(), Phase::Draining);
        let report = world.finished().await;
        assert_eq!(report.took_ms.0.as_millis(), 5_100);
    }
}
