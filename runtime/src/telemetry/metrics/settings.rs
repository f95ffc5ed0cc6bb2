//! The push of metrics as the environment describes it.

use std::time::Duration;

use crate::settings::{BOOLEAN, Kind, Settings, TEXT};
use crate::telemetry::otlp::{Attributes, Collector, MILLISECONDS, Protocol, Signal};

const ENABLED: &str = "OTEL_EXPORTER_OTLP_METRICS_ENABLED";
const INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";
const PROTOCOL_OF_ALL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const HTTP: &str = "http/protobuf";

/// Everything about the push that is read from the environment.
#[derive(Debug)]
pub(crate) struct MetricSettings {
    pub(super) collector: Collector,
    /// From one export to the next.
    pub(super) interval: Duration,
    pub(super) attributes: Attributes,
}

impl MetricSettings {
    /// `None` when the push is off, which is the default; all other variables are then only described.
    pub(crate) fn read(settings: &Settings) -> Option<Self> {
        let settings = settings.section("Push of metrics, named as OpenTelemetry does; not read while it is off");
        let help = "Push metrics by OTLP/HTTP, in addition to serving them";
        let is_on = settings.variable(ENABLED, &BOOLEAN, help).default(false);
        let settings = settings.only_if(is_on);
        check_protocol(&settings);
        let interval = "From one export to the next, in milliseconds";
        let interval = settings.variable(INTERVAL, &MILLISECONDS, interval);
        let read = Self {
            interval: interval.default(Duration::from_secs(60)),
            collector: Collector::read(Signal::Metrics, Protocol::Http, &settings),
            attributes: Attributes::read(&settings),
        };
        is_on.then_some(read)
    }
}

/// Metrics go by HTTP only, as upstream's. Whoever asks for anything else by the name for metrics must know; the name
/// for all signals may be meant for others that share the environment, so it does not stop the start.
fn check_protocol(settings: &Settings) {
    settings
        .variable(Signal::Metrics.variable("PROTOCOL"), &PROTOCOL, "Protocol of the push")
        .default(());
    settings
        .variable(PROTOCOL_OF_ALL, &TEXT, "Protocol of all signals")
        .without_effect("metrics are pushed by http/protobuf, and spans have a variable of their own");
}

const PROTOCOL: Kind<()> = Kind {
    allowed: HTTP,
    parse: |text| text.eq_ignore_ascii_case(HTTP).then_some(()),
    show: |()| HTTP.to_owned(),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{EnvError, Environment};
    use crate::settings;

    fn read(variables: &[(&str, &str)]) -> Result<MetricSettings, EnvError> {
        let on = [(ENABLED, "true")];
        let environment = Environment::of(on.iter().chain(variables).copied());
        Ok(read_from(&environment)?.expect("the push is on"))
    }

    fn read_from(environment: &Environment) -> Result<Option<MetricSettings>, EnvError> {
        Ok(settings::read(environment, MetricSettings::read)?.0)
    }

    #[test]
    fn the_push_is_off_by_default() {
        let off = |value| read_from(&Environment::of([(ENABLED, value), (INTERVAL, "nonsense")]));
        assert!(off("").unwrap().is_none());
        assert!(off("false").unwrap().is_none());
        let error = off("yes").unwrap_err().to_string();
        assert!(
            error.starts_with("OTEL_EXPORTER_OTLP_METRICS_ENABLED=\"yes\""),
            "{error}"
        );
    }

    #[test]
    fn endpoints() {
        const OWN: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
        const OF_ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let table: [(&[(&str, &str)], &str); 5] = [
            (&[], "http://localhost:4318/v1/metrics"),
            (&[(OWN, "http://c:4318/custom")], "http://c:4318/custom"),
            (&[(OF_ALL, "https://c/base/")], "https://c/base/v1/metrics"),
            (
                &[(OF_ALL, "http://all:1"), (OWN, "http://metrics:1/x")],
                "http://metrics:1/x",
            ),
            (
                &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:1")],
                "http://localhost:4318/v1/metrics",
            ),
        ];
        for (variables, expected) in table {
            let endpoint = read(variables).unwrap().collector.endpoint;
            assert_eq!(endpoint.to_string(), expected, "{variables:?}");
        }
    }

    #[test]
    fn times_are_milliseconds() {
        let settings = read(&[]).unwrap();
        let (interval, timeout) = (settings.interval, settings.collector.timeout);
        assert_eq!((interval, timeout), (Duration::from_secs(60), Duration::from_secs(10)));
        let variables = [
            (INTERVAL, "5000"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "5"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2500"),
        ];
        let settings = read(&variables).unwrap();
        let (interval, timeout) = (settings.interval, settings.collector.timeout);
        assert_eq!(
            (interval, timeout),
            (Duration::from_secs(5), Duration::from_millis(2500))
        );
    }

    #[test]
    fn a_protocol_that_is_asked_for_metrics_must_be_http_and_that_of_all_signals_need_not() {
        const OWN: &str = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL";
        for good in [(OWN, "HTTP/Protobuf"), (PROTOCOL_OF_ALL, "grpc")] {
            assert!(read(&[good]).is_ok(), "{good:?}");
        }
        let error = read(&[(OWN, "grpc"), (PROTOCOL_OF_ALL, HTTP)]).unwrap_err();
        let expected = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=\"grpc\" cannot be used; it must be http/protobuf";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_is_allowed() {
        for (name, bad, allowed) in [
            (INTERVAL, "0", "milliseconds"),
            (INTERVAL, "5s", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "-1", "milliseconds"),
            (
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                "c:4318",
                "http://collector:4318/v1/metrics",
            ),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "ftp://c",
                "http://collector:4318/v1/metrics",
            ),
            ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "/no/such/file", "PEM"),
            ("OTEL_RESOURCE_ATTRIBUTES", "novalue", "name=value"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "novalue", "name=value"),
        ] {
            let error = read(&[(name, bad)]).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{name}=")) && error.contains(allowed),
                "{error}"
            );
        }
    }
}
