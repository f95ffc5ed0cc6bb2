//! Fields of our own kinds that their definitions do not have.
//!
//! serde passes such fields over, and what is left may mean something else: a rule with `host:` instead of `hosts:` would
//! take the requests of every host. (serde's `deny_unknown_fields` does not work together with `flatten`.)

use std::sync::LazyLock;

use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::fields::FieldError;
use crate::resources::{HttpScaledObject, InterceptorRoute};

/// The schema of an InterceptorRoute's spec.
pub(crate) static INTERCEPTOR_ROUTE: LazyLock<Value> = LazyLock::new(|| spec_of(&json!(InterceptorRoute::crd())));
/// The schema of an HTTPScaledObject's spec.
pub(crate) static HTTP_SCALED_OBJECT: LazyLock<Value> = LazyLock::new(|| spec_of(&json!(HttpScaledObject::crd())));

/// How similar two names must be for one to be proposed for the other, from 0 to 1.
const SIMILAR: f64 = 0.75;
/// Names that were fields once, and what took their place.
const FORMER: [(&str, &str); 1] = [("deployment", "name")];

fn spec_of(definition: &Value) -> Value {
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// The fields below `spec` that its schema does not have, each with the field that was probably meant.
pub(crate) fn unknown_fields(schema: &Value, document: &Value) -> Vec<FieldError> {
    let mut found = Vec::new();
    collect(schema, &document["spec"], "spec", &mut found);
    found
}

fn collect(schema: &Value, value: &Value, at: &str, found: &mut Vec<FieldError>) {
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            collect(&schema["items"], item, &format!("{at}[{index}]"), found);
        }
    }
    // A map of texts, such as headers of a response, has no properties: any key is allowed.
    let (Value::Object(fields), Some(known)) = (value, schema["properties"].as_object()) else {
        return;
    };
    for (name, value) in fields {
        let field = format!("{at}.{name}");
        match known.get(name) {
            Some(schema) => collect(schema, value, &field, found),
            None => found.push(FieldError {
                field,
                reason: reason(name, known.keys()),
            }),
        }
    }
}

fn reason<'a>(name: &str, known: impl Iterator<Item = &'a String> + Clone) -> String {
    let allowed: Vec<&str> = known.map(String::as_str).collect();
    let likely = likely(name, &allowed).map(|likely| format!("; did you mean {likely:?}?"));
    format!(
        "unknown field{} allowed: {}",
        likely.unwrap_or_else(|| ";".into()),
        allowed.join(", ")
    )
}

fn likely<'a>(name: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let former = FORMER.iter().find(|(former, _)| *former == name);
    if let Some(now) = former.and_then(|(_, now)| allowed.iter().find(|known| *known == now)) {
        return Some(now);
    }
    let name = name.to_ascii_lowercase();
    let similarity = |known: &str| strsim::jaro_winkler(&name, &known.to_ascii_lowercase());
    let scored = allowed.iter().map(|known| (similarity(known), *known));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(similarity, _)| *similarity >= SIMILAR)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(schema: &Value, spec: &Value) -> Vec<String> {
        let found = unknown_fields(schema, &json!({"spec": spec}));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn fault_c2_a_misspelt_field_is_named_with_its_place_and_the_likely_name() {
        let spec = json!({
            "target": {"service": "api", "Port": 80},
            "rules": [{"hosts": ["a.test"]}, {"host": "b.test", "paths": [{"prefix": "/x"}]}],
            "scalingMetric": {"concurency": {"targetValue": 1}},
            "coldStart": {"placeholder": {"response": {"headers": {"x-any": "y"}, "status": 503}}},
        });
        let expected = [
            "spec.coldStart.placeholder.response.status: unknown field; did you mean \"statusCode\"? allowed: body, bodyFromConfigMap, headers, statusCode",
            "spec.rules[1].host: unknown field; did you mean \"hosts\"? allowed: headers, hosts, paths",
            "spec.rules[1].paths[0].prefix: unknown field; allowed: value",
            "spec.scalingMetric.concurency: unknown field; did you mean \"concurrency\"? allowed: concurrency, requestRate",
            "spec.target.Port: unknown field; did you mean \"port\"? allowed: port, portName, service",
        ];
        assert_eq!(found(&INTERCEPTOR_ROUTE, &spec), expected);
    }

    #[test]
    fn fault_c2_the_old_form_of_an_http_scaled_object_is_named() {
        let spec = json!({
            "host": "a.test",
            "scaleTargetRef": {"deployment": "api", "service": "api", "port": 80},
        });
        let found = found(&HTTP_SCALED_OBJECT, &spec);
        assert!(
            found[0].starts_with("spec.host: unknown field; did you mean \"hosts\"?"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("spec.scaleTargetRef.deployment: unknown field; did you mean \"name\"?"),
            "{found:?}"
        );
        assert_eq!(found.len(), 2);
    }
}
