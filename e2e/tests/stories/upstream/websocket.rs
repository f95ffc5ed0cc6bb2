//! A WebSocket to an app at zero. It keeps the app up for as long as it is open, also while nothing is sent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Findings, Space, Story};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "websocket",
    says: "A WebSocket to an app at zero wakes it, exchanges messages, and keeps the app up while idle",
    alone: false,
    run: |space| Box::pin(run(space)),
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// An app without requests is at zero long before.
const IDLE: Duration = Duration::from_secs(20);

async fn run(space: Space) -> Result<Findings> {
    let app = space.app("echo", 0, &[]).await?;
    space.route("echo", "").await?;
    space.scaled("echo", 1).await?;
    app.asleep(PATIENCE).await?;
    let mut socket = open(&space).await?;
    for number in 0..10 {
        echo(&mut socket, number).await?;
    }
    app.stays(IDLE, 1).await?;
    echo(&mut socket, 10).await?;
    socket.close(None).await?;
    drop(socket);
    app.asleep(PATIENCE).await?;
    Ok(Findings::new(format!(
        "10 messages there and back, one more after {} s of silence with the app up; closed, it goes to zero",
        IDLE.as_secs()
    )))
}

async fn open(space: &Space) -> Result<Socket> {
    let address = space.cluster.interceptor().await?;
    let url = format!("{}/echo", address.replace("http://", "ws://"));
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("host", space.host("echo").parse()?);
    let opening = tokio_tungstenite::connect_async(request);
    let (socket, response) = tokio::time::timeout(PATIENCE, opening).await??;
    ensure!(response.status() == 101, "{response:?}");
    Ok(socket)
}

async fn echo(socket: &mut Socket, number: usize) -> Result<()> {
    let sent = Message::text(format!("message {number}"));
    socket.send(sent.clone()).await?;
    let back = tokio::time::timeout(Duration::from_secs(5), socket.next()).await;
    let back = back.with_context(|| format!("message {number}"))?.context("closed")??;
    ensure!(back == sent, "{back:?} came back, not {sent:?}");
    Ok(())
}
