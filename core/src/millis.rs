//! Times as the report writes them.

use core::time::Duration;

use serde::{Serialize, Serializer};

/// A time in milliseconds, three decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        if micros.is_multiple_of(1_000) {
            serializer.serialize_u64(micros / 1_000)
        } else {
            // At most 2^53 µs (285 years) keep their last digit; longer ones may lose it.
            #[allow(clippy::cast_precision_loss)]
            serializer.serialize_f64(micros as f64 / 1_000.0)
        }
    }
}
