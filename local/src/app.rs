//! Everything started together, and stopped in order.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use keda_http_kubernetes::source::directory::{self, DirectoryError};
use keda_http_kubernetes::source::{Change, Problem, Source};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::endpoint_slices::EndpointSlices;
use crate::keda::{Keda, Plan};
use crate::kubelet::{Kubelet, PodContext};
use crate::launches::Launches;
use crate::listening::{self, Listening, PortSet, WantedPorts};
use crate::manifests::{Complaint, Example, Findings, Manifests};
use crate::output::Output;
use crate::ports::{Port, Ports};
use crate::program::Program;
use crate::run_directory::RunDirectory;
use crate::traces::{Traces, receiver};
use crate::workload::Workload;

/// What to run, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The user's manifests; the hello example when there are none.
    pub manifests: Option<PathBuf>,
    /// Where interceptor and scaler read their manifests; a temporary directory when there is none.
    pub run_directory: Option<PathBuf>,
    /// The directory of the programs `keda-http-interceptor` and `keda-http-scaler`.
    pub programs: PathBuf,
    /// Where interceptor, scaler and we listen.
    pub ports: WantedPorts,
    /// Whether interceptor and scaler log at level info, and not only warnings.
    pub verbose: bool,
}

/// Why the start failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The manifests are not valid. Exit code 64.
    #[error("{}", .0.join("\n"))]
    Manifests(Vec<String>),
    /// A port, a program or a directory is not available. Exit code 1.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// Interceptor, scaler and apps, running.
#[derive(Debug)]
pub struct Local {
    listening: Listening,
    first: First,
    traces: Traces,
    output: Output,
    objects: Arc<Objects>,
    interceptor: Program,
    scaler: Program,
    /// Follow the user's files and draw cold starts; end first.
    tasks: JoinSet<()>,
    /// Receives spans; ends last, because programs export their last ones when they end.
    _receiver: JoinSet<()>,
    _ports: PortSet<Port>,
    _run_directory: RunDirectory,
}

/// The state at the start.
#[derive(Debug)]
struct First {
    examples: Vec<Example>,
    workload: Option<Workload>,
    plan: Option<Plan>,
}

impl First {
    fn read(manifests: &Manifests) -> Self {
        Self {
            examples: manifests.examples(),
            workload: manifests.first_workload().cloned(),
            plan: manifests.first_plan(),
        }
    }
}

/// The controllers of the user's objects.
#[derive(Debug)]
struct Objects {
    kubelet: Kubelet,
    keda: Keda,
    slices: EndpointSlices,
}

impl Local {
    /// Checks the manifests, starts everything, and returns when requests can come.
    ///
    /// # Errors
    /// When the manifests are not valid, or a port, a program or a directory is not available.
    pub async fn start(options: &Options, output: Output) -> Result<Self, StartError> {
        let run_directory = RunDirectory::prepare(options.run_directory.as_deref(), options.manifests.as_deref())
            .map_err(|error| invalid_directory(options, error))?;
        let ports = Ports::default();
        let (reserved, moved) = listening::reserve(options.ports, listening::FIRST, &ports)?;
        for sentence in moved {
            output.print_line("local", &sentence);
        }
        let listening = reserved.numbers();
        let mut source = directory::open(run_directory.users()).map_err(invalid_file)?;
        let mut manifests = Manifests::new(run_directory.users(), &format!("127.0.0.1:{}", listening.scaler));
        let first = source.next().await.unwrap_or_default();
        let findings = manifests.apply(&first);
        check(&findings.errors)?;
        let mut reported = Reported::default();
        reported.report(findings, &output);

        let traces = Traces::default();
        let mut tasks = JoinSet::new();
        let mut receiver = JoinSet::new();
        receiver.spawn(receive(listen(listening.otlp).await?, traces.clone()));
        let launches = Launches {
            programs: &options.programs,
            manifests: run_directory.manifests(),
            listening,
            verbose: options.verbose,
        };
        let interceptor = launches.interceptor(&output).await?;
        let scaler = launches.scaler(&output).await?;

        let slices = EndpointSlices::new(run_directory.slices());
        let objects = Arc::new(Objects {
            kubelet: Kubelet::new(PodContext {
                slices: slices.clone(),
                ports,
                output: output.clone(),
                directory: run_directory.users().into(),
                env: launches.app_environment(),
            }),
            keda: Keda::new(&format!("127.0.0.1:{}", listening.scaler), output.clone())
                .context("invalid address of the scaler")?,
            slices,
        });
        objects.set(&manifests);
        let first = First::read(&manifests);
        tasks.spawn(follow(source, manifests, objects.clone(), reported, output.clone()));
        Ok(Self {
            listening,
            first,
            traces,
            output,
            objects,
            interceptor,
            scaler,
            tasks,
            _receiver: receiver,
            _ports: reserved,
            _run_directory: run_directory,
        })
    }

    /// The ports in use.
    pub fn listening(&self) -> Listening {
        self.listening
    }

    /// A request for each host, those of the first route first.
    pub(crate) fn examples(&self) -> &[Example] {
        &self.first.examples
    }

    /// The Deployment behind the first route, as it was at the start.
    pub(crate) fn workload(&self) -> Option<&Workload> {
        self.first.workload.as_ref()
    }

    /// How that Deployment was scaled at the start.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        self.first.plan.as_ref()
    }

    /// Runs the user's Deployments.
    pub fn kubelet(&self) -> &Kubelet {
        &self.objects.kubelet
    }

    /// Scales the user's Deployments.
    pub fn keda(&self) -> &Keda {
        &self.objects.keda
    }

    /// The spans received so far.
    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// The interceptor's process.
    pub fn interceptor(&self) -> &Program {
        &self.interceptor
    }

    /// The scaler's process.
    pub fn scaler(&self) -> &Program {
        &self.scaler
    }

    /// Draws cold starts as they happen.
    pub fn draw_cold_starts(&mut self) {
        self.tasks
            .spawn(self.traces.clone().draw_cold_starts(self.output.clone()));
    }

    /// Stops the apps, the scaler and the interceptor, in this order.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.objects.keda.stop();
        self.objects.kubelet.stop().await;
        self.scaler.stop().await;
        self.interceptor.stop().await;
    }
}

fn invalid_directory(options: &Options, error: anyhow::Error) -> StartError {
    match &options.manifests {
        Some(manifests) if !manifests.is_dir() => {
            StartError::Manifests(vec![format!("--manifests {}: not a directory", manifests.display())])
        }
        Some(_) | None => StartError::Failed(error),
    }
}

fn invalid_file(error: DirectoryError) -> StartError {
    match error {
        DirectoryError::Malformed(problem) => StartError::Manifests(vec![problem.to_string()]),
        error @ DirectoryError::Unreadable { .. } => StartError::Failed(error.into()),
    }
}

fn check(complaints: &[Complaint]) -> Result<(), StartError> {
    if complaints.is_empty() {
        return Ok(());
    }
    Err(StartError::Manifests(
        complaints.iter().map(ToString::to_string).collect(),
    ))
}

async fn receive(listener: TcpListener, traces: Traces) {
    if let Err(error) = receiver::serve(listener, traces).await {
        tracing::error!(%error, "the receiver of spans has failed");
    }
}

async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("cannot listen on port {port}"))
}

/// Applies every change of the user's files until the source ends.
async fn follow(
    mut source: Source,
    mut manifests: Manifests,
    objects: Arc<Objects>,
    mut reported: Reported,
    output: Output,
) {
    let mut problems = source.problems();
    let mut known = Vec::new();
    loop {
        tokio::select! {
            Ok(()) = problems.changed() => {
                let now = problems.borrow_and_update().clone();
                print_problems(&now, &known, &output);
                known = now;
            }
            changes = source.next() => {
                let Some(changes) = changes else { break };
                reported.report(manifests.apply(&changes), &output);
                print_changes(&changes, &output);
                objects.set(&manifests);
            }
        }
    }
    output.print_line("manifests", "the directory is no longer watched");
}

/// The complaints that have been printed, so that each is printed once.
#[derive(Debug, Default)]
struct Reported(Vec<Complaint>);

impl Reported {
    fn report(&mut self, findings: Findings, output: &Output) {
        let is_new = |complaint: &&Complaint| !self.0.contains(*complaint);
        for error in findings.errors.iter().filter(is_new) {
            output.print_line("manifests", &format!("error: {error}{}", error.consequence));
        }
        for warning in findings.warnings.iter().filter(is_new) {
            output.print_line("manifests", &format!("warning: {warning}"));
        }
        self.0 = [findings.errors, findings.warnings].concat();
    }
}

/// Documents that cannot be read; those that are known have been printed.
fn print_problems(problems: &[Problem], known: &[Problem], output: &Output) {
    for problem in problems.iter().filter(|problem| !known.contains(problem)) {
        output.print_line(
            "manifests",
            &format!("error: {problem} (its last valid state stays in force)"),
        );
    }
}

fn print_changes(changes: &[Change], output: &Output) {
    for change in changes {
        match change {
            Change::Apply(object) => output.print_line("manifests", &format!("{} changed", object.id())),
            Change::Delete(id) => output.print_line("manifests", &format!("{id} deleted")),
            Change::Reset(..) => {}
        }
    }
}

impl Objects {
    /// Services first: a replica's ports depend on them.
    fn set(&self, manifests: &Manifests) {
        self.slices.set_services(manifests.services());
        self.kubelet.set(manifests.workloads());
        self.keda
            .set(manifests.plans(), |workload| self.kubelet.scale(workload));
    }
}
