//! A parsed file, whatever it was written in: values that know their line, and a cursor that
//! knows the way to them.

use std::sync::Arc;

/// How deep a file may be nested.
pub const MAX_DEPTH: usize = 100;

/// One value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// From 1.
    pub line: u32,
    /// The value.
    pub value: Value,
}

/// What can be written in YAML, JSON, TOML and in the literals of JavaScript.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An expression that is not evaluated.
    Computed,
    Flag(bool),
    List(Vec<Arc<Node>>),
    Map(Vec<Entry>),
    Nothing,
    Number(f64),
    Text(String),
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Arc<Node>,
}

impl Node {
    /// A value at a line.
    pub fn new(line: u32, value: Value) -> Arc<Self> {
        Arc::new(Self { line, value })
    }
}

/// Where something stands: for people, and for the program that reads the JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// The way to it inside the file: `spec.template.spec.containers[0]`.
    pub path: String,
}

/// A file that cannot be read, as a sentence without the file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl Malformed {
    /// At a line, and at a column if it is known.
    pub fn at(line: u32, column: Option<u32>, sentence: &str) -> Self {
        Self(match column {
            Some(column) => format!("line {line}, column {column}: {sentence}"),
            None => format!("line {line}: {sentence}"),
        })
    }
}

/// A value together with the way to it.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    file: &'a str,
    node: &'a Node,
    /// The way to it; each cursor keeps its own, as it is freely copied.
    way: Way<'a>,
}

/// Longer ways are cut: nothing is read from deeper.
const MAX_STEPS: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Way<'a>([Option<Step<'a>>; MAX_STEPS]);

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Key(&'a str),
    Number(usize),
}

impl<'a> At<'a> {
    /// The whole of a file or of one of its documents.
    pub fn root(file: &'a str, node: &'a Node) -> Self {
        Self { file, node, way: Way([None; MAX_STEPS]) }
    }

    fn step(self, step: Step<'a>, node: &'a Node) -> Self {
        let mut way = self.way;
        if let Some(free) = way.0.iter_mut().find(|step| step.is_none()) {
            *free = Some(step);
        }
        Self { node, way, ..self }
    }

    /// The value of a key; a YAML merge key (`<<`) counts.
    pub fn get(self, key: &str) -> Option<Self> {
        self.find(key, 0).filter(|found| found.node.value != Value::Nothing)
    }

    fn find(self, key: &str, depth: usize) -> Option<Self> {
        let Value::Map(entries) = &self.node.value else { return None };
        if let Some(entry) = entries.iter().rev().find(|entry| entry.key == key) {
            return Some(self.step(Step::Key(&entry.key), &entry.value));
        }
        if depth > 4 {
            return None;
        }
        let merged = entries.iter().filter(|entry| entry.key == "<<");
        merged.map(|entry| Self { node: &entry.value, ..self }).find_map(|merged| {
            match &merged.node.value {
                Value::List(maps) => {
                    maps.iter().find_map(|map| Self { node: map, ..self }.find(key, depth + 1))
                }
                _ => merged.find(key, depth + 1),
            }
        })
    }

    /// The value at the end of several keys.
    pub fn dig(self, keys: &[&str]) -> Option<Self> {
        keys.iter().try_fold(self, |at, key| at.get(key))
    }

    /// The value of a key whose first letter may be large: CloudFormation writes so what the
    /// API writes small.
    pub fn either(self, key: &str) -> Option<Self> {
        self.get(key).or_else(|| {
            let mut letters = key.chars();
            let first = letters.next()?.to_ascii_uppercase();
            self.get(&format!("{first}{}", letters.as_str()))
        })
    }

    /// The elements of a list; none if it is something else.
    pub fn items(self) -> impl Iterator<Item = At<'a>> {
        let items: &[Arc<Node>] = match &self.node.value {
            Value::List(items) => items,
            _ => &[],
        };
        items.iter().enumerate().map(move |(number, item)| self.step(Step::Number(number), item))
    }

    /// The entries of a map; none if it is something else.
    pub fn entries(self) -> impl Iterator<Item = (&'a str, At<'a>)> {
        let entries: &[Entry] = match &self.node.value {
            Value::Map(entries) => entries,
            _ => &[],
        };
        entries
            .iter()
            .map(move |entry| (entry.key.as_str(), self.step(Step::Key(&entry.key), &entry.value)))
    }

    /// The value itself.
    pub fn value(self) -> &'a Value {
        &self.node.value
    }

    /// Whether it is an expression that nobody evaluates here.
    pub fn is_computed(self) -> bool {
        match &self.node.value {
            Value::Computed => true,
            Value::Text(text) => text.contains("${") || text.contains("{{"),
            _ => false,
        }
    }

    /// Whether it is a list.
    pub fn is_list(self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// A scalar as text.
    pub fn text(self) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Flag(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// A flag.
    pub fn flag(self) -> Option<bool> {
        match &self.node.value {
            Value::Flag(flag) => Some(*flag),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The texts of a list of scalars.
    pub fn words(self) -> Vec<String> {
        self.items().filter_map(Self::text).collect()
    }

    /// Where it stands.
    pub fn place(self) -> Place {
        let mut path = String::new();
        for step in self.way.0.into_iter().flatten() {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => {
                    path.push('.');
                    path.push_str(key);
                }
                Step::Number(number) => path.push_str(&format!("[{number}]")),
            }
        }
        Place { file: self.file.into(), line: self.node.line, path }
    }

    /// A sentence about this value that ends the reading of its file.
    pub fn malformed(self, expected: &str) -> Malformed {
        let place = self.place();
        let found = match &self.node.value {
            Value::Computed => "an expression".into(),
            Value::Flag(flag) => format!("{flag}"),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
            Value::Nothing => "nothing".into(),
            Value::Number(number) => format!("{number}"),
            Value::Text(text) => format!("{:?}", shortened(text)),
        };
        Malformed::at(place.line, None, &format!("{} is {found}, expected {expected}", place.path))
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// Lines of a text by byte offset.
pub struct Lines(Vec<usize>);

impl Lines {
    /// Counts the lines of a text.
    pub fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// Line and column of an offset, both from 1; the column counts bytes.
    pub fn position(&self, offset: usize) -> (u32, u32) {
        let line = self.0.partition_point(|start| *start <= offset);
        let column = offset - self.0[line - 1] + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    /// Only the line.
    pub fn line(&self, offset: usize) -> u32 {
        self.position(offset).0
    }
}
