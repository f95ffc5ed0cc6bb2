//! gRPC health, reflection and the metrics port.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::interceptor::Interceptor;
use crate::keda::{channel, next, wait_until, within};
use crate::scaler::Scaler;

async fn health(address: SocketAddr, service: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    Ok(HealthClient::new(channel(address))
        .check(request)
        .await?
        .into_inner()
        .status())
}

#[tokio::test]
async fn it_is_ready_when_the_first_attempts_have_ended_even_those_that_failed() {
    let interceptor = Interceptor::start();
    let scaler = Scaler::start(&[interceptor.address, "127.0.0.1:1".parse().unwrap()], &[]).await;
    wait_until(
        || health(scaler.address, "readiness"),
        |status| matches!(status, Ok(ServingStatus::Serving)),
    )
    .await;
    for service in ["liveness", ""] {
        assert_eq!(health(scaler.address, service).await.unwrap(), ServingStatus::Serving);
    }
    assert_eq!(
        health(scaler.address, "something").await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn it_is_alive_but_not_ready_while_the_first_attempt_lasts() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scaler = Scaler::start(&[silent.local_addr().unwrap()], &[]).await;
    let _connection = within(silent.accept()).await.unwrap();
    assert_eq!(
        health(scaler.address, "liveness").await.unwrap(),
        ServingStatus::Serving
    );
    assert_eq!(
        health(scaler.address, "readiness").await.unwrap(),
        ServingStatus::NotServing
    );
}

#[tokio::test]
async fn it_is_not_ready_as_soon_as_shutdown_begins() {
    let interceptor = Interceptor::start();
    let scaler = Scaler::start(&[interceptor.address], &[]).await;
    wait_until(
        || health(scaler.address, "readiness"),
        |status| matches!(status, Ok(ServingStatus::Serving)),
    )
    .await;
    let request = HealthCheckRequest {
        service: "readiness".to_owned(),
    };
    let mut watch = HealthClient::new(channel(scaler.address))
        .watch(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(next(&mut watch).await.unwrap().status(), ServingStatus::Serving);
    scaler.shutdown.cancel();
    assert_eq!(next(&mut watch).await.unwrap().status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn reflection_is_there_only_when_it_is_asked_for() {
    for (setting, expected) in [("false", None), ("true", Some("externalscaler.ExternalScaler"))] {
        let scaler = Scaler::start(
            &["127.0.0.1:1".parse().unwrap()],
            &[("KEDA_HTTP_SCALER_REFLECTION", setting)],
        )
        .await;
        assert_eq!(
            services(scaler.address)
                .await
                .ok()
                .as_deref()
                .and_then(|all| find(all, expected?)),
            expected
        );
    }
}

fn find<'a>(services: &[String], wanted: &'a str) -> Option<&'a str> {
    services.iter().any(|service| service == wanted).then_some(wanted)
}

async fn services(address: SocketAddr) -> Result<Vec<String>, Status> {
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request,
    };
    let stream = tokio_stream::once(request);
    let mut answers = ServerReflectionClient::new(channel(address))
        .server_reflection_info(stream)
        .await?
        .into_inner();
    match answers.message().await?.and_then(|answer| answer.message_response) {
        Some(MessageResponse::ListServicesResponse(list)) => Ok(list.service.into_iter().map(|s| s.name).collect()),
        other => panic!("{other:?}"),
    }
}
