//! Random sequences of operations against a small independent model of the contract.
//! `PROPTEST_CASES` sets how many.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;

use support::harness::play;
use support::operations::{Bytes, Operation, operation, settings};

/// Mostly a server that was asked to stop early on, with what it serves handed over.
fn sequence() -> impl Strategy<Value = Vec<Operation>> {
    let shutdown = any::<u8>().prop_map(|cause| [0, 28, cause, 0, 0]);
    let before = vec(any::<Bytes>(), 0..8);
    (before, proptest::option::weighted(0.9, shutdown), vec(any::<Bytes>(), 0..80)).prop_map(
        |(before, shutdown, after)| {
            before.into_iter().chain(shutdown).chain(after).map(operation).collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_machine_keeps_the_contract(
        policy in any::<Bytes>().prop_map(settings),
        sequence in sequence(),
    ) {
        play(&policy, sequence.into_iter());
    }
}
