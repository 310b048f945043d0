//! `lameduck report` from the outside: exit statuses, streams and files.

mod support;

use std::fs;

use support::{lameduck, run, run_with_input, temporary};

const REPORT: &str = r#"{"schema":"lameduck-report/1","phase":"done","cause":"terminate","cause_detail":"SIGTERM","took_ms":3000,"exit_code":0,"timeline":[{"at_ms":0,"what":"shutdown requested"},{"at_ms":1000,"what":"window ended"},{"at_ms":2500,"what":"drained"}],"requests":{"adopted":2,"admitted":5,"completed":7},"hooks":[{"name":"database","stage":"close","order":0,"result":"ok","took_ms":400}]}"#;

#[test]
fn a_report_in_a_log_is_shown() {
    let log = format!("listening\nlameduck: report {REPORT}\n");
    let (status, text, error) = run_with_input(lameduck(&["report", "-"]), &log);
    assert_eq!((status, error.as_str()), (0, ""));
    for part in [
        "terminate (SIGTERM): done in 3s  standard input",
        "window 1s",
        "emptying 1.5s",
        "close 'database' 400ms",
        "2 in flight at the stop, 5 since: 7 completed",
        "exit code 0: nothing was lost",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn two_are_compared_drawn_and_put_on_a_page() {
    let names = ["one.json", "two.json", "both.svg", "both.html"].map(temporary);
    let [one, two, svg, html] = names.each_ref().map(|path| path.to_str().unwrap());
    fs::write(one, REPORT).unwrap();
    fs::write(two, REPORT.replace("\"took_ms\":3000", "\"took_ms\":4000")).unwrap();
    let (status, text, error) = run(lameduck(&["report", one, two, "--svg", svg, "--html", html]));
    assert_eq!((status, error.as_str()), (0, ""));
    assert!(
        text.contains("The second took 1s longer, closing was 1s longer; neither lost anything."),
        "{text}"
    );
    let drawn = fs::read_to_string(svg).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.matches("window 1s").count() == 2);
    let page = fs::read_to_string(html).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("Side by side"));
    for path in names {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn bad_input_is_exit_status_2_and_one_sentence() {
    for (words, input, part) in [
        (
            &["report", "/nowhere/report.json"][..],
            "",
            "cannot read /nowhere/report.json: No such file",
        ),
        (&["report", "-"], "no report", "standard input: there is no report in it"),
        (
            &["report", "-", "--html", "/nowhere/r.html"],
            REPORT,
            "--html: there is no folder /nowhere",
        ),
    ] {
        let (status, text, error) = run_with_input(lameduck(words), input);
        assert_eq!((status, text.as_str()), (2, ""), "{words:?}");
        assert!(
            error.starts_with("error: ") && error.contains(part) && error.lines().count() == 1,
            "{error}"
        );
    }
}
