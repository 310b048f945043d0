//! Requests: counted while Serving, adopted at the hand-over, ended once.

use lameduck::{Blocker, Cause, NewRequests, Outcome, Protocol, Refused, RequestKind, Settings};

use crate::world::{World, on_every_runtime};

fn labels(world: &World) -> Vec<(Option<String>, u128)> {
    let request = |blocker| match blocker {
        Blocker::Request { label, age_ms, .. } => Some((label, age_ms.0.as_millis())),
        _ => None,
    };
    world.shutdown.blockers(10).oldest.into_iter().filter_map(request).collect()
}

fn named(label: &str, age_ms: u128) -> (Option<String>, u128) {
    (Some(label.to_string()), age_ms)
}

fn refusing() -> Settings {
    Settings { new_requests: Some(NewRequests::Refuse), ..Settings::default() }
}

on_every_runtime! {
    async fn what_began_before_and_ended_after_is_one_adopted_request(world, Settings::default()) {
        let connection = world.shutdown.connection(Protocol::Http2, "192.0.2.1:5000").unwrap();
        let (one, two) = (connection.begin().unwrap(), connection.begin().unwrap());
        drop(connection.begin().unwrap()); // before: the machine never hears of it
        world.shutdown.request(Cause::Terminate).unwrap();
        assert_eq!(world.shutdown.report().requests.adopted, 2);
        drop(one);
        let report = world.shutdown.report();
        assert_eq!((report.requests.completed, report.requests.in_flight), (1, 1));
        let three = connection.begin().unwrap();
        two.finish(Outcome::ClientGone);
        three.finish(Outcome::Completed);
        drop(connection);
        let report = world.finished().await;
        let requests = report.requests;
        assert_eq!((requests.adopted, requests.admitted), (2, 1));
        assert_eq!((requests.completed, requests.client_gone), (2, 1));
        assert_eq!(report.exit_code, 0);
    }

    async fn blockers_name_the_oldest_first_at_any_moment(world, Settings::default()) {
        let connection = world.shutdown.connection(Protocol::Http2, "192.0.2.1:5000").unwrap();
        let other = world.shutdown.connection(Protocol::Http1, "192.0.2.2:5000").unwrap();
        let nameless = connection.begin().unwrap();
        world.run(100).await;
        let mut slow = connection.begin().unwrap();
        slow.describe(RequestKind::Ordinary, "GET /slow");
        world.run(300).await;
        let mut upload = other.begin().unwrap();
        upload.describe(RequestKind::Upload, format!("POST /files/{}", 7));
        world.run(1_000).await;

        let serving = world.shutdown.blockers(10);
        assert_eq!((serving.requests, serving.idle_connections), (3, 0));
        let expected = [named("GET /slow", 900), named("POST /files/7", 700)];
        assert_eq!(labels(&world), expected, "those without a label are only counted");
        assert_eq!(world.shutdown.blockers(1).oldest.len(), 1);

        world.shutdown.request(Cause::Terminate).unwrap();
        world.run(1_500).await;
        let draining = world.shutdown.blockers(10);
        assert_eq!(draining.requests, 3);
        let expected =
            [named("GET /slow", 1_400), named("POST /files/7", 1_200), (Some(String::new()), 500)];
        let mut found = labels(&world);
        found[2].0.get_or_insert_default();
        assert_eq!(found, expected, "adopted with kind, label and age; the nameless since t0");
        let line = serde_json::to_string(&draining.oldest[1]).unwrap();
        assert!(line.contains(r#""kind":"upload","peer":"192.0.2.2:5000""#), "{line}");

        drop(slow);
        assert_eq!(labels(&world)[0], named("POST /files/7", 1_200), "its own entry is gone");
        drop((nameless, upload, connection, other));
        assert_eq!(world.finished().await.exit_code, 0);
    }

    async fn described_late_it_is_still_one_of_those_adopted(world, Settings::default()) {
        let connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        let mut request = connection.begin().unwrap();
        let other = connection.begin().unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        world.run(10).await;
        request.describe(RequestKind::Ordinary, "GET /late");
        assert!(labels(&world).contains(&named("GET /late", 0)));
        request.headers_sent(true);
        let report = world.shutdown.report().to_json();
        assert!(report.contains(r#""state":"response begun""#), "{report}");
        drop((other, request, connection));
        assert_eq!(world.finished().await.requests.completed, 2);
    }

    async fn what_happened_to_a_head_before_is_known_after(world, Settings::default()) {
        let connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        let mut request = connection.begin().unwrap();
        request.headers_sent(true);
        request.headers_sent(false); // counts once
        let unflushed = request.finish_unflushed(Outcome::Completed);
        world.shutdown.request(Cause::Terminate).unwrap();
        let json = world.shutdown.report().to_json();
        assert!(json.contains(r#""state":"response not flushed""#), "{json}");
        assert_eq!(connection.begin().unwrap_err(), Refused::Draining, "it announced (RFC 9112)");
        assert_eq!(world.shutdown.report().requests.not_processed, 1);
        drop(unflushed);
        drop(connection);
        let report = world.finished().await;
        assert_eq!((report.requests.completed, report.requests.admitted), (1, 0));
    }

    async fn it_is_in_flight_until_it_is_flushed(world, Settings::default()) {
        let connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        let request = connection.begin().unwrap();
        let unflushed = request.finish_unflushed(Outcome::Completed);
        world.run(20_000).await;
        assert_eq!(world.shutdown.blockers(1).requests, 1, "its bytes are still here");
        drop(unflushed);
        assert_eq!(world.shutdown.blockers(1).requests, 0);
        drop(connection);
        assert_eq!(world.finished().await.requests.completed, 1);
    }

    async fn a_guard_may_be_moved_into_a_body_that_lives_on(world, Settings::default()) {
        let connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        let (chunks, body) = futures::channel::mpsc::unbounded::<()>();
        let handler = || {
            let request = connection.begin().unwrap();
            async move {
                futures::StreamExt::collect::<Vec<()>>(body).await;
                drop(request);
            }
        };
        let body = handler(); // the handler is done, the body is not
        world.spawn(body);
        world.shutdown.request(Cause::Terminate).unwrap();
        world.run(10_000).await;
        assert_eq!(world.shutdown.blockers(1).requests, 1);
        drop(chunks);
        world.settle().await;
        assert_eq!(world.shutdown.blockers(1).requests, 0);
        drop(connection);
        assert_eq!(world.finished().await.exit_code, 0);
    }

    async fn the_policy_may_refuse_new_ones(world, refusing()) {
        let connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        assert!(!connection.begin().unwrap().is_refused());
        world.shutdown.request(Cause::Terminate).unwrap();
        let request = connection.begin().unwrap();
        assert!(request.is_refused(), "known at once, to answer 503");
        request.finish(Outcome::Refused);
        drop(connection);
        assert_eq!(world.finished().await.requests.refused, 1);
    }

    async fn near_the_deadline_it_is_aborted_then_forced(world, Settings::default()) {
        let connection = world.shutdown.connection(Protocol::Http1, "192.0.2.3:80").unwrap();
        let mut stuck = connection.begin().unwrap();
        stuck.describe(RequestKind::Ordinary, "GET /stuck");
        let mut handler = world.shutdown.connection(Protocol::Http1, "").unwrap().begin().unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        let (clock, aborted) = (world.clock.clone(), stuck.aborted());
        world.spawn(async move {
            aborted.await;
            assert_eq!(clock.ms(), 23_000);
        });
        let clock = world.clock.clone();
        world.spawn(async move {
            use lameduck::async_layer::RequestCue::{Abort, Force};
            assert_eq!((stuck.cue().await, clock.ms()), (Abort, 23_000));
            assert_eq!((stuck.cue().await, clock.ms()), (Force, 24_000));
            stuck.finish(Outcome::Refused); // the verdict was given
        });
        world.run(23_500).await;
        // On a connection that is gone nobody is told, and nobody waits.
        assert!(futures::FutureExt::now_or_never(handler.cue()).is_none());
        drop(handler);
        let mut late = connection.begin().unwrap();
        assert_eq!(late.cue().await, lameduck::async_layer::RequestCue::Abort, "it comes too late");
        let report = world.finished().await;
        assert_eq!((report.requests.forced, report.exit_code), (2, 1));
        let json = report.to_json();
        assert!(json.contains(r#""peer":"192.0.2.3:80","label":"GET /stuck""#), "{json}");
        drop((late, connection));
    }

    async fn one_that_leaked_is_reported_by_label_and_age(world, Settings::default()) {
        let connection = world.shutdown.connection(Protocol::Http1, "").unwrap();
        let mut leaked = connection.begin().unwrap();
        leaked.describe(RequestKind::Ordinary, "GET /leak");
        std::mem::forget(leaked);
        world.run(1_000).await;
        world.shutdown.request(Cause::Terminate).unwrap();
        let report = world.finished().await;
        assert_eq!(report.requests.forced, 1);
        let forced = serde_json::to_string(&report.forced).unwrap();
        assert!(forced.contains(r#""label":"GET /leak","state":"unanswered","age_ms":25000"#), "{forced}");
        drop(connection);
    }

    async fn streams_and_long_polls_are_told(world, Settings::default()) {
        use lameduck::async_layer::RequestCue::{End, Notify};
        let connection = world.shutdown.connection(Protocol::Http2, "").unwrap();
        let mut stream = connection.begin().unwrap();
        stream.describe(RequestKind::Stream, "GET /events");
        let mut poll = connection.begin().unwrap();
        poll.describe(RequestKind::LongPoll, "GET /poll");
        let clock = world.clock.clone();
        world.spawn(async move {
            assert_eq!(stream.cue().await, Notify);
            assert_eq!(stream.cue().await, End);
            assert!((2_500..=5_000).contains(&clock.ms()), "in the second half of the window");
            stream.finish(Outcome::Ended);
        });
        world.spawn(async move {
            if poll.cue().await == Notify {
                poll.finish(Outcome::Completed);
            }
        });
        world.shutdown.request(Cause::Terminate).unwrap();
        world.run(6_000).await;
        let requests = world.shutdown.report().requests;
        assert_eq!((requests.ended, requests.completed + requests.in_flight), (1, 1));
        drop(connection);
        assert_eq!(world.finished().await.exit_code, 0);
    }
}
