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

/// The same as one number that rises with each version: major × 1000000 + minor × 1000 + patch. Compare it to
/// LAMEDUCK_VERSION_NUMBER, which is the header's.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_version_number() -> u32 {
    part(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
        + part(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
        + part(env!("CARGO_PKG_VERSION_PATCH"))
}
