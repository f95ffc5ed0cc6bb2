#![allow(clippy::unwrap_used)]

use super::*;

pub(crate) fn deployment(yaml: &str) -> Deployment {
    serde_saphyr::from_str(yaml).unwrap()
}

fn hello() -> String {
    "
    metadata: {name: hello}
    spec:
      selector: {matchLabels: {app: hello}}
      template:
        metadata: {labels: {app: hello}}
        spec:
          containers:
            - name: hello
              command: [hello]
    "
    .to_owned()
}

fn errors(yaml: &str) -> Vec<String> {
    let errors = Workload::read(&deployment(yaml)).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_those_of_kubernetes() {
    let workload = Workload::read(&deployment(&hello())).unwrap();
    assert_eq!(workload.key, Key::new("default", "hello"));
    assert_eq!(workload.replicas, 1);
    assert_eq!(workload.template.command, ["hello"]);
    assert_eq!(workload.template.grace, Duration::from_secs(30));
    assert_eq!(workload.template.readiness, None);
    assert!(workload.notes.is_empty());
}

#[test]
fn a_deployment_without_a_command_is_refused_with_what_is_allowed() {
    let errors = errors(&hello().replace("command: [hello]", "image: hello"));
    assert!(
        errors[0].starts_with("spec.template.spec.containers[*].command: no container has a command"),
        "{errors:?}"
    );
}

#[test]
fn an_annotation_runs_a_program_of_this_machine_in_place_of_the_image() {
    let yaml = hello()
        .replace(
            "{app: hello}}\n        spec",
            "{app: hello}, annotations: {http.keda.sh/local-command: 'app --port $(PORT)'}}\n        spec",
        )
        .replace(
            "command: [hello]",
            "image: hello\n              args: [for, the, image]",
        );
    let workload = Workload::read(&deployment(&yaml)).unwrap();
    assert_eq!(workload.template.command, ["app", "--port", "$(PORT)"]);
}

#[test]
fn a_selector_that_does_not_match_is_refused() {
    let errors = errors(&hello().replace("matchLabels: {app: hello}", "matchLabels: {app: other}"));
    assert!(errors[0].starts_with("spec.selector.matchLabels: "), "{errors:?}");
}

#[test]
fn a_variable_without_a_value_names_its_field_and_what_is_allowed() {
    let secret = "command: [hello]
              env: [{name: NO_SUCH_VARIABLE_HERE, valueFrom: {secretKeyRef: {name: a, key: b}}}]";
    let errors = errors(&hello().replace("command: [hello]", secret));
    assert!(
        errors[0].starts_with("spec.template.spec.containers[0].env[0].valueFrom: "),
        "{errors:?}"
    );
    assert!(errors[0].contains("set NO_SUCH_VARIABLE_HERE"), "{errors:?}");
}

#[test]
fn a_secret_may_come_from_our_own_environment() {
    let secret = "command: [hello]
              env: [{name: PATH, valueFrom: {secretKeyRef: {name: a, key: b}}}]";
    let workload = Workload::read(&deployment(&hello().replace("command: [hello]", secret))).unwrap();
    assert!(workload.template.env.is_empty());
}

#[test]
fn what_has_no_effect_here_is_noted() {
    let more = "command: [hello]
              livenessProbe: {tcpSocket: {port: 1}}
            - name: sidecar
              image: sidecar";
    let workload = Workload::read(&deployment(&hello().replace("command: [hello]", more))).unwrap();
    assert_eq!(
        workload.notes,
        [
            "container sidecar is not run: only one for each pod is",
            "livenessProbe has no effect here"
        ]
    );
}

#[test]
fn an_empty_selector_matches_nothing() {
    let labels = BTreeMap::from([("app".to_owned(), "a".to_owned()), ("tier".to_owned(), "b".to_owned())]);
    let one = BTreeMap::from([("app".to_owned(), "a".to_owned())]);
    assert!(matches(&one, &labels));
    assert!(!matches(&labels, &one));
    assert!(!matches(&BTreeMap::new(), &labels));
}
