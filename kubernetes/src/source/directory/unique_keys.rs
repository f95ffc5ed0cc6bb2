//! A key that is given twice in one map: of JSON, serde_json would silently take the last one.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What is said of such a key, whatever the syntax.
pub(super) fn duplicate_key(key: &str) -> String {
    format!("the key {key:?} is given twice; keep one of the two")
}

/// Checks a JSON document. The error is the reason and the line in the text, from 1.
pub(super) fn check(text: &str) -> Result<(), (String, usize)> {
    match serde_json::from_str::<UniqueKeys>(text) {
        Ok(UniqueKeys) => Ok(()),
        Err(error) => {
            let (reason, line) = (error.to_string(), error.line());
            let position = format!(" at line {line} column {}", error.column());
            Err((reason.strip_suffix(&position).unwrap_or(&reason).to_owned(), line))
        }
    }
}

/// Any value without such a key.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
            if keys.contains(&key) {
                return Err(A::Error::custom(duplicate_key(&key)));
            }
            keys.insert(key);
            entries.next_value::<Self>()?;
        }
        Ok(self)
    }
}
