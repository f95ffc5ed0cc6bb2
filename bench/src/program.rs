//! A program under test: a process on its core, what it has used, and its end.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::cores;

/// How long a program may take to get ready.
pub const START_DEADLINE: Duration = Duration::from_secs(60);

/// A running process. Dropping it ends it, and its children.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
    pub started: Instant,
}

impl Program {
    /// Starts `command` on `core`, with its output in a file in `directory`.
    pub fn start(name: &str, mut command: Command, core: usize, directory: &Path) -> Result<Self> {
        let log = tempfile::Builder::new()
            .prefix(name)
            .suffix(".log")
            .tempfile_in(directory)?
            .keep()?
            .1;
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let started = Instant::now();
        let child = spawn_on(core, command).with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            started,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks `ready` again and again until it says yes; an error when the process ends or the deadline passes first.
    pub async fn until(&mut self, what: &str, mut ready: impl AsyncFnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if ready().await {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} has ended with {status}:\n{}", self.name, self.last_output());
            }
            if Instant::now() > deadline {
                bail!(
                    "{}: no {what} within {START_DEADLINE:?}:\n{}",
                    self.name,
                    self.last_output()
                );
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The last lines of what it has written.
    pub fn last_output(&self) -> String {
        let output = fs::read(&self.log).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The parent first: it would replace its children.
        for id in std::iter::once(self.child.id()).chain(children(self.child.id())) {
            let id = i32::try_from(id).ok().and_then(Pid::from_raw);
            let _ = id.map(|id| kill_process(id, Signal::KILL));
        }
        let _ = self.child.wait();
    }
}

/// A command without our environment, except for `PATH`.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// An address of loopback with a port that is free now.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// User and system time of a process and its children so far, in ticks of 10 ms.
pub fn cpu_time(id: u32) -> Result<Duration> {
    let mut ticks = 0;
    for id in children(id).into_iter().chain([id]) {
        ticks += cpu_ticks(id)?;
    }
    Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
}

/// What a process keeps in memory, in KB of 1024 bytes; shared pages count in full.
pub fn resident_memory(id: u32) -> Result<u64> {
    field(&format!("/proc/{id}/status"), "VmRSS:")
}

/// What a process keeps in memory, in KB of 1024 bytes; shared pages count by their share.
pub fn proportional_memory(id: u32) -> Result<u64> {
    field(&format!("/proc/{id}/smaps_rollup"), "Pss:")
}

/// The child inherits the core of the thread that starts it.
fn spawn_on(core: usize, mut command: Command) -> Result<Child> {
    let start = move || -> Result<Child> {
        cores::pin(core)?;
        Ok(command.spawn()?)
    };
    std::thread::spawn(start)
        .join()
        .map_err(|_| anyhow!("the starting thread has panicked"))?
}

fn children(id: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

fn cpu_ticks(id: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th fields behind it.
    let fields = stat
        .rsplit_once(')')
        .map_or("", |(_, fields)| fields)
        .split_whitespace();
    fields.skip(11).take(2).map(|ticks| Ok(ticks.parse::<u64>()?)).sum()
}

fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("{path} has no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_use_can_be_read() {
        let id = std::process::id();
        let started = Instant::now();
        while cpu_time(id).unwrap() < Duration::from_millis(20) {
            assert!(started.elapsed() < Duration::from_secs(30), "no time is counted");
        }
        let (proportional, resident) = (proportional_memory(id).unwrap(), resident_memory(id).unwrap());
        assert!(proportional > 100 && resident > 100, "{proportional} {resident}");
    }

    #[test]
    fn a_program_ends_when_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = command("sleep");
        command.arg("1000");
        let program = Program::start("sleep", command, 0, directory.path()).unwrap();
        let stat = PathBuf::from(format!("/proc/{}/stat", program.id()));
        assert!(stat.exists());
        drop(program);
        assert!(!stat.exists());
    }
}
