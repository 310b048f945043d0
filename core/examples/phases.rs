//! Prints the tables of `docs/phases.md`.

fn main() {
    println!("{}", lameduck::table::markdown());
    print!("{}", lameduck::manner::markdown());
}
