//! The machine that the figures came from. Nothing that names it.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// What a reader must know to compare figures.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    /// In MB of 1024 KB.
    pub memory: u64,
    pub kernel: String,
    pub rustc: String,
    pub date: String,
}

impl Machine {
    pub fn here() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let models = values(&processors, "model name");
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = values(&memory, "MemTotal")
            .first()
            .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
        Self {
            processor: models.first().map_or("unknown", |model| model).to_owned(),
            cores: values(&processors, "processor").len(),
            memory: total.unwrap_or_default() / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            rustc: output("rustc", "--version"),
            date: output("date", "--utc +%F"),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            processor,
            cores,
            memory,
            kernel,
            rustc,
            date,
        } = self;
        write!(
            f,
            "{processor}, {cores} cores, {memory} MB, Linux {kernel}, {rustc}, {date}"
        )
    }
}

/// The values of all lines `name : value`.
fn values<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .filter(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
        .collect()
}

fn output(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output();
    output.map_or("unknown".to_owned(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}
