use std::sync::mpsc;

use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use parking_lot::Mutex;

use super::*;
use crate::telemetry::logged::logged;

const NO_SPANS: Vec<SpanData> = Vec::new();

/// Fails as long as it is exporter to.
#[derive(Debug, Default)]
struct Moody {
    failing: AtomicBool,
}

impl SpanExporter for Moody {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        if self.failing.load(Ordering::Relaxed) {
            return Err(OTelSdkError::InternalFailure("down".to_owned()));
        }
        Ok(())
    }
}

#[test]
fn failures_are_logged_when_they_begin_and_when_they_end() {
    let exporter = LoggingExporter {
        exporter: Moody::default(),
        destination: "http://collector".to_owned(),
        traffic: Arc::default(),
        queue: 10,
        failing: AtomicBool::new(false),
        lost: AtomicU64::new(0),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let lines = logged(|| {
        for failing in [false, true, true, true, false, false, true] {
            exporter.exporter.failing.store(failing, Ordering::Relaxed);
            let _ = runtime.block_on(exporter.export(NO_SPANS));
        }
    });
    let words = ["cannot be exported", "exported again", "cannot be exported"];
    assert_eq!(lines.len(), words.len(), "{lines:?}");
    for (line, word) in lines.iter().zip(words) {
        assert!(
            line.contains(word) && line.contains("destination=\"http://collector\""),
            "{line}"
        );
    }
}

/// Exports only when it is let.
#[derive(Debug)]
struct Stuck {
    go: Mutex<mpsc::Receiver<()>>,
}

impl SpanExporter for Stuck {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        let _ = self.go.lock().recv();
        Ok(())
    }
}

#[test]
fn spans_that_the_queue_cannot_hold_are_counted() {
    let batch = Batch {
        delay: Duration::from_secs(3600),
        queue: 4,
        size: 4,
        timeout: Duration::from_secs(30),
    };
    let (go, gone) = mpsc::channel();
    let processor = Counting::new(Stuck { go: Mutex::new(gone) }, String::new(), batch);
    let traffic = processor.traffic.clone();
    let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
    let tracer = provider.tracer("test");
    for _ in 0..100 {
        tracer.start("span").end();
    }
    drop(go);
    let lines = logged(|| provider.shutdown().unwrap());
    let (ended, accepted) = (
        traffic.ended.load(Ordering::Relaxed),
        traffic.accepted.load(Ordering::Relaxed),
    );
    assert_eq!(ended, 100);
    assert!(
        (4..=8).contains(&accepted),
        "a batch that is stuck and a full queue: {accepted}"
    );
    assert_eq!(traffic.dropped(), ended - accepted);
    assert!(lines[0].contains(&format!("dropped={}", ended - accepted)), "{lines:?}");
}
