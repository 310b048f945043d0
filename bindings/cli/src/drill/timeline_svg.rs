//! Results as a picture: requests over time with the failed ones in red, and under them what each
//! copy was doing. One panel per drill, all on the same scales.

use std::fmt::Write;

use crate::drill::record::{Copy, Event, Record, Timeline};
use crate::drill::table::conditions;
use crate::number::thousands;
use crate::svg::{
    self, FAILED, FINE, GONE, GRID, INK, SOFT, WIDTH, add, escape, swatch, tick, to_f64,
};

const LEFT: f64 = 84.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 24.0;
/// Parts of a panel, from its top.
const TITLE: f64 = 58.0;
const MARKS: f64 = 36.0;
const BARS: f64 = 130.0;
const LANE: f64 = 26.0;
const LANE_GAP: f64 = 6.0;
const AXIS: f64 = 46.0;
const BETWEEN: f64 = 22.0;
const LEGEND: f64 = 62.0;
/// Failures are drawn at least this high: one of eighty must be seen.
const MIN_FAILED: f64 = 6.0;
/// A phase drawn narrower than this everywhere needs no place in the legend.
const NOTICEABLE: f64 = 2.5;

const OK: &str = "#8fb8de";

/// What a copy is doing for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Serving,
    /// After SIGTERM while the balancer still sends new connections.
    Leaving,
    /// After SIGTERM, out of the balancer.
    Draining,
    /// Running and not asked to stop, but out of the balancer.
    Out,
    /// No process.
    Gone,
}

impl Phase {
    const ALL: [Self; 6] =
        [Self::Starting, Self::Serving, Self::Leaving, Self::Draining, Self::Out, Self::Gone];

    fn fill(self) -> &'static str {
        match self {
            Self::Starting => "#c7ced8",
            Self::Serving => "#a7d7b4",
            Self::Leaving => "#f5c26b",
            Self::Draining => "#c9b3ea",
            Self::Out => "#f7e3a1",
            Self::Gone => GONE,
        }
    }

    fn lane_label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Leaving => "SIGTERM",
            Self::Draining => "draining",
            Self::Out => "out",
            Self::Gone => "gone",
        }
    }

    fn legend(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Leaving => "asked to stop, still in",
            Self::Draining => "draining, out",
            Self::Out => "running, out",
            Self::Gone => "no process",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Segment {
    from_ms: u64,
    to_ms: u64,
    phase: Phase,
}

/// What a copy was doing until `end_ms`, in order and without gaps between its first event and then.
fn segments(copy: &Copy, end_ms: u64) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let (mut running, mut ready, mut asked, mut is_in) = (false, false, false, true);
    let mut current: Option<(u64, Phase)> = None;
    let mut close = |current: Option<(u64, Phase)>, to_ms: u64| {
        if let Some((from_ms, phase)) = current
            && to_ms > from_ms
        {
            segments.push(Segment { from_ms, to_ms, phase });
        }
    };
    for event in &copy.events {
        match event.event {
            Event::Started => (running, ready, asked) = (true, false, false),
            Event::Ready => ready = true,
            Event::Sigterm => asked = true,
            Event::Out => is_in = false,
            Event::In => is_in = true,
            Event::Exited | Event::Killed => running = false,
        }
        let phase = match (running, asked, ready, is_in) {
            (false, ..) => Phase::Gone,
            (true, true, _, true) => Phase::Leaving,
            (true, true, _, false) => Phase::Draining,
            (true, false, false, _) => Phase::Starting,
            (true, false, true, true) => Phase::Serving,
            (true, false, true, false) => Phase::Out,
        };
        if current.is_none_or(|(_, before)| before != phase) {
            close(current, event.at_ms);
            current = Some((event.at_ms, phase));
        }
    }
    close(current, end_ms);
    segments
}

/// The scales that all panels share.
struct Scale {
    seconds: f64,
    most: f64,
}

impl Scale {
    fn of(records: &[&Record]) -> Self {
        let longest = records.iter().map(|record| record.duration_ms).max().unwrap_or(0);
        let most = records.iter().flat_map(|record| totals(&record.timeline)).max().unwrap_or(0);
        Self { seconds: (to_f64(longest) / 1000.0).max(1.0), most: round_up(f64::from(most)) }
    }

    fn x(&self, ms: u64) -> f64 {
        LEFT + to_f64(ms) / 1000.0 / self.seconds * (WIDTH - LEFT - RIGHT)
    }

    fn height(&self, requests: u32) -> f64 {
        f64::from(requests) / self.most * BARS
    }
}

fn totals(timeline: &Timeline) -> impl Iterator<Item = u32> + '_ {
    timeline.ok.iter().zip(&timeline.failed).map(|(ok, failed)| ok + failed)
}

/// The next of 10, 12, 15, 20, 30, 40, 50, 60, 80, 100 and their tenfold.
fn round_up(most: f64) -> f64 {
    let mut step = 10.0;
    loop {
        for factor in [1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0] {
            if most <= step * factor {
                return step * factor;
            }
        }
        step *= 10.0;
    }
}

/// The picture of these results, from top to bottom.
pub fn render(records: &[&Record]) -> String {
    let scale = Scale::of(records);
    let mut body = String::new();
    let mut y = TOP;
    for (at, record) in records.iter().enumerate() {
        if at > 0 {
            y += BETWEEN;
        }
        y = panel(&mut body, record, &scale, y);
    }
    let used: Vec<Phase> = Phase::ALL
        .into_iter()
        .filter(|phase| {
            records.iter().any(|record| {
                let mut copies = record.copies.iter();
                copies.any(|copy| {
                    segments(copy, record.duration_ms).iter().any(|segment| {
                        let width = scale.x(segment.to_ms) - scale.x(segment.from_ms);
                        segment.phase == *phase && width >= NOTICEABLE
                    })
                })
            })
        })
        .collect();
    y = legend(&mut body, records, &used, y + BETWEEN);
    svg::frame("Rolling restart under load: requests over time", y + 12.0, &body)
}

fn panel(svg: &mut String, record: &Record, scale: &Scale, top: f64) -> f64 {
    title(svg, record, top);
    let bars = top + TITLE + MARKS;
    let base = bars + BARS;
    let lanes = base + 12.0;
    #[expect(clippy::cast_precision_loss, reason = "a handful of copies")]
    let end = lanes + record.copies.len() as f64 * (LANE + LANE_GAP);
    grid(svg, scale, bars, base);
    requests(svg, &record.timeline, scale, base);
    marks(svg, record, scale, bars - MARKS, end);
    let mut y = lanes;
    for (at, copy) in record.copies.iter().enumerate() {
        lane(svg, at, copy, record.duration_ms, scale, y);
        y += LANE + LANE_GAP;
    }
    axis(svg, scale, end);
    end + AXIS
}

fn title(svg: &mut String, record: &Record, top: f64) {
    let x = LEFT - 60.0;
    let requests = record.requests;
    let (colour, verdict) = if requests.failed > 0 {
        (FAILED, format!("{} of {} requests failed", count(requests.failed), count(requests.total)))
    } else {
        (FINE, format!("0 of {} requests failed", count(requests.total)))
    };
    let latency = record.latency_ms.ordinary;
    add(
        svg,
        format_args!(
            r#"<text x="{x}" y="{y1:.1}" font-size="19" font-weight="700">{label}<tspan dx="14" font-weight="600" fill="{colour}">{verdict}</tspan></text>
<text x="{x}" y="{y2:.1}" fill="{SOFT}">{restarts} · latency p50 {p50:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms, max {max:.1} ms</text>
"#,
            y1 = top + 20.0,
            y2 = top + 43.0,
            label = escape(&record.label),
            restarts = match record.restarts.len() {
                1 => "1 restart".to_owned(),
                more => format!("{more} restarts"),
            },
            p50 = latency.p50,
            p99 = latency.p99,
            p999 = latency.p999,
            max = latency.max,
        ),
    );
}

fn count(number: u64) -> String {
    thousands(number)
}

fn grid(svg: &mut String, scale: &Scale, bars: f64, base: f64) {
    for part in [0.0, 0.5, 1.0] {
        let y = base - part * BARS;
        add(
            svg,
            format_args!(
                r#"<line x1="{LEFT}" x2="{x2}" y1="{y:.1}" y2="{y:.1}" stroke="{GRID}"/><text x="{x:.1}" y="{text_y:.1}" text-anchor="end" font-size="12" fill="{SOFT}">{value:.0}</text>
"#,
                x2 = WIDTH - RIGHT,
                x = LEFT - 8.0,
                text_y = y + 4.0,
                value = part * scale.most,
            ),
        );
    }
    let middle = f64::midpoint(bars, base);
    add(
        svg,
        format_args!(
            r#"<text transform="translate(32 {middle:.1}) rotate(-90)" text-anchor="middle" font-size="12" fill="{SOFT}">requests / 100 ms</text>
"#
        ),
    );
}

/// All successful intervals as one path and all failures as another: small files.
fn requests(svg: &mut String, timeline: &Timeline, scale: &Scale, base: f64) {
    let (mut ok_path, mut failed_path, mut glow) = (String::new(), String::new(), String::new());
    for (at, (&ok, &failed)) in timeline.ok.iter().zip(&timeline.failed).enumerate() {
        let from = at as u64 * timeline.interval_ms;
        let x = scale.x(from);
        let width = (scale.x(from + timeline.interval_ms) - x) * 0.86;
        let ok_height = scale.height(ok);
        if ok > 0 {
            let _ = write!(ok_path, "M{x:.1} {base:.1}v-{ok_height:.1}h{width:.1}v{ok_height:.1}z");
        }
        if failed > 0 {
            let height = scale.height(failed).max(MIN_FAILED);
            let y = base - ok_height;
            // Wider than its interval, for a lone one to be seen.
            let wide = width.max(5.0);
            let _ = write!(glow, "M{x:.1} {base:.1}v-{BARS:.1}h{wide:.1}v{BARS:.1}z");
            let _ = write!(failed_path, "M{x:.1} {y:.1}v-{height:.1}h{wide:.1}v{height:.1}z");
        }
    }
    add(
        svg,
        format_args!(
            r#"<path d="{ok_path}" fill="{OK}"/><path d="{glow}" fill="{FAILED}" fill-opacity="0.22"/><path d="{failed_path}" fill="{FAILED}"/>
"#
        ),
    );
}

/// A dashed line at each SIGTERM, with what it cost.
fn marks(svg: &mut String, record: &Record, scale: &Scale, top: f64, end: f64) {
    let mut free_from = 0.0;
    let label = MarkLabel::that_fits(record, scale);
    for restart in &record.restarts {
        let x = scale.x(restart.sigterm_ms);
        let (colour, weight) = if restart.failed > 0 { (FAILED, 700) } else { (FINE, 600) };
        add(
            svg,
            format_args!(
                r#"<line x1="{x:.1}" x2="{x:.1}" y1="{y1:.1}" y2="{end:.1}" stroke="{INK}" stroke-opacity="0.45" stroke-dasharray="3 3"/>
"#,
                y1 = top + 4.0,
            ),
        );
        if x < free_from {
            continue;
        }
        let failed = format!("{} failed", count(restart.failed));
        free_from = x + label.room();
        let name = label.text(restart.copy + 1);
        add(
            svg,
            format_args!(
                r#"<text x="{text_x:.1}" y="{y1:.1}" font-size="11.5" fill="{SOFT}">{name}</text><text x="{text_x:.1}" y="{y2:.1}" font-size="12.5" font-weight="{weight}" fill="{colour}">{failed}</text>
"#,
                text_x = x + 5.0,
                y1 = top + 12.0,
                y2 = top + 27.0,
            ),
        );
    }
}

/// How much is said at each SIGTERM, by how much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MarkLabel {
    Long,
    Short,
}

impl MarkLabel {
    fn that_fits(record: &Record, scale: &Scale) -> Self {
        let narrowest = record
            .restarts
            .windows(2)
            .map(|pair| scale.x(pair[1].sigterm_ms) - scale.x(pair[0].sigterm_ms))
            .fold(f64::INFINITY, f64::min);
        if narrowest < Self::Long.room() { Self::Short } else { Self::Long }
    }

    fn room(self) -> f64 {
        match self {
            Self::Long => 104.0,
            Self::Short => 58.0,
        }
    }

    fn text(self, copy: usize) -> String {
        match self {
            Self::Long => format!("SIGTERM copy {copy}"),
            Self::Short => format!("copy {copy}"),
        }
    }
}

fn lane(svg: &mut String, at: usize, copy: &Copy, end_ms: u64, scale: &Scale, y: f64) {
    let middle = y + LANE / 2.0 + 4.0;
    add(
        svg,
        format_args!(
            r#"<text x="{x:.1}" y="{middle:.1}" text-anchor="end" font-size="12.5" font-weight="600">copy {number}</text>
"#,
            x = LEFT - 8.0,
            number = at + 1,
        ),
    );
    for segment in segments(copy, end_ms) {
        let x = scale.x(segment.from_ms);
        let width = scale.x(segment.to_ms) - x;
        let phase = segment.phase;
        add(
            svg,
            format_args!(
                r#"<rect x="{x:.1}" y="{y:.1}" width="{shown:.1}" height="{LANE}" fill="{fill}"><title>{name}, {from:.1} s to {to:.1} s</title></rect>
"#,
                shown = width.max(1.0),
                fill = phase.fill(),
                name = phase.legend(),
                from = to_f64(segment.from_ms) / 1000.0,
                to = to_f64(segment.to_ms) / 1000.0,
            ),
        );
        let label = phase.lane_label();
        if phase != Phase::Gone && width > 10.0 + 6.6 * to_f64(label.len() as u64) {
            add(
                svg,
                format_args!(
                    r#"<text x="{x:.1}" y="{middle:.1}" text-anchor="middle" font-size="11.5">{label}</text>
"#,
                    x = x + width / 2.0,
                ),
            );
        }
    }
    for event in copy.events.iter().filter(|event| event.event == Event::Killed) {
        let x = scale.x(event.at_ms);
        add(
            svg,
            format_args!(
                r#"<rect x="{bar:.1}" y="{y:.1}" width="3" height="{LANE}" fill="{FAILED}"/><text x="{text_x:.1}" y="{middle:.1}" text-anchor="end" font-size="11.5" font-weight="700" fill="{FAILED}">killed</text>
"#,
                bar = x - 3.0,
                text_x = x - 8.0,
            ),
        );
    }
}

fn axis(svg: &mut String, scale: &Scale, top: f64) {
    let step = tick(scale.seconds);
    add(
        svg,
        format_args!(
            r#"<line x1="{LEFT}" x2="{x2}" y1="{top:.1}" y2="{top:.1}" stroke="{SOFT}"/>
"#,
            x2 = WIDTH - RIGHT,
        ),
    );
    let mut second = 0.0;
    while second <= scale.seconds {
        let x = LEFT + second / scale.seconds * (WIDTH - LEFT - RIGHT);
        add(
            svg,
            format_args!(
                r#"<line x1="{x:.1}" x2="{x:.1}" y1="{top:.1}" y2="{tick_end:.1}" stroke="{SOFT}"/><text x="{x:.1}" y="{text_y:.1}" text-anchor="middle" font-size="12" fill="{SOFT}">{second} s</text>
"#,
                tick_end = top + 5.0,
                text_y = top + 20.0,
            ),
        );
        second += step;
    }
}

fn legend(svg: &mut String, records: &[&Record], phases: &[Phase], top: f64) -> f64 {
    let mut x = LEFT - 60.0;
    let mut entry = |fill: &str, text: &str| x = swatch(svg, fill, text, x, top);
    entry(OK, "answered");
    entry(FAILED, "failed");
    for phase in phases {
        entry(phase.fill(), phase.legend());
    }
    let rule = x + 2.0;
    add(
        svg,
        format_args!(
            r#"<line x1="{rule:.1}" x2="{rule:.1}" y1="{y1:.1}" y2="{y2:.1}" stroke="{INK}" stroke-opacity="0.6" stroke-dasharray="3 3"/><text x="{text_x:.1}" y="{top:.1}" font-size="12">SIGTERM</text>
"#,
            y1 = top - 14.0,
            y2 = top + 5.0,
            text_x = rule + 10.0,
        ),
    );
    if let Some(record) = records.last() {
        add(
            svg,
            format_args!(
                r#"<text x="{x}" y="{y:.1}" font-size="12" fill="{SOFT}">{text}</text>
"#,
                x = LEFT - 60.0,
                y = top + 26.0,
                text = escape(&conditions(record)),
            ),
        );
    }
    top + LEGEND - 26.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::record::CopyEvent;

    #[test]
    fn events_become_phases_without_gaps() {
        let events = [
            (0, Event::Started),
            (100, Event::Ready),
            (1000, Event::Sigterm),
            (1300, Event::Out),
            (2000, Event::Exited),
            (2000, Event::Started),
            (2200, Event::Ready),
            (2250, Event::In),
        ];
        let events = events.map(|(at_ms, event)| CopyEvent { at_ms, event }).to_vec();
        let found = segments(&Copy { port: 1, events }, 3000);
        let expected = [
            (0, 100, Phase::Starting),
            (100, 1000, Phase::Serving),
            (1000, 1300, Phase::Leaving),
            (1300, 2000, Phase::Draining),
            (2000, 2200, Phase::Starting),
            (2200, 2250, Phase::Out),
            (2250, 3000, Phase::Serving),
        ];
        let expected = expected.map(|(from_ms, to_ms, phase)| Segment { from_ms, to_ms, phase });
        assert_eq!(found, expected);
    }

    #[test]
    fn scales_are_round() {
        for (most, rounded) in [(0.0, 10.0), (10.0, 10.0), (81.0, 100.0), (110.0, 120.0)] {
            assert!((round_up(most) - rounded).abs() < f64::EPSILON);
        }
    }
}
