//! Export before the batch delay has passed, for spans that are rare and waited for.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_sdk::trace::SdkTracerProvider;

/// How long spans that end together are collected: half of the 200 ms within which they are to leave.
const COLLECTED_FOR: Duration = Duration::from_millis(100);

/// Asks for an export of the spans that have ended. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PromptExport {
    requests: SyncSender<()>,
}

impl PromptExport {
    /// Exports on a thread of its own, since a flush blocks. The thread ends with the last clone.
    pub fn new(provider: SdkTracerProvider) -> Self {
        let (requests, requested) = sync_channel(1);
        // Without the thread spans leave when the batch delay has passed.
        let _ = thread::Builder::new()
            .name("span-flush".to_owned())
            .spawn(move || flush_when_requested(&provider, &requested));
        Self { requests }
    }

    /// The spans that have ended leave within 200 ms, whatever the batch delay.
    pub fn request(&self) {
        // A full channel means that a flush is due, which these spans are part of.
        let _ = self.requests.try_send(());
    }
}

fn flush_when_requested(provider: &SdkTracerProvider, requested: &Receiver<()>) {
    while requested.recv().is_ok() {
        let until = Instant::now() + COLLECTED_FOR;
        while requested
            .recv_timeout(until.saturating_duration_since(Instant::now()))
            .is_ok()
        {}
        // The exporter logs its failures itself.
        let _ = provider.force_flush();
    }
}
