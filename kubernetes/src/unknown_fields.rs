//! Fields of a manifest that its kind does not have.
//!
//! serde passes such fields over, and what is left may mean something else: a rule with `host:` instead of `hosts:` would
//! take the requests of every host. (serde's `deny_unknown_fields` does not work together with `flatten`, and
//! Kubernetes' own types do not have it.)

use std::cell::RefCell;
use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::CustomResourceExt;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Error, Value, json};

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
            None => found.push(FieldError::new(
                field,
                reason(name, &known.keys().map(String::as_str).collect::<Vec<_>>()),
            )),
        }
    }
}

/// Reads a document as a type to find the fields that its structs do not have: a type names its fields to whoever
/// deserializes it, unless it has flattened ones.
struct Strict<'a> {
    value: &'a Value,
    at: String,
    found: &'a RefCell<Vec<FieldError>>,
}

/// As [`unknown_fields`], of the whole document and by a type.
pub(crate) fn unknown_fields_of<T: DeserializeOwned>(document: &Value) -> Vec<FieldError> {
    let found = RefCell::default();
    let strict = Strict {
        value: document,
        at: String::new(),
        found: &found,
    };
    let _ = T::deserialize(strict); // a value of a wrong type is reported by the reader of the object
    found.into_inner()
}

/// What an object of a custom kind has besides what its schema describes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only the names count")]
pub(crate) struct Envelope {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    metadata: ObjectMeta,
    spec: IgnoredAny,
    status: Option<IgnoredAny>,
}

impl<'a> Strict<'a> {
    fn field(&self, name: &str) -> String {
        let dot = if self.at.is_empty() { "" } else { "." };
        format!("{}{dot}{name}", self.at)
    }

    fn child(&self, at: String, value: &'a Value) -> Self {
        Self { value, at, ..*self }
    }
}

impl<'de> IntoDeserializer<'de, Error> for Strict<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Strict<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let items = items.map(|(index, item)| self.child(format!("{}[{index}]", self.at), item));
                visitor.visit_seq(SeqDeserializer::new(items))
            }
            Value::Object(fields) => {
                let fields = fields.iter();
                let fields = fields.map(|(name, value)| (name.as_str(), self.child(self.field(name), value)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
            value => value.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let names = self.value.as_object().into_iter().flat_map(|fields| fields.keys());
        for name in names.filter(|name| !known.contains(&name.as_str())) {
            let error = FieldError::new(self.field(name), reason(name, known));
            self.found.borrow_mut().push(error);
        }
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct
        map enum identifier ignored_any
    }
}

fn reason(name: &str, allowed: &[&str]) -> String {
    let likely = likely(name, allowed).map(|likely| format!("; did you mean {likely:?}?"));
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
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::object::Manifest;

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
    fn a_misspelt_field_of_kubernetes_own_kinds_is_named_with_its_place() {
        for (text, expected) in [
            (
                r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"ports":[{"port":80},{"prot":80}]}}"#,
                "spec.ports[1].prot: unknown field; did you mean \"port\"? allowed: appProtocol, ",
            ),
            (
                r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"selectors":{"a":"b"}}}"#,
                "spec.selectors: unknown field; did you mean \"selector\"? allowed: ",
            ),
            (
                r#"{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"a"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"condition":{"ready":true}}]}"#,
                "endpoints[0].condition: unknown field; did you mean \"conditions\"? allowed: addresses, ",
            ),
            (
                r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","lables":{}},"dta":{}}"#,
                "dta: unknown field; did you mean \"data\"? allowed: ",
            ),
            (
                r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"selector":{},"template":{"spec":{"containers":[{"name":"c","prots":[]}]}}}}"#,
                "spec.template.spec.containers[0].prots: unknown field; did you mean \"ports\"? allowed: ",
            ),
        ] {
            let manifest = Manifest::parse_json(text).unwrap().unwrap();
            assert_eq!(manifest.object.id().name, "a", "it is in force all the same");
            let field = manifest.passed_over[0].to_string();
            assert!(field.starts_with(expected), "{field}");
        }
    }

    #[test]
    fn a_misspelt_field_beside_the_spec_of_a_custom_kind_is_refused() {
        let text = r#"{"apiVersion":"keda.sh/v1alpha1","kind":"ScaledObject","metadata":{"name":"a","label":{}},"spec":{"scaleTargetRef":{"name":"a","other":1},"triggers":[],"other":1}}"#;
        let error = Manifest::parse_json(text).unwrap_err().to_string();
        let expected = "ScaledObject \"a\": metadata.label: unknown field; did you mean \"labels\"? allowed: ";
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn what_kubectl_prints_has_no_unknown_fields() {
        let printed = r#"{"apiVersion":"v1","kind":"Service",
            "metadata":{"name":"a","namespace":"shop","uid":"u","creationTimestamp":"2020-01-01T00:00:00Z","generation":1,
                "managedFields":[{"manager":"kubectl","fieldsV1":{"f:spec":{"f:any":{}}}}],"labels":{"any":"x"},
                "annotations":{"any":"x"},"ownerReferences":[],"finalizers":null},
            "spec":{"type":"ClusterIP","clusterIP":"None","ports":[{"port":80,"targetPort":"http"},{"port":81,"targetPort":8080}],
                "selector":{"any":"x"},"sessionAffinityConfig":null},
            "status":{"loadBalancer":{}}}"#;
        assert_eq!(Manifest::parse_json(printed).unwrap().unwrap().passed_over, []);
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
