//! A table as text for people.

/// One line of the table; without cells a rule.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the line is about.
    pub name: String,
    /// One cell a column.
    pub cells: Vec<String>,
}

impl Row {
    /// A line across.
    pub fn rule() -> Self {
        Self { name: String::new(), cells: Vec::new() }
    }
}

/// The lines as text, the first one underlined, columns aligned.
pub fn layout(rows: &[Row]) -> String {
    let width = |text: &str| text.chars().count();
    let columns = rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
    let first = rows.iter().map(|row| width(&row.name)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.cells.get(at)).map(|cell| width(cell)).max())
        .map(|widest| widest.unwrap_or(0))
        .collect();
    let total = first + widths.iter().map(|width| width + 3).sum::<usize>();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        if row.cells.is_empty() {
            text.push_str(&"─".repeat(total));
        } else {
            let mut line = pad(&row.name, first);
            for (cell, width) in row.cells.iter().zip(&widths) {
                line.push_str("   ");
                line.push_str(&pad(cell, *width));
            }
            text.push_str(line.trim_end());
        }
        text.push('\n');
        if at == 0 {
            text.push_str(&"─".repeat(total));
            text.push('\n');
        }
    }
    text
}

/// `text` and blanks, together at least `width` characters.
pub fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            Row { name: String::new(), cells: vec!["plain".into(), "with ü".into()] },
            Row { name: "requests".into(), cells: vec!["1".into(), "22".into()] },
            Row::rule(),
            Row { name: "x".into(), cells: vec!["ü".into(), "3".into()] },
        ];
        let text = layout(&rows);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "           plain   with ü");
        assert_eq!(lines[1].chars().count(), lines[0].chars().count());
        assert_eq!(lines[2], "requests   1       22");
        assert_eq!(lines[4], "x          ü       3");
    }
}
