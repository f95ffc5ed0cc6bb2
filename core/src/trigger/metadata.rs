//! Typed reading of the keys of trigger metadata.

use std::collections::BTreeMap;
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

    /// The keys for a message.
    pub fn key_list(&self) -> String {
        let keys: Vec<&str> = self.keys().collect();
        if keys.is_empty() {
            "none".to_owned()
        } else {
            keys.join(", ")
        }
    }

    pub fn required(&self, key: &'static str, allowed: &'static str) -> Result<&'a str, TriggerError> {
        self.get(key).ok_or(TriggerError::Missing { key, allowed })
    }

    /// A comma list without its empty entries.
    pub fn list(&self, key: &str) -> Vec<&'a str> {
        let entries = self.get(key).unwrap_or_default().split(',');
        entries.map(str::trim).filter(|entry| !entry.is_empty()).collect()
    }

    pub fn positive(&self, key: &'static str) -> Result<Option<f64>, TriggerError> {
        let positive = |text: &str| {
            text.parse()
                .ok()
                .filter(|number: &f64| number.is_finite() && *number > 0.0)
        };
        self.get(key)
            .map(|text| positive(text).ok_or_else(|| invalid(key, text, "it must be a number greater than 0")))
            .transpose()
    }

    pub fn duration(&self, key: &'static str) -> Result<Option<Duration>, TriggerError> {
        let read = |text: &str| duration::parse(text).map_err(|error| invalid(key, text, error.to_string()));
        self.get(key).map(read).transpose()
    }
}

pub fn invalid(key: &'static str, value: &str, allowed: impl Into<String>) -> TriggerError {
    TriggerError::Invalid {
        key,
        value: value.to_owned(),
        allowed: allowed.into(),
    }
}
