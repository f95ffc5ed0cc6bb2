//! The process as an operator sees it: exit codes, messages, signals.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn interceptor(manifests: &Path, variables: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_keda-http-interceptor"))
        .env_clear()
        .env("KEDA_HTTP_PROXY_PORT", "0")
        .env("KEDA_HTTP_ADMIN_PORT", "0")
        .env("OTEL_PROM_EXPORTER_PORT", "0")
        .env("KEDA_HTTP_BIND_ADDRESS", "127.0.0.1")
        .env("KEDA_HTTP_SHUTDOWN_DELAY", "0s")
        .env("KEDA_HTTP_MANIFESTS", manifests)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Exit code and what was said.
fn ended(mut child: Child) -> (i32, String) {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code().unwrap(), said)
}

#[test]
fn a_setting_that_cannot_be_used_ends_the_start_with_64_and_its_name() {
    let manifests = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("KEDA_HTTP_CONNECT_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "carrier-pigeon"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5s"),
        ("KEDA_HTTP_PROXY_TLS_ENABLED", "true"),
    ] {
        let variables = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENABLED", "true"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENABLED", "true"),
            (name, value),
        ];
        let (code, said) = ended(interceptor(manifests.path(), &variables));
        assert_eq!(code, 64, "{said}");
        assert!(
            said.contains(name) && said.contains(value) && said.contains("must be"),
            "{said}"
        );
    }
}

#[test]
fn without_manifests_and_without_a_cluster_the_start_ends_with_64_and_names_both() {
    let home = tempfile::tempdir().unwrap();
    let no_file = home.path().join("kubeconfig");
    let variables = [
        ("KEDA_HTTP_MANIFESTS", ""),
        ("HOME", home.path().to_str().unwrap()),
        ("KUBECONFIG", no_file.to_str().unwrap()),
    ];
    let (code, said) = ended(interceptor(home.path(), &variables));
    assert_eq!(code, 64, "{said}");
    for word in ["KEDA_HTTP_MANIFESTS", "service account", "kubeconfig"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_manifest_that_cannot_be_read_ends_the_start_with_64_and_its_place() {
    let manifests = tempfile::tempdir().unwrap();
    std::fs::write(manifests.path().join("route.yaml"), "kind: [unfinished\n").unwrap();
    let (code, said) = ended(interceptor(manifests.path(), &[]));
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("route.yaml"), "{said}");
}

#[test]
fn a_taken_port_ends_the_start_with_1_and_the_port() {
    let manifests = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for name in ["KEDA_HTTP_PROXY_PORT", "KEDA_HTTP_ADMIN_PORT"] {
        let (code, said) = ended(interceptor(manifests.path(), &[(name, &port)]));
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&port), "{said}");
    }
}

#[test]
fn an_unknown_flag_is_named_and_help_lists_every_setting() {
    let binary = env!("CARGO_BIN_EXE_keda-http-interceptor");
    for argument in ["--colour", "serve", "--zap-log-level=loud"] {
        let unknown = Command::new(binary).arg(argument).output().unwrap();
        assert_eq!(unknown.status.code(), Some(2), "{argument}");
        let said = String::from_utf8_lossy(&unknown.stderr).replace('"', "");
        assert!(said.contains(argument), "{said}");
    }
    let help = Command::new(binary).arg("--help").output().unwrap();
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(help.status.success() && text.contains("KEDA_HTTP_READINESS_TIMEOUT") && text.contains("--zap-log-level"));
}

#[test]
fn the_version_is_printed() {
    for argument in ["--version", "-V"] {
        let output = Command::new(env!("CARGO_BIN_EXE_keda-http-interceptor"))
            .arg(argument)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{argument}");
        let expected = concat!("keda-http-interceptor ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}

#[test]
fn a_setting_without_effect_or_with_a_misspelt_name_is_logged() {
    let manifests = tempfile::tempdir().unwrap();
    let settings = [
        ("KEDA_HTTP_DIRECT_POD_ROUTING", "false"),
        ("KEDA_HTTP_READYNESS_TIMEOUT", "5s"),
    ];
    let mut child = interceptor(manifests.path(), &settings);
    let mut said = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let misspelt = "did you mean KEDA_HTTP_READINESS_TIMEOUT?";
    assert!(said.any(|line| line.contains("WARN") && line.contains(misspelt)));
    assert!(said.any(|line| line.contains("KEDA_HTTP_DIRECT_POD_ROUTING") && line.contains("no effect")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn sigterm_drains_and_ends_with_0() {
    let manifests = tempfile::tempdir().unwrap();
    let mut child = interceptor(manifests.path(), &[]);
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = lines.map_while(Result::ok);
    assert!(said.any(|line| line.contains("listening")));
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert!(said.any(|line| line.contains("drained")));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn fault_b12_help_and_errors_end_quietly_when_nobody_reads_them() {
    for (argument, code) in [("--help", 0), ("--no-such-flag", 2)] {
        let unread = || {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            writer
        };
        let mut program = Command::new(env!("CARGO_BIN_EXE_keda-http-interceptor"));
        let status = program
            .arg(argument)
            .stdout(unread())
            .stderr(unread())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(code), "{argument}");
    }
}
