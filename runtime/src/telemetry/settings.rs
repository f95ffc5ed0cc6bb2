//! The span pipeline as the environment describes it.

use std::time::Duration;

use super::otlp::{Attributes, Collector, Protocol, Signal, in_range, milliseconds};
use super::propagation::Propagation;
use super::sampling::Sampling;
use crate::env::{EnvError, Environment};

const ENABLED: &str = "OTEL_EXPORTER_OTLP_TRACES_ENABLED";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const MOST_SPANS: u64 = 1 << 20;

/// Everything about spans that is read from the environment.
#[derive(Debug)]
pub(super) struct SpanSettings {
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
    /// `None` when spans are off, which is the default; nothing else is read then.
    pub(super) fn from_environment(environment: &Environment) -> Result<Option<Self>, EnvError> {
        if !environment.boolean(ENABLED)?.unwrap_or(false) {
            return Ok(None);
        }
        Ok(Some(Self {
            destination: Destination::from_environment(environment)?,
            propagation: Propagation::from_environment(environment)?,
            sampling: Sampling::from_environment(environment)?,
            batch: Batch::from_environment(environment)?,
            attributes: Attributes::from_environment(environment)?,
        }))
    }
}

impl Destination {
    fn from_environment(environment: &Environment) -> Result<Self, EnvError> {
        let parse = |text: &str| match text.to_ascii_lowercase().as_str() {
            "console" => Ok(None),
            "http/protobuf" => Ok(Some(Protocol::Http)),
            "grpc" => Ok(Some(Protocol::Grpc)),
            _ => Err(()),
        };
        let protocol = environment.parsed(PROTOCOL, "console, http/protobuf or grpc", parse)?;
        match protocol.flatten() {
            None => Ok(Self::Console),
            Some(protocol) => {
                let collector = Collector::from_environment(Signal::Traces, protocol, environment)?;
                Ok(Self::Collector(collector))
            }
        }
    }
}

impl Batch {
    fn from_environment(environment: &Environment) -> Result<Self, EnvError> {
        let queue = spans(environment, "OTEL_BSP_MAX_QUEUE_SIZE")?.unwrap_or(2048);
        let size = spans(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE")?.unwrap_or(512);
        let delay = milliseconds(environment, "OTEL_BSP_SCHEDULE_DELAY")?;
        let timeout = milliseconds(environment, "OTEL_BSP_EXPORT_TIMEOUT")?;
        Ok(Self {
            delay: delay.unwrap_or(Duration::from_secs(5)),
            queue,
            size: size.min(queue),
            timeout: timeout.unwrap_or(Duration::from_secs(30)),
        })
    }
}

fn spans(environment: &Environment, name: &str) -> Result<Option<usize>, EnvError> {
    let number = in_range(environment, name, "a number of spans, 1 to 1048576", MOST_SPANS)?;
    Ok(number.and_then(|number| usize::try_from(number).ok()))
}

#[cfg(test)]
mod tests;
