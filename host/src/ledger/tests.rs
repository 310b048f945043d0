use super::*;
use std::sync::Barrier;
use word::{HTTP1, HTTP2, WEBSOCKET};

fn counted(outcome: Result<Change, LedgerError>) -> Row {
    match outcome {
        Ok(Change::Counted { previous }) => previous,
        other => panic!("not counted: {other:?}"),
    }
}

fn handed_over(outcome: Result<Change, LedgerError>) -> Row {
    match outcome {
        Ok(Change::HandedOver { previous }) => previous,
        other => panic!("not handed over: {other:?}"),
    }
}

#[test]
fn it_counts_connections_and_requests() {
    let ledger = Ledger::new(Spacing::Line);
    let a = ledger.open(HTTP1).unwrap();
    let b = ledger.open(HTTP2).unwrap();
    assert!(!a.handed_over && a.handle != b.handle && a.handle != 0);
    for n in 0..3 {
        assert_eq!(counted(ledger.begin(b.handle)).in_flight, n);
    }
    assert_eq!(counted(ledger.end(b.handle)).in_flight, 3);
    assert_eq!(ledger.totals(), Totals { connections: 2, in_flight: 2, faults: 0 });
    assert_eq!(counted(ledger.close(b.handle)).in_flight, 2);
    assert_eq!(ledger.totals(), Totals { connections: 1, in_flight: 0, faults: 0 });
}

#[test]
fn a_stale_handle_is_refused_and_changes_nothing() {
    let ledger = Ledger::new(Spacing::Dense);
    let old = ledger.open(HTTP1).unwrap().handle;
    counted(ledger.close(old));
    let new = ledger.open(HTTP1).unwrap().handle;
    assert_eq!(word::index_of(old), word::index_of(new), "the slot is used again");
    counted(ledger.begin(new));
    let before = ledger.row(new);
    for handle in [old, 0, u64::MAX, 1 << 52, word::handle(1, 1 << 22), word::handle(1, 5)] {
        let stale = Err(LedgerError::Stale { handle });
        assert_eq!(ledger.begin(handle), stale);
        assert_eq!(ledger.end(handle), stale);
        assert_eq!(ledger.announce(handle), stale);
        assert_eq!(ledger.upgrade(handle, WEBSOCKET), stale);
        assert_eq!(ledger.close(handle), stale);
        assert_eq!(ledger.close_with_request(handle), stale);
        assert_eq!(ledger.row(handle), Err(LedgerError::Stale { handle }));
    }
    assert_eq!(ledger.row(new), before);
    assert_eq!(ledger.totals().connections, 1);
}

#[test]
fn a_double_end_is_a_fault_that_outlives_the_connection() {
    let ledger = Ledger::new(Spacing::Line);
    let handle = ledger.open(HTTP1).unwrap().handle;
    counted(ledger.begin(handle));
    counted(ledger.end(handle));
    assert_eq!(counted(ledger.end(handle)).in_flight, 0);
    assert_eq!(ledger.totals(), Totals { connections: 1, in_flight: 0, faults: 1 });
    counted(ledger.close(handle));
    assert_eq!(ledger.totals(), Totals { connections: 0, in_flight: 0, faults: 1 });
}

#[test]
fn a_request_may_have_a_connection_of_its_own() {
    let ledger = Ledger::new(Spacing::Line);
    let counted_one = ledger.open_with_request(HTTP1).unwrap();
    let adopted_one = ledger.open_with_request(HTTP1).unwrap();
    assert!(!counted_one.handed_over);
    assert_eq!(ledger.totals(), Totals { connections: 2, in_flight: 2, faults: 0 });
    assert_eq!(counted(ledger.close_with_request(counted_one.handle)).in_flight, 1);
    let mut adopted = Vec::new();
    ledger.hand_over(|handle, row| adopted.push((handle, row.in_flight))).unwrap();
    assert_eq!(adopted, [(adopted_one.handle, 1)]);
    let late = ledger.open_with_request(HTTP1).unwrap();
    assert!(late.handed_over);
    assert_eq!(
        word::index_of(late.handle),
        word::index_of(counted_one.handle),
        "the slot is used again"
    );
    for handle in [adopted_one.handle, late.handle] {
        assert_eq!(handed_over(ledger.close_with_request(handle)).in_flight, 1);
    }
    assert_eq!(ledger.totals(), Totals::default());
    let idle = ledger.open(HTTP1).unwrap().handle;
    handed_over(ledger.close_with_request(idle));
    assert_eq!(ledger.totals().faults, 1, "an end without a begin");
}

#[test]
fn the_hand_over_passes_every_open_connection_on_in_handle_order() {
    let ledger = Ledger::new(Spacing::Line);
    let handles: Vec<_> = (0..2500).map(|_| ledger.open(HTTP1).unwrap().handle).collect();
    for handle in handles.iter().step_by(2) {
        counted(ledger.close(*handle));
    }
    let kept: Vec<_> = handles.iter().copied().skip(1).step_by(2).collect();
    counted(ledger.begin(kept[3]));
    counted(ledger.announce(kept[4]));
    counted(ledger.upgrade(kept[5], WEBSOCKET));

    let mut rows = Vec::new();
    assert_eq!(ledger.hand_over(|handle, row| rows.push((handle, row))), Ok(kept.len()));
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), kept);
    assert!(rows.iter().all(|(_, row)| row.open && !row.handed), "the rows as they were before");
    assert_eq!(rows[3].1.in_flight, 1);
    assert!(rows[4].1.announced);
    assert_eq!(rows[5].1.protocol, WEBSOCKET);

    assert_eq!(handed_over(ledger.begin(kept[3])).in_flight, 1);
    assert_eq!(handed_over(ledger.close(kept[3])).in_flight, 2);
    let late = ledger.open(HTTP1).unwrap();
    assert!(late.handed_over);
    handed_over(ledger.begin(late.handle));
    assert_eq!(
        ledger.hand_over(|_, _| panic!("nothing to adopt")),
        Err(LedgerError::AlreadyHandedOver)
    );
}

#[test]
fn a_page_of_the_callers_is_never_given_away_and_is_handed_over_like_the_others() {
    let ledger = Ledger::new(Spacing::Dense);
    let own = ledger.open(HTTP1).unwrap().handle;
    let number = ledger.add_page().unwrap();
    let page = ledger.page(number).unwrap();
    assert_eq!((number, page.first_index, page.words), (1, 1024, 2048));
    assert_eq!(page.start.as_ptr() as usize % 64, 0);
    // What a script does: ordinary stores, generation first.
    let write = |row: usize, word: usize, value: u32| {
        // SAFETY: the word is inside the page, and this is the only thread.
        unsafe { page.start.add(row * ledger.spacing().words() + word).write(value) }
    };
    write(7, GENERATION_WORD, 9);
    write(7, STATE_WORD, word::begin(word::opened(HTTP2)));
    let handle = word::handle(9, page.first_index + 7);
    assert_eq!(ledger.row(handle).unwrap().in_flight, 1);

    let others: Vec<_> = (0..1500).map(|_| ledger.open(HTTP1).unwrap().handle).collect();
    assert!(others.iter().all(|handle| word::index_of(*handle) / 1024 != 1));
    assert_eq!(ledger.totals(), Totals { connections: 1502, in_flight: 1, faults: 0 });
    let mut adopted = Vec::new();
    ledger.hand_over(|handle, _| adopted.push(handle)).unwrap();
    assert_eq!(adopted.len(), 1502);
    assert!(adopted.contains(&handle) && adopted.contains(&own));
    // SAFETY: as above.
    let state = unsafe { page.start.add(7 * 2 + STATE_WORD).read() };
    assert!((state as i32) < 0, "the script sees HANDED in the sign");
    handed_over(ledger.close(handle));
    for _ in 0..2000 {
        let opened = ledger.open(HTTP1).unwrap().handle;
        assert_ne!(word::index_of(opened), word::index_of(handle));
    }
}

#[test]
fn a_full_ledger_says_so() {
    let ledger = Ledger::new(Spacing::Dense);
    for number in 0..MAX_PAGES {
        assert_eq!(ledger.add_page(), Ok(number));
    }
    assert_eq!(ledger.add_page(), Err(LedgerError::Full));
    assert_eq!(ledger.open(HTTP1), Err(LedgerError::Full));
    assert!(ledger.page(MAX_PAGES).is_none());
}

/// Four threads begin, end, open and close while the hand-over walks: what it saw plus the events
/// that the threads were told to report is, connection by connection, what really happened.
#[test]
fn snapshot_and_events_balance_under_threads() {
    const THREADS: usize = 4;
    const CONNECTIONS: usize = 300;
    for round in 0..40 {
        let ledger = Ledger::new(if round % 2 == 0 { Spacing::Line } else { Spacing::Dense });
        let shared: Vec<u64> =
            (0..CONNECTIONS).map(|_| ledger.open(HTTP2).unwrap().handle).collect();
        let start = Barrier::new(THREADS + 1);
        let stop = AtomicBool::new(false);
        let (adopted, told) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (ledger, shared, start, stop) = (&ledger, &shared, &start, &stop);
                    scope.spawn(move || {
                        // (handle, change of the count or of being open) that became events
                        let mut requests = Vec::new();
                        let mut connections = Vec::new();
                        let note = |requests: &mut Vec<_>, handle, change, outcome: Change| {
                            if let Change::HandedOver { .. } = outcome {
                                requests.push((handle, change));
                            }
                        };
                        start.wait();
                        let mut step = thread * 7 + 1;
                        while !stop.load(Relaxed) {
                            step = step.wrapping_mul(6_364_136_223_846_793_005) + 1;
                            let handle = shared[(step >> 33) % CONNECTIONS];
                            note(&mut requests, handle, 1, ledger.begin(handle).unwrap());
                            let whole = ledger.open_with_request(HTTP1).unwrap();
                            if whole.handed_over {
                                connections.push((whole.handle, 1));
                                requests.push((whole.handle, 1));
                            }
                            let closed = ledger.close_with_request(whole.handle).unwrap();
                            if let Change::HandedOver { .. } = closed {
                                connections.push((whole.handle, -1));
                                requests.push((whole.handle, -1));
                            }
                            let own = ledger.open(HTTP1).unwrap();
                            if own.handed_over {
                                connections.push((own.handle, 1));
                            }
                            note(&mut requests, own.handle, 1, ledger.begin(own.handle).unwrap());
                            note(&mut requests, own.handle, -1, ledger.end(own.handle).unwrap());
                            if let Change::HandedOver { .. } = ledger.close(own.handle).unwrap() {
                                connections.push((own.handle, -1));
                            }
                            if !step.is_multiple_of(3) {
                                note(&mut requests, handle, -1, ledger.end(handle).unwrap());
                            } else {
                                let other = shared[(step >> 20) % CONNECTIONS];
                                note(&mut requests, other, 1, ledger.begin(other).unwrap());
                                note(&mut requests, other, -1, ledger.end(other).unwrap());
                                note(&mut requests, handle, -1, ledger.end(handle).unwrap());
                            }
                        }
                        (requests, connections)
                    })
                })
                .collect();
            start.wait();
            std::thread::sleep(std::time::Duration::from_millis(2));
            let mut adopted = std::collections::HashMap::new();
            ledger
                .hand_over(|handle, row| {
                    assert!(adopted.insert(handle, i64::from(row.in_flight)).is_none());
                })
                .unwrap();
            std::thread::sleep(std::time::Duration::from_millis(2));
            stop.store(true, Relaxed);
            let told: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            (adopted, told)
        });
        let mut open: std::collections::HashMap<u64, i64> =
            adopted.keys().map(|handle| (*handle, 1)).collect();
        let mut in_flight = adopted;
        for (requests, connections) in told {
            for (handle, change) in requests {
                *in_flight.entry(handle).or_default() += change;
            }
            for (handle, change) in connections {
                *open.entry(handle).or_default() += change;
            }
        }
        assert!(in_flight.values().all(|count| *count == 0), "a request was lost or told twice");
        assert_eq!(open.values().sum::<i64>(), CONNECTIONS as i64);
        assert!(open.iter().all(|(handle, n)| *n == i64::from(shared.contains(handle))));
        assert_eq!(
            ledger.totals(),
            Totals { connections: CONNECTIONS as u64, in_flight: 0, faults: 0 }
        );
    }
}

#[test]
fn a_reset_ledger_is_as_new_and_knows_no_old_handle() {
    let ledger = Ledger::new(Spacing::Line);
    let old: Vec<u64> =
        (0..3).map(|_| ledger.open(word::HTTP1).expect("there is room").handle).collect();
    assert!(ledger.begin(old[0]).is_ok());
    assert!(ledger.close(old[1]).is_ok());
    assert_eq!(ledger.hand_over(|_, _| ()), Ok(2));
    ledger.reset();
    assert!(!ledger.is_handed_over());
    assert_eq!(ledger.totals(), Totals::default());
    for handle in &old {
        assert_eq!(ledger.end(*handle), Err(LedgerError::Stale { handle: *handle }));
    }
    let new: Vec<Opened> =
        (0..PAGE_ROWS).map(|_| ledger.open(word::HTTP1).expect("there is room")).collect();
    let mut slots: Vec<u32> = new.iter().map(|opened| word::index_of(opened.handle)).collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!((slots.len(), ledger.page_count()), (PAGE_ROWS, 1), "each slot once, none lost");
    assert!(new.iter().all(|opened| !opened.handed_over && !old.contains(&opened.handle)));
}
