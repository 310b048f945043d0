//! The plan for a terminal.

use std::fmt::Write;
use std::time::Duration;

use lameduck::policy::text;

use crate::columns::pad;
use crate::plan::Outcome;
use crate::plan::findings::Planned;
use crate::plan::line::{Line, Timer};
use crate::plan::node::Place;
use crate::screen::{BAD, DIM, GOOD, STRONG, Screen, plain, styled};
use crate::timeline::{characters, place, rounded};

/// Every process with its line and its times, then what does not add up.
pub fn render(outcome: &Outcome, screen: Screen) -> String {
    let mut out = String::new();
    for (planned, line) in &outcome.processes {
        process(&mut out, planned, line, screen);
    }
    for note in &outcome.notes {
        out.push_str(&screen.wrap(note, "note: ", "      "));
        out.push('\n');
    }
    let processes = counted(outcome.processes.len(), "process", "processes");
    let verdict = match outcome.count() {
        0 => styled(GOOD, &format!("{processes}, and every timer fits")),
        found => styled(BAD, &format!("{} in {processes}", counted(found, "finding", "findings"))),
    };
    let _ = writeln!(out, "{verdict}");
    out
}

fn counted(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

fn process(out: &mut String, planned: &Planned, line: &Line, screen: Screen) {
    let process = &planned.process;
    let title = format!("{} ({})", process.name, process.platform.name());
    let _ =
        writeln!(out, "{}  {}\n", styled(STRONG, &plain(&title)), styled(DIM, &at(&process.place)));
    draw(out, line, screen);
    table(out, &line.timers);
    for note in &process.notes {
        let _ = writeln!(out, "{}", screen.wrap(note, "  note: ", "        "));
    }
    for finding in &planned.findings {
        let id = finding.id.name();
        let _ = writeln!(
            out,
            "\n  {} {}",
            styled(BAD, &format!("✗ {id}")),
            styled(DIM, &exactly(&finding.place))
        );
        for (word, sentence) in
            [("", &finding.what), ("why: ", &finding.why), ("do: ", &finding.remedy)]
        {
            let _ = writeln!(out, "{}", screen.wrap(sentence, &format!("    {word}"), "      "));
        }
    }
    out.push('\n');
}

fn draw(out: &mut String, line: &Line, screen: Screen) {
    let width = screen.width - 4;
    if line.stretches.is_empty() {
        return;
    }
    let (bar, times) = characters(&line.stretches, line.end, width);
    let _ = writeln!(out, "  {bar}\n  {}", styled(DIM, &times));
    let mut marks = Vec::new();
    if let Some(time) = line.looked_away {
        marks.push((time, format!("nobody sends anything new from {}", text(rounded(time)))));
    }
    if let Some(time) = line.kill {
        marks.push((time, format!("SIGKILL at {}", text(rounded(time)))));
    }
    for (time, word) in marks {
        let _ = writeln!(out, "  {}", arrow(time, line.end, width, &word));
    }
    out.push('\n');
}

/// `▲ word` under its column; to the left of it near the right edge.
fn arrow(time: Duration, end: Duration, width: usize, word: &str) -> String {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "columns of a terminal"
    )]
    let column = place(time, end, (width - 1) as f64).round() as usize;
    let length = word.chars().count();
    if column + length + 2 <= width {
        format!("{}▲ {word}", " ".repeat(column))
    } else {
        format!("{}{word} ▲", " ".repeat(column.saturating_sub(length + 1)))
    }
}

fn table(out: &mut String, timers: &[Timer]) {
    let value = |timer: &Timer| {
        let time = timer.time.map_or_else(|| "without end".into(), text);
        timer.sum.as_ref().map_or(time.clone(), |sum| format!("{sum} = {time}"))
    };
    let widest = |of: &dyn Fn(&Timer) -> usize| timers.iter().map(of).max().unwrap_or(0);
    let names = widest(&|timer| timer.name.chars().count());
    let values = widest(&|timer| value(timer).chars().count());
    for timer in timers {
        let place = timer.place.as_ref().map_or(String::new(), |place| format!("  {}", at(place)));
        let _ = writeln!(
            out,
            "  {}  {}  {}{}",
            pad(&timer.name, names),
            pad(&value(timer), values),
            plain(&timer.origin),
            styled(DIM, &place)
        );
    }
}

fn at(place: &Place) -> String {
    plain(&format!("{}:{}", place.file, place.line))
}

fn exactly(place: &Place) -> String {
    if place.path.is_empty() { at(place) } else { format!("{}  {}", at(place), plain(&place.path)) }
}
