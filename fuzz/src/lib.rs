//! What the fuzzers do with bytes: plain functions, so that the committed corpora are
//! replayed without libFuzzer too (`cargo test --manifest-path fuzz/Cargo.toml`).

#[path = "../../core/tests/support/harness.rs"]
mod harness;
#[path = "../../core/tests/support/known.rs"]
mod known;
#[path = "../../core/tests/support/model.rs"]
mod model;
#[path = "../../core/tests/support/operations.rs"]
mod operations;

mod policy;

pub use policy::environment;

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

    fn replay(target: &str, run: impl Fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let mut files = 0;
        for entry in std::fs::read_dir(folder).expect("the corpus is committed") {
            let path = entry.expect("readable").path();
            println!("{}", path.display());
            run(&std::fs::read(path).expect("readable"));
            files += 1;
        }
        assert!(files > 0, "the corpus of {target} is empty");
    }

    #[test]
    fn the_corpus_of_operations_replays() {
        replay("operations", super::operations);
    }

    #[test]
    fn the_corpus_of_environment_replays() {
        replay("environment", super::environment);
    }
}
