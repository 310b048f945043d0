//! What several tests of the machine share.
#![allow(dead_code)] // each test uses its part

pub mod driver;
pub mod fields;
pub mod harness;
pub mod known;
pub mod model;
pub mod operations;
pub mod scenario;
pub mod words;
