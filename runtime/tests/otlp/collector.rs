//! A collector: OTLP over gRPC and over HTTP on one port, as collectors are, with or without TLS.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// One export.
pub struct Received<R> {
    pub authorization: Option<String>,
    pub request: R,
}

impl Received<ExportTraceServiceRequest> {
    pub fn spans(&self) -> Vec<&str> {
        let scopes = self
            .request
            .resource_spans
            .iter()
            .flat_map(|resource| &resource.scope_spans);
        scopes
            .flat_map(|scope| &scope.spans)
            .map(|span| span.name.as_str())
            .collect()
    }

    pub fn resource(&self, name: &str) -> Option<String> {
        attribute(self.request.resource_spans.first()?.resource.as_ref()?, name)
    }
}

impl Received<ExportMetricsServiceRequest> {
    /// The value of a counter without labels.
    pub fn count(&self, name: &str) -> Option<i64> {
        let scopes = self
            .request
            .resource_metrics
            .iter()
            .flat_map(|resource| &resource.scope_metrics);
        let metric = scopes
            .flat_map(|scope| &scope.metrics)
            .find(|metric| metric.name == name)?;
        match metric.data.as_ref()? {
            Data::Sum(sum) => match sum.data_points.first()?.value? {
                Number::AsInt(count) => Some(count),
                Number::AsDouble(_) => None,
            },
            _ => None,
        }
    }

    pub fn resource(&self, name: &str) -> Option<String> {
        attribute(self.request.resource_metrics.first()?.resource.as_ref()?, name)
    }
}

fn attribute(resource: &Resource, name: &str) -> Option<String> {
    let attribute = resource.attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

type Spans = Received<ExportTraceServiceRequest>;
type Metrics = Received<ExportMetricsServiceRequest>;

pub struct Collector {
    address: SocketAddr,
    scheme: &'static str,
    pub spans: UnboundedReceiver<Spans>,
    pub metrics: UnboundedReceiver<Metrics>,
    /// Of its own, so that connections can be ended with it.
    runtime: Option<Runtime>,
}

impl Collector {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        Self::at(address, Server::builder(), "http").await
    }

    /// With the file of the authority that its certificate is from.
    pub async fn start_tls() -> (Self, NamedTempFile) {
        keda_http_runtime::install_crypto_provider();
        let (identity, authority) = certificates();
        let server = Server::builder()
            .tls_config(ServerTlsConfig::new().identity(identity))
            .unwrap();
        (
            Self::at("127.0.0.1:0".parse().unwrap(), server, "https").await,
            authority,
        )
    }

    async fn at(address: SocketAddr, server: Server, scheme: &'static str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.spawn(TcpListener::bind(address)).await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let (spans_sender, spans) = unbounded_channel();
        let (metrics_sender, metrics) = unbounded_channel();
        let grpc = tonic::service::Routes::new(TraceServiceServer::new(Receiver(spans_sender.clone())));
        let http = Router::new()
            .route("/v1/traces", post(over_http).with_state(spans_sender))
            .route("/v1/metrics", post(over_http).with_state(metrics_sender));
        let routes = tonic::service::Routes::from(grpc.into_axum_router().merge(http));
        let router = server.accept_http1(true).add_routes(routes);
        runtime.spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            address,
            scheme,
            spans,
            metrics,
            runtime: Some(runtime),
        }
    }

    /// Ends, connections included, and starts again on the same port.
    pub async fn restart(mut self) -> Self {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(20)))
            .await
            .unwrap();
        Self::at(self.address, Server::builder(), self.scheme).await
    }

    pub fn endpoint(&self, protocol: &str) -> String {
        let path = if protocol == "grpc" { "" } else { "/v1/traces" };
        format!("{}{path}", self.base())
    }

    /// The endpoint of all signals.
    pub fn base(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    pub async fn next_spans(&mut self) -> Spans {
        next(&mut self.spans).await
    }

    pub async fn next_metrics(&mut self) -> Metrics {
        next(&mut self.metrics).await
    }
}

async fn next<T>(received: &mut UnboundedReceiver<T>) -> T {
    let received = tokio::time::timeout(Duration::from_secs(20), received.recv()).await;
    received.expect("an export in time").expect("the collector runs")
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Receiver(UnboundedSender<Spans>);

fn authorization(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("authorization")?.to_str().unwrap().to_owned())
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let authorization = authorization(metadata.as_ref());
        self.0.send(Received { authorization, request }).unwrap();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn over_http<R: Message + Default>(
    State(sender): State<UnboundedSender<Received<R>>>,
    headers: HeaderMap,
    body: Bytes,
) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = R::decode(body).unwrap();
    let authorization = authorization(&headers);
    sender.send(Received { authorization, request }).unwrap();
}

/// A certificate for `localhost`, and the file of its authority.
fn certificates() -> (Identity, NamedTempFile) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let file = NamedTempFile::new().unwrap();
    let certificate = authority.self_signed(&authority_key).unwrap();
    std::fs::write(file.path(), certificate.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let certificate = CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    (Identity::from_pem(certificate.pem(), key.serialize_pem()), file)
}
