//! Values by their names, for bindings: a text in, one of the core's enums out.

use alloc::format;
use alloc::string::String;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

/// The value that reports and vectors call `name`.
///
/// # Errors
/// A sentence that says that no `what` is called so.
pub fn named<T: DeserializeOwned>(what: &str, name: &str) -> Result<T, String> {
    let name_of_it: StrDeserializer<'_, Error> = name.into_deserializer();
    T::deserialize(name_of_it).map_err(|_| format!("no {what} is called '{name}'"))
}

#[cfg(test)]
mod tests {
    use super::named;
    use crate::{Cause, JobOutcome, OnDrain, Outcome, Stage};

    #[test]
    fn a_name_is_that_of_reports_and_vectors() {
        assert_eq!(named("outcome", "client_gone"), Ok(Outcome::ClientGone));
        assert_eq!(named("job outcome", "aborted"), Ok(JobOutcome::Aborted));
        assert_eq!(named("drain policy", "wait"), Ok(OnDrain::Wait));
        assert_eq!(named("stage", "flush"), Ok(Stage::Flush));
        for cause in Cause::ALL {
            assert_eq!(named("cause", cause.name()), Ok(cause));
        }
    }

    #[test]
    fn another_name_is_refused_with_a_sentence() {
        let refused = named::<Outcome>("outcome", "lost").unwrap_err();
        assert_eq!(refused, "no outcome is called 'lost'");
    }
}
