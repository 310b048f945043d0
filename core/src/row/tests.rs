//! What a row does on one thread. What threads see of each other: `model.rs`.

use super::*;
use crate::ledger::{FAULT, HTTP1, HTTP2, IN_FLIGHT_MAX, WEBSOCKET};

fn opened() -> (AtomicRow, u32) {
    let row = AtomicRow::default();
    let generation = row.open(HTTP2, false);
    (row, generation)
}

/// A row with this many in flight.
fn holding(in_flight: u16) -> (AtomicRow, u32) {
    let generation = 7;
    let state = ledger::opened(HTTP2) | u32::from(in_flight);
    (AtomicRow(AtomicU64::new(join(generation, state))), generation)
}

fn counted(change: Result<Change, Stale>) -> Row {
    match change {
        Ok(Change::Counted { previous }) => previous,
        other => panic!("not counted: {other:?}"),
    }
}

#[test]
fn every_change_says_what_was_before() {
    let (row, generation) = opened();
    assert_eq!(counted(row.begin(generation)).in_flight, 0);
    assert_eq!(counted(row.begin(generation)).in_flight, 1);
    assert!(!counted(row.announce(generation)).announced);
    assert!(counted(row.upgrade(generation, WEBSOCKET)).announced);
    assert_eq!(counted(row.end(generation)).protocol, WEBSOCKET);
    assert_eq!(counted(row.close(generation)).in_flight, 1);
    assert_eq!(row.read().1.in_flight, 1, "a late end still finds its count");
}

#[test]
fn a_connection_for_one_request_opens_and_closes_with_it() {
    let row = AtomicRow::default();
    let first = row.open_with_request(WEBSOCKET, false);
    let (generation, opened) = row.read();
    assert_eq!((generation, opened.open, opened.in_flight), (first, true, 1));
    assert_eq!((opened.protocol, opened.handed, opened.fault), (WEBSOCKET, false, false));
    assert_eq!(counted(row.close_with_request(first)).in_flight, 1);
    let (_, closed) = row.read();
    assert_eq!((closed.open, closed.in_flight, closed.fault), (false, 0, false));
    assert_eq!(row.close_with_request(first), Err(Stale));
    let second = row.open_with_request(HTTP1, true);
    assert_ne!(first, second);
    assert_eq!(row.hand_over(), None, "born handed");
    assert!(matches!(row.close_with_request(second), Ok(Change::HandedOver { .. })));
    let (row, generation) = self::opened();
    assert_eq!(counted(row.close_with_request(generation)).in_flight, 0);
    assert!(row.read().1.fault, "it had no request");
}

#[test]
fn a_stale_generation_changes_nothing() {
    let (row, old) = opened();
    counted(row.close(old));
    let new = row.open(HTTP1, false);
    assert_ne!(old, new);
    counted(row.begin(new));
    let before = row.read();
    for stale in [old, 0, new + 1, u32::MAX] {
        let upgraded = row.upgrade(stale, WEBSOCKET);
        for change in [row.begin(stale), row.end(stale), row.announce(stale), row.close(stale)] {
            assert_eq!(change, Err(Stale));
        }
        assert_eq!((upgraded, row.close_with_request(stale)), (Err(Stale), Err(Stale)));
    }
    assert_eq!(row.read(), before);
    counted(row.close(new));
    assert_eq!(row.begin(new), Err(Stale), "closed");
}

#[test]
fn after_the_hand_over_every_change_is_an_event() {
    let (row, generation) = opened();
    counted(row.begin(generation));
    counted(row.announce(generation));
    let (handed, before) = row.hand_over().expect("it is open");
    assert_eq!(handed, generation);
    assert_eq!((before.in_flight, before.announced, before.handed), (1, true, false));
    assert_eq!(row.hand_over(), None, "there is only one");
    for change in [row.begin(generation), row.end(generation), row.close(generation)] {
        assert!(matches!(change, Ok(Change::HandedOver { .. })), "{change:?}");
    }
    let late = row.open(HTTP1, true);
    assert!(matches!(row.begin(late), Ok(Change::HandedOver { .. })), "born handed");
    assert_eq!(row.hand_over(), None);
    assert_eq!(AtomicRow::default().hand_over(), None, "nobody is in it");
}

#[test]
fn the_count_of_a_handle_saturates() {
    let (row, generation) = holding(IN_FLIGHT_MAX);
    assert_eq!(counted(row.begin(generation)).in_flight, IN_FLIGHT_MAX);
    let (_, full) = row.read();
    assert_eq!((full.in_flight, full.fault, full.protocol), (IN_FLIGHT_MAX, true, HTTP2));
    let (row, generation) = opened();
    counted(row.end(generation));
    let (_, empty) = row.read();
    assert_eq!((empty.in_flight, empty.fault, empty.protocol), (0, true, HTTP2));
}

#[test]
fn owners_count_alike() {
    let (row, generation) = opened();
    assert_eq!((row.enter(), row.enter()), (Ok(()), Ok(())));
    assert!(matches!(row.leave(), Change::Counted { previous } if previous.in_flight == 2));
    row.hand_over().expect("it is open");
    assert_eq!(row.enter(), Err(Late::HandedOver));
    assert!(matches!(row.leave(), Change::HandedOver { .. }));
    assert!(row.close(generation).is_ok());
    assert!(matches!(row.leave(), Change::HandedOver { previous } if previous.in_flight == 1));
    let (row, generation) = opened();
    counted(row.close(generation));
    assert_eq!(row.enter(), Err(Late::Closed));
    assert!(matches!(row.leave(), Change::Counted { previous } if previous.in_flight == 1));
}

#[test]
fn the_count_of_an_owner_saturates_long_before_its_neighbours() {
    let (row, generation) = holding(CROWDED);
    assert_eq!(row.enter(), Err(Late::Crowded { adopted: false }));
    let word = row.0.load(Ordering::Relaxed);
    let expected = ledger::opened(HTTP2) | u32::from(CROWDED) | FAULT;
    assert_eq!(word, join(generation, expected), "one fault, and nothing else has changed");
    row.hand_over().expect("it is open");
    let after = Err(Late::Crowded { adopted: false });
    assert_eq!(row.enter(), after, "begun and taken back after it");
    let (row, _) = holding(CROWDED - 1);
    assert_eq!(row.enter(), Ok(()));
}
