//! What admission does to a ScaledObject so that stock KEDA can use its `kedify-http` triggers.
//!
//! Each becomes `external-push`, with the scaler's address and, where the object has several, the trigger's name in its
//! metadata; every other key and field stays as it is. The scaler and the interceptors then read the same metadata.
//! Converted triggers stay as they are, so converting again changes nothing.

use std::collections::BTreeMap;

use keda_http_core::trigger::{KEDIFY_HTTP, TRIGGER_NAME_KEY};
use serde_json::{Value, json};

use crate::fields::FieldError;
use crate::resources::{ScaleTrigger, ScaledObject};
use crate::routes::scaled_object;

/// The type of push scalers in KEDA.
pub const EXTERNAL_PUSH: &str = "external-push";
/// The metadata key by which KEDA finds the scaler.
pub(crate) const SCALER_ADDRESS_KEY: &str = "scalerAddress";

/// What must be changed, and warnings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversion {
    /// The triggers that are not yet what KEDA can use.
    pub triggers: Vec<ConvertedTrigger>,
    /// Keys without effect, each with the reason.
    pub warnings: Vec<String>,
}

/// A trigger to be changed.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvertedTrigger {
    /// Its place in `spec.triggers`.
    pub index: usize,
    /// The metadata keys to set.
    pub metadata: BTreeMap<&'static str, String>,
}

/// Returns what must be changed.
///
/// # Errors
/// Every trigger that cannot be used: the field, what is wrong with its value, and what is allowed.
pub fn convert(object: &ScaledObject, scaler_address: &str) -> Result<Conversion, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut conversion = Conversion::default();
    for made in scaled_object::routes(object) {
        conversion.warnings.extend(made.warnings);
        errors.extend(made.result.err());
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let triggers = object.spec.triggers.iter().enumerate();
    let several = triggers
        .clone()
        .filter(|(_, trigger)| scaled_object::is_kedify_http(trigger))
        .count()
        > 1;
    let pending = triggers.filter(|(_, trigger)| trigger.type_ == KEDIFY_HTTP);
    conversion.triggers = pending
        .map(|(index, trigger)| ConvertedTrigger {
            index,
            metadata: metadata(trigger, several, scaler_address),
        })
        .collect();
    Ok(conversion)
}

/// The metadata keys that a trigger is given. `several`: its object has more than one of the kind.
pub fn metadata(trigger: &ScaleTrigger, several: bool, scaler_address: &str) -> BTreeMap<&'static str, String> {
    let name = trigger.name.as_ref().filter(|name| several && !name.is_empty());
    let named = trigger.metadata.contains_key(TRIGGER_NAME_KEY);
    let name = name.filter(|_| !named).map(|name| (TRIGGER_NAME_KEY, name.clone()));
    name.into_iter()
        .chain([(SCALER_ADDRESS_KEY, scaler_address.to_owned())])
        .collect()
}

impl Conversion {
    /// The changes as a JSON patch (RFC 6902). It fails as a whole when a trigger is no longer where it was.
    pub fn patch(&self) -> Vec<Value> {
        let mut operations = Vec::new();
        for trigger in &self.triggers {
            let path = format!("/spec/triggers/{}", trigger.index);
            operations.push(json!({"op": "test", "path": format!("{path}/type"), "value": KEDIFY_HTTP}));
            operations.push(json!({"op": "replace", "path": format!("{path}/type"), "value": EXTERNAL_PUSH}));
            for (key, value) in &trigger.metadata {
                operations.push(json!({"op": "add", "path": format!("{path}/metadata/{key}"), "value": value}));
            }
        }
        operations
    }
}

#[cfg(test)]
mod tests;
