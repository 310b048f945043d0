//! Whatever is wrong with a vector is said with file, field and rule, and whatever is wrong with a
//! policy with its name and the sum: one case a rule, each with the whole sentence.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use lameduck::{Grace, Policy, Settings, environment, table};
use serde_json::{Value, json};

use support::scenario::Scenario;

const WHOLE: &str = "must be a whole number from 0 to 2^52 − 1";
const SMALL: &str = "must be a whole number from 0 to 2^32 − 1";
const DECIMAL: &str = "must be a string of decimal digits below 2^64";
const OBJECT: &str = "must be an object";
const FLAG: &str = "must be true or false";
const TEXT: &str = "must be a string";

/// The sentence with which the text of a vector is refused.
fn refusal_of(text: &str) -> String {
    Scenario::parse("bad.json", text).err().expect("is malformed")
}

fn well_formed() -> Value {
    json!({ "about": "x", "steps": [] })
}

/// The sentence about a vector of which one field was changed.
fn with(name: &str, value: Value) -> String {
    let mut vector = well_formed();
    vector[name] = value;
    refusal_of(&vector.to_string())
}

fn with_step(step: Value) -> String {
    with("steps", json!([{ "at_us": 0, "tick": true }, step]))
}

fn with_event(event: Value) -> String {
    with_step(json!({ "at_us": 0, "event": event }))
}

fn without(object: &Value, name: &str) -> Value {
    let mut rest = object.clone();
    rest.as_object_mut().expect("an object").remove(name).expect("had it");
    rest
}

/// The fields that the sentence about an unknown one lists.
fn known(sentence: &str) -> BTreeSet<String> {
    let (_, known) = sentence.split_once("known are ").expect(sentence);
    known.split(", ").map(str::to_string).collect()
}

#[test]
fn the_vectors_that_the_cases_start_from_are_well_formed() {
    assert!(Scenario::parse("good.json", &well_formed().to_string()).is_ok());
    for (event, _) in events() {
        let vector = json!({ "about": "x", "steps": [{ "at_us": 0, "event": event }] });
        if let Err(sentence) = Scenario::parse("good.json", &vector.to_string()) {
            panic!("{sentence}");
        }
    }
}

#[test]
fn what_is_no_vector_at_all() {
    for (text, rule) in [
        ("", "is not JSON: EOF while parsing a value at line 1 column 0"),
        ("{\n  \"about\": x", "is not JSON: expected value at line 2 column 12"),
        ("{} {}", "is not JSON: trailing characters at line 1 column 4"),
        ("[]", OBJECT),
        ("null", OBJECT),
    ] {
        assert_eq!(refusal_of(text), format!("bad.json: {rule}"));
    }
    let deep = "[".repeat(1_000_000);
    let rule = "is not JSON: recursion limit exceeded at line 1 column 128";
    assert_eq!(refusal_of(&deep), format!("bad.json: {rule}"));
}

#[test]
fn fields_of_the_file() {
    let typo = with("stepps", json!([]));
    let fields = "about, origin_ns, policy, environment, contradiction, steps, report";
    assert_eq!(typo, format!("bad.json: stepps: no such field; known are {fields}"));
    for (name, value, rule) in [
        ("about", json!(5), TEXT),
        ("origin_ns", json!(5), TEXT),
        ("origin_ns", json!("18446744073709551616"), DECIMAL),
        ("origin_ns", json!("-1"), DECIMAL),
        ("origin_ns", json!("+1"), DECIMAL),
        ("origin_ns", json!(""), DECIMAL),
        ("policy", json!(null), OBJECT),
        ("environment", json!([]), OBJECT),
        ("contradiction", json!(true), TEXT),
        ("contradiction", json!("no"), "must not stand beside a contradiction"),
        ("steps", json!({}), "must be an array"),
        ("report", json!("fine"), OBJECT),
    ] {
        let place = if rule.contains("beside") { "steps" } else { name };
        assert_eq!(with(name, value), format!("bad.json: {place}: {rule}"));
    }
    let report = json!({ "about": "x", "contradiction": "no", "report": {} });
    let rule = "must not stand beside a contradiction";
    assert_eq!(refusal_of(&report.to_string()), format!("bad.json: report: {rule}"));
    for name in ["about", "steps"] {
        let rest = without(&well_formed(), name).to_string();
        assert_eq!(refusal_of(&rest), format!("bad.json: {name}: is missing"));
    }
}

#[test]
fn a_field_with_an_odd_name_does_not_break_the_sentence() {
    for (name, written) in [("", r#""""#), ("two\nlines: a.b\u{1b}", r#""two\nlines: a.b\u{1b}""#)]
    {
        let sentence = with(name, json!(1));
        assert!(
            sentence.starts_with(&format!("bad.json: {written}: no such field; ")),
            "{sentence}"
        );
    }
}

#[test]
fn fields_of_the_policy() {
    let with_policy = |name: &str, value: Value| {
        let policy: Value = [(name.to_string(), value)].into_iter().collect();
        with("policy", policy)
    };
    let grace = format!("{WHOLE}, or \"unlimited\"");
    let cases = [
        ("grace_ms", json!("forever"), grace.as_str()),
        ("grace_ms", json!(-1), &grace),
        ("window_ms", json!(1.5), WHOLE),
        ("margin_ms", json!("1"), WHOLE),
        ("reserve_ms", json!(1_u64 << 52), WHOLE),
        ("settle_ms", json!(null), WHOLE),
        ("quiet_ms", json!(-1), WHOLE),
        ("abort_lead_ms", json!(true), WHOLE),
        ("window_idle_ms", json!(0.5), WHOLE),
        ("new_requests", json!("drop"), r#""drop" is not one of refuse, serve"#),
        ("new_requests", json!(false), TEXT),
        ("readiness", json!("maybe"), r#""maybe" is not one of fail, keep"#),
        ("seed", json!(7), TEXT),
        ("seed", json!("0x7"), DECIMAL),
        ("interactive", json!("yes"), FLAG),
        ("development", json!(1), FLAG),
    ];
    for (name, value, rule) in cases.clone() {
        assert_eq!(with_policy(name, value), format!("bad.json: policy.{name}: {rule}"));
    }
    let typo = with_policy("grace", json!(5));
    assert!(typo.starts_with("bad.json: policy.grace: no such field; known are "), "{typo}");
    assert_eq!(known(&typo), cases.into_iter().map(|(name, ..)| name.to_string()).collect());
}

#[test]
fn variables_of_the_environment() {
    let typo = with("environment", json!({ "LAMEDUCK_WINDOWS": "5" }));
    let rule = "no such variable; known are ";
    assert!(typo.starts_with(&format!("bad.json: environment.LAMEDUCK_WINDOWS: {rule}")), "{typo}");
    assert_eq!(known(&typo), variables());
    let number = with("environment", json!({ "LAMEDUCK_WINDOW": 5 }));
    assert_eq!(number, format!("bad.json: environment.LAMEDUCK_WINDOW: {TEXT}"));
    let others = json!({ "about": "x", "environment": { "PATH": "/bin" }, "steps": [] });
    assert!(Scenario::parse("good.json", &others.to_string()).is_ok(), "ours alone are judged");
}

#[test]
fn steps_of_every_shape() {
    let either = "must have either an event or \"tick\": true";
    for (step, place, rule) in [
        (json!(5), "", OBJECT),
        (json!({ "at_us": 0 }), "", either),
        (json!({ "at_us": 0, "tick": false }), "", either),
        (json!({ "at_us": 0, "run": 1 }), "", either),
        (json!({ "at_us": 0, "tick": true, "run": true }), "", either),
        (json!({ "at_us": 0, "tick": true, "event": { "type": "escalate" } }), "", either),
        (json!({ "tick": true }), ".at_us", "is missing"),
        (json!({ "at_us": -1, "tick": true }), ".at_us", WHOLE),
        (json!({ "at_us": 0, "event": "escalate" }), ".event", OBJECT),
        (
            json!({ "at_us": 0, "tick": true, "refused": "done" }),
            ".refused",
            "stands beside an event only",
        ),
        (json!({ "at_us": 0, "event": { "type": "escalate" }, "refused": 1 }), ".refused", TEXT),
        (json!({ "at_us": 0, "tick": true, "effects": {} }), ".effects", "must be an array"),
        (json!({ "at_us": 0, "tick": true, "wake": 5 }), ".wake", OBJECT),
        (json!({ "at_us": 0, "tick": true, "wake": { "at_us": 1 } }), ".wake.why", "is missing"),
        (
            json!({ "at_us": 0, "tick": true, "wake": { "at_us": "1", "why": "progress" } }),
            ".wake.at_us",
            WHOLE,
        ),
        (
            json!({ "at_us": 0, "tick": true, "wake": { "at": 1 } }),
            ".wake.at",
            "no such field; known are at_us, why",
        ),
        (
            json!({ "at_us": 0, "tick": true, "phase": "gone" }),
            ".phase",
            r#""gone" is not one of serving, draining, closing, done"#,
        ),
        (
            json!({ "at_us": 0, "tock": true }),
            ".tock",
            "no such field; known are at_us, event, tick, run, refused, effects, wake, phase",
        ),
    ] {
        assert_eq!(with_step(step), format!("bad.json: steps[1]{place}: {rule}"));
    }
}

#[test]
fn moments_beyond_the_clock_count_from_its_origin() {
    let with_step = |step: Value| {
        let origin = "18446744073709551615";
        refusal_of(&json!({ "about": "x", "origin_ns": origin, "steps": [step] }).to_string())
    };
    let rule = |name: &str| format!("{name}: origin_ns + 1000 × {name} must be below 2^64");
    let late = with_step(json!({ "at_us": 1, "tick": true }));
    assert_eq!(late, format!("bad.json: steps[0].{}", rule("at_us")));
    let event = json!({
        "type": "request_described", "connection": 1, "request": 0, "kind": "upload",
        "label": "x", "since_us": 1,
    });
    let late = with_step(json!({ "at_us": 0, "event": event }));
    assert_eq!(late, format!("bad.json: steps[0].event.{}", rule("since_us")));
}

/// What a field of an event holds.
#[derive(Clone, Copy)]
enum Holds {
    Flag,
    Moment,
    OneOf(&'static [&'static str]),
    OptionalMicros,
    OptionalText,
    Order,
    Small,
    Text,
    Whole,
}

impl Holds {
    fn good(self) -> Value {
        match self {
            Self::Flag => json!(true),
            Self::Moment | Self::Small | Self::Whole => json!(0),
            Self::OneOf(names) => json!(names[0]),
            Self::OptionalMicros | Self::OptionalText => json!(null),
            Self::Order => json!(-1),
            Self::Text => json!(""),
        }
    }

    /// What it must not hold, and the rule.
    fn bad(self) -> Vec<(Value, String)> {
        let rule = |values: &[Value], rule: &str| {
            values.iter().map(|value| (value.clone(), rule.to_string())).collect()
        };
        match self {
            Self::Flag => rule(&[json!("true"), json!(1), json!(null)], FLAG),
            Self::OneOf(names) => vec![
                (json!("x"), format!("\"x\" is not one of {}", names.join(", "))),
                (json!(0), TEXT.to_string()),
            ],
            Self::OptionalMicros => rule(&[json!("1"), json!(-1)], &format!("{WHOLE}, or null")),
            Self::OptionalText => rule(&[json!(0), json!([])], "must be a string or null"),
            Self::Order => rule(
                &[json!(1_u64 << 31), json!(-(1_i64 << 31) - 1), json!(0.5), json!("0")],
                "must be a whole number from −2^31 to 2^31 − 1",
            ),
            Self::Small => rule(&[json!(1_u64 << 32), json!(-1), json!("0"), json!(1.0)], SMALL),
            Self::Text => rule(&[json!(0), json!(null)], TEXT),
            Self::Moment | Self::Whole => {
                rule(&[json!(1_u64 << 52), json!(-1), json!("0"), json!(1.0)], WHOLE)
            }
        }
    }
}

type Field = (&'static str, Holds);

/// Every event with its fields, in the order of the table.
fn events() -> Vec<(Value, Vec<Field>)> {
    use Holds::*;
    let protocol = ("protocol", OneOf(&["http1", "http2", "websocket", "tunnel", "other"]));
    let kind = ("kind", OneOf(&["long_poll", "ordinary", "stream", "upload"]));
    let (connection, request) = (("connection", Whole), ("request", Small));
    let (hook, job, listener) = (("hook", Small), ("job", Small), ("listener", Small));
    let announced = ("announced", Flag);
    let stage = ("stage", OneOf(&["drain", "close", "flush"]));
    let outcome = ("outcome", OneOf(&["client_gone", "completed", "ended", "refused"]));
    let cause = OneOf(&[
        "programmatic",
        "peer_message",
        "parent_gone",
        "terminate",
        "interrupt",
        "uncaught_exception",
        "unhandled_rejection",
    ]);
    let rows: Vec<(&str, Vec<Field>)> = vec![
        ("connection_adopted", vec![connection, protocol, ("in_flight", Small), announced]),
        ("connection_busy", vec![connection]),
        ("connection_closed", vec![connection]),
        ("connection_described", vec![connection, ("peer", Text)]),
        ("connection_opened", vec![connection, protocol]),
        ("connection_upgraded", vec![connection, protocol]),
        ("deadline_changed", vec![("grace_us", Whole)]),
        ("escalate", vec![]),
        ("hook_finished", vec![hook, ("error", OptionalText)]),
        (
            "hook_registered",
            vec![hook, stage, ("name", Text), ("order", Order), ("timeout_us", OptionalMicros)],
        ),
        ("job_finished", vec![job, ("outcome", OneOf(&["aborted", "completed", "failed"]))]),
        (
            "job_started",
            vec![
                job,
                ("name", Text),
                ("source", OneOf(&["background", "request"])),
                ("on_drain", OneOf(&["cancel", "wait"])),
            ],
        ),
        ("listener_closed", vec![listener]),
        ("listener_failed", vec![listener, ("error", Text)]),
        ("listener_opened", vec![listener]),
        (
            "request_described",
            vec![connection, request, kind, ("label", Text), ("since_us", Moment)],
        ),
        ("request_finished", vec![connection, request, outcome, ("flushed", Flag)]),
        ("request_flushed", vec![connection, request]),
        ("request_headers_sent", vec![connection, request, announced]),
        ("request_started", vec![connection, request, kind]),
        ("shutdown", vec![("cause", cause), ("ever_accepted", Flag)]),
    ];
    let event = |(name, fields): (&str, Vec<Field>)| {
        let mut event = json!({ "type": name });
        for (field, holds) in &fields {
            event[*field] = holds.good();
        }
        (event, fields)
    };
    rows.into_iter().map(event).collect()
}

#[test]
fn the_cases_are_every_event_of_the_table() {
    let snake = |name: &str| {
        let mut snake = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.extend(letter.to_lowercase());
        }
        snake
    };
    let table = table::TABLE.iter().map(|(kind, _)| snake(&format!("{kind:?}")));
    let cases = events().into_iter().map(|(event, _)| event["type"].as_str().unwrap().to_string());
    assert!(cases.eq(table));
}

#[test]
fn fields_of_every_event() {
    for (event, fields) in events() {
        for (field, holds) in &fields {
            let place = format!("bad.json: steps[1].event.{field}");
            assert_eq!(with_event(without(&event, field)), format!("{place}: is missing"));
            for (value, rule) in holds.bad() {
                let mut event = event.clone();
                event[*field] = value;
                assert_eq!(with_event(event), format!("{place}: {rule}"));
            }
        }
        let mut typo = event.clone();
        typo["typo"] = json!(1);
        let sentence = with_event(typo);
        assert!(sentence.starts_with("bad.json: steps[1].event.typo: no such field; known are "));
        let fields = fields.iter().map(|(field, _)| *field).chain(["type"]);
        assert_eq!(known(&sentence), fields.map(str::to_string).collect());
    }
}

#[test]
fn types_of_events() {
    let place = "bad.json: steps[1].event.type";
    assert_eq!(with_event(json!({})), format!("{place}: is missing"));
    assert_eq!(with_event(json!({ "type": 5 })), format!("{place}: {TEXT}"));
    let unknown = r#""explode" is no event; tests/vectors/README.md lists them"#;
    assert_eq!(with_event(json!({ "type": "explode" })), format!("{place}: {unknown}"));
}

#[test]
fn moments_that_no_vector_can_hold() {
    let play = |policy: Value, window: &str| {
        let stop = json!({ "type": "shutdown", "cause": "terminate", "ever_accepted": true });
        let vector = json!({
            "about": "x",
            "policy": policy,
            "environment": { "LAMEDUCK_GRACE": "unlimited", "LAMEDUCK_WINDOW": window },
            "steps": [{ "at_us": 0, "tick": true }, { "at_us": 1, "event": stop }],
        });
        let (scenario, _) = Scenario::parse("bad.json", &vector.to_string()).expect("well-formed");
        scenario.play().expect_err("cannot be written down")
    };
    let rule = "leads to a wake 1500 ns after the origin, which is no whole microsecond";
    assert_eq!(play(json!({}), "0.0000005"), format!("bad.json: steps[1]: {rule}"));
    let rule = "leads to a wake 4503599627371001 µs after the origin, which is not below 2^52";
    assert_eq!(
        play(json!({ "window_ms": 4_503_599_627_371_u64 }), ""),
        format!("bad.json: steps[1]: {rule}")
    );
}

// Policies

const fn ms(value: u64) -> Option<Duration> {
    Some(Duration::from_millis(value))
}

fn contradiction(code: &Settings, environment: &Settings) -> String {
    Policy::resolve(code, environment).expect_err("contradicts").to_string()
}

#[test]
fn settings_that_cannot_all_be_true() {
    let grace = |grace| Settings { grace: ms(grace).map(Grace::Limited), ..Settings::default() };
    for (code, sentence) in [
        (Settings { margin: ms(1_001), ..grace(1_000) }, "margin 1.001s exceeds grace 1s"),
        (
            Settings { margin: ms(500), window: ms(501), ..grace(1_000) },
            "window 501ms exceeds grace 1s − margin 500ms",
        ),
        (
            Settings { reserve: ms(1_001), ..grace(1_000) },
            "reserve 1.001s exceeds grace 1s − margin 0s",
        ),
        (
            Settings { settle: ms(1_001), ..grace(1_000) },
            "settle 1.001s exceeds grace 1s − margin 0s",
        ),
        (
            Settings { quiet: ms(1_001), ..grace(1_000) },
            "quiet 1.001s exceeds grace 1s − margin 0s",
        ),
        (
            Settings { abort_lead: ms(1_001), ..grace(1_000) },
            "abort_lead 1.001s exceeds grace 1s − margin 0s",
        ),
        (
            Settings { window: ms(600), reserve: ms(401), ..grace(1_000) },
            "window 600ms + reserve 401ms exceeds grace 1s − margin 0s",
        ),
        (
            Settings { window: ms(600), settle: ms(200), reserve: ms(201), ..grace(1_000) },
            "window 600ms + settle 200ms + reserve 201ms exceeds grace 1s − margin 0s",
        ),
        (
            Settings { window: ms(600), quiet: ms(200), reserve: ms(201), ..grace(1_000) },
            "window 600ms + quiet 200ms + reserve 201ms exceeds grace 1s − margin 0s",
        ),
        (
            Settings { window: ms(600), abort_lead: ms(200), reserve: ms(201), ..grace(1_000) },
            "window 600ms + abort_lead 200ms + reserve 201ms exceeds grace 1s − margin 0s",
        ),
    ] {
        assert_eq!(contradiction(&code, &Settings::default()), sentence);
        // It makes no difference where they were set.
        assert_eq!(contradiction(&Settings::default(), &code), sentence);
    }
}

#[test]
fn settings_that_just_fit() {
    let grace = Some(Grace::Limited(Duration::from_secs(1)));
    let margin = ms(100);
    let parts =
        Settings { grace, margin, window: ms(600), reserve: ms(200), ..Settings::default() };
    for code in [
        Settings { settle: ms(100), ..parts.clone() },
        Settings { quiet: ms(100), ..parts.clone() },
        Settings { abort_lead: ms(100), ..parts.clone() },
        // The three pass at the same time.
        Settings { settle: ms(100), quiet: ms(100), abort_lead: ms(100), ..parts },
        Settings { grace, margin: ms(1_000), ..Settings::default() },
    ] {
        assert_eq!(Policy::resolve(&code, &Settings::default()).map(|_| ()), Ok(()));
    }
}

#[test]
fn a_contradiction_that_rounding_would_hide_is_spelled_out() {
    let nanos = |nanos| Some(Duration::from_nanos(nanos));
    let code = Settings {
        grace: Some(Grace::Limited(Duration::from_secs(1))),
        window: nanos(1_000_000_001),
        ..Settings::default()
    };
    let sentence = contradiction(&code, &Settings::default());
    assert_eq!(sentence, "window 1.000000001s exceeds grace 1s − margin 0s");
    let code = Settings { margin: nanos(500), ..Settings::default() };
    let grace = Settings { grace: nanos(1).map(Grace::Limited), ..Settings::default() };
    assert_eq!(contradiction(&code, &grace), "margin 0.0005ms exceeds grace 0.000001ms");
}

/// The variables that the environment is asked for.
fn variables() -> BTreeSet<String> {
    let asked = std::cell::RefCell::new(BTreeSet::new());
    environment::settings(|name| {
        asked.borrow_mut().insert(name.to_string());
        None
    })
    .expect("an empty environment says nothing wrong");
    asked.into_inner()
}

#[test]
fn every_variable_is_refused_by_name() {
    for name in variables() {
        for value in ["-1", "30s", "1e3", "NaN", "inf", "1.2.3", ".", "0x1F", "١", "forever"] {
            let said = environment::settings(|asked| (asked == name).then(|| value.to_string()));
            let unlimited =
                if name == "LAMEDUCK_GRACE" { " or LAMEDUCK_GRACE=unlimited" } else { "" };
            let sentence = format!(
                "{name}={value} is not a number of seconds, zero or more; \
                 write {name}=30 or {name}=0.5{unlimited}"
            );
            assert_eq!(said.expect_err(value).to_string(), sentence);
        }
        let lines = environment::settings(|asked| (asked == name).then(|| "5\n6\u{1b}".into()));
        let sentence = lines.expect_err("two lines").to_string();
        assert!(sentence.starts_with(&format!("{name}=5\\n6\\u{{1b}} is not")), "{sentence}");
    }
}
