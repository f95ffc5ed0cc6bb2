#![allow(clippy::unwrap_used)]

use super::*;
use crate::Key;

const HELLO: &str = include_str!("../../../examples/web/web.yaml");

struct Fixture {
    directory: tempfile::TempDir,
    manifests: Manifests,
    warnings: Vec<String>,
}

fn read(yaml: &str) -> (Fixture, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("app.yaml"), yaml).unwrap();
    let mut manifests = Manifests::new(directory.path(), "127.0.0.1:9");
    let findings = manifests.apply(&changes(yaml));
    let shown = directory.path().display().to_string();
    let texts = |complaints: Vec<Complaint>| {
        complaints
            .iter()
            .map(|complaint| complaint.to_string().replace(&shown, "DIR"))
            .collect()
    };
    let complaints = texts(findings.errors);
    let warnings = texts(findings.warnings);
    (
        Fixture {
            directory,
            manifests,
            warnings,
        },
        complaints,
    )
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
    assert_eq!(fixture.warnings, [""; 0]);
    assert_eq!(
        fixture.manifests.examples(),
        [Example {
            host: Some("hello.local".to_owned()),
            path: "/".to_owned(),
            headers: Vec::new(),
        }]
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
            HELLO.replace("http.keda.sh/local-command: hello", ""),
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
    let bad = HELLO.replace("http.keda.sh/local-command: hello", "");
    std::fs::write(fixture.directory.path().join("app.yaml"), &bad).unwrap();
    assert_eq!(fixture.manifests.apply(&changes(&bad)).errors.len(), 1);
    assert_eq!(fixture.manifests.workloads().len(), 1);
    let id = fixture
        .manifests
        .objects
        .keys()
        .find(|id| id.kind == Kind::Deployment)
        .unwrap()
        .clone();
    let complaints = fixture.manifests.apply(&[Change::Delete(id)]).errors;
    assert!(fixture.manifests.workloads().is_empty());
    assert_eq!(complaints[0].error.field, "spec.scaleTargetRef.name");
}

fn warning(yaml: &str) -> String {
    let (fixture, errors) = read(yaml);
    assert_eq!(errors, [""; 0]);
    assert_eq!(fixture.warnings.len(), 1, "{:#?}", fixture.warnings);
    fixture.warnings[0].clone()
}

#[test]
fn fault_c4_a_misspelt_selector_or_port_is_named_with_its_object_and_field() {
    let table = [
        (
            HELLO.replace(
                "  selector:\n    app: hello\n  ports",
                "  selector:\n    app: helo\n  ports",
            ),
            "DIR/app.yaml: Service default/hello: spec.selector: app=helo selects no pod; the pods of Deployment \
             default/hello have app=hello",
        ),
        (
            HELLO.replace("  selector:\n    app: hello\n  ports", "  ports"),
            "DIR/app.yaml: Service default/hello: spec.selector: it is missing, so no pod is behind the Service; the pods \
             of Deployment default/hello have app=hello",
        ),
        (
            HELLO.replace("targetPort: http", "targetPort: htp"),
            "DIR/app.yaml: Service default/hello: spec.ports[0].targetPort: Deployment default/hello declares no port \
             named \"htp\"; declared: http",
        ),
        (
            HELLO.replace(
                "              port: http\n            period",
                "              port: web\n            period",
            ),
            "DIR/app.yaml: Deployment default/hello: spec.template.spec.containers[0].readinessProbe.httpGet.port: the \
             container declares no port named \"web\"; declared: http",
        ),
    ];
    for (yaml, expected) in table {
        assert_ne!(yaml, HELLO, "nothing was replaced for {expected}");
        assert_eq!(warning(&yaml), expected);
    }
}

/// The example's Deployment and Service, with these objects in place of its ScaledObject.
fn with(objects: &str) -> String {
    let (workload, _) = HELLO.split_once("---\napiVersion: keda.sh").unwrap();
    format!("{workload}---\n{objects}")
}

const ROUTE: &str = "{apiVersion: http.keda.sh/v1beta1, kind: InterceptorRoute, metadata: {name: r}, spec: {target: {service: \
                     hello, port: 80}, rules: [{hosts: [hello.local]}], scalingMetric: {concurrency: {targetValue: 1}}}}\n";
const HTTP: &str = "{apiVersion: http.keda.sh/v1alpha1, kind: HTTPScaledObject, metadata: {name: h}, spec: {hosts: \
                    [hello.local], scaledownPeriod: 7, scaleTargetRef: {name: hello, service: hello, port: 80}}}\n";

fn scaled_object(name: &str, trigger: &str) -> String {
    format!(
        "{{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {{name: {name}}}, spec: {{scaleTargetRef: {{name: \
         hello}}, triggers: [{{type: external-push, metadata: {{{trigger}}}}}]}}}}\n"
    )
}

#[test]
fn fault_c3_an_interceptor_route_alone_is_reported_with_what_is_missing() {
    let text = warning(&with(ROUTE));
    assert!(
        text.starts_with(
            "DIR/app.yaml: InterceptorRoute default/r: spec: no ScaledObject starts Deployment default/hello"
        ) && text.contains("metadata: {interceptorRoute: r}"),
        "{text}"
    );
    let complete = with(&format!("{ROUTE}---\n{}", scaled_object("so", "interceptorRoute: r")));
    assert_eq!(read(&complete).0.warnings, [""; 0]);
    let always_on = with(ROUTE).replace("replicas: 0", "replicas: 1");
    assert_eq!(read(&always_on).0.warnings, [""; 0]);
}

#[test]
fn fault_c3_an_http_scaled_object_alone_is_scaled_as_by_the_operator() {
    let (fixture, errors) = read(&with(HTTP));
    assert_eq!((errors, &fixture.warnings), (Vec::new(), &Vec::new()));
    let [plan] = &fixture.manifests.plans()[..] else {
        panic!()
    };
    assert_eq!(plan.workload, Key::new("default", "hello"));
    assert_eq!((plan.polling_interval.as_secs(), plan.cooldown.as_secs()), (15, 7));
    assert_eq!(plan.triggers[0].metadata["httpScaledObject"], "h");
    assert_eq!(plan.triggers[0].metadata["scalerAddress"], "127.0.0.1:9");
    // The user's own ScaledObject is used instead.
    let own = with(&format!("{HTTP}---\n{}", scaled_object("own", "httpScaledObject: h")));
    let plans = read(&own).0.manifests.plans();
    assert_eq!(
        plans.iter().map(|plan| plan.key.name.as_str()).collect::<Vec<_>>(),
        ["own"]
    );
    let skipped = HTTP.replace(
        "{name: h}",
        "{name: h, annotations: {httpscaledobject.keda.sh/skip-scaledobject-creation: 'true'}}",
    );
    let text = warning(&with(&skipped));
    assert!(
        text.contains("HTTPScaledObject default/h: spec: no ScaledObject starts"),
        "{text}"
    );
}

#[test]
fn fault_c6_a_second_scaled_object_for_a_deployment_is_refused() {
    let two = ["a", "b"]
        .map(|name| scaled_object(name, "interceptorRoute: r"))
        .join("---\n");
    let (fixture, errors) = read(&with(&format!("{ROUTE}---\n{two}")));
    assert_eq!(
        errors,
        [
            "DIR/app.yaml: ScaledObject default/b: spec.scaleTargetRef.name: Deployment default/hello is scaled by \
          ScaledObject default/a already; KEDA refuses a second one"
        ]
    );
    assert_eq!(fixture.manifests.plans().len(), 1);
}

/// The names of the ScaledObjects that scale, each with its Deployment.
fn scaled(manifests: &Manifests) -> Vec<(String, String)> {
    let plans = manifests.plans().into_iter();
    plans.map(|plan| (plan.key.name, plan.workload.name)).collect()
}

fn pair(scaler: &str, workload: &str) -> (String, String) {
    (scaler.to_owned(), workload.to_owned())
}

#[test]
fn an_http_scaled_object_that_gets_no_scaled_object_any_more_does_not_scale() {
    let skipped = HTTP.replace(
        "{name: h}",
        "{name: h, annotations: {httpscaledobject.keda.sh/skip-scaledobject-creation: 'true'}}",
    );
    let own = scaled_object("own", "httpScaledObject: h");
    for (change, expected) in [(skipped, vec![]), (own, vec![pair("own", "hello")])] {
        let (mut fixture, _) = read(&with(HTTP));
        assert_eq!(scaled(&fixture.manifests), [pair("h", "hello")]);
        assert_eq!(fixture.manifests.apply(&changes(&change)).errors, []);
        assert_eq!(scaled(&fixture.manifests), expected);
    }
}

#[test]
fn a_change_never_makes_two_scaled_objects_scale_one_deployment() {
    let other = HELLO.split("---").next().unwrap().replace("hello", "other");
    let both = [
        scaled_object("a", "interceptorRoute: r").replace("{name: hello}", "{name: other}"),
        scaled_object("b", "interceptorRoute: r"),
    ]
    .join("---\n");
    let start = with(&format!("{ROUTE}---\n{other}---\n{both}"));
    let expected = [pair("a", "other"), pair("b", "hello")];
    // The first moves to the Deployment of the second; or the second is not valid any more, and the first moves there.
    let moved = scaled_object("a", "interceptorRoute: r");
    let invalid = scaled_object("b", "interceptorRoute: nowhere");
    for change in [moved.clone(), format!("{invalid}---\n{moved}")] {
        let (mut fixture, errors) = read(&start);
        assert_eq!((errors, scaled(&fixture.manifests)), (vec![], expected.to_vec()));
        let errors = fixture.manifests.apply(&changes(&change)).errors;
        let refused = "ScaledObject default/a: spec.scaleTargetRef.name: Deployment default/hello is scaled by ScaledObject \
                       default/b already";
        assert!(
            errors.iter().any(|error| error.to_string().contains(refused)),
            "{errors:#?}"
        );
        assert_eq!(scaled(&fixture.manifests), expected);
    }
}

#[test]
fn a_service_of_another_name_needs_no_pods() {
    let external = HELLO.replace(
        "spec:\n  selector:\n    app: hello\n  ports",
        "spec:\n  type: ExternalName\n  externalName: app.example\n  ports",
    );
    assert_ne!(external, HELLO);
    let warnings = read(&external).0.warnings;
    assert!(warnings.iter().all(|warning| !warning.contains("pod")), "{warnings:#?}");
}

#[test]
fn fault_c5_two_routes_for_one_host_are_reported() {
    let (workload, scaled) = HELLO.split_once("---\napiVersion: keda.sh").unwrap();
    let second = scaled
        .replace("  name: hello\nspec", "  name: other\nspec")
        .replace("name: hello\n  min", "name: other\n  min");
    let other = workload
        .replace("name: hello", "name: other")
        .replace("app: hello", "app: other");
    let yaml = format!(
        "{HELLO}---\n{other}---\napiVersion: keda.sh{}",
        second.replace("service: hello", "service: other")
    );
    let text = warning(&yaml);
    assert!(
        text.contains("default/hello: hosts: all requests for hello.local go to route default/other")
            || text.contains("default/other: hosts: all requests for hello.local go to route default/hello"),
        "{text}"
    );
}

#[test]
fn fault_c1_the_request_to_try_has_the_punycode_of_its_host() {
    let (fixture, errors) = read(&HELLO.replace("hosts: hello.local", "hosts: punycöde.example"));
    assert_eq!(errors, [""; 0]);
    assert_eq!(
        fixture.manifests.examples()[0].curl(8080),
        "curl -i -H 'Host: xn--punycde-e1a.example' http://127.0.0.1:8080/"
    );
}

#[test]
fn a_change_says_whether_requests_are_held_or_the_last_state_stays() {
    let table = [
        (
            "service: hello",
            "service: other",
            "; requests for hello.local are held until it exists",
        ),
        (
            "port: \"80\"",
            "port: \"81\"",
            "; requests for hello.local are held until it exists",
        ),
        (
            "http.keda.sh/local-command: hello",
            "",
            " (the last good state stays in force)",
        ),
    ];
    for (good, bad, expected) in table {
        let (mut fixture, _) = read(HELLO);
        let yaml = HELLO.replace(good, bad);
        assert_ne!(yaml, HELLO, "nothing was replaced for {bad}");
        let errors = fixture.manifests.apply(&changes(&yaml)).errors;
        let texts: Vec<String> = errors.iter().map(|error| error.consequence.to_string()).collect();
        assert_eq!(texts, [expected], "{errors:#?}");
    }
}

#[test]
fn every_host_gets_a_request_to_try() {
    let (fixture, errors) = read(&HELLO.replace("hosts: hello.local", "hosts: files.local,docs.local"));
    assert_eq!(errors, [""; 0]);
    let examples = fixture.manifests.examples();
    let mut hosts: Vec<&str> = examples.iter().filter_map(|example| example.host.as_deref()).collect();
    hosts.sort_unstable();
    assert_eq!(hosts, ["docs.local", "files.local"]);
}
