//! The scaler under test, and a client that behaves like KEDA.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use keda_http_proto::externalscaler::external_scaler_client::ExternalScalerClient;
use keda_http_proto::externalscaler::{IsActiveResponse, ScaledObjectRef};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::build::Build;
use crate::cores;
use crate::interceptor::Interceptor;
use crate::manifests::{Manifests, NAMESPACE};
use crate::program::{self, Program};

/// A running scaler and KEDA's connection to it.
#[derive(Debug)]
pub struct Scaler {
    pub program: Program,
    client: ExternalScalerClient<Channel>,
}

impl Scaler {
    /// Starts one for `interceptor` and waits until it answers that `route` is not active.
    pub async fn ready(build: &Build, manifests: &Manifests, interceptor: &Interceptor, route: &str) -> Result<Self> {
        let (grpc, metrics) = (program::free_address()?, program::free_address()?);
        let mut command = program::command(build.program("keda-http-scaler"));
        command
            .env("KEDA_HTTP_BIND_ADDRESS", grpc.ip().to_string())
            .env("KEDA_HTTP_SCALER_PORT", grpc.port().to_string())
            .env("KEDA_HTTP_SCALER_INTERCEPTORS", interceptor.admin.to_string())
            .env("KEDA_HTTP_MANIFESTS", manifests.directory())
            .env("OTEL_PROM_EXPORTER_PORT", metrics.port().to_string());
        let program = Program::start("scaler", command, cores::PROGRAM, manifests.scratch())?;
        let channel = Endpoint::from_shared(format!("http://{grpc}"))?
            .tcp_nodelay(true)
            .connect_lazy();
        let mut scaler = Self {
            program,
            client: ExternalScalerClient::new(channel),
        };
        let client = scaler.client.clone();
        let idle = async || {
            let answer = client.clone().is_active(scaled_object(route)).await;
            answer.is_ok_and(|answer| !answer.into_inner().result)
        };
        scaler.program.until("first answer", idle).await?;
        Ok(scaler)
    }

    /// Starts the leader of a cluster: it reads the objects and runs the controllers, with `interceptor` as its only interceptor.
    pub fn leader(
        build: &Build,
        kubeconfig: &Path,
        scratch: &Path,
        interceptor: &Interceptor,
    ) -> Result<(Program, SocketAddr)> {
        let (grpc, metrics) = (program::free_address()?, program::free_address()?);
        let mut command = program::command(build.program("keda-http-scaler"));
        command
            .env("KUBECONFIG", kubeconfig)
            .env("KEDA_HTTP_BIND_ADDRESS", grpc.ip().to_string())
            .env("KEDA_HTTP_SCALER_PORT", grpc.port().to_string())
            .env("KEDA_HTTP_SCALER_ADDRESS", grpc.to_string())
            .env("KEDA_HTTP_SCALER_INTERCEPTORS", interceptor.admin.to_string())
            .env("KEDA_HTTP_CONTROLLERS_ENABLED", "true")
            .env("OTEL_PROM_EXPORTER_PORT", metrics.port().to_string());
        Ok((Program::start("scaler", command, cores::PROGRAM, scratch)?, metrics))
    }

    pub async fn stream(&self, route: &str) -> Result<Streaming<IsActiveResponse>> {
        let answer = self.client.clone().stream_is_active(scaled_object(route)).await;
        Ok(answer
            .with_context(|| format!("StreamIsActive for {route}"))?
            .into_inner())
    }
}

/// Waits for `true` on a stream; KEDA ignores `false`.
pub async fn active(stream: &mut Streaming<IsActiveResponse>) -> Result<()> {
    while let Some(answer) = stream.message().await? {
        if answer.result {
            return Ok(());
        }
    }
    bail!("the stream ended without `true`")
}

/// What KEDA hands over for a ScaledObject whose trigger names the route.
fn scaled_object(route: &str) -> ScaledObjectRef {
    let metadata = HashMap::from([("interceptorRoute".to_owned(), route.to_owned())]);
    ScaledObjectRef {
        name: route.to_owned(),
        namespace: NAMESPACE.to_owned(),
        scaler_metadata: metadata,
    }
}
