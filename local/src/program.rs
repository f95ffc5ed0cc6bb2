//! Interceptor and scaler: started, waited for, and restarted when they die.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use keda_http_runtime::backoff::Backoff;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::output::Output;
use crate::process::{Launch, Process, describe};
use crate::restarts::{HEALTHY_AFTER, restart_backoff};

/// How long a program may take until it is ready.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How often its readiness is polled meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// A program. Dropping it kills the process.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What a program does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs under this process id.
    Running(u32),
    /// It has ended unexpectedly and will be restarted.
    Ended(Option<ExitStatus>),
}

impl Program {
    /// Starts it and waits until `ready` (a URL) answers with success.
    ///
    /// # Errors
    /// When it cannot be started, ends before it is ready, or is not ready in time.
    pub(crate) async fn start(
        name: &'static str,
        launch: Launch,
        ready: &str,
        output: &Output,
        limit: Duration,
    ) -> Result<Self> {
        let process = start(name, &launch, output)?;
        let (report, state) = watch::channel(state_of(&process));
        let stop = CancellationToken::new();
        let keeper = Keeper {
            name,
            launch,
            output: output.clone(),
            report,
            limit,
        };
        let task = tokio::spawn(keeper.run(process, stop.clone()));
        let program = Self {
            name,
            state,
            stop,
            task,
        };
        program.ready(ready).await?;
        Ok(program)
    }

    /// What it does, live.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Asks it to end and waits for that.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await; // the program has ended, however its task did
    }

    async fn ready(&self, url: &str) -> Result<()> {
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| matches!(state, State::Ended(_)));
        tokio::select! {
            answered = timeout(START_LIMIT, answers(url)) => {
                answered.with_context(|| format!("{} was not ready within {} s", self.name, START_LIMIT.as_secs()))
            }
            ended = ended => {
                let status = ended.ok().and_then(|state| match *state {
                    State::Ended(status) => status,
                    State::Running(_) => None,
                });
                bail!("{} ended before it was ready ({})", self.name, describe(status))
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns when the URL answers with success. Polls, because another process cannot notify us.
async fn answers(url: &str) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(1))
        .build();
    let Ok(client) = client else {
        return std::future::pending().await;
    };
    while !client
        .get(url)
        .send()
        .await
        .is_ok_and(|response| response.status().is_success())
    {
        sleep(ASK_EVERY).await;
    }
}

fn start(name: &'static str, launch: &Launch, output: &Output) -> Result<Process> {
    let missing = !Path::new(&launch.program).exists();
    let process = Process::start(launch, Some((output, name)));
    process.with_context(|| {
        let hint = if missing {
            "; `make build` builds it beside keda-http-local"
        } else {
            ""
        };
        format!("cannot start {}{hint}", launch.program)
    })
}

fn state_of(process: &Process) -> State {
    process.id().map_or(State::Ended(None), State::Running)
}

struct Keeper {
    name: &'static str,
    launch: Launch,
    output: Output,
    report: watch::Sender<State>,
    limit: Duration,
}

impl Keeper {
    async fn run(self, first: Process, stop: CancellationToken) {
        let mut backoff = restart_backoff();
        let mut process = first;
        loop {
            let started = Instant::now();
            let status = tokio::select! {
                status = process.wait() => status.ok(),
                () = stop.cancelled() => return self.stop(process).await,
            };
            self.report.send_replace(State::Ended(status));
            if started.elapsed() > HEALTHY_AFTER {
                backoff.reset();
            }
            process = tokio::select! {
                restarted = self.restart(status, &mut backoff) => restarted,
                () = stop.cancelled() => return,
            };
            self.report.send_replace(state_of(&process));
        }
    }

    async fn restart(&self, status: Option<ExitStatus>, backoff: &mut Backoff) -> Process {
        let mut end = format!("ended unexpectedly ({})", describe(status));
        loop {
            let pause = backoff.pause();
            self.output
                .print_line(self.name, &format!("[{end}; restarting in {} s]", pause.as_secs()));
            sleep(pause).await;
            match start(self.name, &self.launch, &self.output) {
                Ok(process) => return process,
                Err(error) => end = format!("{error:#}"),
            }
        }
    }

    async fn stop(&self, mut process: Process) {
        if process.stop_within(self.limit).await.is_none() {
            self.output
                .print_line(self.name, "[killed: it did not end in time after SIGTERM]");
        }
    }
}
