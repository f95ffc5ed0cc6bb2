//! What Helm makes of the chart.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::values::update_crds;
use crate::{assert_generated, chart};

/// The API that is there when KEDA is installed.
const KEDA: &str = "keda.sh/v1alpha1";

#[test]
#[ignore = "needs Helm: make test-charts"]
fn the_chart_has_no_faults_that_helm_knows_of() {
    for values in ["default", "upstream", "hardened"] {
        let output = helm(&["lint", "--strict", "--quiet"], values, &[]);
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
#[ignore = "needs Helm: make test-charts"]
fn it_renders_what_is_in_the_golden_files() {
    update_crds();
    for values in ["default", "upstream", "hardened"] {
        let rendered = rendered(values, &["--api-versions", KEDA]);
        assert_generated(&directory().join(format!("golden/{values}.yaml")), &rendered);
    }
}

#[test]
#[ignore = "needs Helm: make test-charts"]
fn values_that_cannot_be_used_are_refused_with_a_reason() {
    for (set, reasons) in [
        ("interceptor.replcias.min=3", ["/interceptor", "'replcias' not allowed"]),
        ("images.tga=1", ["/images", "'tga' not allowed"]),
        (
            "interceptor.replicas.min=three",
            ["/interceptor/replicas/min", "got string, want integer"],
        ),
        (
            "interceptor.drainTimeout=soon",
            ["/interceptor/drainTimeout", "'soon' does not match"],
        ),
        (
            "admission.failurePolicy=Maybe",
            ["/admission/failurePolicy", "one of 'Ignore', 'Fail'"],
        ),
        (
            "admission.timeoutSeconds=60",
            ["/admission/timeoutSeconds", "maximum: got 60, want 30"],
        ),
        (
            "hostOwnership=cluster",
            ["/hostOwnership", "one of 'namespace', 'none'"],
        ),
        ("autowire.ports=all", ["/autowire/ports", "'all' does not match"]),
        (
            "scaler.grpcPort=70000",
            ["/scaler/grpcPort", "maximum: got 70,000, want 65,535"],
        ),
        (
            "interceptor.tls.enabled=true",
            ["interceptor.tls.enabled", "no TLS listener yet"],
        ),
        (
            "watchNamespace=a,operator.watchNamespace=b",
            ["operator.watchNamespace", "mean the same"],
        ),
        (
            "interceptor.scaledObject.pendingRequestsTrigger.enabled=false",
            ["interceptor.scaledObject", "has no trigger"],
        ),
    ] {
        let output = helm(&TEMPLATE, "default", &["--set", set]);
        assert!(!output.status.success(), "{set} is taken");
        for reason in reasons {
            assert!(
                text(&output).contains(reason),
                "{set}: {reason:?} is not in\n{}",
                text(&output)
            );
        }
    }
}

#[test]
#[ignore = "needs Helm: make test-charts"]
fn without_keda_the_interceptor_has_a_fixed_number_of_replicas_when_that_is_asked_for() {
    let keda = [
        "--set",
        "interceptor.scaledObject.waitForCrd=true",
        "--api-versions",
        KEDA,
    ];
    let (with, without) = (rendered("default", &keda), rendered("default", &keda[..2]));
    let scaled = |text: &str| text.contains("kind: ScaledObject\nmetadata:\n  name: keda-add-ons-http-interceptor");
    assert!(scaled(&with) && !scaled(&without));
    let deployments = |text: &str| text.matches("\n  replicas: 3\n").count();
    assert_eq!((deployments(&with), deployments(&without)), (1, 2));
}

#[test]
#[ignore = "needs Helm: make test-charts"]
fn a_pod_is_given_the_time_that_stopping_takes() {
    for (set, seconds) in [
        ("interceptor.drainTimeout=2m", 135),
        ("interceptor.drainTimeout=0s", 3615),
        ("interceptor.shutdownDelay=1m500ms", 100),
        ("interceptor.terminationGracePeriodSeconds=300", 300),
    ] {
        let rendered = rendered("default", &["--set", set]);
        assert!(
            rendered.contains(&format!("terminationGracePeriodSeconds: {seconds}\n")),
            "{set}"
        );
    }
}

#[test]
#[ignore = "needs Helm: make test-charts"]
fn a_users_variable_replaces_the_charts_and_none_is_there_twice() {
    let set = "interceptor.extraEnvs.KEDA_HTTP_WORKERS=7,interceptor.additionalEnvVars[0].name=KEDA_HTTP_CONNECT_TIMEOUT,interceptor.additionalEnvVars[0].value=3s";
    let rendered = rendered(
        "default",
        &["--set", set, "--show-only", "templates/interceptor/deployment.yaml"],
    );
    for (name, value) in [("KEDA_HTTP_WORKERS", "\"7\""), ("KEDA_HTTP_CONNECT_TIMEOUT", "3s")] {
        assert!(
            rendered.contains(&format!("- name: {name}\n              value: {value}\n")),
            "{rendered}"
        );
        assert_eq!(rendered.matches(&format!("name: {name}\n")).count(), 1, "{rendered}");
    }
}

const TEMPLATE: [&str; 6] = [
    "template",
    "http-add-on",
    "--namespace",
    "keda",
    "--kube-version",
    "1.35.0",
];

fn rendered(values: &str, arguments: &[&str]) -> String {
    let output = helm(&TEMPLATE, values, arguments);
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs Helm with the chart and a file of `values/`, or none for the defaults.
fn helm(command: &[&str], values: &str, arguments: &[&str]) -> Output {
    let program = std::env::var_os("HELM").unwrap_or_else(|| panic!("HELM must name Helm: make test-charts finds one"));
    let mut helm = Command::new(program);
    helm.args(command).arg(chart()).args(arguments);
    if command[0] == "lint" {
        helm.args(["--kube-version", "1.35.0"]);
    }
    if values != "default" {
        helm.arg("--values")
            .arg(directory().join(format!("values/{values}.yaml")));
    }
    helm.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
