//! YAML, all documents of a file.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::plan::node::{Entry, MAX_DEPTH, Malformed, Node, Value};

/// The documents of a file, without the empty ones.
///
/// # Errors
/// A sentence with line and column.
pub fn parse(text: &str) -> Result<Vec<Arc<Node>>, Malformed> {
    if let Some(line) = template_line(text) {
        return Err(Malformed::at(line, None, TEMPLATE));
    }
    let mut documents = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Arc<Node>> = HashMap::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| sentence(&error))?;
        let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
        let column = u32::try_from(span.start.col() + 1).unwrap_or(u32::MAX);
        let (anchor, node) = match event {
            Event::MappingStart(anchor, _) => {
                open.push(Open { anchor, line, filling: Filling::Map(Vec::new(), None) });
                (0, None)
            }
            Event::SequenceStart(anchor, _) => {
                open.push(Open { anchor, line, filling: Filling::List(Vec::new()) });
                (0, None)
            }
            Event::MappingEnd | Event::SequenceEnd => match open.pop() {
                Some(done) => (done.anchor, Some(Node::new(done.line, done.filling.value()))),
                None => (0, None),
            },
            Event::Scalar(text, style, anchor, _) => {
                (anchor, Some(Node::new(line, scalar(&text, style))))
            }
            Event::Alias(anchor) => {
                let unknown = || Malformed::at(line, Some(column), "an alias to itself");
                (0, Some(anchors.get(&anchor).cloned().ok_or_else(unknown)?))
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => (0, None),
        };
        if open.len() > MAX_DEPTH {
            return Err(Malformed::at(line, Some(column), "this is nested too deep"));
        }
        let Some(node) = node else { continue };
        if anchor > 0 {
            anchors.insert(anchor, Arc::clone(&node));
        }
        match open.last_mut() {
            Some(parent) => parent.filling.add(node),
            None if node.value == Value::Nothing => {}
            None => documents.push(node),
        }
    }
    Ok(documents)
}

struct Open {
    anchor: usize,
    line: u32,
    filling: Filling,
}

enum Filling {
    List(Vec<Arc<Node>>),
    /// The entries, and a key that waits for its value.
    Map(Vec<Entry>, Option<String>),
}

impl Filling {
    fn add(&mut self, node: Arc<Node>) {
        match self {
            Self::List(items) => items.push(node),
            Self::Map(entries, key) => match key.take() {
                Some(key) => entries.push(Entry { key, value: node }),
                None => *key = Some(name(&node)),
            },
        }
    }

    fn value(self) -> Value {
        match self {
            Self::List(items) => Value::List(items),
            Self::Map(entries, _) => Value::Map(entries),
        }
    }
}

/// A key as text; whoever uses lists as keys is not understood.
fn name(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        _ => String::new(),
    }
}

/// The core schema of YAML 1.2, by which unquoted words have types.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text.into());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Nothing,
        "true" | "True" | "TRUE" => Value::Flag(true),
        "false" | "False" | "FALSE" => Value::Flag(false),
        _ => match text.parse::<f64>() {
            // Not `inf`, `nan`: words. And a number that would be written differently stays text.
            Ok(number) if number.is_finite() && number.to_string() == text => Value::Number(number),
            _ => Value::Text(text.into()),
        },
    }
}

fn sentence(error: &ScanError) -> Malformed {
    let line = u32::try_from(error.marker().line()).unwrap_or(u32::MAX);
    let column = u32::try_from(error.marker().col() + 1).unwrap_or(u32::MAX);
    Malformed::at(line, Some(column), &format!("this is not YAML: {}", error.info()))
}

const TEMPLATE: &str =
    "this is a template; give what it makes: `helm template … | lameduck plan -`";

/// The first line that only a template engine reads; some of them would pass for YAML.
fn template_line(text: &str) -> Option<u32> {
    let is_template = |line: &str| line.trim_start().starts_with("{{") || line.contains(": {{");
    let (number, _) = (1..).zip(text.lines()).find(|(_, line)| is_template(line))?;
    Some(number)
}
