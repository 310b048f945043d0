//! Prints an input of the `operations` target as the operations that it stands for.

fn main() {
    for path in std::env::args().skip(1) {
        println!("{path}");
        lameduck_fuzz::print(&std::fs::read(&path).expect("readable"));
    }
}
