//! The CustomResourceDefinitions of the kinds that are ours to describe, as they are installed.
//!
//! Types, descriptions and defaults come from [`crate::resources`]; what those cannot say (limits, list types, rules in
//! CEL) is a table here. The meaning is that of the Go add-on's definitions of 0.16, and of its main branch for session
//! persistence, so objects that were written for it are taken, and refused with the same words. An HTTPScaledObject
//! without `spec` is refused besides: it says nothing.

use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::resources::{HttpScaledObject, InterceptorRoute};

/// A rule in CEL, and what is said when it does not hold.
struct Rule(&'static str, &'static str);

const ONE_PORT: Rule = Rule(
    "has(self.port) != has(self.portName)",
    "exactly one of 'port' or 'portName' must be set",
);
const ONE_METRIC: Rule = Rule(
    "has(self.concurrency) || has(self.requestRate)",
    "at least one of 'concurrency' or 'requestRate' must be set",
);
const COLD_START: Rule = Rule(
    "has(self.fallback) || has(self.placeholder) || has(self.maxPendingRequests)",
    "at least one of 'fallback', 'placeholder' or 'maxPendingRequests' must be set",
);
const OVERFLOW: Rule = Rule(
    "self.overflow != 'Placeholder' || has(self.placeholder)",
    "'placeholder' must be set when 'overflow' is 'Placeholder'",
);
const ONE_BODY: Rule = Rule(
    "!(has(self.body) && has(self.bodyFromConfigMap))",
    "at most one of 'body' or 'bodyFromConfigMap' may be set",
);
const PORT_XOR_NAME: Rule = Rule(
    "has(self.portName) != has(self.port)",
    "must define either the 'portName' or the 'port'",
);
const COOKIE_OF_ITS_TYPE: Rule = Rule(
    "!has(self.cookie) || self.type == 'Cookie'",
    "'cookie' may only be set when 'type' is 'Cookie'",
);
const AT_LEAST_A_SECOND: Rule = Rule("duration(self) >= duration('1s')", "must be at least 1s");
/// The characters of a cookie's name; the backtick by its number, as in the Go add-on's, so that a refusal reads alike.
const COOKIE_NAME: &str = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$";

/// `InterceptorRoute` v1beta1.
pub fn interceptor_route() -> Value {
    let mut definition = json!(InterceptorRoute::crd());
    Schema::plain(&mut definition)
        .port("spec.target", &ONE_PORT)
        .text("spec.target.service", 1, None)
        .port("spec.coldStart.fallback.service", &ONE_PORT)
        .text("spec.coldStart.fallback.service.name", 1, None)
        .rules("spec.coldStart", &[COLD_START, OVERFLOW])
        .least("spec.coldStart.maxPendingRequests", 1)
        .response("spec.coldStart.placeholder.response")
        .matching("spec.rules")
        .rules("spec.scalingMetric", &[ONE_METRIC])
        .least("spec.scalingMetric.concurrency.targetValue", 1)
        .least("spec.scalingMetric.requestRate.targetValue", 1)
        .set("spec.staticRoutes", "x-kubernetes-list-type", json!("atomic"))
        .set("spec.staticRoutes[].rules", "minItems", json!(1))
        .matching("spec.staticRoutes[].rules")
        .response("spec.staticRoutes[].response")
        .rules("spec.sessionPersistence", &[COOKIE_OF_ITS_TYPE])
        .rules("spec.sessionPersistence.absoluteTimeout", &[AT_LEAST_A_SECOND])
        .set("spec.sessionPersistence.cookie", "minProperties", json!(1))
        .text("spec.sessionPersistence.cookie.name", 1, Some(256))
        .set("spec.sessionPersistence.cookie.name", "pattern", json!(COOKIE_NAME))
        .conditions();
    definition
}

/// `HTTPScaledObject` v1alpha1.
pub fn http_scaled_object() -> Value {
    let mut definition = json!(HttpScaledObject::crd());
    Schema::plain(&mut definition)
        .rules("spec.scaleTargetRef", &[PORT_XOR_NAME])
        .rules("spec.coldStartTimeoutFailoverRef", &[PORT_XOR_NAME])
        .headers("spec.headers")
        .without("spec.scalingMetric.concurrency.targetValue", "format")
        .without("spec.scalingMetric.requestRate.targetValue", "format")
        .conditions();
    definition
}

/// `metav1.Condition`'s own limits.
const CONDITION_TYPE: &str =
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";
const CONDITION_REASON: &str = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$";

/// Without `null` as a value of its own: the API server drops it and sets the default, as where nothing is written.
fn without_null(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("nullable");
    }
    for field in schema["properties"].as_object_mut().into_iter().flatten() {
        without_null(field.1);
    }
    if let Some(items) = schema.get_mut("items") {
        without_null(items);
    }
}

/// The schema of a definition's only version.
struct Schema<'a>(&'a mut Value);

impl<'a> Schema<'a> {
    fn from_definition(definition: &'a mut Value) -> Self {
        Self(&mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    }

    /// As the types have it, without `null`.
    fn plain(definition: &'a mut Value) -> Self {
        let schema = Self::from_definition(definition);
        without_null(schema.0);
        schema
    }

    /// The schema of a field; `[]` behind a name is the items of a list.
    fn field(&mut self, path: &str) -> &mut Value {
        path.split('.')
            .fold(&mut *self.0, |schema, name| match name.strip_suffix("[]") {
                Some(list) => &mut schema["properties"][list]["items"],
                None => &mut schema["properties"][name],
            })
    }

    fn set(mut self, path: &str, key: &str, value: Value) -> Self {
        self.field(path)[key] = value;
        self
    }

    fn least(self, path: &str, least: i32) -> Self {
        self.set(path, "minimum", json!(least))
    }

    fn text(self, path: &str, least: u32, most: Option<u32>) -> Self {
        let limited = if least > 0 {
            self.set(path, "minLength", json!(least))
        } else {
            self
        };
        match most {
            Some(most) => limited.set(path, "maxLength", json!(most)),
            None => limited,
        }
    }

    fn rules(self, path: &str, rules: &[Rule]) -> Self {
        let rules: Vec<Value> = rules
            .iter()
            .map(|Rule(rule, message)| json!({"rule": rule, "message": message}))
            .collect();
        self.set(path, "x-kubernetes-validations", json!(rules))
    }

    fn port(self, path: &str, rule: &Rule) -> Self {
        let port = format!("{path}.port");
        self.least(&port, 1)
            .set(&port, "maximum", json!(65535))
            .text(&format!("{path}.portName"), 1, None)
            .rules(path, &[Rule(rule.0, rule.1)])
    }

    fn headers(self, path: &str) -> Self {
        self.set(path, "x-kubernetes-list-type", json!("map"))
            .set(path, "x-kubernetes-list-map-keys", json!(["name"]))
            .text(&format!("{path}[].name"), 1, None)
    }

    /// Which requests are meant.
    fn matching(self, path: &str) -> Self {
        self.set(path, "x-kubernetes-list-type", json!("atomic"))
            .set(&format!("{path}[].hosts"), "x-kubernetes-list-type", json!("set"))
            .set(&format!("{path}[].paths"), "x-kubernetes-list-type", json!("atomic"))
            .text(&format!("{path}[].paths[].value"), 1, None)
            .headers(&format!("{path}[].headers"))
    }

    fn response(self, path: &str) -> Self {
        let status = format!("{path}.statusCode");
        self.least(&status, 100)
            .set(&status, "maximum", json!(599))
            .text(&format!("{path}.body"), 0, Some(32768))
            .text(&format!("{path}.bodyFromConfigMap.name"), 1, None)
            .rules(path, &[ONE_BODY])
    }

    fn conditions(self) -> Self {
        let field = |name: &str| format!("status.conditions[].{name}");
        let required = json!(["lastTransitionTime", "message", "reason", "status", "type"]);
        self.set("status.conditions", "x-kubernetes-list-type", json!("map"))
            .set("status.conditions", "x-kubernetes-list-map-keys", json!(["type"]))
            .set("status.conditions[]", "required", required)
            .set(&field("type"), "maxLength", json!(316))
            .set(&field("type"), "pattern", json!(CONDITION_TYPE))
            .set(&field("status"), "enum", json!(["True", "False", "Unknown"]))
            .least(&field("observedGeneration"), 0)
            .text(&field("reason"), 1, Some(1024))
            .set(&field("reason"), "pattern", json!(CONDITION_REASON))
            .set(&field("message"), "maxLength", json!(32768))
            // What is lenient when it is read is not when it is written.
            .without(&field("reason"), "default")
            .without(&field("message"), "default")
    }

    fn without(mut self, path: &str, key: &str) -> Self {
        if let Some(field) = self.field(path).as_object_mut() {
            field.remove(key);
        }
        self
    }
}

#[cfg(test)]
mod tests;
