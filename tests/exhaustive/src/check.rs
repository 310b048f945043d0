//! Runs models and says what came out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stateright::{Checker, Model as _};

use crate::bounds::Bounds;
use crate::model::Model;
use crate::sight::{Sight, Sights};

/// What a model came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The model's bounds.
    pub bounds: Bounds,
    /// States that differ.
    pub states: usize,
    /// Steps taken, from each state every one that is possible.
    pub steps: usize,
    /// Steps on the longest of the shortest ways to a state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Broken promises, each with the steps that broke it.
    pub broken: BTreeMap<&'static str, Vec<String>>,
    /// How often each sight was seen.
    pub seen: BTreeMap<Sight, u64>,
}

/// Looks at every state of a model on one thread, so that the numbers are the same each time.
/// Nearest first, unless its bounds say otherwise: a broken promise then comes with one of the
/// shortest ways to break it.
pub fn run(bounds: Bounds) -> Outcome {
    let model = Model::new(bounds);
    let sights = Arc::clone(&model.sights);
    let begin = Instant::now();
    if bounds.farthest_first {
        outcome(bounds, &sights, begin, &model.checker().spawn_dfs().join())
    } else {
        outcome(bounds, &sights, begin, &model.checker().spawn_bfs().join())
    }
}

fn outcome(
    bounds: Bounds,
    sights: &Sights,
    begin: Instant,
    checker: &impl Checker<Model>,
) -> Outcome {
    let took = begin.elapsed();
    let seen = Sight::ALL.iter().map(|sight| (*sight, sights.count(*sight)));
    let seen = seen.filter(|(_, count)| *count > 0).collect();
    let broken = checker.discoveries().into_iter().map(|(promise, path)| {
        let steps = path.into_actions().iter().map(|step| format!("{step:?}")).collect();
        (promise, steps)
    });
    Outcome {
        bounds,
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth() - 1,
        took,
        broken: broken.collect(),
        seen,
    }
}

/// Runs models, as many at a time as there are `workers`, in the order in which they are given,
/// and says each as it ends.
pub fn run_all(models: &[Bounds], workers: usize, ended: impl Fn(&Outcome) + Sync) -> Vec<Outcome> {
    let next = Mutex::new(models.iter().enumerate());
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let model = next.lock().expect("nobody panics with it").next();
                    let Some((index, bounds)) = model else { return };
                    let outcome = run(*bounds);
                    ended(&outcome);
                    outcomes.lock().expect("nobody panics with it").insert(index, outcome);
                }
            });
        }
    });
    outcomes.into_inner().expect("nobody panicked").into_values().collect()
}

/// How often each sight was seen in all of them together.
pub fn seen(outcomes: &[Outcome]) -> BTreeMap<Sight, u64> {
    let mut all: BTreeMap<Sight, u64> = Sight::ALL.iter().map(|sight| (*sight, 0)).collect();
    for (sight, count) in outcomes.iter().flat_map(|outcome| &outcome.seen) {
        *all.entry(*sight).or_default() += count;
    }
    all
}
