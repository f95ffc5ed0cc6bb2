//! What is not a plain request: a WebSocket and gRPC calls, unary and streaming, both to an app at zero.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt, stream};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};
use keda_http_proto::externalscaler::ScaledObjectRef;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::CHAPTER;

pub const WEB_SOCKET: Story = Story {
    chapter: CHAPTER,
    name: "websocket",
    says: "A WebSocket to an app at zero is opened by its first pod, and messages come back",
    alone: false,
    tell: |space| Box::pin(web_socket(space)),
};

pub const GRPC: Story = Story {
    chapter: CHAPTER,
    name: "grpc",
    says: "gRPC calls, unary and in both directions at once, reach an h2c app that was at zero",
    alone: false,
    tell: |space| Box::pin(grpc(space)),
};

async fn web_socket(space: Space) -> Result<Told> {
    let echo = space.app("echo", 0, &[]).await?;
    space.route("echo", "").await?;
    space.scaled("echo", 1).await?;
    echo.asleep(PATIENCE).await?;
    let url = format!(
        "{}/echo",
        space.cluster.interceptor().await?.replace("http://", "ws://")
    );
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("host", space.host("echo").parse()?);
    let opening = tokio_tungstenite::connect_async(request);
    let (mut socket, response) = tokio::time::timeout(PATIENCE, opening).await??;
    ensure!(response.status() == 101, "{response:?}");
    for number in 0..10 {
        let sent = Message::text(format!("message {number}"));
        socket.send(sent.clone()).await?;
        let back = tokio::time::timeout(Duration::from_secs(5), socket.next()).await?;
        ensure!(back.context("closed")?? == sent, "message {number}");
    }
    ensure!(echo.replicas().await? == 1, "an open WebSocket keeps the app up");
    Ok(Told::that("10 messages there and back"))
}

/// The demo server gives back whatever messages it gets, so any method and any message will do.
async fn grpc(space: Space) -> Result<Told> {
    let echo = space
        .app_with("echo", 0, &[], ", appProtocol: kubernetes.io/h2c")
        .await?;
    space.route("echo", "").await?;
    space.scaled("echo", 1).await?;
    echo.asleep(PATIENCE).await?;
    let url = space.cluster.interceptor().await?;
    let origin = format!("http://{}", space.host("echo")).parse()?;
    let channel = Endpoint::from_shared(url)?
        .origin(origin)
        .timeout(PATIENCE)
        .connect()
        .await?;
    let mut client = tonic::client::Grpc::new(channel);
    let message = |number: usize| ScaledObjectRef {
        name: format!("message {number}"),
        ..ScaledObjectRef::default()
    };
    client.ready().await?;
    let path = http::uri::PathAndQuery::from_static("/demo.Echo/Unary");
    let codec = ProstCodec::<ScaledObjectRef, ScaledObjectRef>::default();
    let answer = client.unary(tonic::Request::new(message(0)), path, codec).await?;
    ensure!(answer.into_inner() == message(0), "the unary call");

    client.ready().await?;
    let path = http::uri::PathAndQuery::from_static("/demo.Echo/Stream");
    let codec = ProstCodec::<ScaledObjectRef, ScaledObjectRef>::default();
    let messages = stream::iter((0..10).map(message));
    let answers = client.streaming(tonic::Request::new(messages), path, codec).await?;
    let back: Vec<_> = answers.into_inner().collect().await;
    ensure!(back.len() == 10 && back.iter().all(Result::is_ok), "{back:?}");
    Ok(Told::that("one unary call from zero, ten messages in a stream"))
}
