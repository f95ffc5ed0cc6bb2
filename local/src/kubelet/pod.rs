//! One replica: started, probed, announced, started again when it crashes, and stopped.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::allocation::allocate;
use super::{HURRY, Surroundings, probing};
use crate::Key;
use crate::crashes::{self, HEALTHY_AFTER};
use crate::endpoint_slices::ReadyPod;
use crate::ports::Port;
use crate::process::{Launch, Process, describe};
use crate::workload::Template;
use crate::workload::environment::{Identity, PodPorts, command, variables};

/// What happens to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// It has become ready, or is not ready any more.
    Ready(bool),
    /// It has ended and will not start again.
    Gone,
}

/// A replica.
pub(super) struct Pod {
    pub(super) key: Key,
    pub(super) template: Arc<Template>,
    pub(super) surroundings: Surroundings,
    pub(super) hurry: CancellationToken,
}

impl Pod {
    /// Lives until `stop`.
    pub(super) async fn run(self, stop: CancellationToken, tell: impl Fn(Event)) {
        let (ports, _held) = match self.ports() {
            Ok(ports) => ports,
            Err(error) => {
                self.say(&format!("has no port: {error}"));
                return stop.cancelled().await;
            }
        };
        let mut backoff = crashes::of_crashes();
        while !stop.is_cancelled() {
            let started = Instant::now();
            let Some(end) = self.live_once(&ports, &stop, &tell).await else {
                return;
            };
            if started.elapsed() > HEALTHY_AFTER {
                backoff.reset();
            }
            let pause = backoff.pause();
            self.say(&format!("{end}; starts again in {} s", pause.as_secs()));
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Why it has ended by itself; `None` when it was stopped.
    async fn live_once(&self, ports: &PodPorts, stop: &CancellationToken, tell: &impl Fn(Event)) -> Option<String> {
        let launch = self.launch(ports);
        let mut process = match Process::start(&launch, Some((&self.surroundings.output, &self.key.name))) {
            Ok(process) => process,
            Err(error) => return Some(cannot_start(&launch, &error)),
        };
        let ended = tokio::select! {
            status = process.ended() => Some(status),
            () = stop.cancelled() => None,
            never = self.probe(&launch, ports, tell) => match never {},
        };
        // Nobody may be sent here any more before the process learns that it shall end.
        self.surroundings.slices.not_ready(&self.key);
        tell(Event::Ready(false));
        match ended {
            Some(status) => Some(ended_by_itself(status)),
            None => {
                self.stop(process).await;
                None
            }
        }
    }

    async fn stop(&self, mut process: Process) {
        let grace = self.template.grace;
        let out_of_time = async {
            tokio::select! {
                () = sleep(grace) => {}
                () = async { self.hurry.cancelled().await; sleep(HURRY).await } => {}
            }
        };
        let end = match process.stop(out_of_time).await {
            Some(status) => format!("stopped ({})", describe(status)),
            None => "killed: it did not end in time after SIGTERM".to_owned(),
        };
        self.say(&end);
    }

    /// Announces readiness as the probe has it; without a probe a replica is ready when it has started.
    async fn probe(&self, launch: &Launch, ports: &PodPorts, tell: &impl Fn(Event)) -> std::convert::Infallible {
        let announce = |ready: bool| {
            if ready {
                self.surroundings.slices.ready(self.ready_pod(ports));
            } else {
                self.surroundings.slices.not_ready(&self.key);
            }
            self.say(if ready { "ready" } else { "not ready" });
            tell(Event::Ready(ready));
        };
        match &self.template.readiness {
            Some(probe) => probing::follow(probe, ports, launch, announce).await,
            None => {
                announce(true);
                std::future::pending().await
            }
        }
    }

    fn ready_pod(&self, ports: &PodPorts) -> ReadyPod {
        ReadyPod {
            key: self.key.clone(),
            labels: self.template.labels.clone(),
            ports: ports.clone(),
        }
    }

    fn launch(&self, ports: &PodPorts) -> Launch {
        let identity = Identity {
            name: &self.key.name,
            namespace: &self.key.namespace,
            ports,
        };
        let own = variables(&self.template, &identity);
        let mut parts = command(&self.template, &own).into_iter();
        let mut env: BTreeMap<String, String> = self.surroundings.env.clone();
        env.extend(own);
        let base = &self.surroundings.directory;
        Launch {
            program: parts.next().unwrap_or_default(),
            args: parts.collect(),
            env,
            directory: Some(
                self.template
                    .directory
                    .as_ref()
                    .map_or_else(|| base.clone(), |inner| base.join(inner)),
            ),
        }
    }

    fn ports(&self) -> io::Result<(PodPorts, Vec<Port>)> {
        let services = self
            .surroundings
            .slices
            .services_of(&self.key.namespace, &self.template.labels);
        allocate(&self.template, &services, &self.surroundings.ports)
    }

    fn say(&self, text: &str) {
        self.surroundings.output.line(&self.key.name, &format!("[{text}]"));
    }
}

fn ended_by_itself(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("ended by itself ({})", describe(status)),
        Err(error) => format!("lost: {error}"),
    }
}

fn cannot_start(launch: &Launch, error: &io::Error) -> String {
    let directory = launch.directory.as_ref().filter(|directory| !directory.is_dir());
    match directory {
        Some(directory) => format!(
            "cannot start {}: there is no directory {}",
            launch.program,
            directory.display()
        ),
        None => format!("cannot start {}: {error}", launch.program),
    }
}
