//! Strings, in and out.

use std::ffi::{CStr, c_char};

use crate::input::{Output, null};
use crate::status::{Failure, lameduck_status::*};

/// A C string; bytes that are not UTF-8 are replaced.
///
/// # Safety
/// If it is not NULL it ends in a NUL and is valid for reads.
pub(crate) unsafe fn string(text: *const c_char, what: &str) -> Result<String, Failure> {
    // SAFETY: by this function's contract.
    unsafe { optional(text) }.ok_or_else(|| null(what))
}

/// The same; `None` when it is NULL.
///
/// # Safety
/// If it is not NULL it ends in a NUL and is valid for reads.
pub(crate) unsafe fn optional(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not NULL, and by this function's contract.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Writes `text` and a final NUL into the caller's buffer, and its length without that NUL. A NULL buffer of no capacity asks
/// for the length alone.
///
/// # Safety
/// Each pointer that is not NULL is valid for writes, the buffer's of `capacity` bytes.
pub(crate) unsafe fn hand_out(
    text: &str,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Result<(), Failure> {
    let length = Output::new(length, "length")?;
    if buffer.is_null() && capacity > 0 {
        return Err(null("buffer"));
    }
    if !buffer.is_null() {
        if capacity <= text.len() {
            return Err(Failure::new(
                LAMEDUCK_BUFFER_TOO_SMALL,
                format!("the buffer of {capacity} bytes is too small: it takes {}", text.len() + 1),
            ));
        }
        // SAFETY: the buffer is valid for `capacity` bytes, which are more than the text has; it cannot overlap
        // a text that is ours.
        unsafe {
            buffer.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
            buffer.add(text.len()).write(0);
        }
    }
    // SAFETY: by this function's contract.
    unsafe { length.write(text.len()) };
    Ok(())
}
