//! One replica: started, probed, announced, restarted when it crashes, and stopped.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::allocation::allocate;
use super::probing::{self, Probed};
use super::{PodContext, SHUTDOWN_LIMIT};
use crate::Key;
use crate::endpoint_slices::ReadyPod;
use crate::ports::Port;
use crate::process::{Launch, Process, describe};
use crate::restarts::{HEALTHY_AFTER, restart_backoff};
use crate::workload::Template;
use crate::workload::environment::{Identity, PodPorts, command, variables};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodEvent {
    Ready(bool),
    /// It has ended and is not restarted.
    Gone,
}

pub(super) struct Pod {
    pub(super) key: Key,
    pub(super) template: Arc<Template>,
    pub(super) context: PodContext,
    pub(super) shutdown: CancellationToken,
}

impl Pod {
    /// Runs, and restarts after each crash, until `stop`.
    pub(super) async fn run(self, stop: CancellationToken, report: impl Fn(PodEvent)) {
        let (ports, _held) = match self.ports() {
            Ok(ports) => ports,
            Err(error) => {
                self.print(&format!("no port is free: {error}"));
                return stop.cancelled().await;
            }
        };
        let mut backoff = restart_backoff();
        while !stop.is_cancelled() {
            let started = Instant::now();
            let Some(end) = self.run_once(&ports, &stop, &report).await else {
                return;
            };
            if started.elapsed() > HEALTHY_AFTER {
                backoff.reset();
            }
            let pause = backoff.pause();
            self.print(&format!("{end}; restarting in {} s", pause.as_secs()));
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Runs until it ends; the reason, or `None` when it was stopped.
    async fn run_once(&self, ports: &PodPorts, stop: &CancellationToken, report: &impl Fn(PodEvent)) -> Option<String> {
        let launch = self.launch(ports);
        let mut process = match Process::start(&launch, Some((&self.context.output, &self.key.name))) {
            Ok(process) => process,
            Err(error) => return Some(cannot_start(&launch, &error)),
        };
        let ended = tokio::select! {
            status = process.wait() => Some(status),
            () = stop.cancelled() => None,
            never = self.probe(&launch, ports, report) => match never {},
        };
        // No request may be sent here any more when the process is asked to end.
        self.context.slices.mark_not_ready(&self.key);
        report(PodEvent::Ready(false));
        match ended {
            Some(status) => Some(describe_end(status)),
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
                () = async { self.shutdown.cancelled().await; sleep(SHUTDOWN_LIMIT).await } => {}
            }
        };
        let end = match process.stop(out_of_time).await {
            Some(status) => format!("stopped ({})", describe(status)),
            None => "killed: it did not end in time after SIGTERM".to_owned(),
        };
        self.print(&end);
    }

    /// Announces readiness by the probe; without one a replica is ready when it has started.
    async fn probe(&self, launch: &Launch, ports: &PodPorts, report: &impl Fn(PodEvent)) -> Infallible {
        let announce = |probed: Probed| match probed {
            Probed::Ready => {
                self.context.slices.mark_ready(self.ready_pod(ports));
                self.print("ready");
                report(PodEvent::Ready(true));
            }
            Probed::NoLongerReady(reason) => {
                self.context.slices.mark_not_ready(&self.key);
                self.print(&format!("no longer ready: {reason}"));
                report(PodEvent::Ready(false));
            }
            Probed::StillNotReady(reason) => self.print(&format!("not ready: {reason}")),
        };
        let probing = async {
            match &self.template.readiness {
                Some(probe) => probing::follow(probe, ports, launch, announce).await,
                None => {
                    announce(Probed::Ready);
                    std::future::pending().await
                }
            }
        };
        tokio::select! {
            never = probing => never,
            never = self.check_main_port(ports) => never,
        }
    }

    /// Reports that requests cannot reach the replica where no probe does.
    async fn check_main_port(&self, ports: &PodPorts) -> Infallible {
        let probed = self.template.readiness.as_ref().and_then(|probe| probe.action.port());
        let is_probed = probed.is_some_and(|port| ports.find(port) == Some(ports.main));
        if !is_probed
            && !self.services().is_empty()
            && let Err(reason) = probing::check_main_port(ports).await
        {
            self.print(&format!("requests cannot reach it: {reason}"));
        }
        std::future::pending().await
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
        let mut env: BTreeMap<String, String> = self.context.env.clone();
        env.extend(own);
        let base = &self.context.directory;
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
        allocate(&self.template, &self.services(), &self.context.ports)
    }

    fn services(&self) -> Vec<Service> {
        let slices = &self.context.slices;
        slices.services_selecting(&self.key.namespace, &self.template.labels)
    }

    fn print(&self, text: &str) {
        self.context.output.print_line(&self.key.name, &format!("[{text}]"));
    }
}

fn describe_end(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("ended unexpectedly ({})", describe(status)),
        Err(error) => format!("its end cannot be observed: {error}"),
    }
}

fn cannot_start(launch: &Launch, error: &io::Error) -> String {
    let directory = launch.directory.as_ref().filter(|directory| !directory.is_dir());
    let reason = match directory {
        Some(directory) => format!("the directory {} does not exist", directory.display()),
        None => error.to_string(),
    };
    format!("cannot start {}: {reason}", launch.program)
}
