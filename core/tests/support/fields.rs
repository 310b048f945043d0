//! Reads JSON objects and says file, field and rule of whatever is wrong with them.

use std::fmt;
use std::time::Duration;

use lameduck::{Grace, Time};
use serde_json::{Map, Value};

/// What is wrong, as a sentence: `file: field: rule`, or `file: rule` when it is about all of it.
pub type Malformed = String;

/// Where in a file something stands: `bad.json: steps[2].event`.
#[derive(Clone)]
pub struct Place {
    file: String,
    path: String,
}

impl Place {
    /// All of the file.
    pub fn file(name: &str) -> Self {
        Self { file: name.to_string(), path: String::new() }
    }

    /// The field `name` of the object that stands here.
    pub fn field(&self, name: &str) -> Self {
        // Names of fields come from files too, and can be anything.
        let plain =
            !name.is_empty() && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
        let name = if plain { name.to_string() } else { format!("{name:?}") };
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { file: self.file.clone(), path: format!("{}{dot}{name}", self.path) }
    }

    /// An item of the array that stands here.
    pub fn item(&self, index: usize) -> Self {
        Self { file: self.file.clone(), path: format!("{}[{index}]", self.path) }
    }

    pub fn wrong(&self, rule: &str) -> Malformed {
        format!("{self}: {rule}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        Ok(())
    }
}

/// An object that is being read, and where it stands.
pub struct Fields<'a> {
    place: Place,
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub fn of(place: Place, value: &'a Value) -> Result<Self, Malformed> {
        match value {
            Value::Object(object) => Ok(Self { place, object }),
            _ => Err(place.wrong("must be an object")),
        }
    }

    /// Refuses every field that is not one of `known`.
    pub fn only(&self, known: &[&str]) -> Result<(), Malformed> {
        match self.object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                Err(self.wrong(key, &format!("no such field; known are {}", known.join(", "))))
            }
            None => Ok(()),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.object.keys().map(String::as_str)
    }

    pub fn raw(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name)
    }

    fn must(&self, name: &str) -> Result<&'a Value, Malformed> {
        self.raw(name).ok_or_else(|| self.wrong(name, "is missing"))
    }

    pub fn place(&self, name: &str) -> Place {
        self.place.field(name)
    }

    pub fn wrong_as_a_whole(&self, rule: &str) -> Malformed {
        self.place.wrong(rule)
    }

    pub fn wrong(&self, name: &str, rule: &str) -> Malformed {
        self.place.field(name).wrong(rule)
    }

    /// The object that the field holds.
    pub fn object(&self, name: &str) -> Result<Self, Malformed> {
        Self::of(self.place(name), self.must(name)?)
    }

    pub fn array(&self, name: &str) -> Result<&'a [Value], Malformed> {
        let items = self.must(name)?.as_array().map(Vec::as_slice);
        items.ok_or_else(|| self.wrong(name, "must be an array"))
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
        self.below(name, 52)
    }

    pub fn small(&self, name: &str) -> Result<u32, Malformed> {
        self.below(name, 32).map(|number| u32::try_from(number).expect("below 2^32"))
    }

    fn below(&self, name: &str, bits: u32) -> Result<u64, Malformed> {
        let number = self.must(name)?.as_u64().filter(|number| number >> bits == 0);
        number.ok_or_else(|| self.wrong(name, &whole_number(bits)))
    }

    pub fn order(&self, name: &str) -> Result<i32, Malformed> {
        let number = self.must(name)?.as_i64().and_then(|number| i32::try_from(number).ok());
        number.ok_or_else(|| self.wrong(name, "must be a whole number from −2^31 to 2^31 − 1"))
    }

    /// A 64-bit number, as a string of decimal digits.
    pub fn decimal(&self, name: &str) -> Result<u64, Malformed> {
        let rule = "must be a string of decimal digits below 2^64";
        let text = self.text(name)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or_else(|| self.wrong(name, rule))
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

    /// Microseconds, or null.
    pub fn optional_micros(&self, name: &str) -> Result<Option<Duration>, Malformed> {
        if self.must(name)?.is_null() {
            return Ok(None);
        }
        let micros = self.micros(name).map(Some);
        micros.map_err(|_| self.wrong(name, &format!("{}, or null", whole_number(52))))
    }

    /// Milliseconds, or `"unlimited"`.
    pub fn grace(&self, name: &str) -> Result<Grace, Malformed> {
        if self.must(name)? == "unlimited" {
            return Ok(Grace::Unlimited);
        }
        let limited = self.millis(name).map(Grace::Limited);
        let or_unlimited = || format!("{}, or \"unlimited\"", whole_number(52));
        limited.map_err(|_| self.wrong(name, &or_unlimited()))
    }

    /// The moment so many microseconds after `origin`.
    pub fn moment(&self, name: &str, origin: Time) -> Result<Time, Malformed> {
        let rule = format!("origin_ns + 1000 × {name} must be below 2^64");
        let nanos = self.whole(name)?.checked_mul(1_000);
        let moment = nanos.and_then(|nanos| origin.as_nanos().checked_add(nanos));
        moment.map(Time::from_nanos).ok_or_else(|| self.wrong(name, &rule))
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

fn whole_number(bits: u32) -> String {
    format!("must be a whole number from 0 to 2^{bits} − 1")
}
