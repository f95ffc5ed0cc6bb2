//! The span pipeline as the environment describes it.

use std::time::Duration;

use super::otlp::{Attributes, Collector, MILLISECONDS, Protocol, Signal};
use super::propagation::Propagation;
use super::sampling::Sampling;
use crate::settings::{BOOLEAN, Kind, Settings};

const ENABLED: &str = "OTEL_EXPORTER_OTLP_TRACES_ENABLED";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const MOST_SPANS: usize = 1 << 20;

/// Everything about spans that is read from the environment.
#[derive(Debug)]
pub(crate) struct SpanSettings {
    pub(super) destination: Destination,
    pub(super) propagation: Propagation,
    pub(super) sampling: Sampling,
    pub(super) batch: Batch,
    pub(super) attributes: Attributes,
}

/// Where spans go.
#[derive(Debug)]
pub(super) enum Destination {
    /// Standard output, one line each.
    Console,
    /// A collector.
    Collector(Collector),
}

/// How spans are collected before they are sent (`OTEL_BSP_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    /// How long a span waits for others.
    pub(super) delay: Duration,
    /// How many spans may wait; more are dropped.
    pub(super) queue: usize,
    /// How many are sent at once.
    pub(super) size: usize,
    /// How long one export may take, repetitions included.
    pub(super) timeout: Duration,
}

impl SpanSettings {
    /// `None` when spans are off, which is the default; all other variables are then only described.
    pub(crate) fn read(settings: &Settings) -> Option<Self> {
        let settings = settings.section("Tracing, named as OpenTelemetry does; not read while it is off");
        let is_on = settings.variable(ENABLED, &BOOLEAN, "Export spans").default(false);
        let settings = settings.only_if(is_on);
        let read = Self {
            destination: Destination::read(&settings),
            propagation: Propagation::read(&settings),
            sampling: Sampling::read(&settings),
            batch: Batch::read(&settings),
            attributes: Attributes::read(&settings),
        };
        is_on.then_some(read)
    }
}

impl Destination {
    fn read(settings: &Settings) -> Self {
        let help = "Where spans go: the standard output, or a collector by one of two protocols";
        let protocol = settings.variable(PROTOCOL, &DESTINATION, help).default(None);
        let collector = settings.only_if(protocol.is_some());
        let collector = Collector::read(Signal::Traces, protocol.unwrap_or(Protocol::Grpc), &collector);
        protocol.map_or(Self::Console, |_| Self::Collector(collector))
    }
}

impl Batch {
    fn read(settings: &Settings) -> Self {
        let help = "How many spans may wait for their export; more are dropped";
        let queue = settings.variable("OTEL_BSP_MAX_QUEUE_SIZE", &SPANS, help).default(2048);
        let help = "How many spans are exported at once";
        let size = settings.variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &SPANS, help);
        let size = size.default(512).min(queue);
        let help = "How long a span waits for others, in milliseconds";
        let delay = settings.variable("OTEL_BSP_SCHEDULE_DELAY", &MILLISECONDS, help);
        let help = "For one export and its repetitions, in milliseconds";
        let timeout = settings.variable("OTEL_BSP_EXPORT_TIMEOUT", &MILLISECONDS, help);
        Self {
            delay: delay.default(Duration::from_secs(5)),
            queue,
            size,
            timeout: timeout.default(Duration::from_secs(30)),
        }
    }
}

const DESTINATION: Kind<Option<Protocol>> = Kind {
    allowed: "console, http/protobuf or grpc",
    parse: |text| match text.to_ascii_lowercase().as_str() {
        "console" => Some(None),
        "http/protobuf" => Some(Some(Protocol::Http)),
        "grpc" => Some(Some(Protocol::Grpc)),
        _ => None,
    },
    show: |protocol| match protocol {
        None => "console".to_owned(),
        Some(Protocol::Http) => "http/protobuf".to_owned(),
        Some(Protocol::Grpc) => "grpc".to_owned(),
    },
};
const SPANS: Kind<usize> = Kind {
    allowed: "a number of spans, 1 to 1048576",
    parse: |text| text.parse().ok().filter(|number| (1..=MOST_SPANS).contains(number)),
    show: usize::to_string,
};

#[cfg(test)]
mod tests;
