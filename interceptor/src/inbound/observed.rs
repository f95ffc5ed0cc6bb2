//! What the bytes of a client's connection have shown so far.

use std::future::poll_fn;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::SetOnce;

use super::flood::FrameKind;
use super::framing::{Framing, ViolationKind};
use super::rewrite::Extra;

/// What the bytes of a connection have shown so far. [`super::http1::Http1Io`] writes it and requests read it, in the
/// same task.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Request heads that are complete.
    heads: AtomicU64,
    /// The last of these asks for an upgrade: no other head follows, and the rest is not checked.
    upgrade: AtomicBool,
    /// The response to that request has switched to the other protocol: what follows is a tunnel.
    switched: AtomicBool,
    /// The client has sent something behind the message of the last complete head.
    ahead: AtomicBool,
    /// The held request that waits for more than itself.
    held: AtomicWaker,
    /// Bytes that have been read from the connection.
    received: AtomicU64,
    /// Bytes that the message of the last complete head needs at least, besides those that have been read.
    missing: AtomicU64,
    /// The client has closed its sending side and still reads.
    half_closed: SetOnce<()>,
    /// What went around hyper, by the number of its request.
    extra: Mutex<Vec<(u64, Extra)>>,
    /// The length of `extra`, so that the lock is rarely taken.
    extra_length: AtomicUsize,
    /// Why the connection is ended, if the client is the reason.
    refused: OnceLock<Refused>,
}

/// Why a connection is ended before its bytes become a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0}")]
    Violation(ViolationKind),
    #[error("a header line is malformed")]
    HeaderLine,
    #[error("too many {0:?} frames")]
    Flood(FrameKind),
}

impl Observed {
    /// Whether what follows the request of this number (the first is 1) is not checked, so that it must not be read as
    /// HTTP.
    pub(crate) fn asks_for_upgrade(&self, number: u64) -> bool {
        self.upgrade.load(Ordering::Relaxed) && number >= self.heads.load(Ordering::Relaxed)
    }

    /// Notes that a response has switched protocols. The end of what the client sends is the tunnel's from now on.
    pub(crate) fn switch(&self) {
        self.switched.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_switched(&self) -> bool {
        self.switched.load(Ordering::Relaxed)
    }

    /// Why the connection is ended, if the client's bytes are the reason.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused.get().copied()
    }

    /// Notes a byte that must not pass. It is behind a request that is held, too.
    pub(super) fn refuse(&self, refused: Refused) {
        let _ = self.refused.set(refused);
        self.ahead.store(true, Ordering::Relaxed);
        self.held.wake();
    }

    pub(super) fn is_half_closed(&self) -> bool {
        self.half_closed.initialized()
    }

    /// Whether the client has closed its sending side after the request of this number.
    pub(crate) fn is_last(&self, number: u64) -> bool {
        self.is_half_closed() && number >= self.heads.load(Ordering::Relaxed)
    }

    /// The number of bytes that have been read from the connection.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that the request of this number needs at least, besides those that have been read.
    pub(super) fn missing(&self, number: u64) -> u64 {
        if number < self.heads.load(Ordering::Relaxed) {
            return 0;
        }
        self.missing.load(Ordering::Relaxed)
    }

    /// Notes that the client has closed its sending side and waits for the response.
    pub(crate) fn half_close(&self) {
        let _ = self.half_closed.set(());
    }

    /// Waits until the client has closed its sending side and waits for the response.
    pub(crate) async fn wait_half_closed(&self) {
        self.half_closed.wait().await;
    }

    /// Waits until the client has sent something behind the request of this number. hyper does not read from the
    /// connection then until it has answered the request.
    pub(super) async fn wait_ahead(&self, number: u64) {
        poll_fn(|cx| {
            self.held.register(cx.waker());
            if number < self.heads.load(Ordering::Relaxed) || self.ahead.load(Ordering::Relaxed) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Removes and returns what went around hyper of the request of this number.
    pub(crate) fn take_extra(&self, number: u64) -> Option<Extra> {
        if self.extra_length.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut extra = self.extra.lock();
        let at = extra.iter().position(|(of, _)| *of == number)?;
        self.extra_length.fetch_sub(1, Ordering::Relaxed);
        Some(extra.swap_remove(at).1)
    }

    pub(super) fn add_extra(&self, number: u64, extra: Extra) {
        if extra != Extra::default() {
            self.extra_length.fetch_add(1, Ordering::Relaxed);
            self.extra.lock().push((number, extra));
        }
    }

    /// `ahead` is the number of bytes that have been read and that the framing has not followed yet.
    pub(super) fn update(&self, framing: &Framing, ahead: u64) {
        let is_more = framing.is_ahead() || framing.heads() != self.heads.load(Ordering::Relaxed);
        self.heads.store(framing.heads(), Ordering::Relaxed);
        self.upgrade.store(framing.asks_for_upgrade(), Ordering::Relaxed);
        self.missing
            .store(framing.missing().saturating_sub(ahead), Ordering::Relaxed);
        self.ahead.store(framing.is_ahead(), Ordering::Relaxed);
        if is_more {
            self.held.wake();
        }
    }
}
