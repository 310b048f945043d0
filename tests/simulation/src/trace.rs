//! What happened, line by line, and the digest by which two runs are compared.

use std::fmt::{self, Write};

use crate::time::Nanos;

/// A line for everything that happens. The digest is of every byte of it, kept or not.
pub struct Trace {
    digest: Fnv,
    text: Option<String>,
}

impl Trace {
    /// A trace that keeps only its digest, or its text as well.
    pub fn new(keep: bool) -> Self {
        Self { digest: Fnv(0xCBF2_9CE4_8422_2325), text: keep.then(String::new) }
    }

    pub(crate) fn line(&mut self, at: Nanos, what: &dyn fmt::Debug) {
        let written = writeln!(self.digest, "{at} {what:?}").and_then(|()| match &mut self.text {
            Some(text) => writeln!(text, "{at} {what:?}"),
            None => Ok(()),
        });
        written.expect("neither a digest nor a string refuses text");
    }

    /// FNV-1a of the whole text.
    pub fn digest(&self) -> u64 {
        self.digest.0
    }

    /// The text; empty when it was not kept.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}

struct Fnv(u64);

impl Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        Ok(())
    }
}
