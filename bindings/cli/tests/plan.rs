//! `lameduck plan` from the outside: exit statuses, streams and files.

mod support;

use std::fs;

use serde_json::Value;
use support::{deployments, lameduck, run, run_with_input, temporary};

#[test]
fn the_deployments_of_the_docs_add_up() {
    for file in deployments() {
        let (status, text, error) = run(lameduck(&["plan", &file]));
        assert_eq!((status, error.as_str()), (0, ""), "{file}: {text}");
        assert!(text.contains("every timer fits"), "{text}");
    }
}

#[test]
fn findings_are_exit_status_1_in_text_json_and_svg() {
    let picture = temporary("plan.svg");
    let compose = "services: { web: { build: . } }";
    let (status, text, error) = run_with_input(lameduck(&["plan", "-"]), compose);
    assert_eq!((status, error.as_str()), (1, ""));
    assert!(
        text.contains("✗ default-limit standard input:1")
            && text.contains("1 finding in 1 process"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
    let svg = picture.to_str().unwrap();
    let (status, text, _) =
        run_with_input(lameduck(&["plan", "-", "--json", "--svg", svg]), compose);
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, plan["schema"].as_str()), (1, Some("lameduck-plan/1")));
    let process = &plan["processes"][0];
    assert_eq!(process["kill_ms"], 10_000);
    assert_eq!(process["findings"][0]["id"], "default-limit");
    assert_eq!(process["findings"][0]["at"]["path"], "services.web");
    let stages: Vec<&str> = process["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["window", "emptying", "closing", "margin"]);
    let drawn = fs::read_to_string(&picture).unwrap();
    fs::remove_file(&picture).unwrap();
    assert!(
        drawn.starts_with("<svg ")
            && drawn.contains("default-limit")
            && drawn.contains("SIGKILL, 10s")
    );
}

#[test]
fn bad_input_is_exit_status_2_and_one_sentence() {
    for (words, input, part) in [
        (&["plan", "/nowhere/k8s.yaml"][..], "", "cannot read /nowhere/k8s.yaml: No such file"),
        (&["plan", "-"], "a: [", "standard input, line "),
        (
            &["plan", "-"],
            "kind: Service\napiVersion: v1",
            "nothing in these files is a process that is stopped",
        ),
        (&["plan", "-", "--svg", "/nowhere/plan.svg"], "", "--svg: there is no folder /nowhere"),
        (&["plan", "."], "", "cannot read .: Is a directory"),
    ] {
        let (status, text, error) = run_with_input(lameduck(words), input);
        assert_eq!((status, text.as_str()), (2, ""), "{words:?}");
        assert!(
            error.starts_with("error: ") && error.contains(part) && error.lines().count() == 1,
            "{error}"
        );
    }
    let (status, _, error) = run(lameduck(&["plan"]));
    assert!(status == 2 && error.contains("<FILE>"), "{error}");
}

#[test]
fn rules_are_listed() {
    let (status, text, _) = run(lameduck(&["plan", "--rules"]));
    assert!(status == 0 && text.lines().count() >= 15 && text.contains("window-doubled"), "{text}");
}
