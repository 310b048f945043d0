//! Hooks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lameduck::async_layer::HookOptions;
use lameduck::{Cause, Phase, Settings};

use crate::world::{World, on_every_runtime};

async fn panics() {
    panic!("on {}", "purpose");
}

on_every_runtime! {
    async fn they_run_in_their_stage_and_order(world, Settings::default()) {
        let ran: Arc<Mutex<Vec<&str>>> = Arc::default();
        let note = |name: &'static str| {
            let ran = Arc::clone(&ran);
            move || async move { ran.lock().unwrap().push(name) }
        };
        let shutdown = &world.shutdown;
        shutdown.on_flush("logs", note("logs")).unwrap();
        shutdown.on_close(HookOptions::new("database").order(2), note("database")).unwrap();
        shutdown.on_close(HookOptions::new("cache").order(1), note("cache")).unwrap();
        shutdown.on_drain("deregister", note("deregister")).unwrap();
        world.run(1_000).await;
        assert!(ran.lock().unwrap().is_empty());
        shutdown.request(Cause::Terminate).unwrap();
        world.settle().await;
        assert_eq!(*ran.lock().unwrap(), ["deregister"]);
        let report = world.finished().await;
        assert_eq!(*ran.lock().unwrap(), ["deregister", "cache", "database", "logs"]);
        assert!(report.hooks.iter().all(|hook| hook.result == "ok"));
    }

    async fn they_fail_panic_and_hang(world, Settings::default()) {
        let shutdown = &world.shutdown;
        shutdown.on_close("fails", || async { Err::<(), _>("connection refused") }).unwrap();
        shutdown.on_close("panics", panics).unwrap();
        shutdown.on_close("panics early", || -> std::future::Ready<()> { panic!("early") }).unwrap();
        let hang = HookOptions::new("hangs").timeout(Duration::from_millis(300));
        let dropped = Arc::new(());
        let held = Arc::clone(&dropped);
        shutdown.on_close(hang, || async move {
            std::future::pending::<()>().await;
            drop(held);
        }).unwrap();
        shutdown.on_flush("logs", || async {}).unwrap();
        shutdown.request(Cause::Terminate).unwrap();
        let report = world.finished().await;
        let results: Vec<_> = report.hooks.iter().map(|hook| (hook.result, hook.error.as_deref())).collect();
        assert_eq!(results, [
            ("failed", Some("connection refused")),
            ("failed", Some("panicked: on purpose")),
            ("failed", Some("panicked: early")),
            ("timed_out", None),
            ("ok", None),
        ]);
        assert_eq!(report.took_ms.0.as_millis(), 5_300);
        assert_eq!(Arc::strong_count(&dropped), 1, "an abandoned hook is dropped");
    }

    async fn one_may_ask_for_shutdown_and_wait_for_it(world, Settings::default()) {
        let shutdown = world.shutdown.clone();
        world.shutdown.on_drain("impatient", move || async move {
            assert_eq!(shutdown.phase(), Phase::Draining);
            shutdown.request(Cause::Programmatic).unwrap();
            shutdown.escalate().unwrap(); // ends the window
            shutdown.done().await; // for ever, but for the drain deadline
        }).unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        let report = world.finished().await;
        assert_eq!(report.hooks[0].result, "timed_out");
        assert_eq!(report.took_ms.0.as_millis(), 24_000);
    }

    async fn one_may_hold_guards_and_drop_them(world, Settings::default()) {
        let shutdown = world.shutdown.clone();
        let connection = shutdown.connection(lameduck::Protocol::Http1, "").unwrap();
        let (request, job) = (connection.begin().unwrap(), shutdown.job("held").unwrap());
        let listener = shutdown.listener().unwrap();
        world.shutdown.on_drain("holds", move || async move {
            drop((request, job));
            drop(connection.begin().unwrap());
            drop((connection, listener));
            shutdown.on_close("registered by a hook", || async {}).unwrap();
        }).unwrap();
        world.shutdown.request(Cause::Terminate).unwrap();
        let report = world.finished().await;
        assert_eq!((report.exit_code, report.requests.completed, report.jobs.completed), (0, 2, 1));
        assert_eq!(report.hooks[1].result, "ok");
        assert_eq!(report.took_ms.0.as_millis(), 5_000);
    }
}
