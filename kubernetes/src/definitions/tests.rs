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

#[test]
fn every_constraint_is_at_a_field_that_there_is() {
    // A slip in a path would make a field without a type, which no API server takes.
    for (_, mut definition) in files() {
        let schema = Schema::of(&mut definition);
        typed("", schema.0);
    }
}

fn typed(path: &str, schema: &Value) {
    assert!(
        schema["type"].is_string() || schema["x-kubernetes-preserve-unknown-fields"] == true,
        "{path}: {schema}"
    );
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        typed(&format!("{path}.{name}"), field);
    }
    if let Some(items) = schema.get("items") {
        typed(&format!("{path}[]"), items);
    }
}

#[test]
fn fields_and_limits_are_those_of_the_go_add_on() {
    let mut definition = interceptor_route();
    let mut schema = Schema::of(&mut definition);
    for (path, key, value) in [
        ("spec", "required", json!(["scalingMetric", "target"])),
        ("spec.target", "required", json!(["service"])),
        ("spec.target.port", "maximum", json!(65535)),
        ("spec.target.port", "format", json!("int32")),
        ("spec.scalingMetric.requestRate.window", "default", json!("1m")),
        ("spec.scalingMetric.requestRate.granularity", "default", json!("1s")),
        ("spec.coldStart.overflow", "default", json!("Reject")),
        ("spec.coldStart.overflow", "enum", json!(["Reject", "Placeholder"])),
        ("spec.staticRoutes[].responseMode", "default", json!("WhenUnavailable")),
        ("spec.staticRoutes[]", "required", json!(["response", "rules"])),
        ("spec.sessionPersistence.type", "enum", json!(["Cookie"])),
        ("spec.rules[].hosts", "x-kubernetes-list-type", json!("set")),
        ("status.conditions", "x-kubernetes-list-map-keys", json!(["type"])),
    ] {
        assert_eq!(schema.field(path)[key], value, "{path} {key}");
    }
    let mut definition = http_scaled_object();
    let mut schema = Schema::of(&mut definition);
    for (path, key, value) in [
        ("spec", "required", json!(["scaleTargetRef"])),
        ("spec.scaleTargetRef", "required", json!(["service"])),
        ("spec.coldStartTimeoutFailoverRef.timeoutSeconds", "default", json!(30)),
        ("spec.scalingMetric.concurrency.targetValue", "default", json!(100)),
        ("spec.scalingMetric.requestRate.window", "default", json!("1m")),
    ] {
        assert_eq!(schema.field(path)[key], value, "{path} {key}");
    }
    let names = &definition["spec"]["names"];
    assert_eq!(
        (&names["plural"], &names["shortNames"]),
        (&json!("httpscaledobjects"), &json!(["httpso"]))
    );
}
