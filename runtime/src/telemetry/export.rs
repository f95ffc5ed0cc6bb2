//! How finished spans leave the process: a bounded queue, a thread of its own, and one of three exporters.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, ClientTlsConfig};

use super::console::Console;
use super::otlp::{Collector, Protocol};
use super::own_runtime::OwnRuntime;
use super::settings::{Batch, Destination, SpanSettings};
use crate::env::EnvError;

/// The processor of finished spans.
pub(super) fn processor(settings: SpanSettings) -> Result<Counting, EnvError> {
    let batch = settings.batch;
    match settings.destination {
        Destination::Console => Ok(Counting::new(Console, "standard output".to_owned(), batch)),
        Destination::Collector(collector) => {
            let exporter = ToCollector::new(&collector, batch.timeout)?;
            Ok(Counting::new(exporter, collector.endpoint.to_string(), batch))
        }
    }
}

/// Spans on their way: how many ended, how many reached the exporter. What is in neither place was dropped.
#[derive(Debug, Default)]
struct Traffic {
    ended: AtomicU64,
    accepted: AtomicU64,
    drops_reported: AtomicBool,
}

impl Traffic {
    fn dropped(&self) -> u64 {
        let accepted = self.accepted.load(Ordering::Relaxed);
        self.ended.load(Ordering::Relaxed).saturating_sub(accepted)
    }

    /// Says once that the queue overflows. Spans that still wait are not lost, hence `queue`.
    fn report_drops(&self, queue: usize) {
        let waiting_at_most = u64::try_from(queue).unwrap_or(u64::MAX);
        let overflown = self.dropped() > waiting_at_most;
        if overflown && !self.drops_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(queue, "spans end faster than they can be exported; some are dropped");
        }
    }
}

/// The SDK's batch processor, which drops what its queue cannot hold without a log line; this one counts.
#[derive(Debug)]
pub(super) struct Counting {
    batches: BatchSpanProcessor,
    traffic: Arc<Traffic>,
}

impl Counting {
    fn new(exporter: impl SpanExporter + 'static, destination: String, batch: Batch) -> Self {
        let traffic = Arc::<Traffic>::default();
        let exporter = LoggingExporter {
            exporter,
            destination,
            traffic: traffic.clone(),
            queue: batch.queue,
            failing: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(batch.queue)
            .with_max_export_batch_size(batch.size)
            .with_scheduled_delay(batch.delay)
            .build();
        Self {
            batches: BatchSpanProcessor::new(exporter, config),
            traffic,
        }
    }
}

impl SpanProcessor for Counting {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.batches.on_end(span);
        self.traffic.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let result = self.batches.shutdown_with_timeout(timeout);
        let dropped = self.traffic.dropped();
        if dropped > 0 {
            tracing::warn!(dropped, "spans were dropped before they could be exported");
        }
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Logs failures of an exporter when they begin and when they end, not batch by batch.
#[derive(Debug)]
struct LoggingExporter<E> {
    exporter: E,
    destination: String,
    traffic: Arc<Traffic>,
    queue: usize,
    failing: AtomicBool,
    lost: AtomicU64,
}

impl<E> LoggingExporter<E> {
    fn log_outcome(&self, result: &OTelSdkResult, spans: u64) {
        match result {
            Ok(()) if self.failing.swap(false, Ordering::Relaxed) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                tracing::info!(destination = self.destination, lost, "spans are exported again");
            }
            Ok(()) => {}
            Err(error) => {
                self.lost.fetch_add(spans, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    let destination = &self.destination;
                    tracing::warn!(destination, %error, "spans cannot be exported; further failures are not logged until an export succeeds");
                }
            }
        }
    }
}

impl<E: SpanExporter> SpanExporter for LoggingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        self.traffic.report_drops(self.queue.saturating_add(batch.len()));
        self.traffic.accepted.fetch_add(spans, Ordering::Relaxed);
        let result = self.exporter.export(batch).await;
        self.log_outcome(&result, spans);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// OTLP on a runtime and a thread of its own. So a flush works wherever it is asked for, on the only thread of the
/// program's runtime or after its end; exports disturb nobody; and a connection that ends between two exports is
/// noticed then, not by the next export, which would be lost.
struct ToCollector {
    runtime: OwnRuntime,
    exporter: opentelemetry_otlp::SpanExporter,
    limit: Duration,
}

impl fmt::Debug for ToCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ToCollector").finish_non_exhaustive()
    }
}

impl ToCollector {
    fn new(collector: &Collector, limit: Duration) -> Result<Self, EnvError> {
        let runtime = OwnRuntime::new("span-export").map_err(|error| collector.unusable(&error))?;
        let exporter = {
            let _inside = runtime.handle.enter(); // The gRPC channel wants to know its runtime.
            match collector.protocol {
                Protocol::Grpc => over_grpc(collector)?,
                Protocol::Http => over_http(collector)?,
            }
        };
        Ok(Self {
            runtime,
            exporter,
            limit,
        })
    }
}

impl SpanExporter for ToCollector {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        std::future::ready(self.runtime.handle.block_on(async {
            let exported = tokio::time::timeout(self.limit, self.exporter.export(batch));
            exported.await.unwrap_or(Err(OTelSdkError::Timeout(self.limit)))
        }))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

fn over_grpc(collector: &Collector) -> Result<opentelemetry_otlp::SpanExporter, EnvError> {
    let headers: HeaderMap = collector.headers.iter().cloned().collect();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(collector.endpoint.to_string())
        .with_timeout(collector.timeout)
        .with_metadata(MetadataMap::from_headers(headers));
    let exporter = if collector.endpoint.scheme_str() == Some("https") {
        exporter.with_tls_config(tls(collector))
    } else {
        exporter
    };
    exporter.build().map_err(|error| collector.unusable(&error))
}

fn tls(collector: &Collector) -> ClientTlsConfig {
    let tls = ClientTlsConfig::new().with_native_roots();
    match &collector.certificates {
        Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
        None => tls,
    }
}

fn over_http(collector: &Collector) -> Result<opentelemetry_otlp::SpanExporter, EnvError> {
    let client = collector.http_client()?;
    let text = |(name, value): &(http::HeaderName, http::HeaderValue)| {
        Some((name.to_string(), value.to_str().ok()?.to_owned()))
    };
    opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(collector.endpoint.to_string())
        .with_timeout(collector.timeout)
        .with_headers(collector.headers.iter().filter_map(text).collect())
        .build()
        .map_err(|error| collector.unusable(&error))
}

#[cfg(test)]
mod tests;
