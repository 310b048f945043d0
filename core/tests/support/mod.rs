//! What several tests of the machine share.

pub mod fields;
pub mod scenario;
pub mod words;
