//! What all pictures share: the sheet, the colours, the scale of time.

use std::fmt::{Arguments, Write};

use crate::screen::plain;

/// Width of every picture.
pub const WIDTH: f64 = 1200.0;
/// Text.
pub const INK: &str = "#1f2937";
/// Text that matters less.
pub const SOFT: &str = "#6b7280";
/// Lines in the background.
pub const GRID: &str = "#e5e7eb";
/// What went wrong.
pub const FAILED: &str = "#d92d20";
/// What went well.
pub const FINE: &str = "#15803d";
/// A hatching for where nothing runs.
pub const GONE: &str = "url(#gone)";

/// A whole picture: the sheet with `body` on it.
pub fn frame(name: &str, height: f64, body: &str) -> String {
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="{name}" font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif" font-size="13" fill="{INK}">
<defs><pattern id="gone" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" fill="#f3f4f6"/><rect width="2" height="7" fill="#d1d5db"/></pattern></defs>
<rect width="{WIDTH}" height="{height}" rx="10" fill="#ffffff"/>
<rect x="0.5" y="0.5" width="{inner_width}" height="{inner_height}" rx="10" fill="none" stroke="{GRID}"/>
{body}</svg>
"##,
        name = escape(name),
        inner_width = WIDTH - 1.0,
        inner_height = height - 1.0,
    )
}

/// Adds to a picture.
pub fn add(svg: &mut String, text: Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = svg.write_fmt(text);
}

/// One entry of a legend, its text on the line `y`; returns where the next one begins.
pub fn swatch(svg: &mut String, fill: &str, text: &str, x: f64, y: f64) -> f64 {
    add(
        svg,
        format_args!(
            r##"<rect x="{x:.1}" y="{top:.1}" width="14" height="14" rx="2" fill="{fill}" stroke="#9ca3af" stroke-width="0.5"/><text x="{text_x:.1}" y="{y:.1}" font-size="12">{text}</text>
"##,
            top = y - 11.0,
            text_x = x + 20.0,
        ),
    );
    x + 44.0 + 6.0 * to_f64(text.len() as u64)
}

/// An axis of so many seconds between two positions.
pub fn axis(svg: &mut String, from: f64, to: f64, seconds: f64, y: f64) {
    let step = tick(seconds);
    add(
        svg,
        format_args!(
            r#"<line x1="{from}" x2="{to:.1}" y1="{y:.1}" y2="{y:.1}" stroke="{SOFT}"/>
"#
        ),
    );
    let mut at = 0.0;
    while at <= seconds {
        let x = from + at / seconds * (to - from);
        let label = (at * 1000.0).round() / 1000.0;
        add(
            svg,
            format_args!(
                r#"<line x1="{x:.1}" x2="{x:.1}" y1="{y:.1}" y2="{tick_end:.1}" stroke="{SOFT}"/><text x="{x:.1}" y="{text_y:.1}" text-anchor="middle" font-size="12" fill="{SOFT}">{label} s</text>
"#,
                tick_end = y + 5.0,
                text_y = y + 20.0,
            ),
        );
        at += step;
    }
}

/// A number as a position.
#[expect(clippy::cast_precision_loss, reason = "positions in a picture")]
pub fn to_f64(number: u64) -> f64 {
    number as f64
}

/// Seconds between labels of the time axis: about twelve of them.
pub fn tick(seconds: f64) -> f64 {
    let steps =
        [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];
    let fits = |step: &f64| seconds / step <= 16.0 && (*step >= 0.5 || seconds < 2.0);
    steps.into_iter().find(fits).unwrap_or((seconds / 12.0).max(600.0))
}

/// Text for an element or an attribute.
pub fn escape(text: &str) -> String {
    plain(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_twelve_labels() {
        assert!((tick(3.0) - 0.5).abs() < f64::EPSILON && (tick(60.0) - 5.0).abs() < f64::EPSILON);
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b> & \"c\""), "a&lt;b&gt; &amp; &quot;c&quot;");
    }
}
