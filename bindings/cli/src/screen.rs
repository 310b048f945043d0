//! How much fits on a line of the terminal, and in which colours.
//!
//! Colours are always written; `anstream` takes them out where nobody sees them: not on a
//! terminal, or `NO_COLOR` is set.

use anstyle::{AnsiColor, Style};

/// Without a terminal.
const WIDTH: usize = 100;
const NARROWEST: usize = 60;
const WIDEST: usize = 140;

/// What is wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is right.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What a line is about.
pub const STRONG: Style = Style::new().bold();
/// What matters less.
pub const DIM: Style = Style::new().dimmed();

/// Where text is written to.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Characters of a line.
    pub width: usize,
}

impl Screen {
    /// Standard output.
    pub fn of_stdout() -> Self {
        let columns = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Self { width: columns.unwrap_or(WIDTH).clamp(NARROWEST, WIDEST) }
    }

    /// A sentence on as many lines as it takes, the first after `first` blanks, the others after
    /// `other`.
    pub fn wrap(self, text: &str, first: &str, other: &str) -> String {
        let options = textwrap::Options::new(self.width)
            .initial_indent(first)
            .subsequent_indent(other)
            .break_words(false)
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        textwrap::fill(&plain(text), options)
    }
}

/// Somebody else's text on one line: what would steer a terminal, or break a picture, is a blank.
pub fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Text in a style.
pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
