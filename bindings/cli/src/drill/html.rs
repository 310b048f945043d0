//! Results as a page: the verdict, the mistakes with what to do, the timeline, the figures.

use std::fmt::Write;

use crate::drill::record::{Outcome, Record};
use crate::drill::table::{conditions, rows};
use crate::drill::timeline_svg;
use crate::page::page;
use crate::svg::escape;

/// The page of these results, of which the last is the drill's own.
pub fn render(records: &[&Record]) -> String {
    let mut body = String::new();
    if let Some(last) = records.last() {
        verdict(&mut body, last);
    }
    body.push_str(&timeline_svg::render(records));
    body.push_str("<h2>Figures</h2><table>");
    for row in rows(records).iter().filter(|row| !row.cells.is_empty()) {
        let _ = write!(body, "<tr><td>{}</td>", escape(&row.name));
        for cell in &row.cells {
            let _ = write!(body, "<td>{}</td>", escape(cell));
        }
        body.push_str("</tr>");
    }
    body.push_str("</table>");
    if let Some(last) = records.last() {
        let _ = write!(body, "<p class=\"soft\">{}</p>", escape(&conditions(last)));
        for note in &last.notes {
            let _ = write!(body, "<p class=\"soft\">Note: {}</p>", escape(note));
        }
        failures(&mut body, last);
        if !last.last_output.is_empty() {
            let output = escape(&last.last_output.join("\n"));
            let _ = write!(body, "<h2>Its last output</h2><pre>{output}</pre>");
        }
    }
    let title = records.last().map_or("lameduck drill", |record| record.label.as_str());
    page(&format!("lameduck drill: {title}"), &body)
}

fn verdict(body: &mut String, record: &Record) {
    let passed = record.outcome == Outcome::Passed;
    let _ = write!(
        body,
        "<h2>lameduck drill: {}</h2><p class=\"verdict{}\">{}{}</p>",
        escape(&record.label),
        if passed { " passed" } else { "" },
        if passed { "Passed: " } else { "" },
        escape(&record.sentence)
    );
    let stops = record.restarts.len();
    for finding in &record.findings {
        let _ = write!(
            body,
            "<div class=\"finding\"><h3>{}<code>{} · {} of {stops} stops</code></h3><p>Seen: {}.</p>\
             <p class=\"do\">{}</p></div>",
            escape(finding.mistake.words()),
            finding.mistake.id(),
            finding.stops,
            escape(&finding.evidence),
            escape(&finding.remedy)
        );
    }
}

fn failures(body: &mut String, record: &Record) {
    if record.first_failures.is_empty() {
        return;
    }
    let _ = write!(
        body,
        "<h2>The first failed requests</h2><table><tr><th>after</th><th>request</th><th>how</th><th>under \
         way for</th></tr>"
    );
    for failure in &record.first_failures {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
        let at = failure.at_ms as f64 / 1000.0;
        let status = failure.status.map_or(String::new(), |status| format!(" ({status})"));
        let _ = write!(
            body,
            "<tr><td>{at:.2} s</td><td>{} {}</td><td class=\"lost\">{}{status}</td><td>{:.1} ms</td></tr>",
            escape(&failure.method),
            escape(&failure.path),
            failure.kind.words(),
            failure.after_ms
        );
    }
    body.push_str("</table>");
}
