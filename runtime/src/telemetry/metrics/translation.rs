//! The instruments of a program as an OTLP request: names without `_total`, values since the start of the process.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::Instruments;
use super::exposition::{Family, Sample, Unreadable, expose, families};

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// What is the same in every request.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) instruments: Instruments,
    pub(super) resource: Resource,
    /// Since when values are counted.
    pub(super) start: SystemTime,
}

/// What the values of one request are true of.
#[derive(Clone, Copy)]
struct Period {
    start: u64,
    end: u64,
}

impl Translation {
    /// All instruments as they are `now`.
    pub(super) fn request(&self, now: SystemTime) -> Result<ExportMetricsServiceRequest, Unreadable> {
        let period = Period {
            start: nanoseconds(self.start),
            // A clock that was set back must not make a period that ends before it begins.
            end: nanoseconds(now.max(self.start)),
        };
        let text = expose(&self.instruments.registry)?;
        let mut metrics = Vec::new();
        for family in families(&text)? {
            metrics.extend(self.metric(&family, period)?);
        }
        let scope = ScopeMetrics {
            scope: Some(InstrumentationScope {
                name: self.instruments.scope.to_owned(),
                ..InstrumentationScope::default()
            }),
            metrics,
            ..ScopeMetrics::default()
        };
        Ok(ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![scope],
                ..ResourceMetrics::default()
            }],
        })
    }

    /// `None` for what OpenTelemetry does not have: facts such as `target` are what the resource says.
    fn metric(&self, family: &Family<'_>, period: Period) -> Result<Option<Metric>, Unreadable> {
        let data = match family.kind {
            "counter" => self.sum(family, period).map(Data::Sum),
            "gauge" => self.gauge(family, period).map(Data::Gauge),
            "histogram" => self.histogram(family, period).map(Data::Histogram),
            _ => return Ok(None),
        };
        Ok(Some(Metric {
            name: self.instruments.pushed_name(family.name).to_owned(),
            description: family.help.to_owned(),
            unit: unit(family).to_owned(),
            data: Some(data.ok_or_else(|| Unreadable(family.name.to_owned()))?),
            ..Metric::default()
        }))
    }

    fn sum(&self, family: &Family<'_>, period: Period) -> Option<Sum> {
        let point = |sample: &Sample<'_>| {
            Some(NumberDataPoint {
                start_time_unix_nano: period.start,
                ..self.number(sample, period)?
            })
        };
        Some(Sum {
            data_points: family.samples.iter().map(point).collect::<Option<_>>()?,
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        })
    }

    fn gauge(&self, family: &Family<'_>, period: Period) -> Option<Gauge> {
        let points = family.samples.iter().map(|sample| self.number(sample, period));
        Some(Gauge {
            data_points: points.collect::<Option<_>>()?,
        })
    }

    fn number(&self, sample: &Sample<'_>, period: Period) -> Option<NumberDataPoint> {
        let value = match sample.value.parse() {
            Ok(whole) => Number::AsInt(whole),
            Err(_) => Number::AsDouble(sample.value.parse().ok()?),
        };
        Some(NumberDataPoint {
            attributes: self.attributes(sample),
            time_unix_nano: period.end,
            value: Some(value),
            ..NumberDataPoint::default()
        })
    }

    fn histogram(&self, family: &Family<'_>, period: Period) -> Option<Histogram> {
        let series = family.samples.chunk_by(|_, next| next.suffix != "_sum");
        let points = series.map(|series| self.distribution(series, period));
        Some(Histogram {
            data_points: points.collect::<Option<_>>()?,
            aggregation_temporality: CUMULATIVE,
        })
    }

    /// A series of a histogram: its sum, its count, its buckets.
    fn distribution(&self, series: &[Sample<'_>], period: Period) -> Option<HistogramDataPoint> {
        let [sum, count, buckets @ ..] = series else {
            return None;
        };
        let (explicit_bounds, bucket_counts) = single_buckets(buckets)?;
        Some(HistogramDataPoint {
            attributes: self.attributes(sum),
            start_time_unix_nano: period.start,
            time_unix_nano: period.end,
            count: count.value.parse().ok()?,
            sum: Some(sum.value.parse().ok()?),
            bucket_counts,
            explicit_bounds,
            ..HistogramDataPoint::default()
        })
    }

    fn attributes(&self, sample: &Sample<'_>) -> Vec<KeyValue> {
        let attribute = |(name, text): &(&str, String)| {
            let value = match text.parse() {
                Ok(number) if self.instruments.integers.contains(name) => Value::IntValue(number),
                _ => Value::StringValue(text.clone()),
            };
            KeyValue {
                key: (*name).to_owned(),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            }
        };
        sample.labels.iter().map(attribute).collect()
    }
}

/// By the Unified Code for Units of Measure, which OpenTelemetry goes by.
fn unit<'a>(family: &Family<'a>) -> &'a str {
    if family.name.ends_with("_seconds") {
        "s"
    } else {
        family.unit
    }
}

/// The bounds without the infinite one at the end, and how many values are in each bucket alone: those of a scrape have
/// all values up to their bound.
fn single_buckets(buckets: &[Sample<'_>]) -> Option<(Vec<f64>, Vec<u64>)> {
    let (mut bounds, mut counts, mut below) = (Vec::new(), Vec::new(), 0);
    for bucket in buckets {
        let (_, bound) = bucket.labels.iter().find(|(name, _)| *name == "le")?;
        bounds.push(bound.parse::<f64>().ok()?);
        let up_to: u64 = bucket.value.parse().ok()?;
        counts.push(up_to.checked_sub(below)?);
        below = up_to;
    }
    let last = bounds.pop()?;
    last.is_infinite().then_some((bounds, counts))
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
