//! The settings of the programs: SETTINGS.md, the templates and the documents name those that are read, and no others.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use keda_http_runtime::settings::{Status, Table};
use serde_json::Value;

use crate::{assert_generated, chart, read};

fn interceptor() -> Table {
    keda_http_interceptor::app::PROGRAM.table(keda_http_interceptor::config::Config::read)
}

fn scaler() -> Table {
    keda_http_scaler::app::PROGRAM.table(keda_http_scaler::config::Config::read)
}

fn names(tables: &[Table]) -> BTreeSet<String> {
    let rows = tables.iter().flat_map(Table::rows);
    rows.map(|row| row.name.clone()).collect()
}

#[test]
fn the_list_of_settings_is_what_the_programs_read() {
    let list = format!(
        "# Settings of the programs\n\n\
         Environment variables, as `--help` lists them. Durations are written as in Go: `500ms`, `30s`, `1m30s`.\n\
         This file is generated from the programs.\n\n\
         ## keda-http-interceptor\n\n{}\n## keda-http-scaler\n\n{}",
        markdown(&interceptor()),
        markdown(&scaler()),
    );
    assert_generated(&chart().join("SETTINGS.md"), &list);
}

fn markdown(table: &Table) -> String {
    let mut text = String::from("| variable | what |\n| --- | --- |\n");
    let mut section = "";
    for row in table.rows() {
        if row.section != section {
            section = row.section;
            writeln!(text, "| **{section}** | |").unwrap();
        }
        let description = row.description().replace('|', "\\|").replace('<', "&lt;");
        writeln!(text, "| `{}` | {description} |", row.name).unwrap();
    }
    text
}

/// A ConfigMap for both programs is no reason to warn.
#[test]
fn no_setting_of_a_program_is_taken_for_a_misspelt_one_of_the_other() {
    let command = keda_http_scaler::app::PROGRAM.table(keda_http_scaler::config::AutowireCommandConfig::read);
    let tables = [interceptor(), scaler(), command];
    for table in &tables {
        let own = names(std::slice::from_ref(table));
        for name in names(&tables)
            .difference(&own)
            .filter(|name| name.starts_with("KEDA_HTTP_"))
        {
            assert_eq!(table.resembling(name), None, "{name}");
        }
    }
    assert_eq!(
        interceptor().resembling("KEDA_HTTP_CONECT_TIMEOUT"),
        Some("KEDA_HTTP_CONNECT_TIMEOUT")
    );
}

#[test]
fn the_chart_sets_only_variables_that_are_read_and_have_an_effect() {
    for values in ["default", "upstream", "hardened"] {
        let golden = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{values}.yaml")));
        let mut checked = 0;
        for document in golden.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document).unwrap();
            for container in object["spec"]["template"]["spec"]["containers"]
                .as_array()
                .into_iter()
                .flatten()
            {
                checked += check_variables(container);
            }
        }
        assert!(checked > 40, "{values}: only {checked} variables");
    }
}

/// Returns how many variables the container has.
fn check_variables(container: &Value) -> usize {
    let image = container["image"].as_str().unwrap();
    let table = if image.contains("interceptor") {
        interceptor()
    } else {
        scaler()
    };
    let variables = container["env"].as_array().unwrap();
    for variable in variables {
        let name = variable["name"].as_str().unwrap();
        let row = table.rows().iter().find(|row| row.name == name);
        let row = row.unwrap_or_else(|| panic!("{image} does not read {name}"));
        let without_effect = matches!(row.status, Status::WithoutEffect { .. });
        assert!(!without_effect, "{name} has no effect on {image}");
    }
    variables.len()
}

#[test]
fn documents_name_only_variables_that_are_read() {
    let known = names(&[interceptor(), scaler()]);
    let house = house();
    let mut documents = files(&house.join("docs"), "md");
    documents.extend(files(&chart(), "tpl"));
    let at_the_top = fs::read_dir(&house).unwrap().map(|entry| entry.unwrap().path());
    documents.extend(at_the_top.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    documents.extend(
        ["md", "yaml"]
            .iter()
            .flat_map(|extension| files(&house.join("examples"), extension)),
    );
    documents.push(house.join("local/README.md"));
    documents.extend(["README.md", "SETTINGS.md", "values.yaml", "values.schema.json"].map(|name| chart().join(name)));
    for path in documents {
        for name in variables(&read(&path)) {
            let is_prefix = name.ends_with('_') && known.iter().any(|known| known.starts_with(&name));
            let is_for_tests = ["KEDA_HTTP_CLUSTER_DIR", "KEDA_HTTP_E2E"]
                .iter()
                .any(|own| name.starts_with(own));
            assert!(
                known.contains(&name) || is_prefix || is_for_tests,
                "{}: no program reads {name}",
                path.display()
            );
        }
    }
}

/// A variable that is read in another way than by `Settings` would be missing in `--help`.
#[test]
fn each_variable_that_the_sources_name_is_a_setting() {
    let known = names(&[interceptor(), scaler()]);
    let mut found = BTreeSet::new();
    for part in ["core", "kubernetes", "runtime", "interceptor", "scaler"] {
        for path in files(&house().join(part).join("src"), "rs") {
            let is_test = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
            let text = read(&path);
            let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let is_literal = |name: &String| production.contains(&format!("\"{name}\""));
            if !is_test {
                let literals = variables(production).into_iter().filter(is_literal);
                found.extend(literals.map(|name| (name, path.clone())));
            }
        }
    }
    assert!(found.len() > 60, "{found:?}");
    for (name, path) in found {
        let is_prefix = name.ends_with('_') && known.iter().any(|known| known.starts_with(&name));
        assert!(
            known.contains(&name) || is_prefix,
            "{}: {name} is not a setting",
            path.display()
        );
    }
}

/// The words of a text that look like variables of ours or of OpenTelemetry.
fn variables(text: &str) -> Vec<String> {
    let words = text
        .split(|character: char| !(character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_'));
    let is_variable = |word: &&str| {
        ["KEDA_", "KEDIFY_", "OTEL_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    };
    words.filter(is_variable).map(ToOwned::to_owned).collect()
}

fn house() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files with this extension in and below a directory.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path, extension),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}
