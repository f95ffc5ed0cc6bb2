//! Metrics of a pod in the format of Prometheus.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;

use super::pod_address;
use crate::story::caller;

/// All metrics of an interceptor or a scaler, as text.
///
/// # Errors
/// When the pod does not answer.
pub async fn scrape(pod: &Pod) -> Result<String> {
    let url = format!("http://{}:2223/metrics", pod_address(pod)?);
    Ok(caller::get(&url, "metrics").await?.expect(200)?.body)
}

/// The sum of the series of a metric of which a label has this value.
pub fn sum(text: &str, metric: &str, value: &str) -> u64 {
    let (metric, value) = (format!("{metric}{{"), format!("\"{value}\""));
    let series = text
        .lines()
        .filter(|line| line.starts_with(&metric) && line.contains(&value));
    series
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE scaler_streams gauge
scaler_streams{rpc=\"StreamIsActive\"} 2
scaler_streams{rpc=\"StreamMetricSpec\"} 3
requests_total{code=\"200\",route_namespace=\"story\"} 4
requests_total{code=\"404\",route_namespace=\"story\"} 1
requests_total{code=\"200\",route_namespace=\"story-two\"} 8
";

    #[test]
    fn only_series_with_the_label_are_added_up() {
        assert_eq!(sum(TEXT, "scaler_streams", "StreamIsActive"), 2);
        assert_eq!(sum(TEXT, "requests_total", "story"), 5);
        assert_eq!(sum(TEXT, "requests", "story"), 0);
    }
}
