//! What can be done to a one-node cluster of `make cluster` only, whose processes are this machine's.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// How long a process may take to end.
const END: Duration = Duration::from_secs(30);

/// The node, by the directory with its processes' ids.
#[derive(Debug, Clone)]
pub struct Node {
    run: PathBuf,
}

/// A process of the node that does not run for a while. It goes on when this is dropped.
pub struct Paused(Pid);

impl Node {
    /// By `CLUSTER_RUN`.
    pub fn new(run: impl Into<PathBuf>) -> Self {
        Self { run: run.into() }
    }

    /// Stops a process of the control plane where it stands: connections to it stay open, and nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self, name: &str) -> Result<Paused> {
        let process = self.process(name)?;
        kill_process(process, Signal::STOP)?;
        Ok(Paused(process))
    }

    /// Ends a process of the node and starts it again as it was.
    ///
    /// # Errors
    /// When it does not end or cannot be started.
    pub async fn restart(&self, name: &str) -> Result<()> {
        let process = self.process(name)?;
        let command = arguments(process)?;
        kill_process(process, Signal::TERM)?;
        ended(process).await?;
        let (program, arguments) = command.split_first().context("a command")?;
        let log = self
            .run
            .parent()
            .context("a directory")?
            .join("logs")
            .join(format!("{name}.log"));
        let log = std::fs::OpenOptions::new().append(true).create(true).open(log)?;
        let started = Command::new("setsid")
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        std::fs::write(self.run.join(format!("{name}.pid")), started.id().to_string())?;
        Ok(())
    }

    /// Kills what runs in the containers of a pod, as the kernel does when memory is short.
    ///
    /// # Errors
    /// When nothing of it runs here.
    pub async fn kill(&self, pod: &Pod) -> Result<()> {
        let uid = pod.uid().context("a pod without uid")?;
        let processes = processes_of(&uid)?;
        ensure!(!processes.is_empty(), "no process of pod {} runs here", pod.name_any());
        for process in &processes {
            kill_process(*process, Signal::KILL)?;
        }
        for process in processes {
            ended(process).await?;
        }
        Ok(())
    }

    fn process(&self, name: &str) -> Result<Pid> {
        let path = self.run.join(format!("{name}.pid"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let number = text.trim().parse().context("a process id")?;
        Pid::from_raw(number).context("a process id")
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // When it has ended meanwhile there is nothing to go on.
        kill_process(self.0, Signal::CONT).ok();
    }
}

async fn ended(process: Pid) -> Result<()> {
    let directory = PathBuf::from(format!("/proc/{process}"));
    wait::until("a process does not end", END, async || {
        has_ended(&directory).then_some(())
    })
    .await
}

/// Nobody may have asked for its exit status yet.
fn has_ended(directory: &Path) -> bool {
    std::fs::read_to_string(directory.join("status")).map_or(true, |status| {
        status
            .lines()
            .any(|line| line.starts_with("State:\tZ") || line.starts_with("State:\tX"))
    })
}

fn arguments(process: Pid) -> Result<Vec<String>> {
    let bytes = std::fs::read(format!("/proc/{process}/cmdline"))?;
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    Ok(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

/// All processes in the cgroups of a pod, but for the one that holds its network.
fn processes_of(uid: &str) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(process) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        let read = |name| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        if read("cgroup").contains(uid) && read("comm").trim() != "pause" {
            found.push(process);
        }
    }
    Ok(found)
}
