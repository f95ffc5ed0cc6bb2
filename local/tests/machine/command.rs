//! The program itself: what it prints, its exit codes, and that it leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::{App, programs};

/// Any free ports, because tests run side by side.
const ANY_PORTS: [&str; 6] = [
    "--proxy-port=0",
    "--admin-port=0",
    "--metrics-port=0",
    "--scaler-port=0",
    "--scaler-metrics-port=0",
    "--otlp-port=0",
];

fn local() -> Command {
    programs();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keda-http-local"));
    command.stdin(Stdio::null()).env("NO_COLOR", "1").args(ANY_PORTS);
    command
}

/// The processes with this text in their environment: those that were started for a directory of that name.
fn processes(mark: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()));
    let marked = entries.filter(|path| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(mark)
    });
    marked
        .map(|path| {
            std::fs::read_to_string(path.join("comm"))
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn the_demo_succeeds_and_leaves_no_process_behind() {
    let directory = tempfile::tempdir().unwrap();
    let output = local()
        .arg("demo")
        .arg("--run-dir")
        .arg(directory.path())
        .output()
        .unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "cold request: 200 in ",
        "warm request: 200 in ",
        "└─ keda-http-interceptor",
        "hello ",
        "OK: both",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert_eq!(processes(directory.path().to_str().unwrap()), [""; 0]);
}

/// Starts it with an app that is always there, and waits until all four processes run.
fn running(directory: &Path) -> std::process::Child {
    let mark = directory.display();
    let container = format!("{{name: app, command: [hello], env: [{{name: MARK, value: '{mark}'}}]}}");
    let yaml = App::that_stays(&container)
        .yaml()
        .replace("pollingInterval: 1", "minReplicaCount: 1, pollingInterval: 1");
    std::fs::write(directory.join("app.yaml"), yaml).unwrap();
    let mut command = local();
    command
        .arg("--manifests")
        .arg(directory)
        .arg("--run-dir")
        .arg(directory.join(".run"))
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let example = lines
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains("try: curl -i -H 'Host: app.local' http://"));
    assert!(example.is_some());
    std::thread::spawn(move || lines.for_each(drop)); // so that it is never blocked
    until("three children", || processes(&mark.to_string()).len() == 3);
    child
}

#[test]
fn when_it_is_killed_all_its_processes_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = running(directory.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let mark = directory.path().display().to_string();
    until("no process left", || processes(&mark).is_empty());
}

#[test]
fn at_a_signal_it_stops_everything_and_exits_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = running(directory.path());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(processes(&directory.path().display().to_string()), [""; 0]);
}

#[test]
fn what_is_not_valid_exits_with_2_or_64_and_says_what_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let yaml = App::that_stays("{name: app, image: app}").yaml();
    std::fs::write(directory.path().join("app.yaml"), yaml).unwrap();
    let broken = tempfile::tempdir().unwrap();
    std::fs::write(broken.path().join("broken.yaml"), "kind: [").unwrap();
    let shown = |directory: &tempfile::TempDir| directory.path().display().to_string();
    let table: [(&[&str], i32, &[&str]); 4] = [
        (
            &["--nonsense"],
            2,
            &["invalid option '--nonsense'; --help lists what is allowed"],
        ),
        (
            &["--manifests", "/no/such/place"],
            64,
            &["--manifests /no/such/place: not a directory"],
        ),
        (&["--manifests", &shown(&broken)], 64, &["broken.yaml"]),
        (
            &["--manifests", &shown(&directory)],
            64,
            &[
                "app.yaml: Deployment default/app: spec.template.spec.containers[*].command: ",
                "give one of them the command of a program of this machine",
            ],
        ),
    ];
    for (args, code, parts) in table {
        let output = local().args(args).output().unwrap();
        let text = text(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{args:?}\n{text}");
    }
}

#[test]
fn fault_b12_help_ends_quietly_when_its_reader_is_gone() {
    for program in [env!("CARGO_BIN_EXE_keda-http-local"), env!("CARGO_BIN_EXE_hello")] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(program).arg("--help").stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{program}");
        assert_eq!(text(&output), "", "{program}");
    }
}

#[test]
fn a_port_in_use_exits_with_1_and_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let output = local().args(["--proxy-port", &port]).output().unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!(
            "--proxy-port {port}: cannot listen on the port: Address already in use"
        )),
        "{text}"
    );
}
