//! Reports as a page of their own: the picture, then the accounts. Nothing is loaded from anywhere.

use std::fmt::Write;

use crate::page::page;
use crate::report::record::Record;
use crate::report::story::{cut, difference, when, words};
use crate::report::svg;
use crate::report::text::{facts, rows, title};
use crate::svg::escape;

/// The page.
pub fn render(reports: &[(String, Record)]) -> String {
    let mut body = svg::render(reports);
    if let [(first_name, first), (second_name, second)] = reports {
        let _ = write!(
            body,
            "<h2>Side by side</h2><p>{}</p><table>",
            escape(&difference(first, second))
        );
        for row in rows([(first_name, first), (second_name, second)]) {
            if row.cells.is_empty() {
                continue;
            }
            let _ = write!(body, "<tr><td>{}</td>", escape(&row.name));
            for cell in row.cells {
                let _ = write!(body, "<td>{}</td>", escape(&cell));
            }
            body.push_str("</tr>");
        }
        body.push_str("</table>");
    }
    for (name, record) in reports {
        let _ = write!(body, "<h2>{}</h2><table>", escape(&format!("{}, {name}", title(record))));
        for (name, value) in facts(record) {
            let _ = write!(body, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(&value));
        }
        body.push_str("</table>");
        let mut section = |heading: &str, lines: Vec<String>| {
            if lines.is_empty() {
                return;
            }
            let _ = write!(body, "<h3>{}</h3><ol>", escape(heading));
            for line in lines {
                let _ = write!(body, "<li>{}</li>", escape(&line));
            }
            body.push_str("</ol>");
        };
        for blocked in &record.blocked_at {
            let heading = format!("What held it up {}, oldest first", when(blocked));
            section(&heading, blocked.blockers.oldest.iter().map(words).collect());
        }
        section("What was cut", cut(record));
        section("What else was open", record.open_handles.clone());
        section("What was lost", record.lost.clone());
    }
    page("lameduck report", &body)
}
