//! The machine owns no clock, thread, socket or unsafe, and needs no `std`: a test that
//! fails when it gains one.

use std::path::{Path, PathBuf};

fn core() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, into);
        } else {
            into.push(path);
        }
    }
}

#[test]
fn the_crate_is_no_std_and_forbids_unsafe() {
    let root = read(&core().join("src/lib.rs"));
    assert!(root.contains("\n#![no_std]\n"), "no_std, whatever the features are");
    assert!(root.contains("\n#![forbid(unsafe_code)]\n"));
    assert!(root.contains("#[cfg(any(feature = \"async\", test))]\nextern crate std;"));
    assert_eq!(root.matches("extern crate std").count(), 1, "std is for the async layer and tests");
    assert!(root.contains("#[cfg(feature = \"async\")]\npub mod async_layer;"));
}

/// Files of tests, which may use what they like.
fn is_test(file: &Path) -> bool {
    ["model.rs", "tests.rs"].iter().any(|name| file.ends_with(name))
}

/// What a source says outside its tests, comments left out.
fn code(text: &str) -> String {
    let shipped = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// What only the async layer may name, and what not even that: a clock, a thread, a socket of its own.
const STD: &str = "std::";
const IMPURE: [&str; 11] = [
    "Instant",
    "SystemTime",
    "static mut",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::time",
    "thread_local",
    "unsafe ",
];

#[test]
fn no_source_names_std_a_clock_or_a_thread() {
    let mut files = Vec::new();
    sources(&core().join("src"), &mut files);
    assert!(files.len() > 30);
    for file in files.into_iter().filter(|file| !is_test(file)) {
        let text = code(&read(&file));
        for word in IMPURE {
            assert!(!text.contains(word), "{} says {word}", file.display());
        }
        let layer = file.components().any(|part| part.as_os_str() == "async_layer");
        if layer {
            assert!(!text.contains("thread::spawn"), "{} spawns a thread", file.display());
        } else if file.ends_with("sync.rs") {
            // What threads share, for the layer: everything of `std` stands under its feature.
            let under = text.matches("#[cfg(all(feature = \"async\", not(loom)))]").count()
                + text.matches("#[cfg(feature = \"async\")]").count();
            assert!(text.matches(STD).count() <= under, "{}", file.display());
        } else {
            assert!(!text.contains(STD), "{} says {STD}", file.display());
        }
    }
}

#[test]
fn dependencies_bring_no_std_either() {
    let workspace = read(&core().join("../Cargo.toml"));
    for name in ["serde", "serde_json"] {
        let line = workspace.lines().find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("{name} is declared in the workspace"));
        assert!(line.contains("default-features = false"), "{line}");
        assert!(!line.contains("\"std\""), "{line}");
    }
    let manifest = read(&core().join("Cargo.toml"));
    let dependencies = manifest.split("[dependencies]").nth(1).expect("has some");
    let dependencies = dependencies.split("\n[").next().expect("has some").trim();
    let (layer, machine): (Vec<_>, Vec<_>) =
        dependencies.lines().partition(|line| line.contains("optional = true"));
    let expected = ["serde = { workspace = true }", "serde_json = { workspace = true }"];
    assert_eq!(machine, expected, "a new dependency must be no_std: add it here knowingly");
    let names: Vec<_> = layer.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["event-listener", "futures"], "the async layer brings no runtime");
    assert!(manifest.contains("async = [\"dep:event-listener\", \"dep:futures\"]"));
    assert!(!manifest.contains("default = ["), "features add, and none is on by itself");
}
