//! gRPC calls to an app at zero: a unary one, and one in which each message is sent once the one before has come back.
//!
//! The demo server gives back whatever messages it gets, so any method and any message will do.

use anyhow::{Context, Result, ensure};
use futures_util::stream;
use http::uri::PathAndQuery;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Findings, Space, Story};
use keda_http_proto::externalscaler::ScaledObjectRef;
use tokio::sync::mpsc;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "grpc",
    says: "gRPC calls, unary and bidirectional, wake an h2c app",
    alone: false,
    run: |space| Box::pin(run(space)),
};

const MESSAGES: usize = 10;

async fn run(space: Space) -> Result<Findings> {
    let echo = space
        .app_with("echo", 0, &[], ", appProtocol: kubernetes.io/h2c")
        .await?;
    space.route("echo", "").await?;
    space.scaled("echo", 1).await?;
    echo.asleep(PATIENCE).await?;
    let mut client = Grpc::new(connect(&space).await?);
    unary(&mut client).await?;
    tokio::time::timeout(PATIENCE, both_directions(&mut client)).await??;
    Ok(Findings::new(format!(
        "one unary call from zero, {MESSAGES} messages in a stream, each sent after the one before had come back"
    )))
}

async fn connect(space: &Space) -> Result<Channel> {
    let url = space.cluster.interceptor().await?;
    let origin = format!("http://{}", space.host("echo")).parse()?;
    let endpoint = Endpoint::from_shared(url)?.origin(origin).timeout(PATIENCE);
    Ok(endpoint.connect().await?)
}

async fn unary(client: &mut Grpc<Channel>) -> Result<()> {
    client.ready().await?;
    let path = PathAndQuery::from_static("/demo.Echo/Unary");
    let answer = client.unary(Request::new(message(0)), path, codec()).await?;
    ensure!(answer.get_ref() == &message(0), "{answer:?}");
    Ok(())
}

async fn both_directions(client: &mut Grpc<Channel>) -> Result<()> {
    let (sender, mut receiver) = mpsc::channel(1);
    let messages = stream::poll_fn(move |context| receiver.poll_recv(context));
    sender.send(message(0)).await?;
    client.ready().await?;
    let path = PathAndQuery::from_static("/demo.Echo/Stream");
    let answers = client.streaming(Request::new(messages), path, codec()).await?;
    let mut answers = answers.into_inner();
    for number in 0..MESSAGES {
        let back = answers.message().await?;
        let back = back.with_context(|| format!("no message {number}"))?;
        ensure!(back == message(number), "{back:?} came back as message {number}");
        if number + 1 < MESSAGES {
            sender.send(message(number + 1)).await?;
        }
    }
    drop(sender);
    let more = answers.message().await?;
    ensure!(more.is_none(), "{more:?} was never sent");
    Ok(())
}

fn message(number: usize) -> ScaledObjectRef {
    ScaledObjectRef {
        name: format!("message {number}"),
        ..ScaledObjectRef::default()
    }
}

fn codec() -> ProstCodec<ScaledObjectRef, ScaledObjectRef> {
    ProstCodec::default()
}
