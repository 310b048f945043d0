//! `docs/edge-cases.md` names tests and vectors: all of them exist, and none of the tests that
//! decide an edge case is left out.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> Option<String> {
    std::fs::read_to_string(root().join(file)).ok()
}

fn page() -> String {
    read("docs/edge-cases.md").expect("the page is there")
}

/// What stands in backticks.
fn named(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The rows of the table: what happens, the tests, the vectors.
fn rows(page: &str) -> Vec<(&str, Vec<&str>, &str)> {
    let cells = page.lines().filter(|line| line.starts_with("| ")).skip(1).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [what, decided, tests, vectors] = cells[..] else {
            panic!("not four cells: {line}");
        };
        assert!(!decided.is_empty(), "{what}: nothing was decided");
        (what, named(tests), vectors)
    });
    cells.collect()
}

/// Whether the test is where the page says.
fn exists(test: &str) -> bool {
    if let Some((file, name)) = test.split_once(".test.mjs: ") {
        let source = read(&format!("bindings/node/test/{file}.test.mjs")).unwrap_or_default();
        return ['\'', '"'].iter().any(|q| source.contains(&format!("test({q}{name}{q}")));
    }
    if let Some((file, name)) = test.split_once(".py::") {
        let source = read(&format!("bindings/python/tests/{file}.py")).unwrap_or_default();
        return source.contains(&format!("\ndef {name}("));
    }
    let Some((file, name)) = test.split_once("::") else {
        return false;
    };
    let file =
        if file.contains('/') { format!("{file}.rs") } else { format!("core/tests/{file}.rs") };
    read(&file).is_some_and(|source| {
        ["\nfn ", "\npub fn "].iter().any(|start| source.contains(&format!("{start}{name}()")))
    })
}

#[test]
fn every_edge_case_names_tests_that_exist() {
    let page = page();
    for (what, tests, _) in rows(&page) {
        assert!(!tests.is_empty(), "{what}: no test");
        for test in tests {
            assert!(exists(test), "{what}: there is no test {test}");
        }
    }
}

#[test]
fn every_edge_case_names_vectors_that_exist_or_says_why_not() {
    let page = page();
    for (what, _, vectors) in rows(&page) {
        let names = named(vectors);
        assert!(!names.is_empty() || vectors.starts_with("none: "), "{what}: no vector");
        for name in names {
            assert!(
                read(&format!("tests/vectors/{name}.json")).is_some(),
                "{what}: there is no vector {name}"
            );
        }
    }
}

#[test]
fn no_test_of_an_edge_case_is_left_out() {
    let page = page();
    let source = read("core/tests/edge_cases.rs").expect("the tests are there");
    let tests = source.split("#[test]\nfn ").skip(1);
    let names: Vec<&str> = tests.filter_map(|test| test.split('(').next()).collect();
    assert!(names.len() > 30, "{} tests found", names.len());
    for name in names {
        assert!(
            page.contains(&format!("`edge_cases::{name}`")),
            "docs/edge-cases.md leaves out {name}"
        );
    }
}
