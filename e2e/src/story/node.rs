//! Faults that are possible on a one-node cluster of `make cluster` only, whose processes run on this machine.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// The process of the API server.
pub const API_SERVER: &str = "kube-apiserver";

/// How long a process may take to end.
const END: Duration = Duration::from_secs(30);

/// The node, by the directory with its processes' ids.
#[derive(Debug, Clone)]
pub struct Node {
    run: PathBuf,
}

/// A stopped process of the node. Dropping this resumes it.
pub struct Paused(Pid);

impl Node {
    /// By `CLUSTER_RUN`.
    pub fn new(run: impl Into<PathBuf>) -> Self {
        Self { run: run.into() }
    }

    /// Stops (SIGSTOP) a process of the control plane: its connections stay open, and nothing answers.
    ///
    /// # Errors
    /// When the process does not run.
    pub fn pause(&self, name: &str) -> Result<Paused> {
        let process = self.process(name)?;
        kill_process(process, Signal::STOP)?;
        Ok(Paused(process))
    }

    /// Resumes a process, and returns whether it was stopped.
    ///
    /// # Errors
    /// When the id of the process is not known.
    pub fn resume(&self, name: &str) -> Result<bool> {
        let process = self.process(name)?;
        let status = status(process).unwrap_or_default();
        // Another process may have its number by now.
        let stopped =
            field(&status, "Name") == Some(name) && field(&status, "State").is_some_and(|state| state.starts_with('T'));
        if stopped {
            kill_process(process, Signal::CONT)?;
        }
        Ok(stopped)
    }

    /// Ends a process of the node and starts it again with the same command.
    ///
    /// # Errors
    /// When it does not end or cannot be started.
    pub async fn restart(&self, name: &str) -> Result<()> {
        let (node, name) = (self.clone(), name.to_owned());
        // A task of its own: what was ended is started again even when nobody waits for it any more.
        tokio::spawn(node.end_and_start(name)).await?
    }

    async fn end_and_start(self, name: String) -> Result<()> {
        let process = self.process(&name)?;
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

    /// Kills (SIGKILL) the processes of a pod's containers, as the kernel does when memory is short.
    ///
    /// # Errors
    /// When no process of the pod runs here.
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
    wait::until_measured("a process does not end", END, move || {
        std::future::ready(has_ended(process).then_some(()))
    })
    .await
}

/// A zombie counts as ended: its parent may not have read its exit status yet.
fn has_ended(process: Pid) -> bool {
    status(process).map_or(true, |status| {
        field(&status, "State").is_some_and(|state| state.starts_with(['Z', 'X']))
    })
}

fn status(process: Pid) -> io::Result<String> {
    std::fs::read_to_string(format!("/proc/{process}/status"))
}

/// The value of a line of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines().filter_map(|line| line.split_once(":\t"));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_is_stopped_goes_on_and_no_other_is_touched() {
        let run = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let number = child.id().to_string();
        for name in ["sleep", "other"] {
            std::fs::write(run.path().join(format!("{name}.pid")), &number).unwrap();
        }
        let node = Node::new(run.path());
        let process = node.process("sleep").unwrap();
        let is_stopped = || field(&status(process).unwrap(), "State").unwrap().starts_with('T');
        let comes = async |stopped| {
            let what = format!("stopped: {stopped}");
            let seen = wait::until_measured(&what, END, async || (is_stopped() == stopped).then_some(()));
            seen.await.unwrap();
        };
        // Until it is a sleep, it is a copy of this process.
        let is_sleep = async || (field(&status(process).ok()?, "Name") == Some("sleep")).then_some(());
        wait::until_measured("no sleep", END, is_sleep).await.unwrap();

        assert!(!node.resume("sleep").unwrap(), "it runs");
        let paused = node.pause("sleep").unwrap();
        comes(true).await;
        assert!(!node.resume("other").unwrap(), "another one has its number");
        assert!(node.resume("sleep").unwrap());
        comes(false).await;
        kill_process(process, Signal::STOP).unwrap();
        comes(true).await;
        drop(paused);
        comes(false).await;
        child.kill().unwrap();
        ended(process).await.unwrap();
        child.wait().unwrap();
    }
}
