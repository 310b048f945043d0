//! JavaScript: what a module exports, as far as it is written as a literal. Nothing is executed;
//! an expression becomes [`Value::Computed`].

use std::collections::HashMap;
use std::sync::Arc;

use oxc_allocator::Allocator;
use oxc_ast::ast::{
    ArrayExpressionElement, AssignmentTarget, BinaryOperator, BindingPatternKind, Declaration,
    ExportDefaultDeclarationKind, Expression, ObjectExpression, ObjectPropertyKind, PropertyKey,
    Statement, UnaryOperator, VariableDeclaration,
};
use oxc_parser::Parser;
use oxc_span::{GetSpan, SourceType};

use crate::plan::node::{Entry, Lines, MAX_DEPTH, Malformed, Node, Value};

/// Longer modules are refused: the parser goes down with the nesting, and its thread's stack
/// holds what so many characters can nest.
const MAX_MODULE: usize = 64 * 1024;
const STACK: usize = 512 << 20;
/// Values that a module may have: one constant may be used in many places.
const MAX_VALUES: usize = 100_000;

/// What a CommonJS or ES module exports.
///
/// # Errors
/// A sentence with the line: what is not JavaScript, or exports nothing that is written out.
pub fn module(text: &str) -> Result<Arc<Node>, Malformed> {
    if text.len() > MAX_MODULE {
        return Err(Malformed(format!("a JavaScript file is read up to {MAX_MODULE} bytes")));
    }
    let text = text.to_owned();
    on_a_deep_stack(move || exported(&text))
}

/// The value of one literal; `text` is known to be JSON.
///
/// # Errors
/// None for JSON.
pub fn literal(text: &str) -> Result<Arc<Node>, Malformed> {
    let allocator = Allocator::default();
    let lines = Lines::of(text);
    let expression = Parser::new(&allocator, text, SourceType::cjs())
        .parse_expression()
        .map_err(|errors| sentence(errors.first(), &lines))?;
    Ok(Reading { lines, constants: HashMap::new(), left: usize::MAX }.node(&expression, 0))
}

fn on_a_deep_stack(
    work: impl FnOnce() -> Result<Arc<Node>, Malformed> + Send + 'static,
) -> Result<Arc<Node>, Malformed> {
    let failed = |_| Malformed("there is no memory to read JavaScript with".into());
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work).map_err(failed)?;
    let beyond = |_| Malformed("this JavaScript is beyond what can be read".into());
    thread.join().unwrap_or_else(|panic| Err(beyond(panic)))
}

fn exported(text: &str) -> Result<Arc<Node>, Malformed> {
    let allocator = Allocator::default();
    let lines = Lines::of(text);
    // `mjs` knows both `export` and, as a plain assignment, `module.exports`.
    let source = if text.contains("export ") { SourceType::mjs() } else { SourceType::cjs() };
    let parsed = Parser::new(&allocator, text, source).parse();
    if !parsed.errors.is_empty() {
        return Err(sentence(parsed.errors.first(), &lines));
    }
    let mut reading = Reading { lines, constants: HashMap::new(), left: MAX_VALUES };
    let mut whole = None;
    let mut parts = Vec::new();
    for statement in &parsed.program.body {
        match statement {
            Statement::VariableDeclaration(declaration) => reading.constants_of(declaration),
            Statement::ExportNamedDeclaration(export) => {
                if let Some(Declaration::VariableDeclaration(declaration)) = &export.declaration {
                    reading.constants_of(declaration);
                    parts.extend(constants(declaration));
                }
            }
            Statement::ExportDefaultDeclaration(export) => {
                whole = match &export.declaration {
                    ExportDefaultDeclarationKind::FunctionDeclaration(_)
                    | ExportDefaultDeclarationKind::ClassDeclaration(_)
                    | ExportDefaultDeclarationKind::TSInterfaceDeclaration(_) => None,
                    other => other.as_expression(),
                };
            }
            Statement::ExpressionStatement(statement) => {
                if let Expression::AssignmentExpression(assignment) = &statement.expression
                    && let Some(name) = export_target(&assignment.left)
                {
                    match name {
                        Some(part) => parts.push((part, &assignment.right)),
                        None => whole = Some(&assignment.right),
                    }
                }
            }
            _ => {}
        }
    }
    let found = match whole {
        Some(whole) => reading.node(whole, 0),
        None => {
            let mut entries = Vec::new();
            for (key, value) in parts {
                entries.push(Entry { key: key.into(), value: reading.node(value, 0) });
            }
            Node::new(1, Value::Map(entries))
        }
    };
    if reading.left == 0 {
        return Err(Malformed(format!("this module holds more than {MAX_VALUES} values")));
    }
    match &found.value {
        Value::Map(entries) if !entries.is_empty() => Ok(found),
        Value::List(_) => Ok(found),
        _ => Err(Malformed::at(
            found.line,
            None,
            "what this module exports is computed, and nothing is executed here: write it as a \
             literal (module.exports = { apps: [ … ] }), or give what it makes as JSON",
        )),
    }
}

/// `module.exports` and `exports` are the whole (`None`), `exports.apps` is a part of it.
fn export_target<'a>(target: &'a AssignmentTarget<'_>) -> Option<Option<&'a str>> {
    let AssignmentTarget::StaticMemberExpression(member) = target else { return None };
    let name = member.property.name.as_str();
    match &member.object {
        Expression::Identifier(object) if object.name == "module" => {
            (name == "exports").then_some(None)
        }
        Expression::Identifier(object) if object.name == "exports" => Some(Some(name)),
        Expression::StaticMemberExpression(inner) => match &inner.object {
            Expression::Identifier(object)
                if object.name == "module" && inner.property.name == "exports" =>
            {
                Some(Some(name))
            }
            _ => None,
        },
        _ => None,
    }
}

fn constants<'a>(
    declaration: &'a VariableDeclaration<'a>,
) -> impl Iterator<Item = (&'a str, &'a Expression<'a>)> {
    declaration.declarations.iter().filter_map(|declarator| match &declarator.id.kind {
        BindingPatternKind::BindingIdentifier(name) => {
            declarator.init.as_ref().map(|value| (name.name.as_str(), value))
        }
        _ => None,
    })
}

struct Reading<'a> {
    lines: Lines,
    /// The top level's variables.
    constants: HashMap<&'a str, &'a Expression<'a>>,
    /// How many more values may be read.
    left: usize,
}

impl<'a> Reading<'a> {
    fn constants_of(&mut self, declaration: &'a VariableDeclaration<'a>) {
        if declaration.kind.is_const() {
            self.constants.extend(constants(declaration));
        }
    }

    fn node(&mut self, expression: &Expression<'a>, depth: usize) -> Arc<Node> {
        let line = self.lines.line(expression.span().start as usize);
        if depth > MAX_DEPTH || self.left == 0 {
            return Node::new(line, Value::Computed);
        }
        self.left -= 1;
        let value = match expression {
            Expression::ArrayExpression(array) => Value::List(
                array
                    .elements
                    .iter()
                    .map(|element| match element {
                        ArrayExpressionElement::Elision(_) => Node::new(line, Value::Nothing),
                        ArrayExpressionElement::SpreadElement(_) => {
                            Node::new(line, Value::Computed)
                        }
                        other => match other.as_expression() {
                            Some(expression) => self.node(expression, depth + 1),
                            None => Node::new(line, Value::Computed),
                        },
                    })
                    .collect(),
            ),
            Expression::BinaryExpression(sum) => {
                let left = self.node(&sum.left, depth + 1);
                let right = self.node(&sum.right, depth + 1);
                arithmetic(&left.value, sum.operator, &right.value)
            }
            Expression::BooleanLiteral(flag) => Value::Flag(flag.value),
            Expression::Identifier(name) if name.name == "undefined" => Value::Nothing,
            Expression::Identifier(name) => match self.constants.get(name.name.as_str()).copied() {
                Some(constant) => return self.node(constant, depth + 1),
                None => Value::Computed,
            },
            Expression::NullLiteral(_) => Value::Nothing,
            Expression::NumericLiteral(number) => Value::Number(number.value),
            Expression::ObjectExpression(object) => self.map(object, depth),
            Expression::ParenthesizedExpression(inner) => {
                return self.node(&inner.expression, depth + 1);
            }
            Expression::StringLiteral(text) => Value::Text(text.value.to_string()),
            Expression::TemplateLiteral(text) if text.expressions.is_empty() => {
                let parts = text.quasis.iter().filter_map(|part| part.value.cooked.as_ref());
                Value::Text(parts.map(|part| part.as_str()).collect())
            }
            Expression::UnaryExpression(unary) => {
                let argument = self.node(&unary.argument, depth + 1);
                match (unary.operator, &argument.value) {
                    (UnaryOperator::UnaryNegation, Value::Number(number)) => Value::Number(-number),
                    _ => Value::Computed,
                }
            }
            _ => Value::Computed,
        };
        Node::new(line, value)
    }

    fn map(&mut self, object: &ObjectExpression<'a>, depth: usize) -> Value {
        let mut entries: Vec<Entry> = Vec::new();
        for property in &object.properties {
            match property {
                ObjectPropertyKind::ObjectProperty(property) => {
                    let key = match &property.key {
                        PropertyKey::StaticIdentifier(name) => name.name.to_string(),
                        PropertyKey::StringLiteral(text) => text.value.to_string(),
                        PropertyKey::NumericLiteral(number) => number.value.to_string(),
                        _ => continue,
                    };
                    entries.push(Entry { key, value: self.node(&property.value, depth + 1) });
                }
                ObjectPropertyKind::SpreadProperty(spread) => {
                    if let Value::Map(more) = &self.node(&spread.argument, depth + 1).value {
                        // What is copied often is many values, even if it was read once.
                        self.left = self.left.saturating_sub(more.len());
                        entries.extend(more.iter().cloned());
                    }
                }
            }
        }
        Value::Map(entries)
    }
}

/// `30 * 1000` and the like.
fn arithmetic(left: &Value, operator: BinaryOperator, right: &Value) -> Value {
    let (Value::Number(left), Value::Number(right)) = (left, right) else { return Value::Computed };
    match operator {
        BinaryOperator::Addition => Value::Number(left + right),
        BinaryOperator::Subtraction => Value::Number(left - right),
        BinaryOperator::Multiplication => Value::Number(left * right),
        BinaryOperator::Division => Value::Number(left / right),
        _ => Value::Computed,
    }
}

fn sentence(error: Option<&oxc_diagnostics::OxcDiagnostic>, lines: &Lines) -> Malformed {
    let Some(error) = error else { return Malformed("this is not JavaScript".into()) };
    let label = error.labels.as_ref().and_then(|labels| labels.first());
    let (line, column) = lines.position(label.map_or(0, |label| label.offset()));
    let help = error.help.as_ref().map_or(String::new(), |help| format!(" ({help})"));
    let what = format!("this is not JavaScript: {}{help}", error.message);
    Malformed::at(line, Some(column), &what)
}
