//! Reads JSON objects and says file, field and rule of whatever is wrong with them.

use std::time::Duration;

use serde_json::{Map, Value};

/// An object that is being read, and where it stands.
pub struct Fields<'a> {
    place: String,
    object: &'a Map<String, Value>,
}

/// What is wrong, as a sentence.
pub type Malformed = String;

impl<'a> Fields<'a> {
    pub fn of(place: &str, value: &'a Value) -> Result<Self, Malformed> {
        match value {
            Value::Object(object) => Ok(Self { place: place.to_string(), object }),
            _ => Err(format!("{place}: must be an object")),
        }
    }

    /// Refuses every field that is not one of `known`.
    pub fn only(&self, known: &[&str]) -> Result<(), Malformed> {
        match self.object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                Err(format!("{}.{key}: no such field; known are {}", self.place, known.join(", ")))
            }
            None => Ok(()),
        }
    }

    pub fn raw(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name)
    }

    fn must(&self, name: &str) -> Result<&'a Value, Malformed> {
        self.raw(name).ok_or_else(|| self.wrong(name, "is missing"))
    }

    pub fn wrong(&self, name: &str, rule: &str) -> Malformed {
        format!("{}.{name}: {rule}", self.place)
    }

    pub fn text(&self, name: &str) -> Result<&'a str, Malformed> {
        self.must(name)?.as_str().ok_or_else(|| self.wrong(name, "must be a string"))
    }

    /// A string, or null.
    pub fn optional_text(&self, name: &str) -> Result<Option<String>, Malformed> {
        match self.must(name)? {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            _ => Err(self.wrong(name, "must be a string or null")),
        }
    }

    /// A whole number, exact in every language.
    pub fn whole(&self, name: &str) -> Result<u64, Malformed> {
        let rule = "must be a whole number from 0 to 2^52 − 1";
        let number = self.must(name)?.as_u64().filter(|number| *number < 1 << 52);
        number.ok_or_else(|| self.wrong(name, rule))
    }

    pub fn small(&self, name: &str) -> Result<u32, Malformed> {
        let rule = "must be a whole number from 0 to 2^32 − 1";
        u32::try_from(self.whole(name)?).map_err(|_| self.wrong(name, rule))
    }

    pub fn order(&self, name: &str) -> Result<i32, Malformed> {
        let number = self.must(name)?.as_i64().and_then(|number| i32::try_from(number).ok());
        number.ok_or_else(|| self.wrong(name, "must be a whole number from −2^31 to 2^31 − 1"))
    }

    /// A 64-bit number, as a string of decimal digits.
    pub fn decimal(&self, name: &str) -> Result<u64, Malformed> {
        let rule = "must be a string of decimal digits below 2^64";
        self.text(name)?.parse().map_err(|_| self.wrong(name, rule))
    }

    pub fn flag(&self, name: &str) -> Result<bool, Malformed> {
        self.must(name)?.as_bool().ok_or_else(|| self.wrong(name, "must be true or false"))
    }

    pub fn micros(&self, name: &str) -> Result<Duration, Malformed> {
        self.whole(name).map(Duration::from_micros)
    }

    pub fn millis(&self, name: &str) -> Result<Duration, Malformed> {
        self.whole(name).map(Duration::from_millis)
    }

    /// One of the names that `all` lists.
    pub fn one_of<T: Copy>(&self, name: &str, all: &[(&str, T)]) -> Result<T, Malformed> {
        let text = self.text(name)?;
        let found = all.iter().find(|(known, _)| *known == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|(known, _)| *known).collect();
            self.wrong(name, &format!("{text:?} is not one of {}", known.join(", ")))
        })
    }

    /// `read` applied to the field, if it is there.
    pub fn maybe<T>(
        &self,
        name: &str,
        read: impl Fn(&Self, &str) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        self.raw(name).map(|_| read(self, name)).transpose()
    }
}
