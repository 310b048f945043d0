//! A line of stretches of time, drawn with characters or as a picture: a plan's and a report's.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use lameduck::policy::text;

use crate::screen::styled;
use crate::svg::{INK, add, escape};

/// What a process is doing for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Closing,
    Emptying,
    Margin,
    PreStop,
    Window,
}

impl Stage {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closing => "closing",
            Self::Emptying => "emptying",
            Self::Margin => "margin",
            Self::PreStop => "preStop",
            Self::Window => "window",
        }
    }

    /// What happens in it.
    pub const fn legend(self) -> &'static str {
        match self {
            Self::Closing => "closing: pools, then logs",
            Self::Emptying => "emptying: what is in flight finishes",
            Self::Margin => "margin: the process is gone",
            Self::PreStop => "preStop hook, no signal yet",
            Self::Window => "window: accepts and serves",
        }
    }

    /// Its colour in pictures.
    pub const fn fill(self) -> &'static str {
        match self {
            Self::Closing => "#c9b3ea",
            Self::Emptying => "#8fb8de",
            Self::Margin => crate::svg::GONE,
            Self::PreStop => "#f7e3a1",
            Self::Window => "#a7d7b4",
        }
    }

    const fn style(self) -> Style {
        match self {
            Self::Closing => AnsiColor::Magenta.on_default(),
            Self::Emptying => AnsiColor::Blue.on_default(),
            Self::Margin => Style::new().dimmed(),
            Self::PreStop => AnsiColor::Yellow.on_default(),
            Self::Window => AnsiColor::Green.on_default(),
        }
    }
}

/// One stretch of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// What it is.
    pub stage: Stage,
    /// Since the stop began.
    pub from: Duration,
    /// Since the stop began.
    pub to: Duration,
}

impl Stretch {
    /// How long it is.
    pub fn length(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }

    fn labels(&self) -> [String; 3] {
        let (name, time) = (self.stage.name(), text(rounded(self.length())));
        [format!(" {name} {time} "), format!(" {name} "), name.to_owned()]
    }
}

/// To the millisecond below a second, to the tenth above: more is not seen.
pub fn rounded(time: Duration) -> Duration {
    let step = if time < Duration::from_secs(1) { 1 } else { 100 };
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis((millis.saturating_add(step / 2)) / step * step)
}

/// Where a time stands on a line of `width` places that ends at `end`.
pub fn place(time: Duration, end: Duration, width: f64) -> f64 {
    if end.is_zero() { 0.0 } else { (time.as_secs_f64() / end.as_secs_f64()).min(1.0) * width }
}

/// The line with characters, and the times under its joints.
pub fn characters(stretches: &[Stretch], end: Duration, width: usize) -> (String, String) {
    #[expect(clippy::cast_precision_loss, reason = "columns of a terminal")]
    let of = |time| place(time, end, (width - 1) as f64);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within width")]
    let column = |time| of(time).round() as usize;
    let mut line = String::new();
    let mut at = 0;
    let mut marks = vec![(0, text(Duration::ZERO))];
    for (number, stretch) in stretches.iter().enumerate() {
        let to = column(stretch.to);
        line.push_str(if number == 0 { "├" } else { "┼" });
        let room = to.saturating_sub(at).saturating_sub(1);
        let label = stretch.labels().into_iter().find(|label| label.chars().count() <= room);
        let label = label.unwrap_or_default();
        let left = (room - label.chars().count()) / 2;
        let right = room - label.chars().count() - left;
        let bar = format!("{}{label}{}", "─".repeat(left), "─".repeat(right));
        line.push_str(&styled(stretch.stage.style(), &bar));
        at = (at + 1 + room).max(to);
        marks.push((at, text(rounded(stretch.to))));
    }
    line.push('┤');
    (line, under(&marks, width))
}

/// Words under their columns, as many as there is room for; the last one is always there.
pub fn under(marks: &[(usize, String)], width: usize) -> String {
    let mut line = String::new();
    let length = |text: &str| text.chars().count();
    let last = marks.len().saturating_sub(1);
    let last_begins =
        marks.get(last).map_or(0, |(column, word)| column.saturating_sub(length(word) - 1));
    for (number, (column, word)) in marks.iter().enumerate() {
        let begins = if number == 0 { 0 } else { column.saturating_sub(length(word) / 2) };
        let begins = if number == last { last_begins.max(length(&line)) } else { begins };
        let fits = number == last || begins + length(word) < last_begins;
        let free = number == 0 || begins > length(&line);
        if fits && (free || number == last) && begins + length(word) <= width + length(word) {
            line.push_str(&" ".repeat(begins.saturating_sub(length(&line))));
            line.push_str(word);
        }
    }
    line
}

/// The line as a picture, `height` high.
pub fn bars(
    svg: &mut String,
    stretches: &[Stretch],
    x: impl Fn(Duration) -> f64,
    y: f64,
    height: f64,
) {
    for stretch in stretches {
        let (from, to) = (x(stretch.from), x(stretch.to));
        let wide = (to - from).max(1.0);
        let shown = text(rounded(stretch.length()));
        add(
            svg,
            format_args!(
                r#"<rect x="{from:.1}" y="{y:.1}" width="{wide:.1}" height="{height:.1}" fill="{fill}"><title>{legend}, {shown}</title></rect>
"#,
                fill = stretch.stage.fill(),
                legend = escape(stretch.stage.legend()),
            ),
        );
        let labels =
            [format!("{} {shown}", stretch.stage.name()), stretch.stage.name().into(), shown];
        #[expect(clippy::cast_precision_loss, reason = "a few letters")]
        let fits = |label: &&String| 12.0 + 6.9 * label.chars().count() as f64 <= wide;
        if let Some(label) = labels.iter().find(fits) {
            add(
                svg,
                format_args!(
                    r#"<text x="{middle:.1}" y="{text_y:.1}" text-anchor="middle" font-size="12.5" fill="{INK}">{label}</text>
"#,
                    middle = from + wide / 2.0,
                    text_y = y + height / 2.0 + 4.5,
                ),
            );
        }
    }
}
