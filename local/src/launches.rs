//! How interceptor, scaler and apps are started: their variables.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use keda_http_kubernetes::routes::REFUSED;

use crate::listening::Listening;
use crate::output::Output;
use crate::process::Launch;
use crate::program::Program;

/// How long interceptor and scaler may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(8);

pub(crate) struct Launches<'a> {
    /// The directory of the programs.
    pub(crate) programs: &'a Path,
    /// What interceptor and scaler read.
    pub(crate) manifests: &'a Path,
    pub(crate) listening: Listening,
    /// Whether interceptor and scaler log at level info.
    pub(crate) verbose: bool,
}

impl Launches<'_> {
    pub(crate) async fn interceptor(&self, output: &Output) -> Result<Program> {
        let mut env = self.common_environment(self.listening.metrics);
        env.extend(tracing_environment(self.listening.otlp));
        env.insert("KEDA_HTTP_PROXY_PORT".to_owned(), self.listening.proxy.to_string());
        env.insert("KEDA_HTTP_ADMIN_PORT".to_owned(), self.listening.admin.to_string());
        // No load balancer sends requests here, so there is nothing to wait for.
        default(&mut env, "KEDA_HTTP_SHUTDOWN_DELAY", "0s");
        default(&mut env, "KEDA_HTTP_DRAIN_TIMEOUT", "3s");
        self.start("interceptor", env, self.listening.admin, output).await
    }

    pub(crate) async fn scaler(&self, output: &Output) -> Result<Program> {
        let mut env = self.common_environment(self.listening.scaler_metrics);
        env.insert("KEDA_HTTP_SCALER_PORT".to_owned(), self.listening.scaler.to_string());
        let admin = format!("127.0.0.1:{}", self.listening.admin);
        env.insert("KEDA_HTTP_SCALER_INTERCEPTORS".to_owned(), admin);
        self.start("scaler", env, self.listening.scaler_metrics, output).await
    }

    /// Returns when it is ready, which it says on this port.
    async fn start(
        &self,
        name: &'static str,
        env: BTreeMap<String, String>,
        port: u16,
        output: &Output,
    ) -> Result<Program> {
        let program = self.programs.join(format!("keda-http-{name}"));
        let launch = Launch {
            program: program.display().to_string(),
            env,
            ..Launch::default()
        };
        let ready = format!("http://127.0.0.1:{port}/readyz");
        Program::start(name, launch, &ready, output, STOP_LIMIT).await
    }

    fn common_environment(&self, metrics: u16) -> BTreeMap<String, String> {
        let mut env = BTreeMap::from([
            ("KEDA_HTTP_MANIFESTS".to_owned(), self.manifests.display().to_string()),
            ("KEDA_HTTP_BIND_ADDRESS".to_owned(), "127.0.0.1".to_owned()),
            ("OTEL_PROM_EXPORTER_PORT".to_owned(), metrics.to_string()),
        ]);
        let level = if self.verbose { "info" } else { "warn" };
        // We print ourselves what is wrong with the user's objects, with the user's paths.
        let quiet = format!("{level},keda_http_kubernetes::source::directory=error,{REFUSED}=error");
        default(&mut env, "RUST_LOG", &quiet);
        env
    }

    /// Apps find our programs first, and send their spans to us.
    pub(crate) fn app_environment(&self) -> BTreeMap<String, String> {
        let mut env = tracing_environment(self.listening.otlp);
        let path = std::env::var("PATH").unwrap_or_default();
        env.insert("PATH".to_owned(), format!("{}:{path}", self.programs.display()));
        default(&mut env, "RUST_LOG", "warn");
        env
    }
}

/// The variables by which our programs, and many others, send their spans to us.
pub(crate) fn tracing_environment(otlp: u16) -> BTreeMap<String, String> {
    let variables = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENABLED", "true".to_owned()),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc".to_owned()),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://127.0.0.1:{otlp}")),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
    ];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Sets a variable unless our own environment has it.
fn default(env: &mut BTreeMap<String, String>, name: &str, value: &str) {
    if std::env::var_os(name).is_none_or(|given| given.is_empty()) {
        env.insert(name.to_owned(), value.to_owned());
    }
}
