use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge as Instrument;
use prometheus_client::metrics::histogram::Histogram as Distribution;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use proptest::prelude::*;

use super::*;

type Labels = Vec<(String, String)>;

const START: Duration = Duration::from_secs(1000);
const NOW: Duration = Duration::from_secs(1060);

fn translated_at(registry: Registry, now: Duration) -> Vec<Metric> {
    let translation = Translation {
        instruments: Instruments {
            scope: "test",
            registry: Arc::new(registry),
            integers: &["code"],
            names: &[("held_requests_seconds", "held.requests")],
        },
        resource: Resource::default(),
        start: UNIX_EPOCH + START,
    };
    let mut request = translation.request(UNIX_EPOCH + now).unwrap();
    let mut scopes = request.resource_metrics.remove(0).scope_metrics;
    assert_eq!(
        (scopes.len(), scopes[0].scope.as_ref().unwrap().name.as_str()),
        (1, "test")
    );
    scopes.remove(0).metrics
}

fn translated(registry: Registry) -> Vec<Metric> {
    translated_at(registry, NOW)
}

fn only<T: Clone>(points: &[T]) -> T {
    assert_eq!(points.len(), 1);
    points[0].clone()
}

fn nanoseconds_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

fn attributes(attributes: &[KeyValue]) -> Vec<(String, Value)> {
    let pair = |attribute: &KeyValue| {
        let value = attribute.value.clone().unwrap().value.unwrap();
        (attribute.key.clone(), value)
    };
    attributes.iter().map(pair).collect()
}

/// A histogram with these bounds that has seen these values.
fn distribution(bounds: &[f64], values: &[f64]) -> HistogramDataPoint {
    let mut registry = Registry::default();
    let instrument = Distribution::new(bounds.iter().copied());
    registry.register("waits", "Waits", instrument.clone());
    values.iter().for_each(|value| instrument.observe(*value));
    match translated(registry).remove(0).data.unwrap() {
        Data::Histogram(histogram) => {
            assert_eq!(histogram.aggregation_temporality, CUMULATIVE);
            only(&histogram.data_points)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_counter_is_a_sum_since_the_start() {
    let mut registry = Registry::default();
    let counter = Counter::<u64>::default();
    registry.register("requests", "Requests that came", counter.clone());
    counter.inc_by(7);
    let metric = only(&translated(registry));
    assert_eq!(metric.name, "requests", "as registered, without `_total`");
    assert_eq!(
        (metric.description.as_str(), metric.unit.as_str()),
        ("Requests that came.", "")
    );
    let Some(Data::Sum(sum)) = metric.data else {
        panic!("{metric:?}")
    };
    assert!(sum.is_monotonic);
    assert_eq!(sum.aggregation_temporality, CUMULATIVE);
    let point = only(&sum.data_points);
    assert_eq!(point.value, Some(Number::AsInt(7)));
    assert_eq!(point.start_time_unix_nano, nanoseconds_of(START));
    assert_eq!(point.time_unix_nano, nanoseconds_of(NOW));
}

#[test]
fn a_clock_that_was_set_back_makes_no_period_that_ends_before_it_begins() {
    let mut registry = Registry::default();
    registry.register("requests", "Requests", Counter::<u64>::default());
    let metric = only(&translated_at(registry, Duration::from_secs(1)));
    let Some(Data::Sum(sum)) = metric.data else {
        panic!("{metric:?}")
    };
    let point = only(&sum.data_points);
    assert_eq!(point.time_unix_nano, point.start_time_unix_nano);
}

#[test]
fn a_gauge_is_what_it_is_now() {
    let mut registry = Registry::default();
    let (whole, broken) = (
        Instrument::<i64>::default(),
        Instrument::<f64, std::sync::atomic::AtomicU64>::default(),
    );
    registry.register("pending", "Pending", whole.clone());
    registry.register("age", "Age", broken.clone());
    whole.set(-3);
    broken.set(0.25);
    let values: Vec<_> = translated(registry)
        .into_iter()
        .map(|metric| match metric.data.unwrap() {
            Data::Gauge(gauge) => (metric.name, only(&gauge.data_points).value.unwrap()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("pending".to_owned(), Number::AsInt(-3)),
        ("age".to_owned(), Number::AsDouble(0.25)),
    ];
    assert_eq!(values, expected);
}

#[test]
fn an_instrument_that_has_a_name_in_opentelemetry_is_pushed_by_it() {
    let mut registry = Registry::default();
    registry.register("held_requests_seconds", "Held", Distribution::new([1.0]));
    let metric = only(&translated(registry));
    assert_eq!((metric.name.as_str(), metric.unit.as_str()), ("held.requests", "s"));
}

#[test]
fn names_are_those_of_the_scrape_and_seconds_are_a_unit() {
    let mut registry = Registry::default();
    let pinger = registry.sub_registry_with_prefix("scaler_pinger");
    pinger.register_with_unit("fetch_duration", "Polls", Unit::Seconds, Distribution::new([1.0]));
    registry.register("request_duration_seconds", "Requests", Distribution::new([1.0]));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let metrics = translated(registry);
    let names: Vec<_> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(
        names,
        ["request_duration_seconds", "scaler_pinger_fetch_duration_seconds"]
    );
    for metric in &metrics {
        assert!(
            text.contains(&format!("\n{}_count ", metric.name)),
            "{} in {text}",
            metric.name
        );
        assert_eq!(metric.unit, "s");
    }
}

#[test]
fn facts_are_no_metrics_and_what_has_no_series_is_left_out() {
    let mut registry = Registry::default();
    registry.register("target", "What is measured", Info::new(vec![("service_name", "test")]));
    registry.register("requests", "Requests", Family::<Labels, Counter>::default());
    assert_eq!(translated(registry), []);
}

#[test]
fn only_labels_that_are_integers_become_integers() {
    let mut registry = Registry::default();
    let family = Family::<Labels, Counter>::default();
    registry.register("requests", "Requests", family.clone());
    let labels = [("code", "204"), ("route_name", "7"), ("cold_start", "true")];
    let owned = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    family.get_or_create(&owned.to_vec()).inc();
    family
        .get_or_create(&vec![("code".to_owned(), "none".to_owned())])
        .inc();
    let metric = only(&translated(registry));
    let Some(Data::Sum(sum)) = metric.data else {
        panic!("{metric:?}")
    };
    let mut series: Vec<_> = sum
        .data_points
        .iter()
        .map(|point| attributes(&point.attributes))
        .collect();
    series.sort_by_key(Vec::len);
    let text = |text: &str| Value::StringValue(text.to_owned());
    let expected = [
        vec![("code".to_owned(), text("none"))],
        vec![
            ("code".to_owned(), Value::IntValue(204)),
            ("route_name".to_owned(), text("7")),
            ("cold_start".to_owned(), text("true")),
        ],
    ];
    assert_eq!(series, expected);
}

#[test]
fn a_value_on_a_bound_belongs_below_it_and_the_last_bucket_has_no_bound() {
    let point = distribution(&[0.5, 1.0], &[0.5, 0.75, 1.0, 1.5, 99.0]);
    assert_eq!(point.explicit_bounds, [0.5, 1.0]);
    assert_eq!(point.bucket_counts, [1, 2, 2]);
    assert_eq!((point.count, point.sum), (5, Some(102.75)));
    assert_eq!(point.start_time_unix_nano, nanoseconds_of(START));
    assert_eq!(point.time_unix_nano, nanoseconds_of(NOW));
}

proptest! {
    #[test]
    fn histograms_are_what_a_count_of_all_values_says(
        bounds in proptest::collection::btree_set(0..10_000u32, 0..20),
        values in proptest::collection::vec(0..12_000u32, 0..200),
    ) {
        let bounds: Vec<f64> = bounds.into_iter().map(|bound| f64::from(bound) / 8.0).collect();
        let values: Vec<f64> = values.into_iter().map(|value| f64::from(value) / 8.0).collect();
        let point = distribution(&bounds, &values);
        prop_assert_eq!(point.bucket_counts.len(), bounds.len() + 1);
        for (bucket, count) in point.bucket_counts.iter().enumerate() {
            let above = bucket.checked_sub(1).map_or(f64::NEG_INFINITY, |below| bounds[below]);
            let upto = bounds.get(bucket).copied().unwrap_or(f64::INFINITY);
            let inside = values.iter().filter(|value| **value > above && **value <= upto);
            prop_assert_eq!(*count, inside.count() as u64);
        }
        prop_assert_eq!(point.count, values.len() as u64);
        prop_assert_eq!(point.sum, Some(values.iter().sum()));
        prop_assert_eq!(point.explicit_bounds, bounds);
    }

    #[test]
    fn labels_keep_every_character(value in any::<String>(), other in "[\"\\\\\n\r\t{},=é語🦀]*") {
        let mut registry = Registry::default();
        let family = Family::<Labels, Counter>::default();
        registry.register("requests", "Requests", family.clone());
        let labels = vec![("route_name".to_owned(), value), ("method".to_owned(), other)];
        family.get_or_create(&labels).inc();
        let metric = only(&translated(registry));
        let Some(Data::Sum(sum)) = metric.data else { panic!("{metric:?}") };
        let expected: Vec<_> = labels.into_iter().map(|(name, value)| (name, Value::StringValue(value))).collect();
        prop_assert_eq!(attributes(&only(&sum.data_points).attributes), expected);
    }
}
