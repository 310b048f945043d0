//! Reports of the machine itself: those that the shared vectors end with.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::report::story::{hooks, stretches, why};
use crate::timeline::Stage;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors");

/// The report at the end of a vector, as its text.
fn report_of(vector: &Path) -> Option<String> {
    let text = std::fs::read_to_string(vector).expect("readable");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    value.get("report").filter(|report| report.is_object()).map(Value::to_string)
}

fn named(vector: &str) -> Record {
    let text = report_of(&Path::new(VECTORS).join(format!("{vector}.json"))).expect("a report");
    Record::last_in(&text).expect("whole")
}

fn all() -> Vec<String> {
    let files = std::fs::read_dir(VECTORS).expect("there").flatten().map(|entry| entry.path());
    let found: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .filter_map(|path| report_of(&path))
        .collect();
    assert!(found.len() > 100, "{}", found.len());
    found
}

fn draw(reports: &[(String, Record)]) {
    for width in [60, 100, 140] {
        let text = text::render(reports, Screen { width });
        let bare = anstream::adapter::strip_str(&text).to_string();
        let drawn = |line: &&str| line.starts_with("  ├") || line.starts_with("  0s");
        for line in bare.lines().filter(drawn) {
            assert!(line.chars().count() <= width + 4, "{line}");
        }
    }
    svg::render(reports);
    html::render(reports);
}

#[test]
fn every_report_of_the_machine_is_read_and_drawn() {
    let mut last = None;
    for text in all() {
        let record = Record::last_in(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let drawn = stretches(&record);
        for pair in drawn.windows(2) {
            assert_eq!(pair[0].to, pair[1].from, "without gaps: {text}");
        }
        let whole = drawn.first().zip(drawn.last()).map(|(first, last)| last.to - first.from);
        assert_eq!(whole.unwrap_or_default(), record.took.0, "{text}");
        assert!(why(&record).ends_with('.'));
        draw(&[("a".into(), record.clone())]);
        if let Some(before) = last.replace(record.clone()) {
            draw(&[("a".into(), before), ("b".into(), record)]);
        }
    }
}

#[test]
fn a_sentence_says_why_it_took_so_long() {
    for (vector, parts) in [
        (
            "stuck-handlers-are-forced",
            &["until the drain deadline, the oldest ", "unanswered after "][..],
        ),
        (
            "hung-pool-does-not-cost-the-logs",
            &["were closing, most of it the close hook '", "timed out"],
        ),
        (
            "idle-connections-are-told-and-closed",
            &["were the window, in which it served on purpose"],
        ),
        ("report-in-mid-drain", &["it is still draining, held up by "]),
    ] {
        let sentence = why(&named(vector));
        for part in parts {
            assert!(sentence.contains(part), "{vector}: {sentence}");
        }
    }
    let blocked = json!({"schema": "lameduck-report/1", "phase": "draining", "took_ms": 29000, "event_loop_blocked_ms": 27000});
    let record = Record::last_in(&blocked.to_string()).unwrap();
    assert_eq!(
        why(&record),
        "The event loop was blocked for 27s when the watchdog ended the process after 29s."
    );
    let hung = json!({
        "schema": "lameduck-report/1", "phase": "done", "took_ms": 1600, "exit_code": 1,
        "timeline": [{"at_ms": 1000, "what": "window ended"}, {"at_ms": 1100, "what": "drained"}],
        "hooks": [{"name": "pool", "stage": "close", "result": "timed_out", "took_ms": 500}],
    });
    let record = Record::last_in(&hung.to_string()).unwrap();
    assert_eq!(
        why(&record),
        "Of its 1.6s, 1s were the window, in which it served on purpose, and 500ms were closing, most of it the close hook 'pool' (500ms, timed out)."
    );
}

#[test]
fn hooks_begin_with_their_stage_and_after_lower_orders() {
    let text = json!({"schema": "lameduck-report/1", "phase": "done", "took_ms": 1000,
        "timeline": [{"at_ms": 200, "what": "window ended"}, {"at_ms": 500, "what": "drained"}, {"at_ms": 900, "what": "close hooks ended"}],
        "hooks": [
            {"name": "late", "stage": "close", "order": 1, "result": "ok", "took_ms": 100},
            {"name": "pool", "stage": "close", "order": 0, "result": "ok", "took_ms": 300},
            {"name": "cache", "stage": "close", "order": 0, "result": "ok", "took_ms": 50},
            {"name": "logs", "stage": "flush", "order": 0, "result": "failed", "took_ms": 100},
            {"name": "queue", "stage": "drain", "order": 0, "result": "ok", "took_ms": 20},
            {"name": "never", "stage": "flush", "order": 1, "result": "not_run"}]});
    let record = Record::last_in(&text.to_string()).unwrap();
    let begins: Vec<(u128, &str)> = hooks(&record)
        .iter()
        .map(|(begin, hook)| (begin.as_millis(), hook.name.as_str()))
        .collect();
    assert_eq!(begins, [(0, "queue"), (500, "pool"), (500, "cache"), (800, "late"), (900, "logs")]);
    assert_eq!(story::length(&record, Stage::Closing).as_millis(), 500);
}

#[test]
fn a_report_is_found_wherever_a_logger_puts_it() {
    let report =
        |took: u32| format!(r#"{{"schema":"lameduck-report/1","phase":"done","took_ms":{took}}}"#);
    let took = |text: &str| Record::last_in(text).map(|record| record.took.0.as_millis());
    assert_eq!(took(&report(7)), Ok(7));
    assert_eq!(took(&format!("{:#}", serde_json::from_str::<Value>(&report(7)).unwrap())), Ok(7));
    assert_eq!(
        took(&format!("GET / 200\n2026-01-01 {{x}} lameduck: report {}\nbye", report(8))),
        Ok(8)
    );
    assert_eq!(took(&format!("{}\n{}\n", report(1), report(2))), Ok(2), "the last one counts");
    assert_eq!(
        took(&json!({"level": 30, "msg": format!("lameduck: report {}", report(9))}).to_string()),
        Ok(9)
    );
    assert_eq!(
        took(&format!("{{\"level\":30,\"report\":{}}}\n{{\"level\":30}}", report(3))),
        Ok(3)
    );
    for (text, part) in [
        ("", "there is no report in it"),
        ("hello\nworld", "there is no report in it"),
        (r#"{"schema":"lameduck-drill/1"}"#, "its schema is lameduck-drill/1"),
        ("[]", "its schema is none"),
        (&report(1)[..40], "is cut off or no JSON"),
        (r#"{"schema":"lameduck-report/1"}"#, "the report is not whole: missing field `phase`"),
        (
            r#"{"schema":"lameduck-report/1","phase":"done","took_ms":-1}"#,
            "a number of milliseconds, zero or more",
        ),
    ] {
        let error = took(text).expect_err(text);
        assert!(error.contains(part) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn what_others_wrote_stays_text() {
    let text = json!({"schema": "lameduck-report/1", "phase": "done", "cause": "<script>", "took_ms": 5, "exit_code": 1,
        "lost": ["<b>"], "timeline": [{"at_ms": 3, "what": "<i>"}],
        "hooks": [{"name": "<h>", "stage": "close", "result": "<r>", "took_ms": 1}],
        "forced": [{"what": "request", "protocol": "<p>", "kind": "<k>", "label": "<l>", "state": "<s>", "age_ms": 1}]});
    let reports = [("<name>".to_owned(), Record::last_in(&text.to_string()).unwrap())];
    let page = html::render(&reports);
    for part in ["<script>", "<b>", "<i>", "<h>", "<r>", "<p>", "<k>", "<l>", "<s>", "<name>"] {
        assert!(
            !page.contains(part) || part == "<p>" && page.matches("<p>").count() == 0,
            "{part}"
        );
    }
    assert!(page.contains("&lt;script&gt;"));
    assert!(
        !page.contains("src=") && !page.contains("href=") && !page.contains("url(http"),
        "nothing is loaded"
    );
}

#[test]
fn nobody_steers_the_terminal() {
    let text = json!({"schema": "lameduck-report/1", "phase": "done", "cause": "a\u{1b}[2Jb", "took_ms": 5,
        "forced": [{"what": "job", "name": "c\nd", "age_ms": 1}]});
    let reports = [("x".to_owned(), Record::last_in(&text.to_string()).unwrap())];
    let shown = text::render(&reports, Screen { width: 80 });
    assert!(!shown.contains("\u{1b}[2J") && shown.contains("job 'c d'"), "{shown:?}");
    assert!(!html::render(&reports).contains('\u{1b}'));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_report_panics(at in any::<prop::sample::Index>(), cut in 0_usize..9, piece in "[0-9\"e{}a-z\u{e4}-]{0,9}") {
        let text = r#"{"schema":"lameduck-report/1","phase":"done","cause":"terminate","took_ms":7153.287,"exit_code":1,"lost":["x"],"policy":[{"name":"grace","ms":9000,"origin":"code"}],"timeline":[{"at_ms":1000,"what":"window ended"},{"at_ms":6300,"what":"drained"},{"at_ms":7002.418,"what":"close hooks ended"}],"hooks":[{"name":"a","stage":"close","order":0,"result":"ok","took_ms":701.688}],"blocked_at":[{"deadline":"drain","at_ms":6300,"blockers":{"requests":1,"oldest":[{"what":"job","id":1,"name":"j","age_ms":5}]}}]}"#;
        let letters: Vec<char> = text.chars().collect();
        let at = at.index(letters.len());
        let end = (at + cut).min(letters.len());
        let mutated: String = letters[..at].iter().copied().chain(piece.chars()).chain(letters[end..].iter().copied()).collect();
        if let Ok(record) = Record::last_in(&mutated) {
            draw(&[("a".into(), record)]);
        }
    }
}
