//! Reports as a picture: one panel each, all on the same scale of time.

use std::time::Duration;

use crate::report::record::Record;
use crate::report::story::{hooks, short, stretches, why, words};
use crate::report::text::title;
use crate::svg::{self, FAILED, FINE, GRID, INK, SOFT, WIDTH, add, axis, escape, swatch};
use crate::timeline::{Stage, bars, place};

const LEFT: f64 = 32.0;
const RIGHT: f64 = 44.0;
const BAR: f64 = 34.0;
const LANE: f64 = 22.0;
/// Characters of a line of text.
const LETTERS: usize = 150;
/// How many of what was cut are named.
const NAMED: usize = 8;

/// The picture.
pub fn render(reports: &[(String, Record)]) -> String {
    let longest = reports.iter().map(|(_, record)| record.took.0).max().unwrap_or_default();
    let end = longest.max(Duration::from_millis(1));
    let mut body = String::new();
    let mut y = 30.0;
    for (name, record) in reports {
        y = panel(&mut body, name, record, end, y);
    }
    let used = |stage: &Stage| {
        reports.iter().any(|(_, record)| stretches(record).iter().any(|one| one.stage == *stage))
    };
    let mut x = LEFT;
    for stage in [Stage::Window, Stage::Emptying, Stage::Closing].into_iter().filter(used) {
        x = swatch(&mut body, stage.fill(), stage.legend(), x, y);
    }
    svg::frame("What happened between the request to stop and the end", y + 22.0, &body)
}

fn panel(body: &mut String, name: &str, record: &Record, end: Duration, top: f64) -> f64 {
    let (colour, verdict) = match (record.exit_code, record.lost.as_slice()) {
        (0, []) => (FINE, "nothing was lost".to_owned()),
        (code, _) => (FAILED, format!("exit code {code}")),
    };
    add(
        body,
        format_args!(
            r#"<text x="{LEFT}" y="{y1:.1}" font-size="19" font-weight="700">{title}<tspan dx="14" font-weight="600" fill="{colour}">{verdict}</tspan></text>
<text x="{LEFT}" y="{y2:.1}" fill="{SOFT}">{name}</text>
"#,
            y1 = top + 8.0,
            y2 = top + 29.0,
            title = escape(&title(record)),
            name = escape(name),
        ),
    );
    let x = |time: Duration| LEFT + place(time, end, WIDTH - LEFT - RIGHT);
    let bar = top + 78.0;
    bars(body, &stretches(record), x, bar, BAR);
    marks(body, record, x, bar);
    let mut y = bar + BAR + 8.0;
    for (begin, hook) in hooks(record) {
        let took = hook.took.unwrap_or_default().0;
        let (from, to) = (x(begin), x(begin.saturating_add(took)));
        let ok = hook.result == "ok";
        let result =
            if ok { String::new() } else { format!(", {}", hook.result.replace('_', " ")) };
        let label = format!("{} '{}' {}{result}", hook.stage, hook.name, short(took));
        let right = to > WIDTH * 0.7;
        add(
            body,
            format_args!(
                r#"<rect x="{from:.1}" y="{y:.1}" width="{wide:.1}" height="12" rx="2" fill="{fill}"/><text x="{text_x:.1}" y="{text_y:.1}" text-anchor="{anchor}" font-size="12" fill="{INK}">{label}</text>
"#,
                wide = (to - from).max(2.0),
                fill = if ok { "#7c9885" } else { FAILED },
                text_x = if right { from - 6.0 } else { to.max(from + 2.0) + 6.0 },
                text_y = y + 10.5,
                anchor = if right { "end" } else { "start" },
                label = escape(&label),
            ),
        );
        y += LANE;
    }
    axis(body, LEFT, x(end), end.as_secs_f64(), y + 2.0);
    y += 50.0;
    let mut say = |sentence: &str, ink: &str, indent: f64| {
        for part in textwrap::wrap(sentence, LETTERS) {
            let part = escape(&part);
            add(
                body,
                format_args!(
                    "<text x=\"{x}\" y=\"{y:.1}\" fill=\"{ink}\">{part}</text>\n",
                    x = LEFT + indent
                ),
            );
            y += 19.0;
        }
    };
    say(&why(record), INK, 0.0);
    for lost in &record.lost {
        say(lost, FAILED, 0.0);
    }
    for one in record.forced.iter().take(NAMED) {
        say(&words(one), SOFT, 14.0);
    }
    if record.forced.len() > NAMED {
        say(&format!("and {} more", record.forced.len() - NAMED), SOFT, 14.0);
    }
    y += 4.0;
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

/// What happened besides the stages' own ends, above the bar.
fn marks(body: &mut String, record: &Record, x: impl Fn(Duration) -> f64, bar: f64) {
    let mut free_from = 0.0;
    for mark in &record.timeline {
        let plain = ["shutdown requested", "window ended", "drained", "close hooks ended", "done"];
        if plain.contains(&mark.what.as_str()) {
            continue;
        }
        let at = x(mark.at.0);
        let word = format!("{}, {}", mark.what, short(mark.at.0));
        #[expect(clippy::cast_precision_loss, reason = "a few letters")]
        let room = word.chars().count() as f64 * 6.6 + 12.0;
        let from = if at + room > WIDTH - 8.0 { at - room } else { at };
        add(
            body,
            format_args!(
                r#"<line x1="{at:.1}" x2="{at:.1}" y1="{y1:.1}" y2="{bar:.1}" stroke="{SOFT}" stroke-width="1.5"/>
"#,
                y1 = bar - 18.0
            ),
        );
        if from < free_from {
            continue;
        }
        free_from = from + room;
        add(
            body,
            format_args!(
                r#"<text x="{text_x:.1}" y="{text_y:.1}" font-size="12" fill="{SOFT}">{word}</text>
"#,
                text_x = from + 5.0,
                text_y = bar - 8.0,
                word = escape(&word),
            ),
        );
    }
}
