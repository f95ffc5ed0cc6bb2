//! `values.yaml`, its schema, the README and the CRDs agree with each other.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use serde_json::Value;

use crate::documents::documented;
use crate::{assert_generated, chart, read};

#[test]
fn each_value_is_documented_and_the_readme_lists_them() {
    let values = values();
    let mut table = String::from("| value | default | what |\n| --- | --- | --- |\n");
    let documented = documented();
    for entry in &documented {
        let default = default(&values, &entry.path);
        writeln!(
            table,
            "| `{}` | `{default}` | {} |",
            entry.path,
            entry.text.replace('|', "\\|")
        )
        .unwrap();
    }
    for leaf in leaves(&values) {
        let told = documented
            .iter()
            .any(|entry| leaf == entry.path || leaf.starts_with(&format!("{}.", entry.path)));
        assert!(told, "{leaf} has no `# --` comment in values.yaml");
    }
    let path = chart().join("README.md");
    let readme = read(&path);
    let (begin, end) = (
        "<!-- values: generated from values.yaml -->\n",
        "<!-- end of values -->",
    );
    let (head, rest) = readme.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    assert_generated(&path, &format!("{head}{begin}{table}{end}{tail}"));
}

#[test]
fn the_schema_knows_each_value() {
    let schema: Value = serde_json::from_str(&read(&chart().join("values.schema.json"))).unwrap();
    for leaf in leaves(&values()) {
        assert!(
            in_schema(&schema, &schema, &leaf),
            "{leaf} is not in values.schema.json"
        );
    }
    assert!(!in_schema(&schema, &schema, "interceptor.replicas.most"));
}

#[test]
fn the_chart_has_the_crds_of_the_programs() {
    update_crds();
    let (made, copied) = (crds(), chart().join("files/crds"));
    assert!(!files(&made).is_empty(), "{} is empty", made.display());
    assert!(
        files(&made) == files(&copied),
        "{} is not what is in {}: `UPDATE_GENERATED=1 make test-charts` copies it",
        copied.display(),
        made.display()
    );
}

/// With `UPDATE_GENERATED=1`, copies the CRDs into the chart, once and before anything is rendered: Helm reads nothing outside.
pub fn update_crds() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            for (name, text) in files(&crds()) {
                fs::write(chart().join("files/crds").join(name), text).unwrap();
            }
        }
    });
}

fn crds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kubernetes/crds")
}

fn values() -> Value {
    serde_saphyr::from_str(&read(&chart().join("values.yaml"))).unwrap()
}

fn default(values: &Value, path: &str) -> String {
    let value = path.split('.').fold(values, |value, key| &value[key]);
    match value {
        Value::Null => String::new(),
        Value::String(text) if !text.is_empty() => text.clone(),
        value => value.to_string(),
    }
}

/// The paths of all values that are no maps, or empty ones.
fn leaves(values: &Value) -> Vec<String> {
    let Some(map) = values.as_object() else {
        return Vec::new();
    };
    let nested = |(key, value): (&String, &Value)| match leaves(value) {
        below if below.is_empty() => vec![key.clone()],
        below => below.into_iter().map(|path| format!("{key}.{path}")).collect(),
    };
    map.iter().flat_map(nested).collect()
}

/// Whether the schema names the path, or takes anything there.
fn in_schema(root: &Value, schema: &Value, path: &str) -> bool {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => &root["definitions"][reference.trim_start_matches("#/definitions/")],
        None => schema,
    };
    let (key, rest) = path.split_once('.').unwrap_or((path, ""));
    let open = schema["additionalProperties"] != Value::Bool(false);
    match schema["properties"].get(key) {
        Some(inner) => rest.is_empty() || in_schema(root, inner, rest),
        None => open && schema["properties"].is_null(),
    }
}

fn files(directory: &PathBuf) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let file = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), read(&entry.path()));
    entries
        .map(|entry| file(entry.unwrap()))
        .filter(|(name, _)| name.ends_with(".yaml"))
        .collect()
}
