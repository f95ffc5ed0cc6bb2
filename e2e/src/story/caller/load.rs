//! Many requests: at a constant rate, or all at once. Dropping the load or the burst aborts its requests.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use parking_lot::Mutex;
use reqwest::Client;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::tally::{Counts, Tally};
use super::{client, send};

/// Requests that were sent at the same time. Await it for their tally; dropping it aborts them.
pub type Burst = AbortOnDropHandle<Tally>;

/// Sends `count` requests at the same time.
///
/// # Errors
/// When the HTTP client cannot be built.
pub fn burst(count: usize, url: &str, host: &str) -> Result<Burst> {
    let target = Target::new(url, host)?;
    let counts = target.counts.clone();
    let all = tokio::spawn(async move {
        join_all((0..count).map(|_| target.request())).await;
        counts.lock().so_far()
    });
    Ok(AbortOnDropHandle::new(all))
}

/// Requests at a constant rate, independent of the answers, until it is stopped. Dropping it aborts its requests.
pub struct Load {
    stop: CancellationToken,
    sending: AbortOnDropHandle<()>,
    counts: Arc<Mutex<Counts>>,
}

impl Load {
    /// Starts to send.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn start(per_second: u32, url: &str, host: &str) -> Result<Self> {
        let target = Target::new(url, host)?;
        let (stop, counts) = (CancellationToken::new(), target.counts.clone());
        let sending = tokio::spawn(send_until(stop.clone(), Duration::from_secs(1) / per_second, target));
        Ok(Self {
            stop,
            sending: AbortOnDropHandle::new(sending),
            counts,
        })
    }

    /// The tally of the requests sent so far.
    pub fn so_far(&self) -> Tally {
        self.counts.lock().so_far()
    }

    /// Stops sending, and waits for the answers to what was sent.
    ///
    /// # Errors
    /// When the task has failed.
    pub async fn stop(self) -> Result<Tally> {
        self.stop.cancel();
        self.sending.await?;
        Ok(self.counts.lock().so_far())
    }
}

async fn send_until(stop: CancellationToken, every: Duration, target: Target) {
    let mut requests = JoinSet::new();
    let mut due = tokio::time::interval(every);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = due.tick() => {
                requests.spawn(target.request());
            }
            Some(_) = requests.join_next() => {}
        }
    }
    while requests.join_next().await.is_some() {}
}

/// Where requests go, and where they are counted.
struct Target {
    client: Client,
    url: String,
    host: String,
    counts: Arc<Mutex<Counts>>,
}

impl Target {
    fn new(url: &str, host: &str) -> Result<Self> {
        Ok(Self {
            client: client()?,
            url: url.to_owned(),
            host: host.to_owned(),
            counts: Arc::default(),
        })
    }

    /// One request. It counts as sent from this call on.
    fn request(&self) -> impl Future<Output = ()> + use<> {
        let (request, counts) = (
            self.client.get(&self.url).header("host", &self.host),
            self.counts.clone(),
        );
        let number = counts.lock().sent();
        async move {
            let answer = send(request).await;
            counts.lock().ended(number, answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::wait;

    const LIMIT: Duration = Duration::from_secs(10);

    async fn listen() -> (TcpListener, String) {
        keda_http_runtime::install_crypto_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    /// Accepts a connection and reads a request, which is not answered.
    async fn requested(listener: &TcpListener) -> TcpStream {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream
    }

    /// Reads until the caller has closed its side.
    async fn is_closed(mut stream: TcpStream) {
        // A reset is an end as well.
        let read = async { while stream.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {} };
        tokio::time::timeout(LIMIT, read).await.unwrap();
    }

    #[tokio::test]
    async fn requests_end_with_the_load_and_with_the_burst() {
        let (listener, url) = listen().await;
        let load = Load::start(20, &url, "a.test").unwrap();
        let stream = requested(&listener).await;
        let so_far = load.so_far();
        assert!(so_far.under_way() > 0 && so_far.answered == 0, "{so_far}");
        drop(load);
        is_closed(stream).await;

        let (listener, url) = listen().await;
        let burst = burst(2, &url, "a.test").unwrap();
        let streams = [requested(&listener).await, requested(&listener).await];
        drop(burst);
        for stream in streams {
            is_closed(stream).await;
        }
    }

    #[tokio::test]
    async fn a_load_that_is_stopped_has_an_answer_for_all_that_it_has_sent() {
        let (listener, url) = listen().await;
        let load = Load::start(100, &url, "a.test").unwrap();
        let answering = tokio::spawn(async move {
            loop {
                let mut stream = requested(&listener).await;
                let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        });
        let some = async || (load.so_far().answered >= 3).then_some(());
        wait::until_measured("it is not answered", LIMIT, some).await.unwrap();
        let tally = load.stop().await.unwrap();
        answering.abort();
        tally.expect_all(LIMIT).unwrap();
        assert_eq!(tally.sent, tally.answered);
    }
}
