//! JSON: serde_json says whether it is any, and where not; the values with their lines are read
//! by the parser of JavaScript, whose literals they are.

use std::sync::Arc;

use crate::plan::node::{Malformed, Node};
use crate::plan::parse::javascript;

/// The value in a file.
///
/// # Errors
/// A sentence with line and column.
pub fn parse(text: &str) -> Result<Arc<Node>, Malformed> {
    serde_json::from_str::<serde_json::Value>(text).map_err(|error| {
        let whole = error.to_string();
        // serde_json ends its sentence with the position, which comes first here.
        let what = whole.split(" at line ").next().unwrap_or(&whole);
        let line = u32::try_from(error.line()).unwrap_or(u32::MAX);
        let column = u32::try_from(error.column()).unwrap_or(u32::MAX);
        Malformed::at(line, Some(column), &format!("this is not JSON: {what}"))
    })?;
    javascript::literal(text)
}
