//! Typed reading of the keys of trigger metadata.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::TriggerError;
use crate::duration;

/// The metadata of one trigger. An empty or blank value counts as absent.
pub struct Metadata<'a> {
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Metadata<'a> {
    pub fn new(metadata: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let present = metadata.into_iter().filter(|(_, value)| !value.trim().is_empty());
        Self {
            values: present.map(|(key, value)| (key, value.trim())).collect(),
        }
    }

    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.values.get(key).copied()
    }

    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.values.keys().copied()
    }

    pub fn key_list(&self) -> String {
        match self.keys().collect::<Vec<_>>().join(", ") {
            keys if keys.is_empty() => "none".to_owned(),
            keys => keys,
        }
    }

    pub fn required(&self, key: &str, allowed: &str) -> Result<&'a str, TriggerError> {
        self.get(key).ok_or_else(|| missing(key, allowed))
    }

    /// A comma list without its empty entries.
    pub fn list(&self, key: &str) -> Vec<&'a str> {
        let entries = self.get(key).unwrap_or_default().split(',');
        entries.map(str::trim).filter(|entry| !entry.is_empty()).collect()
    }

    pub fn positive(&self, key: &str) -> Result<Option<f64>, TriggerError> {
        let positive = |text: &str| {
            text.parse()
                .ok()
                .filter(|number: &f64| number.is_finite() && *number > 0.0)
        };
        self.get(key)
            .map(|text| positive(text).ok_or_else(|| invalid(key, text, "it must be a number greater than 0")))
            .transpose()
    }

    pub fn duration(&self, key: &str) -> Result<Option<Duration>, TriggerError> {
        let read = |text: &str| duration::parse(text).map_err(|error| invalid(key, text, error));
        self.get(key).map(read).transpose()
    }
}

pub fn missing(key: &str, allowed: &str) -> TriggerError {
    TriggerError(format!("{key} is missing; {allowed}"))
}

pub fn invalid(key: &str, value: &str, allowed: impl Display) -> TriggerError {
    TriggerError(format!("{key}: {value:?} cannot be used; {allowed}"))
}
