//! `lameduck drill` restarts the server under load: no request may fail.

#[path = "../../hyper/tests/rolling/mod.rs"]
mod rolling;

#[test]
fn no_request_fails_in_a_rolling_restart() {
    rolling::no_request_fails(env!("CARGO_BIN_EXE_example-axum"));
}
