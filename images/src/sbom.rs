//! The bill of materials of an image, as CycloneDX 1.6 in JSON.

use anyhow::Result;
use serde_json::{Value, json};

use crate::packages::Package;
use crate::sha256;

/// The image that the bill describes.
pub struct Subject<'a> {
    pub reference: &'a str,
    pub digest: &'a str,
    /// When it was made, in seconds since 1970.
    pub time: u64,
    /// What is linked in besides packages of Cargo: name and version.
    pub runtime: &'a [(String, String)],
}

/// The bill; the first package is the program itself.
///
/// # Errors
/// When the time is beyond the calendar.
pub fn cyclonedx(subject: &Subject<'_>, packages: &[Package]) -> Result<Value> {
    let runtime = subject.runtime.iter().map(|(name, version)| {
        json!({
            "type": "library",
            "bom-ref": format!("pkg:generic/{name}@{version}"),
            "name": name,
            "version": version,
            "purl": format!("pkg:generic/{name}@{version}"),
        })
    });
    let components: Vec<_> = packages.iter().map(component).chain(runtime).collect();
    let mut dependencies: Vec<_> = packages
        .iter()
        .map(|package| json!({"ref": package.id(), "dependsOn": package.uses}))
        .collect();
    let image = image(subject);
    let contents: Vec<_> = packages
        .first()
        .map(Package::id)
        .into_iter()
        .chain(
            subject
                .runtime
                .iter()
                .map(|(name, version)| format!("pkg:generic/{name}@{version}")),
        )
        .collect();
    dependencies.insert(0, json!({"ref": image["bom-ref"], "dependsOn": contents}));
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial_number(subject.digest),
        "version": 1,
        "metadata": {
            "timestamp": jiff::Timestamp::from_second(i64::try_from(subject.time)?)?.to_string(),
            "tools": {"components": [{"type": "application", "name": "keda-http-images", "version": env!("CARGO_PKG_VERSION")}]},
            "component": image,
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn image(subject: &Subject<'_>) -> Value {
    let (name, version) = subject
        .reference
        .rsplit_once(':')
        .unwrap_or((subject.reference, "latest"));
    json!({
        "type": "container",
        "bom-ref": subject.digest,
        "name": name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": subject.digest.trim_start_matches("sha256:")}],
    })
}

fn component(package: &Package) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": package.id(),
        "name": package.name,
        "version": package.version,
        "purl": package.id(),
    });
    if let Some(license) = &package.license {
        component["licenses"] = json!([{"expression": license}]);
    }
    if let Some(checksum) = &package.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

/// A UUID derived from the image: version 8 is for values of one's own scheme (RFC 9562 section 5.8).
fn serial_number(digest: &str) -> String {
    let hash = sha256(digest.as_bytes());
    format!(
        "urn:uuid:{}-{}-8{}-a{}-{}",
        &hash[..8],
        &hash[8..12],
        &hash[13..16],
        &hash[17..20],
        &hash[20..32]
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::packages::tests::{LOCK, metadata};

    fn bill() -> Value {
        let packages = metadata().linked_into("program", LOCK).unwrap();
        let subject = Subject {
            reference: "localhost/program:1.2.3",
            digest: "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            time: 0,
            runtime: &[("glibc".to_owned(), "2.36".to_owned())],
        };
        cyclonedx(&subject, &packages).unwrap()
    }

    #[test]
    fn it_has_what_the_schema_requires() {
        let bill = bill();
        assert_eq!(
            (&bill["bomFormat"], &bill["specVersion"]),
            (&json!("CycloneDX"), &json!("1.6"))
        );
        let serial = bill["serialNumber"]
            .as_str()
            .unwrap()
            .strip_prefix("urn:uuid:")
            .unwrap();
        let lengths: Vec<_> = serial.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{serial}");
        assert!(
            serial
                .chars()
                .all(|character| character == '-' || character.is_ascii_hexdigit())
        );
        assert_eq!(bill["metadata"]["timestamp"], "1970-01-01T00:00:00Z");
        for component in bill["components"].as_array().unwrap() {
            assert!(
                component["type"].is_string() && component["name"].is_string(),
                "{component}"
            );
        }
    }

    #[test]
    fn each_component_is_there_once_and_dependencies_name_only_those() {
        let bill = bill();
        let refs = |list: &Value, key: &str| -> Vec<String> {
            list.as_array()
                .unwrap()
                .iter()
                .map(|item| item[key].as_str().unwrap().to_owned())
                .collect()
        };
        let components = refs(&bill["components"], "bom-ref");
        let mut known: BTreeSet<_> = components.iter().cloned().collect();
        assert_eq!((known.len(), components.len()), (4, 4));
        assert!(known.insert(bill["metadata"]["component"]["bom-ref"].as_str().unwrap().to_owned()));
        let dependencies = bill["dependencies"].as_array().unwrap();
        for dependency in dependencies {
            assert!(known.contains(dependency["ref"].as_str().unwrap()));
            let uses = dependency["dependsOn"].as_array().unwrap();
            assert!(
                uses.iter().all(|used| known.contains(used.as_str().unwrap())),
                "{dependency}"
            );
        }
        assert_eq!(
            dependencies[0]["dependsOn"],
            json!(["pkg:cargo/program@0.1.0", "pkg:generic/glibc@2.36"])
        );
    }
}
