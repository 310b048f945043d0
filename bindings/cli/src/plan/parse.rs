//! Text to values: YAML, JSON, TOML, and the literals of a JavaScript module, each by its own
//! library's parser.

pub mod javascript;
pub mod json;
pub mod toml;
pub mod yaml;
