//! The documentation quotes what the command prints.

use lameduck_simulation::tables;

const PAGE: &str = include_str!("../../../docs/simulation.md");
const COMMAND: &str = "cargo run --release -p lameduck-simulation -- tables";

/// All of it in a release build, as `make prove` makes; otherwise one row of each table that is
/// quick.
#[test]
fn the_page_quotes_what_the_command_prints() {
    assert!(PAGE.contains(COMMAND));
    for table in tables::all() {
        let title = table.title;
        assert!(PAGE.contains(&table.head()), "{title}: run {COMMAND}");
        let unoptimized = cfg!(debug_assertions);
        let measured = (0..table.len()).filter(|row| !unoptimized || table.quick == Some(*row));
        for row in measured.map(|number| table.row(number)) {
            assert!(PAGE.contains(&row), "{title}: the page lacks {row}run {COMMAND}");
        }
    }
}
