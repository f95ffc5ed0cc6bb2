//! The admin port: probes, log level and gRPC on one port, and an end that comes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in tests a panic is how a failure is told"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use keda_http_runtime::admin;
use keda_http_runtime::process::Process;
use keda_http_runtime::readiness::Readiness;
use keda_http_runtime::settings::{Settings, WHOLE_NUMBER, describe};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

struct Admin {
    address: SocketAddr,
    readiness: Readiness,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

impl Admin {
    /// The router of a program with a route and a gRPC service of its own.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, readiness, shutdown) = (
            listener.local_addr().unwrap(),
            Readiness::new(),
            CancellationToken::new(),
        );
        let (health, service) = tonic_health::server::health_reporter();
        health
            .set_service_status("liveness", tonic_health::ServingStatus::Serving)
            .await;
        let limit = |settings: &Settings| settings.variable("LIMIT", &WHOLE_NUMBER, "A limit").default(7);
        let process = Process {
            settings: Arc::new(describe(limit)),
            ..Process::default()
        };
        process.log_level.set("info").unwrap();
        let router = admin::router(readiness.clone(), &process)
            .merge(Router::new().route("/queue", get(async || "{}")))
            .merge(admin::grpc(tonic::service::Routes::new(service)));
        let served = tokio::spawn(admin::serve(listener, router, shutdown.clone()));
        Self {
            address,
            readiness,
            shutdown,
            served,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = reqwest::get(self.url(path)).await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    async fn health(&self) -> HealthClient<tonic::transport::Channel> {
        HealthClient::new(
            tonic::transport::Channel::from_shared(self.url(""))
                .unwrap()
                .connect()
                .await
                .unwrap(),
        )
    }
}

fn liveness() -> HealthCheckRequest {
    HealthCheckRequest {
        service: "liveness".to_owned(),
    }
}

#[tokio::test]
async fn config_shows_the_settings_in_force() {
    let admin = Admin::start().await;
    let text = reqwest::get(admin.url("/config")).await.unwrap().text().await.unwrap();
    assert_eq!(text, r#"{"LIMIT":"7"}"#);
}

#[tokio::test]
async fn livez_is_empty_and_unknown_paths_are_not_found() {
    let admin = Admin::start().await;
    assert_eq!(admin.get("/livez").await, (StatusCode::OK, String::new()));
    assert_eq!(admin.get("/queue").await, (StatusCode::OK, "{}".to_owned()));
    assert_eq!(admin.get("/nothing").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn readyz_follows_the_readiness() {
    let admin = Admin::start().await;
    let task = admin.readiness.register("routes");
    let unready = (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable".to_owned());
    assert_eq!(admin.get("/readyz").await, unready);
    drop(task);
    assert_eq!(admin.get("/readyz").await, (StatusCode::OK, "OK".to_owned()));
    admin.readiness.drain();
    assert_eq!(admin.get("/readyz").await, unready);
}

#[tokio::test]
async fn readyz_returns_the_whole_report_when_asked() {
    let admin = Admin::start().await;
    let _task = admin.readiness.register("routes");
    admin
        .readiness
        .set_problems("files", vec!["a.yaml: no kind".to_owned()]);
    let expected = json!({
        "ready": false, "pending": ["routes"], "draining": false, "problems": {"files": ["a.yaml: no kind"]},
    });
    let (status, body) = admin.get("/readyz?verbose").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    let accept = reqwest::Client::new()
        .get(admin.url("/readyz"))
        .header("accept", "application/json");
    assert_eq!(accept.send().await.unwrap().json::<Value>().await.unwrap(), expected);
    assert_eq!(admin.get("/readyz?quiet").await.1, "Service Unavailable");
}

#[tokio::test]
async fn the_log_level_changes_and_a_bad_one_is_refused_with_what_is_allowed() {
    let admin = Admin::start().await;
    let put = async |filter: &'static str| {
        let response = reqwest::Client::new()
            .put(admin.url("/log-level"))
            .body(filter)
            .send()
            .await
            .unwrap();
        (response.status(), response.text().await.unwrap())
    };
    assert_eq!(admin.get("/log-level").await, (StatusCode::OK, "info\n".to_owned()));
    assert_eq!(
        put("warn,keda_http=debug\n").await,
        (StatusCode::OK, "warn,keda_http=debug\n".to_owned())
    );
    let (status, reason) = put("loud").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        reason.contains("\"loud\"") && reason.contains("trace, debug, info"),
        "{reason}"
    );
    assert_eq!(admin.get("/log-level").await.1, "warn,keda_http=debug\n");
}

#[tokio::test]
async fn http_and_grpc_share_the_port() {
    let admin = Admin::start().await;
    let status = admin
        .health()
        .await
        .check(liveness())
        .await
        .unwrap()
        .into_inner()
        .status;
    assert_eq!(status, 1);
    let h2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let response = h2.get(admin.url("/livez")).send().await.unwrap();
    assert_eq!(
        (response.status(), response.version()),
        (StatusCode::OK, reqwest::Version::HTTP_2)
    );
}

#[tokio::test]
async fn a_grpc_service_that_is_not_there_is_unimplemented() {
    let admin = Admin::start().await;
    let channel = tonic::transport::Channel::from_shared(admin.url(""))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut pending = tonic::client::Grpc::new(channel);
    pending.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/no.such.Service/Call");
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let error = pending
        .unary(tonic::Request::new(liveness()), path, codec)
        .await
        .unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn without_open_exchanges_the_end_is_at_once() {
    let admin = Admin::start().await;
    assert_eq!(admin.get("/livez").await.0, StatusCode::OK);
    let begin = Instant::now();
    admin.shutdown.cancel();
    admin.served.await.unwrap();
    assert!(begin.elapsed() < admin::GRACE);
}

#[tokio::test]
async fn an_endless_stream_does_not_hold_up_the_end() {
    let admin = Admin::start().await;
    let mut stream = admin.health().await.watch(liveness()).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().status, 1);
    let begin = Instant::now();
    admin.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(20), admin.served)
        .await
        .unwrap()
        .unwrap();
    assert!(begin.elapsed() >= admin::GRACE);
}
