//! Prints the phase × event table as `docs/phases.md` holds it.

fn main() {
    print!("{}", lameduck::table::markdown());
}
