//! The seeded spread keeps clients from coming back all at once.

use lameduck_simulation::reconnects::{CLIENTS, Crowd, STRETCH};
use lameduck_simulation::time::{Nanos, SECOND};

const WINDOW: Nanos = 4 * SECOND;

#[test]
fn idle_connections_close_within_a_second_and_not_at_once() {
    assert_eq!(Crowd::Idle.peak(WINDOW, true), CLIENTS);
    assert!(Crowd::Idle.peak(WINDOW, false) < 2 * even(SECOND));
}

#[test]
fn websockets_end_throughout_the_second_half_of_the_window() {
    assert_eq!(Crowd::Websockets.peak(WINDOW, true), CLIENTS);
    assert!(Crowd::Websockets.peak(WINDOW, false) < 2 * even(WINDOW / 2));
}

#[test]
fn busy_clients_are_told_throughout_the_first_half_of_the_window() {
    let spread = Crowd::Busy.peak(WINDOW, false);
    assert!(spread < 2 * even(WINDOW / 2));
    assert!(Crowd::Busy.peak(WINDOW, true) > 3 * spread);
}

/// How many come back in a stretch when all are spread evenly over this.
fn even(span: Nanos) -> usize {
    CLIENTS * STRETCH as usize / span as usize
}
