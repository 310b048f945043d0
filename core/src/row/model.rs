//! What threads see of each other, in every order that the memory model allows: run by loom, with
//! `RUSTFLAGS='--cfg loom' cargo test --release -p lameduck --lib row::model`.
//!
//! Each test also says which outcomes it must have met, since a model that never gets to the interesting order
//! proves nothing. `core/tests/weaken.sh` weakens one ordering of `row.rs` after the other and expects one of
//! these to fail.

extern crate std;

use core::fmt::Debug;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::vec::Vec;

use super::*;
use crate::ledger::{HTTP1, HTTP2};

/// Runs `one` in every order and expects exactly these outcomes, all of them.
fn meets<T>(expected: &[T], one: impl Fn() -> T + Send + Sync + 'static)
where
    T: Clone + Debug + Ord + Send + 'static,
{
    let met = std::sync::Arc::new(Mutex::new(BTreeSet::new()));
    let note = std::sync::Arc::clone(&met);
    loom::model(move || {
        let outcome = one();
        note.lock().unwrap().insert(outcome);
    });
    let met: Vec<T> = met.lock().unwrap().iter().cloned().collect();
    assert_eq!(met, expected);
}

fn row_with(in_flight: u16) -> (Arc<AtomicRow>, u32) {
    let state = ledger::opened(HTTP2) | u32::from(in_flight);
    (Arc::new(AtomicRow(AtomicU64::new(join(1, state)))), 1)
}

fn is_event(change: Change) -> bool {
    matches!(change, Change::HandedOver { .. })
}

#[test]
fn begins_and_ends_are_told_once() {
    // Adopted in flight, and whether the handle's begin, its end, the owner's begin are events.
    let all = [
        (0, false, false, true),
        (0, true, true, true),
        (1, false, false, false),
        (1, false, true, true),
        (1, true, true, false),
        (2, false, true, false),
    ];
    meets(&all, || {
        let (row, generation) = row_with(0);
        let by_handle = {
            let row = Arc::clone(&row);
            thread::spawn(move || {
                let begun = row.begin(generation).expect("open");
                let ended = row.end(generation).expect("open");
                (is_event(begun), is_event(ended))
            })
        };
        let owner = {
            let row = Arc::clone(&row);
            thread::spawn(move || {
                row.enter() == Err(Late::HandedOver) // this one stays in flight
            })
        };
        let (_, before) = row.hand_over().expect("open");
        let ((begun, ended), entered) = (by_handle.join().unwrap(), owner.join().unwrap());
        let told = i32::from(begun) - i32::from(ended) + i32::from(entered);
        assert_eq!(i32::from(before.in_flight) + told, 1, "what the machine holds is in flight");
        assert_eq!(row.read().1.in_flight, 1);
        (before.in_flight, begun, ended, entered)
    });
}

#[test]
fn one_who_finds_it_crowded_is_told_once() {
    meets(&[false, true], || {
        let (row, _) = row_with(CROWDED);
        let crowded = {
            let row = Arc::clone(&row);
            thread::spawn(move || row.enter())
        };
        let (_, before) = row.hand_over().expect("open");
        let Err(Late::Crowded { adopted }) = crowded.join().unwrap() else {
            panic!("one more than there may be");
        };
        assert_eq!(before.in_flight, CROWDED + u16::from(adopted));
        adopted
    });
}

#[test]
fn a_connection_that_opens_or_closes_is_told_once() {
    // Which generation was adopted, and whether the second was born handed.
    let all = [(None, true), (Some(1), true), (Some(2), false)];
    meets(&all, || {
        // The owner of the slot decides under its lock whether a connection is born handed.
        let (row, first) = row_with(0);
        let handed = Arc::new(loom::sync::Mutex::new(false));
        let slot = {
            let (row, handed) = (Arc::clone(&row), Arc::clone(&handed));
            thread::spawn(move || {
                let closed = row.close(first).expect("open");
                let handed = handed.lock().unwrap();
                let second = row.open(HTTP1, *handed);
                (is_event(closed), second, *handed)
            })
        };
        *handed.lock().unwrap() = true;
        let adopted = row.hand_over().map(|(generation, _)| generation);
        let (closed_later, second, born_handed) = slot.join().unwrap();
        assert_eq!(adopted == Some(first), closed_later, "adopted, so its close is an event");
        assert_ne!(adopted == Some(second), born_handed, "adopted or told as opened");
        (adopted, born_handed)
    });
}

#[test]
fn a_request_with_a_connection_of_its_own_is_told_once() {
    // Which generation was adopted with its request, and whether the second was born handed.
    let all = [(None, true), (Some(1), true), (Some(2), false)];
    meets(&all, || {
        let (row, first) = row_with(1);
        let handed = Arc::new(loom::sync::Mutex::new(false));
        let slot = {
            let (row, handed) = (Arc::clone(&row), Arc::clone(&handed));
            thread::spawn(move || {
                let closed = row.close_with_request(first).expect("open");
                let handed = handed.lock().unwrap();
                let second = row.open_with_request(HTTP1, *handed);
                (is_event(closed), second, *handed)
            })
        };
        *handed.lock().unwrap() = true;
        let adopted = row.hand_over();
        assert!(adopted.is_none_or(|(_, before)| before.in_flight == 1), "both or neither");
        let adopted = adopted.map(|(generation, _)| generation);
        let (ended_later, second, born_handed) = slot.join().unwrap();
        assert_eq!(adopted == Some(first), ended_later, "adopted, so its end is an event");
        assert_ne!(adopted == Some(second), born_handed, "adopted or told as begun");
        (adopted, born_handed)
    });
}

#[test]
fn what_was_done_before_a_counted_begin_is_visible() {
    for handle in [true, false] {
        // In flight, and whether its label is seen.
        meets(&[(0, false), (0, true), (1, true)], move || {
            let ((row, generation), label) = (row_with(0), Arc::new(AtomicUsize::new(0)));
            let request = {
                let (row, label) = (Arc::clone(&row), Arc::clone(&label));
                thread::spawn(move || {
                    label.store(1, Relaxed);
                    if handle {
                        let _ = row.begin(generation).expect("open");
                    } else {
                        let _ = row.enter();
                    }
                })
            };
            let (_, before) = row.hand_over().expect("open");
            let seen = label.load(Relaxed) == 1;
            assert!(seen || before.in_flight == 0, "a request was counted, its label not seen");
            request.join().unwrap();
            (before.in_flight, seen)
        });
    }
}

#[test]
fn what_a_counted_request_did_is_visible() {
    for handle in [true, false] {
        // Whether its end is an event, and whether what it wrote is seen.
        meets(&[(false, true), (true, false), (true, true)], move || {
            let ((row, generation), written) = (row_with(0), Arc::new(AtomicUsize::new(0)));
            let request = {
                let (row, written) = (Arc::clone(&row), Arc::clone(&written));
                thread::spawn(move || {
                    if handle {
                        let _ = row.begin(generation).expect("open");
                        written.store(1, Relaxed);
                        is_event(row.end(generation).expect("open"))
                    } else {
                        let _ = row.enter();
                        written.store(1, Relaxed);
                        is_event(row.leave())
                    }
                })
            };
            row.hand_over().expect("open");
            // The row may hold what it held when the hand-over first looked, and the request still have been.
            let seen = written.load(Relaxed) == 1;
            let event = request.join().unwrap();
            assert!(seen || event, "an end was counted, its work not seen");
            (event, seen)
        });
    }
}

#[test]
fn what_was_done_before_an_open_is_visible() {
    meets(&[(false, false), (false, true), (true, true)], || {
        let (row, peer) = (Arc::new(AtomicRow::default()), Arc::new(AtomicUsize::new(0)));
        let opener = {
            let (row, peer) = (Arc::clone(&row), Arc::clone(&peer));
            thread::spawn(move || {
                peer.store(1, Relaxed);
                row.open(HTTP1, false)
            })
        };
        // A thread of its own, which loom starts after the opener: left to itself, it does not put a load of
        // one thread after a load and a store of another.
        let adopter = thread::spawn(move || (row.hand_over().is_some(), peer.load(Relaxed) == 1));
        opener.join().unwrap();
        let (adopted, known) = adopter.join().unwrap();
        assert!(known || !adopted, "adopted, but its peer is not known");
        (adopted, known)
    });
}

#[test]
fn what_was_done_before_a_close_is_visible() {
    meets(&[(false, true), (true, false), (true, true)], || {
        let ((row, generation), written) = (row_with(0), Arc::new(AtomicUsize::new(0)));
        let closer = {
            let (row, written) = (Arc::clone(&row), Arc::clone(&written));
            thread::spawn(move || {
                written.store(1, Relaxed);
                row.close(generation).is_ok()
            })
        };
        let adopted = row.hand_over().is_some();
        let seen = written.load(Relaxed) == 1;
        assert!(seen || adopted, "gone, but what it wrote is not there");
        assert!(closer.join().unwrap());
        (adopted, seen)
    });
}

#[test]
fn what_was_done_before_the_hand_over_is_visible_to_events() {
    for handle in [true, false] {
        // Whether the end is an event, and whether its connection is known.
        meets(&[(false, false), (false, true), (true, true)], move || {
            let ((row, generation), known) = (row_with(1), Arc::new(AtomicUsize::new(0)));
            let request = {
                let (row, known) = (Arc::clone(&row), Arc::clone(&known));
                thread::spawn(move || {
                    let change = if handle { row.end(generation) } else { Ok(row.leave()) };
                    let event = is_event(change.expect("open"));
                    (event, known.load(Relaxed) == 1)
                })
            };
            known.store(1, Relaxed);
            row.hand_over().expect("open");
            let (event, known) = request.join().unwrap();
            assert!(known || !event, "an event before its connection is known");
            (event, known)
        });
    }
}
