//! A child process in a process group of its own that does not outlive us.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::output::Output;

/// What to start. The process inherits our environment, with these variables set over it.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// The program: a path, or a name to look for in `PATH`.
    pub program: String,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Its working directory; `None` is ours.
    pub directory: Option<PathBuf>,
}

/// A running process and whatever it has started itself. Dropping it kills all of them.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Option<Pid>,
}

impl Process {
    /// Starts it; its lines are printed under `name`, or nowhere. Must be called on a thread that lives as long as we
    /// do: the system ties the child's life to the thread that made it.
    ///
    /// # Errors
    /// When the program or its directory does not exist, or may not be executed.
    pub fn start(launch: &Launch, lines: Option<(&Output, &str)>) -> io::Result<Self> {
        let pipe = || if lines.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut command = Command::new(&launch.program);
        command.args(&launch.args).envs(&launch.env).process_group(0);
        command.stdin(Stdio::null()).stdout(pipe()).stderr(pipe());
        if let Some(directory) = &launch.directory {
            command.current_dir(directory);
        }
        die_with_us(&mut command);
        let mut child = command.spawn()?;
        if let (Some((output, name)), Some(stdout), Some(stderr)) = (lines, child.stdout.take(), child.stderr.take()) {
            print_lines(stdout, output, name);
            print_lines(stderr, output, name);
        }
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end; what is left of its group is killed then, as at the end of a container.
    ///
    /// # Errors
    /// When the exit status cannot be read.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.kill_group();
        Ok(status)
    }

    /// Asks it to end, and kills it when `limit` has passed. `None` when it had to be killed.
    pub async fn stop(&mut self, limit: impl Future<Output = ()>) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let ended = tokio::select! {
            status = self.wait() => status.ok(),
            () = limit => None,
        };
        if ended.is_none() {
            self.kill_group();
            let _ = self.child.wait().await; // nothing can be done when waiting fails
        }
        ended
    }

    pub async fn stop_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.stop(tokio::time::sleep(limit)).await
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, signal); // it has ended already
        }
    }

    fn kill_group(&mut self) {
        self.signal(Signal::KILL);
        self.group = None;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// The system kills the child when we die, however that happens.
fn die_with_us(command: &mut Command) {
    let ours = rustix::process::getpid();
    let tie = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have died before the child asked for its signal.
        if getppid() == Some(ours) {
            Ok(())
        } else {
            Err(io::ErrorKind::Interrupted.into())
        }
    };
    #[expect(
        unsafe_code,
        reason = "between fork and exec only two system calls are made, and nothing is allocated"
    )]
    // SAFETY: the closure makes two async-signal-safe system calls, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(tie);
    }
}

fn print_lines(stream: impl AsyncRead + Unpin + Send + 'static, output: &Output, name: &str) {
    let (output, name) = (output.clone(), name.to_owned());
    tokio::spawn(async move {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
            output.print_line(&name, String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    });
}

/// How a process ended, for messages.
pub fn describe(status: impl Into<Option<ExitStatus>>) -> String {
    use std::os::unix::process::ExitStatusExt;
    let status: Option<ExitStatus> = status.into();
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("exit code {code}"),
        Some((None, Some(signal))) => format!("signal {signal}"),
        Some((None, None)) | None => "unknown exit status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Launch {
        Launch {
            program: "sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            ..Launch::default()
        }
    }

    fn is_alive(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    async fn wait_until(what: impl Fn() -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_heeds_sigterm_ends_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let ready = directory.path().join("ready");
        let script = format!(
            "trap 'exit 7' TERM; touch {}; while :; do sleep 0.02; done",
            ready.display()
        );
        let mut process = Process::start(&shell(&script), None).unwrap();
        wait_until(|| ready.exists()).await;
        let status = process.stop_within(Duration::from_secs(20)).await.unwrap();
        assert_eq!(status.code(), Some(7));
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let ready = directory.path().join("ready");
        let script = format!("trap '' TERM; touch {}; while :; do sleep 0.02; done", ready.display());
        let mut process = Process::start(&shell(&script), None).unwrap();
        let pid = process.id().unwrap().to_string();
        wait_until(|| ready.exists()).await;
        assert_eq!(process.stop_within(Duration::from_millis(50)).await, None);
        assert!(!is_alive(&pid));
    }

    #[tokio::test]
    async fn what_a_process_has_started_ends_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
        let mut process = Process::start(&shell(&script), None).unwrap();
        wait_until(|| file.exists()).await;
        let grandchild = std::fs::read_to_string(&file).unwrap();
        assert!(is_alive(&grandchild));
        process.stop_within(Duration::from_secs(20)).await;
        wait_until(|| !is_alive(&grandchild)).await;
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error() {
        let launch = Launch {
            program: "no-such-program-anywhere".to_owned(),
            ..Launch::default()
        };
        assert_eq!(
            Process::start(&launch, None).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
