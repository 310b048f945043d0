//! Which lameduck this is.

use std::ffi::{CStr, c_char};

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no NUL"),
    };

const fn part(text: &str) -> u32 {
    let (bytes, mut at, mut value) = (text.as_bytes(), 0, 0);
    while at < bytes.len() {
        value = value * 10 + (bytes[at] - b'0') as u32;
        at += 1;
    }
    value
}

/// Which lameduck is linked, as `major.minor.patch`. Never NULL; lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_version() -> *const c_char {
    VERSION.as_ptr()
}

const fn number(major: u32, minor: u32, patch: u32) -> u32 {
    assert!(minor < 1_000 && patch < 1_000, "no two versions may share a number");
    major * 1_000_000 + minor * 1_000 + patch
}

const NUMBER: u32 = number(
    part(env!("CARGO_PKG_VERSION_MAJOR")),
    part(env!("CARGO_PKG_VERSION_MINOR")),
    part(env!("CARGO_PKG_VERSION_PATCH")),
);

/// The same as one number that rises with each version: major × 1000000 + minor × 1000 + patch. Compare it to
/// LAMEDUCK_VERSION_NUMBER, which is the header's.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_version_number() -> u32 {
    NUMBER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_made_of_the_parts() {
        assert_eq!(number(part("12"), part("34"), part("56")), 12_034_056);
        assert_eq!(number(0, 1, 0), 1_000);
    }
}
