//! The idle connections of one worker to one endpoint, and the limit of concurrent dials.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::upstream::request_body::RequestBody;

/// Concurrent dials of one worker to an endpoint that has accepted a connection before. Until then one request dials
/// for all, so that 10,000 held requests do not dial an endpoint that is not up.
const DIALS: usize = 32;

/// The connections of one worker to one endpoint. Empty ones take no memory beyond a pointer.
pub(crate) struct Pool {
    max_idle: usize,
    inner: OnceLock<Box<Inner>>,
}

struct Inner {
    /// Newest last. The newest is used first, so that the others reach the idle timeout.
    idle: Mutex<Vec<Idle>>,
    shared: Mutex<Option<http2::SendRequest<RequestBody>>>,
    dials: Semaphore,
    proven: OnceLock<()>,
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

/// The permission to dial.
pub(crate) struct DialPermit<'a> {
    inner: &'a Inner,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    /// An empty pool that keeps at most `max_idle` connections.
    pub(crate) fn new(max_idle: usize) -> Self {
        Self {
            max_idle,
            inner: OnceLock::new(),
        }
    }

    fn inner(&self) -> &Inner {
        self.inner.get_or_init(|| {
            Box::new(Inner {
                idle: Mutex::default(),
                shared: Mutex::default(),
                dials: Semaphore::new(1),
                proven: OnceLock::new(),
            })
        })
    }

    /// Removes and returns an idle HTTP/1.1 connection.
    pub(crate) fn take_idle(&self) -> Option<http1::SendRequest<RequestBody>> {
        let mut idle = self.inner.get()?.idle.lock();
        loop {
            let Idle { sender, .. } = idle.pop()?;
            if sender.is_ready() {
                return Some(sender);
            }
        }
    }

    /// The HTTP/2 connection that all requests share.
    pub(crate) fn shared(&self) -> Option<http2::SendRequest<RequestBody>> {
        let mut shared = self.inner.get()?.shared.lock();
        if shared.as_ref().is_some_and(http2::SendRequest::is_closed) {
            *shared = None;
        }
        shared.clone()
    }

    /// Makes this the HTTP/2 connection that all requests share.
    pub(crate) fn share(&self, sender: &http2::SendRequest<RequestBody>) {
        *self.inner().shared.lock() = Some(sender.clone());
    }

    /// Keeps a connection for a later request, unless there are `max_idle` already.
    pub(crate) fn put(&self, sender: http1::SendRequest<RequestBody>) {
        let mut idle = self.inner().idle.lock();
        if idle.len() < self.max_idle {
            idle.push(Idle {
                sender,
                since: Instant::now(),
            });
        }
    }

    /// Waits for the permission to dial, first come, first served. `None` when the endpoint has been removed.
    pub(crate) async fn permit(&self) -> Option<DialPermit<'_>> {
        let inner = self.inner();
        let permit = inner.dials.acquire().await.ok()?;
        Some(DialPermit { inner, _permit: permit })
    }

    /// Closes the connections that have been idle for longer than `limit`.
    pub(crate) fn close_idle(&self, limit: Duration) {
        if let Some(inner) = self.inner.get() {
            let mut idle = inner.idle.lock();
            idle.retain(|idle| idle.since.elapsed() < limit && !idle.sender.is_closed());
            idle.shrink_to_fit();
        }
    }

    /// The endpoint has been removed: closes the idle connections and refuses further dials.
    pub(crate) fn close_all(&self) {
        let inner = self.inner();
        inner.idle.lock().clear();
        *inner.shared.lock() = None;
        inner.dials.close();
    }
}

impl DialPermit<'_> {
    /// The endpoint has accepted a connection: from now on [`DIALS`] may be dialled at a time.
    pub(crate) fn mark_proven(&self) {
        if self.inner.proven.set(()).is_ok() {
            self.inner.dials.add_permits(DIALS - 1);
        }
    }
}
