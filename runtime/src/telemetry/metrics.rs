//! Metrics that are pushed to a collector by OTLP/HTTP, beside being there for a scrape.
//!
//! What a scrape would be given is translated for each export, so an instrument costs nothing more for being pushed.
//! All values are since the start of the process, so an export that fails is made good by the next one.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use prometheus_client::registry::Registry;
use prost::Message;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::otlp::{Collector, FLUSH_LIMIT};
use super::own_runtime::OwnRuntime;
use crate::env::{EnvError, Environment};

mod exposition;
mod settings;
mod translation;

use exposition::Unreadable;
pub(crate) use settings::MetricSettings;
use translation::Translation;

/// The longest answer that is looked at for what a collector has rejected.
const LONGEST_ANSWER: u64 = 16 * 1024;

/// What a program measures.
#[derive(Clone)]
pub struct Instruments {
    /// The name of the instrumentation scope.
    pub scope: &'static str,
    /// The instruments.
    pub registry: Arc<Registry>,
    /// The labels that are integers as attributes; all others are strings.
    pub integers: &'static [&'static str],
    /// Instruments that have another name in OpenTelemetry than in a scrape: as registered, and as pushed.
    pub names: &'static [(&'static str, &'static str)],
}

impl Instruments {
    /// What an instrument is called where it is pushed.
    fn pushed_name<'a>(&self, registered: &'a str) -> &'a str {
        let other = self.names.iter().find(|(name, _)| *name == registered);
        other.map_or(registered, |(_, pushed)| pushed)
    }
}

impl fmt::Debug for Instruments {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Instruments").finish_non_exhaustive()
    }
}

/// Metrics are to be pushed: where they go, and how often.
#[derive(Debug)]
pub struct MetricPush {
    client: reqwest::Client,
    collector: Collector,
    interval: Duration,
    resource: Resource,
    start: SystemTime,
}

impl MetricPush {
    /// `None` unless `OTEL_EXPORTER_OTLP_METRICS_ENABLED` is true. `service_name` is fixed, as that of spans. To be
    /// called at the start of the process, since when its values count.
    ///
    /// # Errors
    /// When a variable cannot be used.
    pub fn from_environment(service_name: &'static str, environment: &Environment) -> Result<Option<Self>, EnvError> {
        let (settings, _) = crate::settings::read(environment, MetricSettings::read)?;
        settings.map(|settings| Self::new(service_name, settings)).transpose()
    }

    pub(crate) fn new(service_name: &'static str, settings: MetricSettings) -> Result<Self, EnvError> {
        crate::install_crypto_provider();
        Ok(Self {
            client: settings.collector.http_client()?,
            collector: settings.collector,
            interval: settings.interval,
            resource: settings.attributes.resource(service_name),
            start: SystemTime::now(),
        })
    }

    /// Exports from now on, on a thread of its own: a collector that is slow or gone disturbs nobody.
    ///
    /// # Errors
    /// When there can be no such thread.
    pub fn start(self, instruments: Instruments) -> std::io::Result<Pushing> {
        let runtime = OwnRuntime::new("metric-export")?;
        let (interval, stop) = (self.interval, CancellationToken::new());
        tracing::info!(destination = %self.collector.endpoint, ?interval, "metrics are pushed");
        let exports = Exporter::new(self, instruments).run(interval, stop.clone());
        Ok(Pushing {
            stop,
            exports: runtime.handle.spawn(exports),
            _runtime: runtime,
        })
    }
}

/// Metrics on their way, until this is dropped.
#[derive(Debug)]
pub struct Pushing {
    stop: CancellationToken,
    exports: JoinHandle<()>,
    _runtime: OwnRuntime,
}

impl Pushing {
    /// The last export, for at most [`FLUSH_LIMIT`]; one that is under way gives way to it.
    pub async fn finish(mut self) {
        self.stop.cancel();
        // It fails only when an export has panicked, which is logged.
        let _ = (&mut self.exports).await;
    }
}

/// Why an export has failed.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("{}", causes(.0))]
    NotSent(reqwest::Error),
    #[error("the collector answers {0}")]
    Refused(http::StatusCode),
    #[error("the collector has rejected {points} values: {reason}")]
    Rejected { points: i64, reason: String },
    #[error("it took longer than {FLUSH_LIMIT:?}")]
    Late,
}

impl From<reqwest::Error> for ExportError {
    fn from(error: reqwest::Error) -> Self {
        // The address is logged beside it.
        Self::NotSent(error.without_url())
    }
}

/// An error with what has caused it, which its own text leaves out.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[derive(Debug)]
struct Exporter {
    translation: Translation,
    client: reqwest::Client,
    headers: HeaderMap,
    destination: String,
    failing: bool,
}

impl Exporter {
    fn new(push: MetricPush, instruments: Instruments) -> Self {
        let mut headers: HeaderMap = push.collector.headers.into_iter().collect();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let attributes = ResourceAttributesWithSchema::from(&push.resource).attributes.0;
        Self {
            translation: Translation {
                instruments,
                resource: opentelemetry_proto::tonic::resource::v1::Resource {
                    attributes,
                    ..Default::default()
                },
                start: push.start,
            },
            client: push.client,
            headers,
            destination: push.collector.endpoint.to_string(),
            failing: false,
        }
    }

    /// Exports at every interval until `stop`, and then once more.
    async fn run(mut self, interval: Duration, stop: CancellationToken) {
        let every_interval = async {
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await; // The first one is at once.
            loop {
                ticks.tick().await;
                let exported = self.export().await;
                self.log_outcome(exported);
            }
        };
        stop.run_until_cancelled(every_interval).await;
        let last = tokio::time::timeout(FLUSH_LIMIT, self.export()).await;
        if let Err(error) = last.unwrap_or(Err(ExportError::Late)) {
            let destination = &self.destination;
            tracing::warn!(destination, %error, "the last metrics may not have been exported");
        }
    }

    async fn export(&self) -> Result<(), ExportError> {
        let request = self.translation.request(SystemTime::now())?;
        let sent = self.client.post(&self.destination).headers(self.headers.clone());
        let answer = sent.body(request.encode_to_vec()).send().await?;
        match answer.status() {
            status if status.is_success() => accepted(answer).await,
            status => Err(ExportError::Refused(status)),
        }
    }

    /// Logs failures when they begin and when they end.
    fn log_outcome(&mut self, exported: Result<(), ExportError>) {
        let failed_before = std::mem::replace(&mut self.failing, exported.is_err());
        let destination = &self.destination;
        match exported {
            Ok(()) if failed_before => tracing::info!(destination, "metrics are exported again"),
            Err(error) if !failed_before => {
                tracing::warn!(destination, %error, "metrics cannot be exported; further failures are not logged until an export succeeds");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// A collector may take a request and still reject some of it.
async fn accepted(answer: reqwest::Response) -> Result<(), ExportError> {
    if answer.content_length().is_none_or(|length| length > LONGEST_ANSWER) {
        return Ok(());
    }
    let answer = ExportMetricsServiceResponse::decode(answer.bytes().await?).unwrap_or_default();
    match answer.partial_success {
        Some(partly) if partly.rejected_data_points > 0 => Err(ExportError::Rejected {
            points: partly.rejected_data_points,
            reason: partly.error_message,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
