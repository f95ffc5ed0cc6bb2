//! Tests of the Helm chart: that its parts agree with each other and with the programs, and what it renders.
//!
//! What needs Helm is ignored without it; `make test-charts` finds one, names it in `HELM`, and runs everything.
//! With `UPDATE_GENERATED=1` the generated files are written again instead of compared.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod documents;
mod rendering;
mod settings;
mod values;

use std::fs;
use std::path::{Path, PathBuf};

/// The directory of the chart.
fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("keda-add-ons-http")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Checks a generated file; with `UPDATE_GENERATED=1` writes it instead.
fn assert_generated(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(path, expected).unwrap();
        return;
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    let line = differs.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
    assert!(
        found == expected,
        "{} differs from what it is generated from, first in line {}:\n  found    {:?}\n  expected {:?}\n`UPDATE_GENERATED=1 make test-charts` writes it again",
        path.display(),
        line + 1,
        found.lines().nth(line).unwrap_or_default(),
        expected.lines().nth(line).unwrap_or_default(),
    );
}
