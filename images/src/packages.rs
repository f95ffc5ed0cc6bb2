//! The packages that are linked into a program, from `cargo metadata` and `Cargo.lock`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use serde::Deserialize;

/// A package that is linked into the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// The licences, as an SPDX expression.
    pub license: Option<String>,
    /// The SHA-256 of what the registry served; `None` for packages of this workspace.
    pub checksum: Option<String>,
    /// What it uses itself, by [`Package::id`].
    pub uses: BTreeSet<String>,
}

impl Package {
    pub fn id(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

/// The part of `cargo metadata --format-version 1` that matters here.
#[derive(Deserialize)]
pub struct Metadata {
    packages: Vec<Described>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Described {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

impl Metadata {
    /// The packages that are linked into the program, itself first, the others by name. What only runs at build time, such
    /// as procedural macros, is not among them.
    ///
    /// # Errors
    /// When the program is not in the workspace.
    pub fn linked_into(&self, program: &str, lock: &str) -> Result<Vec<Package>> {
        let described: HashMap<_, _> = self
            .packages
            .iter()
            .map(|package| (package.id.as_str(), package))
            .collect();
        let nodes: HashMap<_, _> = self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let root = self.packages.iter().find(|package| package.name == program);
        let root = root.with_context(|| format!("there is no package {program} in the workspace"))?;
        let checksums = checksums(lock);
        let mut seen = BTreeSet::from([root.id.as_str()]);
        let mut waiting = vec![root.id.as_str()];
        let mut packages = BTreeMap::new();
        while let Some(id) = waiting.pop() {
            let (Some(package), Some(node)) = (described.get(id), nodes.get(id)) else {
                continue;
            };
            let linked: Vec<_> = node
                .deps
                .iter()
                .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()))
                .filter_map(|dependency| described.get(dependency.pkg.as_str()))
                .filter(|used| !used.is_macro())
                .collect();
            waiting.extend(linked.iter().map(|used| used.id.as_str()).filter(|id| seen.insert(id)));
            packages.insert(
                (id != root.id, package.name.clone(), package.version.clone()),
                Package {
                    uses: linked.iter().map(|used| used.package(&checksums).id()).collect(),
                    ..package.package(&checksums)
                },
            );
        }
        Ok(packages.into_values().collect())
    }
}

impl Described {
    fn is_macro(&self) -> bool {
        self.targets
            .iter()
            .any(|target| target.kind.iter().any(|kind| kind == "proc-macro"))
    }

    fn package(&self, checksums: &HashMap<(String, String), String>) -> Package {
        Package {
            name: self.name.clone(),
            version: self.version.clone(),
            // Before SPDX expressions, Cargo had `/` for "or".
            license: self.license.as_ref().map(|license| license.replace('/', " OR ")),
            checksum: checksums.get(&(self.name.clone(), self.version.clone())).cloned(),
            uses: BTreeSet::new(),
        }
    }
}

/// The checksums of `Cargo.lock`, by name and version.
fn checksums(lock: &str) -> HashMap<(String, String), String> {
    let package = |section: &str| {
        let field = |name: &str| {
            let line = section
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
            Some(line.trim_end_matches('"').to_owned())
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    };
    lock.split("[[package]]").filter_map(package).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(crate) const LOCK: &str = "[[package]]\nname = \"served\"\nversion = \"1.2.3\"\nchecksum = \"abc\"\n";

    pub(crate) fn metadata() -> Metadata {
        let package = |id: &str, kind: &str| {
            let version = if id == "served" { "1.2.3" } else { "0.1.0" };
            json!({"id": id, "name": id, "version": version, "license": "MIT/Apache-2.0", "targets": [{"kind": [kind]}]})
        };
        let uses = |id: &str, kind: Value| json!({"pkg": id, "dep_kinds": [{"kind": kind, "target": null}]});
        let program = [
            uses("library", Value::Null),
            uses("macros", Value::Null),
            uses("tester", json!("dev")),
            uses("builder", json!("build")),
        ];
        let node = |id: &str, deps: &[Value]| json!({"id": id, "deps": deps});
        serde_json::from_value(json!({
            "packages": [
                package("program", "bin"), package("library", "lib"), package("served", "lib"), package("macros", "proc-macro"),
                package("tester", "lib"), package("builder", "lib"), package("parser", "lib"),
            ],
            "resolve": {"nodes": [
                node("program", &program), node("library", &[uses("served", Value::Null)]), node("served", &[]),
                node("macros", &[uses("parser", Value::Null)]), node("tester", &[]), node("builder", &[]), node("parser", &[]),
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_linked_is_told_and_nothing_else() {
        let packages = metadata().linked_into("program", LOCK).unwrap();
        let ids: Vec<_> = packages.iter().map(Package::id).collect();
        assert_eq!(
            ids,
            [
                "pkg:cargo/program@0.1.0",
                "pkg:cargo/library@0.1.0",
                "pkg:cargo/served@1.2.3"
            ]
        );
        assert_eq!(packages[0].uses, BTreeSet::from([ids[1].clone()]));
        assert_eq!(packages[2].checksum.as_deref(), Some("abc"));
        assert_eq!(packages[2].license.as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(packages[1].checksum, None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = metadata().linked_into("progam", LOCK).unwrap_err().to_string();
        assert!(error.contains("progam"), "{error}");
    }
}
