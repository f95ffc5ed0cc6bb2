//! Everything started together, and stopped in order.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use keda_http_kubernetes::source::directory::{self, DirectoryError};
use keda_http_kubernetes::source::{Change, Source};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::endpoint_slices::EndpointSlices;
use crate::keda::Keda;
use crate::kubelet::{Kubelet, Surroundings};
use crate::manifests::{Complaint, Example, Manifests};
use crate::output::Output;
use crate::ports::{Port, Ports};
use crate::process::Launch;
use crate::program::Program;
use crate::run_directory::RunDirectory;
use crate::traces::{Traces, receiver};
use crate::workload::Workload;

/// What is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The user's manifests; the hello example when there are none.
    pub manifests: Option<PathBuf>,
    /// Where interceptor and scaler read; a temporary directory when it is not said.
    pub run_directory: Option<PathBuf>,
    /// Where the programs are.
    pub programs: PathBuf,
    /// Ports; free ones are taken for those that are not said.
    pub ports: GivenPorts,
    /// Whether interceptor and scaler log everything that happens, and not only warnings.
    pub verbose: bool,
}

/// Ports that were given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GivenPorts {
    /// The interceptor's, for requests.
    pub proxy: Option<u16>,
    /// The interceptor's, for probes, queue and reports.
    pub admin: Option<u16>,
    /// The interceptor's, for metrics.
    pub metrics: Option<u16>,
    /// The scaler's, for KEDA.
    pub scaler: Option<u16>,
    /// The scaler's, for probes and metrics.
    pub scaler_metrics: Option<u16>,
    /// Ours, for spans.
    pub otlp: Option<u16>,
}

/// The ports in use, all of them on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// The interceptor's, for requests.
    pub proxy: u16,
    /// The interceptor's, for probes, queue and reports.
    pub admin: u16,
    /// The interceptor's, for metrics.
    pub metrics: u16,
    /// The scaler's, for KEDA.
    pub scaler: u16,
    /// The scaler's, for probes and metrics.
    pub scaler_metrics: u16,
    /// Ours, for spans.
    pub otlp: u16,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The manifests cannot be used. Exit code 64.
    #[error("{}", .0.join("\n"))]
    Manifests(Vec<String>),
    /// Something of the machine: a port, a program, a directory. Exit code 1.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// How long interceptor and scaler are given to end.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// Everything, running.
#[derive(Debug)]
pub struct Local {
    listening: Listening,
    example: Option<Example>,
    workload: Option<Workload>,
    traces: Traces,
    output: Output,
    objects: Arc<Objects>,
    interceptor: Program,
    scaler: Program,
    /// What follows the user's files and draws; ends first.
    tasks: JoinSet<()>,
    /// What receives spans; ends last, because programs send their last ones when they end.
    _receiver: JoinSet<()>,
    _ports: Vec<Port>,
    _run_directory: RunDirectory,
}

/// Who follows the user's objects.
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
    /// When the manifests cannot be used, or something of the machine is not there.
    pub async fn start(options: &Options, output: Output) -> Result<Self, StartError> {
        let run_directory = RunDirectory::prepare(options.run_directory.as_deref(), options.manifests.as_deref())
            .map_err(|error| unusable(options, error))?;
        let ports = Ports::default();
        let (listening, held) = options.ports.complete(&ports)?;
        let mut source = directory::open(run_directory.users()).map_err(refused)?;
        let mut manifests = Manifests::new(run_directory.users(), &format!("127.0.0.1:{}", listening.scaler));
        let first = source.next().await.unwrap_or_default();
        check(&manifests.apply(&first))?;

        let traces = Traces::default();
        let mut tasks = JoinSet::new();
        let mut receiver = JoinSet::new();
        receiver.spawn(receive(listen(listening.otlp).await?, traces.clone()));
        let launches = Launches::new(options, listening, run_directory.manifests());
        let interceptor = launches.interceptor(&output).await?;
        let scaler = launches.scaler(&output).await?;

        let slices = EndpointSlices::new(run_directory.slices());
        let objects = Arc::new(Objects {
            kubelet: Kubelet::new(Surroundings {
                slices: slices.clone(),
                ports,
                output: output.clone(),
                directory: run_directory.users().into(),
                env: launches.app_environment(),
            }),
            keda: Keda::new(&format!("127.0.0.1:{}", listening.scaler), output.clone())
                .context("the scaler's address")?,
            slices,
        });
        objects.set(&manifests);
        let (example, workload) = (manifests.example(), manifests.first_workload().cloned());
        tasks.spawn(follow(source, manifests, objects.clone(), output.clone()));
        Ok(Self {
            listening,
            example,
            workload,
            traces,
            output,
            objects,
            interceptor,
            scaler,
            tasks,
            _receiver: receiver,
            _ports: held,
            _run_directory: run_directory,
        })
    }

    /// The ports in use.
    pub fn listening(&self) -> Listening {
        self.listening
    }

    /// A request for the first route.
    pub fn example(&self) -> Option<&Example> {
        self.example.as_ref()
    }

    /// The Deployment behind the first route, as it was at the start.
    pub fn workload(&self) -> Option<&Workload> {
        self.workload.as_ref()
    }

    /// What runs of the user's Deployments.
    pub fn kubelet(&self) -> &Kubelet {
        &self.objects.kubelet
    }

    /// What scales them.
    pub fn keda(&self) -> &Keda {
        &self.objects.keda
    }

    /// The spans that have come.
    pub fn traces(&self) -> &Traces {
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

/// A directory of the user's that is not there is his to mend; everything else is the machine's.
fn unusable(options: &Options, error: anyhow::Error) -> StartError {
    match &options.manifests {
        Some(manifests) if !manifests.is_dir() => {
            StartError::Manifests(vec![format!("--manifests {}: is no directory", manifests.display())])
        }
        Some(_) | None => StartError::Failed(error),
    }
}

fn refused(error: DirectoryError) -> StartError {
    match error {
        DirectoryError::Malformed(problem) => {
            StartError::Manifests(vec![format!("{}: {}", problem.place, problem.reason)])
        }
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
        tracing::error!(%error, "spans are no longer received");
    }
}

async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("port {port} cannot be bound"))
}

/// Takes in every change of the user's files until the source ends.
async fn follow(mut source: Source, mut manifests: Manifests, objects: Arc<Objects>, output: Output) {
    let mut told = Vec::new();
    while let Some(changes) = source.next().await {
        let complaints = manifests.apply(&changes);
        for complaint in complaints.iter().filter(|complaint| !told.contains(*complaint)) {
            output.line("manifests", &format!("{complaint} (the last good state stays)"));
        }
        told = complaints;
        tell(&changes, &output);
        objects.set(&manifests);
    }
    output.line("manifests", "the directory is not watched any more");
}

fn tell(changes: &[Change], output: &Output) {
    for change in changes {
        match change {
            Change::Apply(object) => output.line("manifests", &format!("{} changed", object.id())),
            Change::Delete(id) => output.line("manifests", &format!("{id} deleted")),
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

impl GivenPorts {
    /// Free ports for those that were not given, held so that no app gets one of them.
    fn complete(&self, ports: &Ports) -> Result<(Listening, Vec<Port>)> {
        let mut held = Vec::new();
        let mut complete = |given: Option<u16>, flag: &str| match given {
            Some(port) => {
                let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
                free.map(|_| port)
                    .with_context(|| format!("--{flag} {port}: the port cannot be bound"))
            }
            None => {
                let port = ports
                    .free()
                    .map_err(|error| anyhow!("no free port for {flag}: {error}"))?;
                let number = port.number();
                held.push(port);
                Ok(number)
            }
        };
        let listening = Listening {
            proxy: complete(self.proxy, "proxy-port")?,
            admin: complete(self.admin, "admin-port")?,
            metrics: complete(self.metrics, "metrics-port")?,
            scaler: complete(self.scaler, "scaler-port")?,
            scaler_metrics: complete(self.scaler_metrics, "scaler-metrics-port")?,
            otlp: complete(self.otlp, "otlp-port")?,
        };
        Ok((listening, held))
    }
}

/// What the programs are started with.
struct Launches<'a> {
    options: &'a Options,
    listening: Listening,
    manifests: &'a Path,
}

impl<'a> Launches<'a> {
    fn new(options: &'a Options, listening: Listening, manifests: &'a Path) -> Self {
        Self {
            options,
            listening,
            manifests,
        }
    }

    async fn interceptor(&self, output: &Output) -> Result<Program> {
        let mut env = self.common_environment(self.listening.metrics);
        env.extend(self.tracing_environment());
        env.insert("KEDA_HTTP_PROXY_PORT".to_owned(), self.listening.proxy.to_string());
        env.insert("KEDA_HTTP_ADMIN_PORT".to_owned(), self.listening.admin.to_string());
        // Nobody but us sends requests here, and we have stopped: there is nobody to wait for.
        default(&mut env, "KEDA_HTTP_SHUTDOWN_DELAY", "0s");
        default(&mut env, "KEDA_HTTP_DRAIN_TIMEOUT", "3s");
        let ready = format!("http://127.0.0.1:{}/readyz", self.listening.admin);
        Program::start(
            "interceptor",
            self.launch("keda-http-interceptor", env),
            &ready,
            output,
            STOP_LIMIT,
        )
        .await
    }

    async fn scaler(&self, output: &Output) -> Result<Program> {
        let mut env = self.common_environment(self.listening.scaler_metrics);
        env.insert("KEDA_HTTP_SCALER_PORT".to_owned(), self.listening.scaler.to_string());
        let admin = format!("127.0.0.1:{}", self.listening.admin);
        env.insert("KEDA_HTTP_SCALER_INTERCEPTORS".to_owned(), admin);
        let ready = format!("http://127.0.0.1:{}/readyz", self.listening.scaler_metrics);
        Program::start(
            "scaler",
            self.launch("keda-http-scaler", env),
            &ready,
            output,
            STOP_LIMIT,
        )
        .await
    }

    fn launch(&self, program: &str, env: BTreeMap<String, String>) -> Launch {
        Launch {
            program: self.options.programs.join(program).display().to_string(),
            args: Vec::new(),
            env,
            directory: None,
        }
    }

    fn common_environment(&self, metrics: u16) -> BTreeMap<String, String> {
        let mut env = BTreeMap::from([
            ("KEDA_HTTP_MANIFESTS".to_owned(), self.manifests.display().to_string()),
            ("KEDA_HTTP_BIND_ADDRESS".to_owned(), "127.0.0.1".to_owned()),
            ("OTEL_PROM_EXPORTER_PORT".to_owned(), metrics.to_string()),
        ]);
        default(&mut env, "RUST_LOG", if self.options.verbose { "info" } else { "warn" });
        env
    }

    fn tracing_environment(&self) -> BTreeMap<String, String> {
        tracing_environment(self.listening.otlp)
    }

    /// Apps find our programs first, and send their spans to us.
    fn app_environment(&self) -> BTreeMap<String, String> {
        let mut env = self.tracing_environment();
        let path = std::env::var("PATH").unwrap_or_default();
        env.insert("PATH".to_owned(), format!("{}:{path}", self.options.programs.display()));
        default(&mut env, "RUST_LOG", "warn");
        env
    }
}

/// By which a program of ours, and many others, send their spans to us.
pub fn tracing_environment(otlp: u16) -> BTreeMap<String, String> {
    let variables = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENABLED", "true".to_owned()),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc".to_owned()),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://127.0.0.1:{otlp}")),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
    ];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Unless the environment we were started with says otherwise.
fn default(env: &mut BTreeMap<String, String>, name: &str, value: &str) {
    if std::env::var_os(name).is_none_or(|given| given.is_empty()) {
        env.insert(name.to_owned(), value.to_owned());
    }
}
