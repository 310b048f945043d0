//! TOML.

use std::sync::Arc;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use crate::plan::node::{Entry, Lines, Malformed, Node, Value};

/// The whole file as one map.
///
/// # Errors
/// A sentence with line and column.
pub fn parse(text: &str) -> Result<Arc<Node>, Malformed> {
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| {
        let (line, column) = lines.position(error.span().map_or(0, |span| span.start));
        Malformed::at(line, Some(column), &format!("this is not TOML: {}", error.message()))
    })?;
    Ok(Node::new(1, map(table.get_ref(), &lines)))
}

fn map(table: &DeTable<'_>, lines: &Lines) -> Value {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        Entry { key: key.to_string(), value: node(value, lines) }
    };
    Value::Map(table.iter().map(entry).collect())
}

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines) -> Arc<Node> {
    let found = match value.get_ref() {
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, lines)).collect()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(date) => Value::Text(date.to_string()),
        DeValue::Float(number) => number_of(number.as_str()),
        DeValue::Integer(number) if number.radix() == 10 => number_of(number.as_str()),
        DeValue::Integer(number) => Value::Text(number.to_string()),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Table(table) => map(table, lines),
    };
    Node::new(lines.line(value.span().start), found)
}

fn number_of(text: &str) -> Value {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Value::Number(number),
        _ => Value::Text(text.into()),
    }
}
