//! The report of a shutdown that its driver never came to describe: what was known while serving, and what can
//! be counted without the event loop.
//!
//! A report is made into a template on the driver's thread, where memory may be had. At the deadline the printer
//! copies it and fills in the numbers; that needs neither.

use std::fmt::{self, Write};
use std::time::Duration;

use lameduck::Report;
use lameduck::report::{
    ConnectionCounts, JobCounts, ListenerCounts, Millis, RequestCounts, SCHEMA,
};

use crate::ledger::Totals;

/// What a template begins with, and what stands in it for each blank. JSON never holds a bare control character.
const TEMPLATE: u8 = 0x01;
const TOOK: char = '\u{2}';
const CAUSE: char = '\u{3}';
const LOST: char = '\u{4}';
const CONNECTIONS: char = '\u{5}';
const IN_FLIGHT: char = '\u{6}';

/// What the blanks hold while the report is written as JSON. No count and no time comes near them.
const TOOK_MS: u64 = 16_446_744_073_709_551;
const MANY_CONNECTIONS: u64 = 17_446_744_073_709_551_601;
const MANY_IN_FLIGHT: u64 = 17_446_744_073_709_551_602;
const SOME_CAUSE: &str = "lameduck fills in the cause";
const SOME_LOSS: &str = "lameduck fills in what was lost";

/// What to fill in.
pub(crate) struct Facts<'a> {
    /// Since the signal, or since the request to stop as far as it is known.
    pub(crate) took_ms: u64,
    pub(crate) cause: Option<&'a str>,
    /// Why the process ends unheard; without characters that JSON escapes.
    pub(crate) why: &'a dyn fmt::Display,
    pub(crate) totals: Totals,
}

/// The template of `report`. Connections and requests are left to be counted at the deadline, as if they
/// were handed over there; they are cut, so the code is what the process ends with.
pub(crate) fn template(report: &Report, exit_code: u8) -> Vec<u8> {
    let mut blank = report.clone();
    blank.cause = Some(SOME_CAUSE);
    blank.took_ms = Millis(Duration::from_millis(TOOK_MS));
    blank.exit_code = exit_code;
    blank.lost = vec![SOME_LOSS.to_owned()];
    blank.connections.adopted = MANY_CONNECTIONS;
    blank.connections.open = MANY_CONNECTIONS;
    blank.requests.adopted = MANY_IN_FLIGHT;
    blank.requests.in_flight = MANY_IN_FLIGHT;
    if let Some(blockers) = &mut blank.blockers {
        blockers.requests = MANY_IN_FLIGHT;
    }
    let text = blank
        .to_json()
        .replace(&TOOK_MS.to_string(), TOOK.encode_utf8(&mut [0; 1]))
        .replace(&format!("\"cause\":\"{SOME_CAUSE}\","), CAUSE.encode_utf8(&mut [0; 1]))
        .replace(&format!("\"{SOME_LOSS}\""), LOST.encode_utf8(&mut [0; 1]))
        .replace(&MANY_CONNECTIONS.to_string(), CONNECTIONS.encode_utf8(&mut [0; 1]))
        .replace(&MANY_IN_FLIGHT.to_string(), IN_FLIGHT.encode_utf8(&mut [0; 1]));
    let mut template = vec![TEMPLATE];
    template.extend_from_slice(text.as_bytes());
    template
}

/// The template when nobody gave a report: the schema, and nothing known.
pub(crate) fn bare_template(exit_code: u8) -> Vec<u8> {
    let nothing = Report {
        schema: SCHEMA,
        phase: lameduck::Phase::Serving.name(),
        cause: None,
        cause_detail: None,
        raised_by: Vec::new(),
        took_ms: Millis::default(),
        exit_code,
        lost: Vec::new(),
        policy: Vec::new(),
        timeline: Vec::new(),
        listeners: ListenerCounts { open: 0, failed: 0, errors: Vec::new() },
        connections: ConnectionCounts { adopted: 0, opened: 0, forced: 0, open: 0 },
        requests: RequestCounts {
            adopted: 0,
            admitted: 0,
            not_processed: 0,
            completed: 0,
            client_gone: 0,
            refused: 0,
            ended: 0,
            forced: 0,
            in_flight: 0,
        },
        hooks: Vec::new(),
        jobs: JobCounts {
            completed: 0,
            failed: 0,
            cancelled: 0,
            aborted: 0,
            forced: 0,
            running: 0,
        },
        forced: Vec::new(),
        blocked_at: Vec::new(),
        blockers: None,
        open_handles: Vec::new(),
        event_loop_blocked_ms: None,
    };
    template(&nothing, exit_code)
}

pub(crate) fn is_template(bytes: &[u8]) -> bool {
    bytes.first() == Some(&TEMPLATE)
}

/// What ending the process costs those who wait for an answer.
pub(crate) struct Cut(u64);

/// `None` when nobody waits.
pub(crate) fn cut(in_flight: u64) -> Option<Cut> {
    (in_flight > 0).then_some(Cut(in_flight))
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 request was cut at the hard deadline"),
            many => write!(f, "{many} requests were cut at the hard deadline"),
        }
    }
}

/// Writes the template with its blanks filled in. Allocates nothing.
pub(crate) fn fill(template: &[u8], facts: &Facts<'_>, out: &mut impl Write) -> fmt::Result {
    // It was a string when it was made; a driver cannot have put anything else here.
    let text = str::from_utf8(template.get(1..).unwrap_or_default()).unwrap_or_default();
    for piece in text.split_inclusive([TOOK, CAUSE, LOST, CONNECTIONS, IN_FLIGHT]) {
        out.write_str(piece.trim_end_matches(|end: char| end.is_control()))?;
        match piece.chars().next_back() {
            Some(TOOK) => write!(out, "{}", facts.took_ms)?,
            Some(CAUSE) => {
                if let Some(cause) = facts.cause {
                    write!(out, "\"cause\":\"{cause}\",")?;
                }
            }
            Some(LOST) => {
                write!(out, "\"{}\"", facts.why)?;
                if let Some(cut) = cut(facts.totals.in_flight) {
                    write!(out, ",\"{cut}\"")?;
                }
            }
            Some(CONNECTIONS) => write!(out, "{}", facts.totals.connections)?,
            Some(IN_FLIGHT) => write!(out, "{}", facts.totals.in_flight)?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lameduck::{Event, HookId, Machine, Policy, Settings, Stage, Time};

    fn filled(template: &[u8], in_flight: u64, cause: Option<&str>) -> String {
        assert!(is_template(template));
        let mut text = String::new();
        let totals = Totals { connections: 12, in_flight, faults: 0 };
        let why = &"the event loop was blocked";
        fill(template, &Facts { took_ms: 345, cause, why, totals }, &mut text).unwrap();
        text
    }

    /// The same report by the ordinary way: its fields set, then written as JSON.
    fn expected(mut report: Report, in_flight: u64, cause: Option<&'static str>) -> String {
        report.cause = cause;
        report.took_ms = Millis(Duration::from_millis(345));
        report.exit_code = 3;
        report.lost = vec![String::from("the event loop was blocked")];
        if in_flight == 1 {
            report.lost.push(String::from("1 request was cut at the hard deadline"));
        } else if in_flight > 1 {
            report.lost.push(format!("{in_flight} requests were cut at the hard deadline"));
        }
        (report.connections.adopted, report.connections.open) = (12, 12);
        (report.requests.adopted, report.requests.in_flight) = (in_flight, in_flight);
        if let Some(blockers) = &mut report.blockers {
            blockers.requests = in_flight;
        }
        report.to_json()
    }

    #[test]
    fn a_filled_template_is_what_the_schema_makes_of_the_same_facts() {
        let policy = Policy::resolve(&Settings::default(), &Settings::default()).unwrap();
        let mut machine = Machine::new(policy);
        let now = Time::from_nanos(5);
        let name = String::from("a \"quoted\"\n\u{1} name");
        let (hook, stage) = (HookId(1), Stage::Close);
        let event = Event::HookRegistered { hook, stage, name, order: 0, timeout: None };
        machine.handle(event, now).unwrap();
        let report = machine.report(now);
        for (in_flight, cause) in [(0, None), (1, Some("terminate")), (7, Some("interrupt"))] {
            let text = filled(&template(&report, 3), in_flight, cause);
            assert_eq!(text, expected(report.clone(), in_flight, cause));
        }
        assert!(!report.policy.is_empty());
    }

    #[test]
    fn what_the_printer_appends_is_the_schema_s_last_member() {
        let machine =
            Machine::new(Policy::resolve(&Settings::default(), &Settings::default()).unwrap());
        let mut report = machine.report(Time::from_nanos(5));
        report.event_loop_blocked_ms = Some(1234);
        assert!(report.to_json().ends_with(",\"event_loop_blocked_ms\":1234}"));
    }

    #[test]
    fn without_a_report_it_is_the_schema_all_the_same() {
        let text = filled(&bare_template(3), 2, Some("terminate"));
        assert!(
            text.starts_with(
                r#"{"schema":"lameduck-report/1","phase":"serving","cause":"terminate","took_ms":345,"exit_code":3,"#
            ),
            "{text}"
        );
        assert!(text.contains(r#""requests":{"adopted":2,"admitted":0,"#), "{text}");
        assert!(text.ends_with('}') && !text.contains(|c: char| c.is_control()), "{text}");
    }
}
