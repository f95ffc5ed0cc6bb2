//! Requests, one or many at a constant rate, and their results.

mod load;
mod tally;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder};
use tokio::time::Instant;

pub use load::{Burst, Load, burst};
pub use tally::Tally;

/// How long an answer may take unless a story sets another limit.
const PATIENCE: Duration = Duration::from_secs(240);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body as text.
    pub body: String,
    /// From the request to the end of the body.
    pub took: Duration,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The pod that has answered, as the demo server names it.
    pub fn pod(&self) -> &str {
        self.header("x-pod").unwrap_or_default()
    }

    /// Fails unless the status is `status`.
    ///
    /// # Errors
    /// With the whole answer.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "{status} expected, not {self:?}");
        Ok(self)
    }
}

/// An HTTP/1.1 client with keep-alive, which sends a request again when its connection closed before it was read.
///
/// # Errors
/// When it cannot be built.
pub fn client() -> Result<Client> {
    Ok(Client::builder().no_proxy().timeout(PATIENCE).build()?)
}

/// Sends a request and reads its answer.
///
/// # Errors
/// When there is none.
pub async fn send(request: RequestBuilder) -> Result<Answer> {
    let started = Instant::now();
    let response = request.send().await.context("no answer")?;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await.context("half an answer")?,
        took: started.elapsed(),
    })
}

/// `GET` at `url`, for `host`.
///
/// # Errors
/// When there is no answer.
pub async fn get(url: &str, host: &str) -> Result<Answer> {
    send(client()?.get(url).header("host", host)).await
}
