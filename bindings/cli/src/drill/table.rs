//! Results as a table for people, one column per drill.

use crate::columns::{Row, layout};
use crate::drill::args::{BalancerKind, Mode};
use crate::drill::client::Failure;
use crate::drill::diagnosis::Finding;
use crate::drill::probe::Check;
use crate::drill::record::{Latency, Outcome, Record};
use crate::number::thousands;
use crate::screen::{BAD, DIM, GOOD, STRONG, Screen, plain, styled};

/// The table of these results, then what has to be said about the last of them.
pub fn render(records: &[&Record], screen: Screen) -> String {
    let mut text = layout(&rows(records));
    if let Some(last) = records.last() {
        text.push('\n');
        text.push_str(&remarks(last, screen));
    }
    text
}

/// The lines of the table; those without cells are rules.
pub fn rows(records: &[&Record]) -> Vec<Row> {
    let mut rows = vec![row(String::new(), records, |record| record.label.clone())];
    rows.push(row("requests", records, |record| thousands(record.requests.total)));
    rows.push(row("failed", records, failed));
    for kind in Failure::ALL {
        let count = |record: &Record| record.failures.get(&kind).copied().unwrap_or(0);
        if records.iter().any(|record| count(record) > 0) {
            let name = format!("  {}", kind.words());
            rows.push(row(name, records, |record| dash_for_zero(count(record))));
        }
    }
    if records.iter().any(|record| record.requests.unfinished > 0) {
        rows.push(row("unfinished", records, |r| dash_for_zero(r.requests.unfinished)));
    }
    rows.push(Row::rule());
    if records.iter().any(|record| record.failed_before_restarts > 0) {
        rows.push(row("before restarts", records, |record| {
            format!("{} failed", thousands(record.failed_before_restarts))
        }));
    }
    let most = records.iter().map(|record| record.restarts.len()).max().unwrap_or(0);
    for number in 0..most {
        rows.push(row(format!("restart {}", number + 1), records, |r| restart(r, number)));
    }
    if most > 0 {
        rows.push(Row::rule());
    }
    for (name, value) in LATENCIES {
        rows.push(row(name, records, |record| ms(record.latency_ms.ordinary, value)));
    }
    if records.iter().any(|record| record.latency_ms.slow.count > 0) {
        rows.push(row("slow requests p50", records, |r| ms(r.latency_ms.slow, |l| l.p50)));
        rows.push(row("slow requests max", records, |r| ms(r.latency_ms.slow, |l| l.max)));
    }
    rows
}

type Quantile = fn(&Latency) -> f64;

const LATENCIES: [(&str, Quantile); 4] = [
    ("latency p50", |latency| latency.p50),
    ("latency p99", |latency| latency.p99),
    ("latency p99.9", |latency| latency.p999),
    ("latency max", |latency| latency.max),
];

/// One line of the table.
fn row(name: impl Into<String>, of: &[&Record], cell: impl Fn(&Record) -> String) -> Row {
    Row { name: name.into(), cells: of.iter().map(|record| cell(record)).collect() }
}

fn failed(record: &Record) -> String {
    let requests = record.requests;
    if requests.failed == 0 {
        return "0".into();
    }
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    let percent = 100.0 * requests.failed as f64 / requests.total as f64;
    format!("{} ({percent:.2} %)", thousands(requests.failed))
}

fn restart(record: &Record, number: usize) -> String {
    let Some(restart) = record.restarts.get(number) else { return "–".into() };
    let end = match (restart.killed, restart.exit) {
        (true, _) => "had to be killed".into(),
        (false, Some(exit)) => exit.words(),
        (false, None) => "still running".into(),
    };
    #[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
    let took = restart
        .exit_took_ms()
        .map_or(String::new(), |took| format!(" after {:.1} s", took as f64 / 1000.0));
    format!("copy {}: {} failed, {end}{took}", restart.copy + 1, thousands(restart.failed))
}

fn ms(latency: Latency, value: impl Fn(&Latency) -> f64) -> String {
    if latency.count == 0 { "–".into() } else { format!("{:.1} ms", value(&latency)) }
}

fn dash_for_zero(count: u64) -> String {
    if count == 0 { "–".into() } else { thousands(count) }
}

/// The conditions of a drill in one line.
pub fn conditions(record: &Record) -> String {
    let conditions = &record.conditions;
    if record.mode == Mode::Single {
        return format!(
            "one process and its clients, no balancer; one would look away after {} ms of failed \
             readiness, no retries",
            conditions.probe_interval_ms * f64::from(conditions.probe_threshold)
        );
    }
    let check = match (conditions.balancer, conditions.check) {
        (BalancerKind::Nginx, _) => "no active checks".into(),
        (_, Some(Check::Tcp)) => format!("connect check every {} ms", conditions.probe_interval_ms),
        _ => format!("readiness check every {} ms", conditions.probe_interval_ms),
    };
    format!(
        "{} keep-alive clients, {} requests/s, {}, {} ms each way, {check}, no retries",
        conditions.connections,
        conditions.rate,
        conditions.balancer.words(),
        conditions.delay_ms,
    )
}

fn remarks(record: &Record, screen: Screen) -> String {
    let mut text = format!("{}\n", styled(DIM, &screen.wrap(&conditions(record), "", "")));
    for note in &record.notes {
        text.push_str(&styled(DIM, &screen.wrap(&format!("note: {note}"), "", "      ")));
        text.push('\n');
    }
    for finding in &record.findings {
        text.push_str(&mistake(finding, record.restarts.len(), screen));
    }
    let (style, word) = match record.outcome {
        Outcome::Passed => (GOOD, "passed"),
        Outcome::Interrupted => (BAD, "interrupted"),
        _ => (BAD, "failed"),
    };
    if !record.findings.is_empty() {
        text.push('\n');
    }
    text.push_str(&format!("{}: {}\n", styled(style, word), plain(&record.sentence)));
    text
}

/// A finding: what, seen how, and what to do.
fn mistake(finding: &Finding, stops: usize, screen: Screen) -> String {
    format!(
        "\n{} {} {}\n{}\n{}\n",
        styled(BAD, "mistake:"),
        styled(STRONG, finding.mistake.words()),
        styled(DIM, &format!("[{}] {} of {stops} stops", finding.mistake.id(), finding.stops)),
        screen.wrap(&format!("seen: {}", finding.evidence), "    ", "          "),
        screen.wrap(&format!("do:   {}", finding.remedy), "    ", "          "),
    )
}
