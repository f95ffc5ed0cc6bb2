//! Metrics as the `debug` exporter of an OpenTelemetry Collector writes them to its log.

use std::collections::BTreeMap;

/// One value of one series in one export.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Point {
    /// The name of the metric.
    pub metric: String,
    /// As they are written: `Str(api)`, `Int(200)`.
    pub attributes: BTreeMap<String, String>,
    /// Since when values are counted, which distinguishes the processes that send.
    pub start: String,
    /// Of a sum or a gauge; of a histogram how many values it has.
    pub value: f64,
}

/// All points in a log, in the order in which they came.
pub fn points(log: &str) -> Vec<Point> {
    let (mut points, mut now) = (Vec::new(), Point::default());
    for line in log.lines() {
        let (field, text) = line.trim_start().split_once(": ").unwrap_or((line, ""));
        match field {
            "-> Name" => text.clone_into(&mut now.metric),
            "StartTimestamp" => text.clone_into(&mut now.start),
            "Value" | "Count" => {
                now.value = text.parse().unwrap_or(f64::NAN);
                points.push(now.clone());
            }
            _ if line.contains("DataPoints #") => now.attributes.clear(),
            _ => {
                let attribute = field.strip_prefix("-> ").filter(|_| text.ends_with(')'));
                now.attributes
                    .extend(attribute.map(|name| (name.to_owned(), text.to_owned())));
            }
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-11-27T13:23:18.570Z	info	ResourceMetrics #0
Resource attributes:
     -> service.name: Str(keda-http-interceptor)
ScopeMetrics #0
InstrumentationScope keda-interceptor-proxy 
Metric #0
Descriptor:
     -> Name: interceptor_request_count
     -> Description: Requests (all of them)
     -> Unit: 
     -> DataType: Sum
     -> IsMonotonic: true
NumberDataPoints #0
Data point attributes:
     -> code: Int(404)
     -> route_name: Str()
     -> cold_start: Str(false)
StartTimestamp: 2026-11-27 13:23:16.99876013 +0000 UTC
Timestamp: 2026-11-27 13:23:18.570415441 +0000 UTC
Value: 3.000000
NumberDataPoints #1
Data point attributes:
     -> code: Int(200)
     -> route_name: Str(api)
StartTimestamp: 2026-11-27 13:23:16.99876013 +0000 UTC
Timestamp: 2026-11-27 13:23:18.570415441 +0000 UTC
Value: 1.000000
Metric #1
Descriptor:
     -> Name: interceptor_request_duration_seconds
     -> Unit: s
HistogramDataPoints #0
Data point attributes:
     -> route_name: Str(api)
StartTimestamp: 2026-11-27 13:23:17 +0000 UTC
Timestamp: 2026-11-27 13:23:18.570415441 +0000 UTC
Count: 1
Sum: 1.502111
ExplicitBounds #0: 0.005000
Buckets #0, Count: 0
Buckets #1, Count: 1
	{\"otelcol.component.id\": \"debug\", \"otelcol.signal\": \"metrics\"}
";

    #[test]
    fn each_series_has_its_own_attributes_and_its_value() {
        let start = "2026-11-27 13:23:16.99876013 +0000 UTC";
        let point = |metric: &str, attributes: &[(&str, &str)], start: &str, value| Point {
            metric: metric.to_owned(),
            attributes: attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            start: start.to_owned(),
            value,
        };
        let unmatched = [
            ("code", "Int(404)"),
            ("route_name", "Str()"),
            ("cold_start", "Str(false)"),
        ];
        let expected = [
            point("interceptor_request_count", &unmatched, start, 3.0),
            point(
                "interceptor_request_count",
                &[("code", "Int(200)"), ("route_name", "Str(api)")],
                start,
                1.0,
            ),
            point(
                "interceptor_request_duration_seconds",
                &[("route_name", "Str(api)")],
                "2026-11-27 13:23:17 +0000 UTC",
                1.0,
            ),
        ];
        assert_eq!(points(LOG), expected);
    }
}
