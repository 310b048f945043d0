//! States that count as the same have the same future. The checker looks at one of them only, so
//! what `situation.rs` leaves out must not matter: here every other way to a state is followed by
//! one step more, and must lead where the first way led.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use lameduck_exhaustive::bounds::Bounds;
use lameduck_exhaustive::model::Model;
use lameduck_exhaustive::models::REDUCED;
use lameduck_exhaustive::state::State;
use stateright::Model as _;

fn key(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Where each possible step leads.
fn future(model: &Model, state: &State) -> Vec<(u64, State)> {
    let mut steps = Vec::new();
    model.actions(state, &mut steps);
    let lead = |step| model.next_state(state, step).map(|next| (key(&next), next));
    steps.into_iter().filter_map(lead).collect()
}

/// How many ways led to a state that was known.
fn follow(bounds: Bounds) -> usize {
    let model = Model::new(bounds);
    let mut known: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut waiting: VecDeque<(u64, State)> =
        model.init_states().into_iter().map(|state| (key(&state), state)).collect();
    let mut again = 0;
    while let Some((key, state)) = waiting.pop_front() {
        let future = future(&model, &state);
        let keys: Vec<u64> = future.iter().map(|(key, _)| *key).collect();
        if let Some(first) = known.get(&key) {
            assert_eq!(&keys, first, "{}: the same state, but another future", bounds.name);
            again += 1;
        } else {
            known.insert(key, keys);
            waiting.extend(future);
        }
    }
    again
}

#[test]
fn states_that_count_as_the_same_have_the_same_future() {
    for bounds in REDUCED {
        assert!(follow(*bounds) > 0, "{}: nothing was ever the same", bounds.name);
    }
}
