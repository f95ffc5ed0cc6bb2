//! A closed loop: each connection sends its next request when the last one is answered.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::app::BODY;
use crate::program;

/// How long the load runs before anything is measured.
const WARM_UP: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub request: Vec<u8>,
    /// How many connections, each with one request at a time.
    pub connections: usize,
}

#[derive(Debug)]
pub struct Outcome {
    pub requests: usize,
    /// Answered requests before, in and after the measured time.
    pub all: usize,
    pub time: Duration,
    /// What the server's process and its children have used in it.
    pub cpu: Duration,
    pub latencies: Vec<Duration>,
}

#[derive(Default)]
struct Progress {
    stop: Cell<bool>,
    latencies: RefCell<Vec<Duration>>,
}

impl Load {
    /// Runs for a warm-up and then for `time`; `process` is the server whose use is read.
    pub async fn run(&self, process: u32, time: Duration) -> Result<Outcome> {
        let progress = Rc::new(Progress::default());
        let mut loops = JoinSet::new();
        for _ in 0..self.connections {
            let stream = TcpStream::connect(self.address)
                .await
                .context("the load generator cannot connect")?;
            loops.spawn_local(repeat(stream, self.request.clone(), progress.clone()));
        }
        tokio::select! {
            () = tokio::time::sleep(WARM_UP) => {}
            Some(ended) = loops.join_next() => { ended??; bail!("a connection ended while the load was running"); }
        }
        let warm_up = progress.latencies.take().len();
        let (started, before) = (Instant::now(), program::cpu_time(process)?);
        tokio::time::sleep(time).await;
        let (ended, after) = (Instant::now(), program::cpu_time(process)?);
        let latencies = progress.latencies.take();
        progress.stop.set(true);
        while let Some(done) = loops.join_next().await {
            done??;
        }
        let all = warm_up + latencies.len() + progress.latencies.take().len();
        Ok(Outcome {
            requests: latencies.len(),
            all,
            time: ended - started,
            cpu: after.saturating_sub(before),
            latencies,
        })
    }
}

async fn repeat(mut stream: TcpStream, request: Vec<u8>, progress: Rc<Progress>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 1024];
    while !progress.stop.get() {
        let sent = Instant::now();
        stream.write_all(&request).await?;
        read_response(&mut stream, &mut buffer).await?;
        progress.latencies.borrow_mut().push(sent.elapsed());
    }
    Ok(())
}

/// Reads one answer of the app, whose body's length is known.
async fn read_response(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        filled += read;
        let response = &buffer[..filled];
        if read == 0 || !response.starts_with(b"HTTP/1.1 200") {
            bail!("unexpected answer: {:?}", String::from_utf8_lossy(response));
        }
        if memmem::find(response, b"\r\n\r\n").is_some_and(|end| end + 4 + BODY == filled) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{app, client};

    #[tokio::test(flavor = "local")]
    async fn every_request_on_every_connection_is_counted() {
        let address = app::spawn().await.unwrap();
        let load = Load {
            address,
            request: client::get("app", "/", ""),
            connections: 8,
        };
        let outcome = load.run(std::process::id(), Duration::from_millis(50)).await.unwrap();
        assert!(
            outcome.requests >= 8 && outcome.all > outcome.requests,
            "{} {}",
            outcome.requests,
            outcome.all
        );
        assert_eq!(outcome.latencies.len(), outcome.requests);
    }
}
