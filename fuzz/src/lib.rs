//! What the fuzzers do with bytes: plain functions, so that the committed corpora are
//! replayed without libFuzzer too (`cargo test --manifest-path fuzz/Cargo.toml`).

#[path = "../../core/tests/support/fields.rs"]
mod fields;
#[path = "../../core/tests/support/harness.rs"]
mod harness;
#[path = "../../core/tests/support/known.rs"]
mod known;
#[path = "../../core/tests/support/model.rs"]
mod model;
#[path = "../../core/tests/support/operations.rs"]
mod operations;
#[path = "../../core/tests/support/scenario.rs"]
mod scenario;
#[path = "../../core/tests/support/words.rs"]
mod words;

mod mutation;
mod policy;
mod vector;

pub use mutation::{cross, mutate};
pub use policy::environment;
pub use vector::vector;

/// The most operations of one run.
const MOST: usize = 400;

/// A sequence of operations, checked against the reference model of the property test: the
/// first five bytes are the policy, every five after them an operation.
pub fn operations(data: &[u8]) {
    let mut rows = data.chunks_exact(5).map(|row| row.try_into().expect("five bytes"));
    if let Some(policy) = rows.next() {
        let settings = operations::settings(policy);
        harness::play(&settings, rows.take(MOST).map(operations::operation));
    }
}

/// The same bytes as a person reads them.
pub fn print(data: &[u8]) {
    let mut rows = data.chunks_exact(5).map(|row| row.try_into().expect("five bytes"));
    if let Some(policy) = rows.next() {
        println!("{:?}", operations::settings(policy));
        rows.take(MOST).for_each(|row| println!("{:?}", operations::operation(row)));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn replay(folder: &str, run: impl Fn(&[u8])) {
        let mut files = 0;
        for (name, data) in files_in(folder) {
            println!("{name}");
            run(&data);
            files += 1;
        }
        assert!(files > 0, "{folder} is empty");
    }

    fn files_in(folder: &str) -> impl Iterator<Item = (String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = std::fs::read_dir(folder).expect("is committed");
        entries
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.is_file())
            .map(|path| (path.display().to_string(), std::fs::read(path).expect("readable")))
    }

    #[test]
    fn the_corpus_of_operations_replays() {
        replay("corpus/operations", super::operations);
    }

    #[test]
    fn the_corpus_of_environment_replays() {
        replay("corpus/environment", super::environment);
    }

    #[test]
    fn the_corpus_of_vector_replays() {
        replay("corpus/vector", super::vector);
    }

    #[test]
    fn vectors_replay_whatever_became_of_them() {
        let vectors = files_in("../tests/vectors").filter(|(name, _)| name.ends_with(".json"));
        let vectors: Vec<Vec<u8>> = vectors.map(|(_, data)| data).collect();
        let others = vectors.iter().cycle().skip(7);
        let (mut tried, mut well_formed) = (0, 0);
        for (vector, other) in vectors.iter().zip(others) {
            super::vector(vector);
            for seed in 0..20 {
                let crossed = super::cross(vector, other, seed).expect("vectors are JSON");
                let changed = super::mutate(&crossed, seed).expect("is JSON");
                super::vector(&changed);
                let text = std::str::from_utf8(&changed).expect("is JSON");
                well_formed += u32::from(super::scenario::Scenario::parse("x", text).is_ok());
                tried += 1;
            }
        }
        assert!(well_formed > tried / 3, "only {well_formed} of {tried} are well-formed");
    }
}
