mod constraints;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;

/// The files that are installed, and that the chart has a copy of.
fn files() -> [(PathBuf, Value); 2] {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("crds");
    [
        (
            directory.join("http.keda.sh_interceptorroutes.yaml"),
            interceptor_route(),
        ),
        (
            directory.join("http.keda.sh_httpscaledobjects.yaml"),
            http_scaled_object(),
        ),
    ]
}

#[test]
fn the_files_are_what_the_types_say() {
    let update = std::env::var_os("UPDATE_GENERATED").is_some();
    for (path, definition) in files() {
        if update {
            std::fs::write(&path, serde_saphyr::to_string(&definition).unwrap()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        let written: Value = serde_saphyr::from_str(&written).unwrap_or_default();
        assert!(
            written == definition,
            "{} differs: UPDATE_GENERATED=1 cargo test -p keda-http-kubernetes writes it anew",
            path.display()
        );
    }
}

/// A field and what is said of it: its type, its limits, and its rules as `rule => message`, in any order.
type Field = (&'static str, &'static [&'static str]);

#[test]
fn every_field_has_the_go_add_ons_type_and_limits_and_no_others() {
    for (mut definition, expected) in [
        (interceptor_route(), constraints::INTERCEPTOR_ROUTE),
        (http_scaled_object(), constraints::HTTP_SCALED_OBJECT),
    ] {
        let kind = definition["spec"]["names"]["kind"].to_string();
        let mut found = BTreeMap::new();
        let schema = Schema::from_definition(&mut definition);
        flatten("", schema.0, &mut found);
        for (path, constraints) in expected {
            let constraints: BTreeSet<String> = constraints.iter().map(ToString::to_string).collect();
            assert_eq!(found.remove(*path), Some(constraints), "{kind} {path}");
        }
        assert!(found.is_empty(), "{kind}: {found:?}");
    }
}

fn flatten(path: &str, schema: &Value, fields: &mut BTreeMap<String, BTreeSet<String>>) {
    fields.insert(path.to_owned(), constraints(schema));
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let below = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        flatten(&below, field, fields);
    }
    if let Some(items) = schema.get("items") {
        flatten(&format!("{path}[]"), items, fields);
    }
}

fn constraints(schema: &Value) -> BTreeSet<String> {
    let elsewhere = [
        "title",
        "description",
        "properties",
        "items",
        "x-kubernetes-validations",
    ];
    let limits = schema.as_object().into_iter().flatten();
    let limits = limits.filter(|(key, _)| !elsewhere.contains(&key.as_str()));
    let limits = limits.map(|(key, value)| match key.as_str() {
        "type" => plain(value),
        _ => format!("{key}={}", plain(value)),
    });
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    let rules = rules.map(|rule| format!("{} => {}", plain(&rule["rule"]), plain(&rule["message"])));
    limits.chain(rules).collect()
}

/// Lists in the order of the alphabet, since none here has an order of its own.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let values: BTreeSet<String> = values.iter().map(plain).collect();
            Vec::from_iter(values).join(",")
        }
        other => other.to_string(),
    }
}

#[test]
fn names_columns_and_the_way_they_are_served_are_the_go_add_ons() {
    let route = interceptor_route();
    assert_eq!(route["spec"]["group"], "http.keda.sh");
    assert_eq!(route["spec"]["scope"], "Namespaced");
    assert_eq!(
        names(&route),
        ("InterceptorRoute", "interceptorroutes", "interceptorroute", json!([]))
    );
    let http = http_scaled_object();
    assert_eq!(
        names(&http),
        (
            "HTTPScaledObject",
            "httpscaledobjects",
            "httpscaledobject",
            json!(["httpso"])
        )
    );
    let ready = r#"Ready string .status.conditions[?(@.type=="Ready")].status"#;
    let age = "Age date .metadata.creationTimestamp";
    assert_eq!(
        columns(&route),
        ["TargetService string .spec.target.service", ready, age]
    );
    let of_http = [
        "TargetWorkload string .status.targetWorkload",
        "TargetService string .status.targetService",
        "MinReplicas integer .spec.replicas.min",
        "MaxReplicas integer .spec.replicas.max",
        age,
        ready,
    ];
    assert_eq!(columns(&http), of_http);
    for (definition, version) in [(route, "v1beta1"), (http, "v1alpha1")] {
        let versions = definition["spec"]["versions"].as_array().unwrap();
        assert_eq!(versions.len(), 1);
        let mut served = versions[0].clone();
        for key in ["schema", "additionalPrinterColumns"] {
            served.as_object_mut().unwrap().remove(key);
        }
        let expected = json!({"name": version, "served": true, "storage": true, "subresources": {"status": {}}});
        assert_eq!(served, expected);
    }
}

fn names(definition: &Value) -> (&str, &str, &str, Value) {
    let names = &definition["spec"]["names"];
    let text = |key: &str| names[key].as_str().unwrap();
    let short = names.get("shortNames").cloned().unwrap_or(json!([]));
    (text("kind"), text("plural"), text("singular"), short)
}

fn columns(definition: &Value) -> Vec<String> {
    let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"].as_array();
    let column = |column: &Value| {
        let text = |key: &str| plain(&column[key]);
        format!("{} {} {}", text("name"), text("type"), text("jsonPath"))
    };
    columns.into_iter().flatten().map(column).collect()
}
