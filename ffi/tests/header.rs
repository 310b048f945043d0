//! `include/lameduck.h` is what cbindgen makes of this crate. `LAMEDUCK_BLESS=1` writes it; read the difference.

use std::path::Path;

fn made() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config =
        cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("is well-formed");
    config.after_includes = config.after_includes.map(|text| {
        text.replace("@MAJOR@", env!("CARGO_PKG_VERSION_MAJOR"))
            .replace("@MINOR@", env!("CARGO_PKG_VERSION_MINOR"))
            .replace("@PATCH@", env!("CARGO_PKG_VERSION_PATCH"))
    });
    let bindings = cbindgen::generate_with_config(folder, config).expect("cbindgen understands it");
    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text).expect("is text")
}

#[test]
fn the_header_is_made_of_this_crate() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/lameduck.h");
    let made = made();
    if std::env::var_os("LAMEDUCK_BLESS").is_some() {
        std::fs::write(&path, made).expect("writable");
        return;
    }
    let there = std::fs::read_to_string(&path).expect("include/lameduck.h is there");
    let differs = there.lines().zip(made.lines()).position(|(there, made)| there != made);
    assert!(
        there == made,
        "include/lameduck.h differs from what cbindgen makes of ffi/src, from line {}: \
         LAMEDUCK_BLESS=1 cargo test -p lameduck-ffi --test header writes it",
        differs.unwrap_or_else(|| there.lines().count().min(made.lines().count())) + 1
    );
}
