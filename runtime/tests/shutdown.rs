//! Signals, seen from outside: the test starts itself as the process that is signalled.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in tests a panic is how a failure is told"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use keda_http_runtime::shutdown::{EXIT_AT_ONCE, on_signal};

const ROLE: &str = "SHUTDOWN_TEST_ROLE";

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Process {
    fn start(role: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["the_signalled_process", "--exact", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Self { child, lines };
        process.wait_for("listening");
        process
    }

    fn wait_for(&mut self, word: &str) {
        let found = self.lines.by_ref().any(|line| line.unwrap().contains(word));
        assert!(found, "the process ended without saying {word}");
    }

    fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

/// Not a test of its own: what [`Process`] runs.
#[tokio::test]
#[ignore = "started by the other tests"]
async fn the_signalled_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let token = on_signal().unwrap();
    println!("\nlistening");
    token.cancelled().await;
    println!("\nstopping");
    if role == "stubborn" {
        // As good as for ever, and yet no orphan stays.
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    }
}

#[test]
fn either_signal_cancels() {
    for name in ["TERM", "INT"] {
        let process = Process::start("polite");
        process.signal(name);
        assert!(process.end().success(), "{name}");
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let mut process = Process::start("stubborn");
    process.signal("TERM");
    process.wait_for("stopping");
    process.signal("INT");
    assert_eq!(process.end().code(), Some(i32::from(EXIT_AT_ONCE)));
}
