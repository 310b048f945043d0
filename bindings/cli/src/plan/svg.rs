//! The plan as a picture: one panel a process, its line, and under it what does not add up.

use std::time::Duration;

use lameduck::policy::text;

use crate::plan::Outcome;
use crate::plan::findings::Planned;
use crate::plan::line::Line;
use crate::svg::{self, FAILED, FINE, GRID, INK, SOFT, WIDTH, add, axis, escape, swatch};
use crate::timeline::{Stage, bars, place, rounded};

const LEFT: f64 = 32.0;
const RIGHT: f64 = 44.0;
const BAR: f64 = 34.0;
/// Characters of a line of text.
const LETTERS: usize = 150;

/// The picture.
pub fn render(outcome: &Outcome) -> String {
    let mut body = String::new();
    let mut y = 30.0;
    for (planned, line) in &outcome.processes {
        y = panel(&mut body, planned, line, y);
    }
    let used = |stage: &Stage| {
        let mut lines = outcome.processes.iter();
        lines.any(|(_, line)| line.stretches.iter().any(|stretch| stretch.stage == *stage))
    };
    let stages = [Stage::PreStop, Stage::Window, Stage::Emptying, Stage::Closing, Stage::Margin];
    let mut x = LEFT;
    for stage in stages.into_iter().filter(used) {
        x = swatch(&mut body, stage.fill(), stage.legend(), x, y);
    }
    svg::frame("Every timer between the request to stop and SIGKILL", y + 22.0, &body)
}

fn panel(body: &mut String, planned: &Planned, line: &Line, top: f64) -> f64 {
    let process = &planned.process;
    let (colour, verdict) = match planned.findings.len() {
        0 => (FINE, "every timer fits".to_owned()),
        1 => (FAILED, "1 finding".to_owned()),
        more => (FAILED, format!("{more} findings")),
    };
    let from =
        format!("{}, {}:{}", process.platform.name(), process.place.file, process.place.line);
    add(
        body,
        format_args!(
            r#"<text x="{LEFT}" y="{y1:.1}" font-size="19" font-weight="700">{name}<tspan dx="14" font-weight="600" fill="{colour}">{verdict}</tspan></text>
<text x="{LEFT}" y="{y2:.1}" fill="{SOFT}">{from}</text>
"#,
            y1 = top + 8.0,
            y2 = top + 29.0,
            name = escape(&process.name),
            from = escape(&from),
        ),
    );
    let bar = top + 72.0;
    let x = |time: Duration| LEFT + place(time, line.end, WIDTH - LEFT - RIGHT);
    bars(body, &line.stretches, x, bar, BAR);
    axis(body, LEFT, x(line.end), line.end.as_secs_f64(), bar + BAR + 6.0);
    if let Some(time) = line.kill.filter(|kill| *kill < line.end) {
        let (from, to) = (x(time), x(line.end));
        add(
            body,
            format_args!(
                r##"<rect x="{from:.1}" y="{bar:.1}" width="{width:.1}" height="{BAR}" fill="#ffffff" fill-opacity="0.45"/><rect x="{from:.1}" y="{bar:.1}" width="{width:.1}" height="{BAR}" fill="{FAILED}" fill-opacity="0.18"><title>after SIGKILL: never reached</title></rect>
"##,
                width = to - from,
            ),
        );
    }
    if let Some(time) = line.looked_away {
        mark(
            body,
            x(time),
            bar,
            false,
            &format!("nobody sends anything new, {}", text(rounded(time))),
        );
    }
    if let Some(time) = line.kill {
        mark(body, x(time), bar, true, &format!("SIGKILL, {}", text(rounded(time))));
    }
    let mut y = bar + BAR + 52.0;
    for finding in &planned.findings {
        let place = &finding.place;
        add(
            body,
            format_args!(
                r#"<text x="{LEFT}" y="{y:.1}" font-weight="700" fill="{FAILED}">{id}<tspan dx="10" font-weight="400" fill="{SOFT}">{file}:{line} {path}</tspan></text>
"#,
                id = finding.id.name(),
                file = escape(&place.file),
                line = place.line,
                path = escape(&place.path),
            ),
        );
        let remedy = format!("→ {}", finding.remedy);
        for (sentence, ink) in [(&finding.what, INK), (&finding.why, SOFT), (&remedy, INK)] {
            for part in textwrap::wrap(sentence, LETTERS) {
                y += 19.0;
                let part = escape(&part);
                add(
                    body,
                    format_args!(
                        "<text x=\"{x}\" y=\"{y:.1}\" fill=\"{ink}\">{part}</text>\n",
                        x = LEFT + 14.0
                    ),
                );
            }
        }
        y += 30.0;
    }
    add(
        body,
        format_args!(
            r#"<line x1="{LEFT}" x2="{x2}" y1="{y:.1}" y2="{y:.1}" stroke="{GRID}"/>
"#,
            x2 = WIDTH - RIGHT
        ),
    );
    y + 32.0
}

/// A dashed line, through the bar if the process ends there, with a word above it, on the side where there is room.
fn mark(body: &mut String, x: f64, bar: f64, ends: bool, word: &str) {
    let (colour, to) = if ends { (FAILED, bar + BAR + 6.0) } else { (SOFT, bar) };
    let right = x > WIDTH / 2.0;
    let (anchor, text_x) = if right { ("end", x - 5.0) } else { ("start", x + 5.0) };
    add(
        body,
        format_args!(
            r#"<line x1="{x:.1}" x2="{x:.1}" y1="{y1:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="2" stroke-dasharray="4 3"/><text x="{text_x:.1}" y="{text_y:.1}" text-anchor="{anchor}" font-size="12.5" font-weight="600" fill="{colour}">{word}</text>
"#,
            y1 = bar - 22.0,
            y2 = to,
            text_y = bar - 10.0,
        ),
    );
}
