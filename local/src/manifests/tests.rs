#![allow(clippy::unwrap_used)]

use super::*;

const HELLO: &str = include_str!("../../examples/hello/hello.yaml");

struct Fixture {
    directory: tempfile::TempDir,
    manifests: Manifests,
}

fn read(yaml: &str) -> (Fixture, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("app.yaml"), yaml).unwrap();
    let mut manifests = Manifests::new(directory.path(), "127.0.0.1:9");
    let complaints = manifests.apply(&changes(yaml));
    let shown = directory.path().display().to_string();
    let complaints = complaints
        .iter()
        .map(|complaint| complaint.to_string().replace(&shown, "DIR"))
        .collect();
    (Fixture { directory, manifests }, complaints)
}

fn changes(yaml: &str) -> Vec<Change> {
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents
        .iter()
        .map(|document| Change::Apply(Object::parse(document).unwrap().unwrap()))
        .collect()
}

#[test]
fn the_example_is_good() {
    let (fixture, complaints) = read(HELLO);
    assert_eq!(complaints, [""; 0]);
    let example = fixture.manifests.example().unwrap();
    assert_eq!(
        example,
        Example {
            host: Some("hello.local".to_owned()),
            path: "/".to_owned()
        }
    );
    assert_eq!(
        fixture.manifests.first_workload().unwrap().key,
        Key::new("default", "hello")
    );
}

#[test]
fn every_complaint_names_file_object_field_and_what_is_allowed() {
    let table = [
        (
            HELLO.replace("scalingMetric: requestRate", "scalingMetric: rate"),
            "DIR/app.yaml: ScaledObject default/hello: spec.triggers[0].metadata: scalingMetric",
        ),
        (
            HELLO.replace("command: [hello]", ""),
            "DIR/app.yaml: Deployment default/hello: spec.template.spec.containers[*].command: ",
        ),
        (
            HELLO.replace("scaleTargetRef:\n    name: hello", "scaleTargetRef:\n    name: other"),
            "DIR/app.yaml: ScaledObject default/hello: spec.scaleTargetRef.name: there is no Deployment default/other; \
             there is default/hello",
        ),
        (
            HELLO.replace("service: hello", "service: other"),
            "route default/hello: service and port: there is no Service default/other",
        ),
    ];
    for (yaml, start) in table {
        assert_ne!(yaml, HELLO, "nothing was replaced for {start}");
        let (_, complaints) = read(&yaml);
        assert!(
            complaints.iter().any(|complaint| complaint.starts_with(start)),
            "{complaints:#?}"
        );
    }
}

#[test]
fn a_directory_without_a_route_is_refused() {
    let only_deployment = HELLO.split("---").next().unwrap();
    let (_, complaints) = read(only_deployment);
    assert!(
        complaints[0].starts_with("DIR: routes: manifests: there is none"),
        "{complaints:#?}"
    );
}

#[test]
fn a_bad_change_keeps_the_last_good_state_and_a_deletion_does_not() {
    let (mut fixture, _) = read(HELLO);
    let bad = HELLO.replace("command: [hello]", "");
    std::fs::write(fixture.directory.path().join("app.yaml"), &bad).unwrap();
    assert_eq!(fixture.manifests.apply(&changes(&bad)).len(), 1);
    assert_eq!(fixture.manifests.workloads().len(), 1);
    let id = fixture
        .manifests
        .objects
        .keys()
        .find(|id| id.kind == Kind::Deployment)
        .unwrap()
        .clone();
    let complaints = fixture.manifests.apply(&[Change::Delete(id)]);
    assert!(fixture.manifests.workloads().is_empty());
    assert_eq!(complaints[0].error.field, "spec.scaleTargetRef.name");
}
