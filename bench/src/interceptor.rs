//! The interceptor under test: one worker, on its core.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use crate::build::Build;
use crate::manifests::Manifests;
use crate::program::{self, Program};
use crate::{client, cores};

#[derive(Debug)]
pub struct Interceptor {
    pub program: Program,
    pub proxy: SocketAddr,
    /// Where it answers probes and streams its counters.
    pub admin: SocketAddr,
}

impl Interceptor {
    /// Starts one that is not ready yet, with more environment where given.
    pub fn start(build: &Build, manifests: &Manifests, environment: &[(&str, &str)]) -> Result<Self> {
        let directory = manifests.directory();
        let source = ("KEDA_HTTP_MANIFESTS", directory.as_os_str());
        Self::start_with(build, source, manifests.scratch(), environment)
    }

    /// The same on a cluster, with its logs in `scratch`.
    pub fn on_cluster(build: &Build, kubeconfig: &Path, scratch: &Path) -> Result<Self> {
        Self::start_with(build, ("KUBECONFIG", kubeconfig.as_os_str()), scratch, &[])
    }

    fn start_with(build: &Build, source: (&str, &OsStr), scratch: &Path, environment: &[(&str, &str)]) -> Result<Self> {
        let (proxy, admin, metrics) = (
            program::free_address()?,
            program::free_address()?,
            program::free_address()?,
        );
        let mut command = program::command(build.program("keda-http-interceptor"));
        command
            .env("KEDA_HTTP_BIND_ADDRESS", proxy.ip().to_string())
            .env("KEDA_HTTP_PROXY_PORT", proxy.port().to_string())
            .env("KEDA_HTTP_ADMIN_PORT", admin.port().to_string())
            .env("OTEL_PROM_EXPORTER_PORT", metrics.port().to_string())
            .env(source.0, source.1)
            .env("KEDA_HTTP_WORKERS", "1")
            .envs(environment.iter().copied());
        let program = Program::start("interceptor", command, cores::PROGRAM, scratch)?;
        Ok(Self { program, proxy, admin })
    }

    /// Starts one and waits until it is ready.
    pub async fn ready(build: &Build, manifests: &Manifests, environment: &[(&str, &str)]) -> Result<Self> {
        let mut interceptor = Self::start(build, manifests, environment)?;
        interceptor.until_ready().await?;
        Ok(interceptor)
    }

    pub async fn until_ready(&mut self) -> Result<()> {
        let admin = self.admin;
        self.program
            .until("/readyz", async || {
                matches!(client::status(admin, "admin", "/readyz").await, Ok(200))
            })
            .await
    }

    /// Waits until a GET for `host` is answered with 200.
    pub async fn until_served(&mut self, host: &str) -> Result<()> {
        let proxy = self.proxy;
        self.program
            .until("answer with 200", async || {
                matches!(client::status(proxy, host, "/").await, Ok(200))
            })
            .await
    }
}
