//! serde's errors in the words of people who write manifests and not Rust.

use std::borrow::Cow;

/// What is wrong with a value, where serde says that its type does not fit. Other texts stay as they are.
pub(crate) fn in_plain_words(error: &str) -> Cow<'_, str> {
    let translated = || {
        if let Some(field) = quoted(error, "missing field ") {
            return Some(format!("{field} is missing"));
        }
        if let Some(rest) = error.strip_prefix("unknown variant ") {
            let (value, allowed) = rest.split_once(", expected ")?;
            let allowed = allowed.strip_prefix("one of ").unwrap_or(allowed);
            let allowed = allowed.replace('`', "").replace(" or ", ", ");
            return Some(format!(
                "{:?} is not allowed; allowed: {allowed}",
                value.trim_matches('`')
            ));
        }
        if error.starts_with("invalid length ") && error.contains(", expected struct ") {
            return Some("a list is not allowed; allowed: a map".to_owned());
        }
        let rest = error
            .strip_prefix("invalid type: ")
            .or_else(|| error.strip_prefix("invalid value: "))?;
        let (found, expected) = rest.rsplit_once(", expected ")?;
        Some(format!("{} is not allowed; allowed: {}", value(found), kind(expected)))
    };
    translated().map_or(Cow::Borrowed(error), Cow::Owned)
}

fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.strip_prefix('`')?.strip_suffix('`')
}

fn value(found: &str) -> &str {
    match found {
        "null" | "unit value" => "no value",
        "map" => "a map",
        "sequence" => "a list",
        other => match ["string ", "integer ", "floating point ", "boolean "]
            .iter()
            .find_map(|name| other.strip_prefix(name))
        {
            Some(value) => value.trim_matches('`'),
            None => other,
        },
    }
}

fn kind(expected: &str) -> Cow<'_, str> {
    match expected {
        "a sequence" => "a list".into(),
        "a boolean" => "true or false".into(),
        "IntOrString" => "a whole number or a string".into(),
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" => {
            format!("a whole number of {} bits", expected.trim_start_matches(['i', 'u'])).into()
        }
        other if other.starts_with("struct ") || other.starts_with(char::is_uppercase) => "a map".into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use crate::object::Object;

    #[test]
    fn a_value_of_a_wrong_type_is_named_with_its_place_and_what_is_allowed() {
        let route = |spec: Value| json!({"apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute", "metadata": {"name": "a"}, "spec": spec});
        let service =
            |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec});
        for (document, expected) in [
            (route(json!([])), "spec: a list is not allowed; allowed: a map"),
            (
                route(json!({"target": {"port": 1}, "scalingMetric": {}})),
                "spec.target: service is missing",
            ),
            (
                route(json!({"target": {"service": 5, "port": 1}, "scalingMetric": {}})),
                "spec.target.service: 5 is not allowed; allowed: a string",
            ),
            (
                route(json!({"target": {"service": "a", "port": "web"}, "scalingMetric": {}})),
                "spec.target.port: \"web\" is not allowed; allowed: a whole number of 32 bits",
            ),
            (
                route(json!({"target": {"service": "a", "port": 5_000_000_000_i64}, "scalingMetric": {}})),
                "spec.target.port: 5000000000 is not allowed; allowed: a whole number of 32 bits",
            ),
            (
                route(json!({"target": {"service": "a", "port": 1}, "scalingMetric": {}, "rules": {"hosts": ["a"]}})),
                "spec.rules: a map is not allowed; allowed: a list",
            ),
            (
                route(
                    json!({"target": {"service": "a", "port": 1}, "scalingMetric": {}, "coldStart": {"overflow": "reject"}}),
                ),
                "spec.coldStart.overflow: \"reject\" is not allowed; allowed: Reject, Placeholder",
            ),
            (
                route(
                    json!({"target": {"service": "a", "port": 1}, "scalingMetric": {"concurrency": {"targetValue": 1.5}}}),
                ),
                "spec.scalingMetric.concurrency.targetValue: 1.5 is not allowed; allowed: a whole number of 32 bits",
            ),
            (
                service(json!({"ports": [80]})),
                "spec.ports[0]: 80 is not allowed; allowed: a map",
            ),
            (
                service(json!({"publishNotReadyAddresses": "yes"})),
                "spec.publishNotReadyAddresses: \"yes\" is not allowed; allowed: true or false",
            ),
            (
                service(json!({"ports": [{"port": 80, "targetPort": []}]})),
                "spec.ports[0].targetPort: a list is not allowed; allowed: a whole number or a string",
            ),
        ] {
            let error = Object::parse(&document).unwrap_err().to_string();
            let (_, error) = error.split_once(" \"a\": ").unwrap();
            assert_eq!(error, expected);
        }
    }
}
