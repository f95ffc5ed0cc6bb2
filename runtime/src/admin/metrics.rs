//! `GET /metrics`: OpenMetrics for those who ask for it, and the Prometheus text format for everybody else.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

mod prometheus_text;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A registry with the fact `target`: which service is measured, in which version.
pub fn registry(service_name: &'static str) -> Registry {
    let target = vec![
        ("service_name", service_name),
        ("service_version", env!("CARGO_PKG_VERSION")),
    ];
    let mut registry = Registry::default();
    registry.register("target", "What is measured", Info::new(target));
    registry
}

/// The router of `GET /metrics`. As Prometheus' own client libraries do, it answers with OpenMetrics only where
/// `Accept` prefers it: many collectors read nothing but the older text format.
pub fn metrics(registry: Arc<Registry>) -> Router {
    Router::new().route("/metrics", get(expose)).with_state(registry)
}

async fn expose(State(registry): State<Arc<Registry>>, headers: HeaderMap) -> Response {
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    let (content_type, text) = match prefers_open_metrics(&headers) {
        true => (OPEN_METRICS, text),
        false => (PROMETHEUS_TEXT, prometheus_text::from_open_metrics(&text)),
    };
    ([(header::CONTENT_TYPE, content_type), (header::VARY, "accept")], text).into_response()
}

/// RFC 9110 section 12.5.1. Of equal weights the format that is named first wins.
fn prefers_open_metrics(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let ranges = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let (mut best, mut open_metrics) = (0.0, false);
    for (is_open_metrics, weight) in ranges.filter_map(format_and_weight) {
        if weight > best {
            (best, open_metrics) = (weight, is_open_metrics);
        }
    }
    open_metrics
}

/// Whether the media range is OpenMetrics in a version that is served here, and its weight; `None` for other media.
fn format_and_weight(range: &str) -> Option<(bool, f32)> {
    let mut parts = range.split(';').map(str::trim);
    let is_open_metrics = match parts.next()?.to_ascii_lowercase().as_str() {
        "application/openmetrics-text" => true,
        "text/plain" | "text/*" | "*/*" => false,
        _ => return None,
    };
    let mut weight = 1.0;
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => weight = value.parse().ok().filter(|weight| (0.0..=1.0).contains(weight))?,
            "version" if is_open_metrics && !["0.0.1", "1.0.0"].contains(&value) => return None,
            _ => {}
        }
    }
    Some((is_open_metrics, weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_b11_the_format_is_negotiated() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,*/*;q=0.1";
        let table = [
            (&[][..], false),
            (&["*/*"], false),
            (&["text/plain;version=0.0.4"], false),
            (&["text/plain;version=0.0.4;q=1,*/*;q=0.1"], false),
            (&["application/json"], false),
            (&["application/openmetrics-text"], true),
            (&["Application/OpenMetrics-Text; version=\"1.0.0\""], true),
            (&["application/openmetrics-text;version=2.0.0"], false),
            (
                &["application/openmetrics-text;version=2.0.0,application/openmetrics-text;version=1.0.0;q=0.4"],
                true,
            ),
            (&["application/openmetrics-text;q=0"], false),
            (&["application/openmetrics-text;q=nonsense, text/plain;q=0.1"], false),
            (&["application/openmetrics-text;q=0.5,text/plain;q=0.6"], false),
            (&["text/plain;q=0.5", "application/openmetrics-text;q=0.6"], true),
            (&[prometheus], true),
        ];
        for (values, expected) in table {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT, value.parse().unwrap());
            }
            assert_eq!(prefers_open_metrics(&headers), expected, "{values:?}");
        }
    }
}
