//! InterceptorRoutes and HTTPScaledObjects from a directory.

use std::fs;
use std::path::Path;

use tonic::Code;

use crate::interceptor::Interceptor;
use crate::keda::{next, object, until, wait_until};
use crate::scaler::Scaler;

pub fn route(concurrency: u32, rate: Option<u32>) -> String {
    let rate = rate
        .map(|rate| format!("    requestRate: {{targetValue: {rate}, window: 10s}}\n"))
        .unwrap_or_default();
    format!(
        "apiVersion: http.keda.sh/v1beta1\nkind: InterceptorRoute\nmetadata: {{name: api, namespace: shop}}\nspec:\n  \
         target: {{service: api, port: 80}}\n  rules: [{{hosts: [api.example]}}]\n  scalingMetric:\n    \
         concurrency: {{targetValue: {concurrency}}}\n{rate}"
    )
}

const HTTP_SCALED_OBJECT: &str = "apiVersion: http.keda.sh/v1alpha1
kind: HTTPScaledObject
metadata: {name: old, namespace: shop}
spec:
  hosts: [old.example]
  scaleTargetRef: {name: old, kind: Deployment, apiVersion: apps/v1, service: old, port: 80}
  scalingMetric:
    requestRate: {targetValue: 20, window: 10s, granularity: 1s}
";

/// By rename, as writers of manifests do.
pub fn write(directory: &Path, name: &str, text: &str) {
    let temporary = directory.join(format!(".{name}.new"));
    fs::write(&temporary, text).unwrap();
    fs::rename(temporary, directory.join(name)).unwrap();
}

#[tokio::test]
async fn an_interceptor_route_has_a_metric_for_each_of_what_it_is_scaled_by() {
    let manifests = tempfile::tempdir().unwrap();
    write(manifests.path(), "route.yaml", &route(5, Some(50)));
    let interceptor = Interceptor::start_old();
    interceptor.set_recent("shop/api", vec![4; 10]);
    let scaler = Scaler::start(
        &[interceptor.address],
        &[("KEDA_HTTP_MANIFESTS", manifests.path().to_str().unwrap())],
    )
    .await;
    let api = object(
        "api-scaler",
        [("interceptorRoute", "api"), ("scalerAddress", "ignored:1")],
    );

    let specs = scaler.keda.specs(&api).await.unwrap();
    let told: Vec<_> = specs
        .iter()
        .map(|s| (s.metric_name.as_str(), s.target_size_float, s.target_size))
        .collect();
    assert_eq!(told, [("http_api_concurrency", 5.0, 5), ("http_api_rate", 50.0, 50)]);

    wait_until(|| scaler.keda.is_active(&api), |active| matches!(active, Ok(true))).await;
    let values = scaler.keda.metrics(&api, "").await.unwrap();
    assert_eq!(values.len(), 2);
    let rate = scaler.keda.metrics(&api, "http_api_rate").await.unwrap();
    assert!((3.0..=4.5).contains(&rate[0].metric_value_float), "{rate:?}");
}

#[tokio::test]
async fn an_http_scaled_object_has_one_metric_of_whole_numbers() {
    let manifests = tempfile::tempdir().unwrap();
    write(manifests.path(), "old.yaml", HTTP_SCALED_OBJECT);
    let interceptor = Interceptor::start();
    interceptor.set_recent("shop/old", vec![1, 0, 0]);
    let scaler = Scaler::start(
        &[interceptor.address],
        &[("KEDA_HTTP_MANIFESTS", manifests.path().to_str().unwrap())],
    )
    .await;
    let old = object("old", [("httpScaledObject", "old")]);

    let specs = scaler.keda.specs(&old).await.unwrap();
    let told: Vec<_> = specs
        .iter()
        .map(|s| (s.metric_name.as_str(), s.target_size, s.target_size_float))
        .collect();
    assert_eq!(told, [("http-shop_002Fold", 20, 0.0)]);
    let values = until(|| scaler.keda.metrics(&old, "http-shop_002Fold"), Result::is_ok)
        .await
        .unwrap();
    assert_eq!(
        (values[0].metric_value, values[0].metric_value_float),
        (1, 0.0),
        "rounded up"
    );
}

#[tokio::test]
async fn a_missing_object_is_not_found_by_its_name() {
    let manifests = tempfile::tempdir().unwrap();
    let interceptor = Interceptor::start();
    let settings = [("KEDA_HTTP_MANIFESTS", manifests.path().to_str().unwrap())];
    for (settings, hint) in [
        (&settings[..], manifests.path().to_str().unwrap()),
        (&[], "KEDA_HTTP_MANIFESTS is not set"),
    ] {
        let scaler = Scaler::start(&[interceptor.address], settings).await;
        for (key, kind) in [
            ("interceptorRoute", "InterceptorRoute"),
            ("httpScaledObject", "HTTPScaledObject"),
        ] {
            let error = scaler.keda.is_active(&object("x", [(key, "gone")])).await.unwrap_err();
            assert_eq!(error.code(), Code::NotFound);
            let message = error.message();
            assert!(
                message.contains(&format!("{kind} shop/gone")) && message.contains(hint),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn an_edited_route_is_pushed_and_keeps_its_last_specs_while_it_is_gone() {
    let manifests = tempfile::tempdir().unwrap();
    write(manifests.path(), "route.yaml", &route(5, None));
    let interceptor = Interceptor::start();
    let scaler = Scaler::start(
        &[interceptor.address],
        &[("KEDA_HTTP_MANIFESTS", manifests.path().to_str().unwrap())],
    )
    .await;
    let api = object("api", [("interceptorRoute", "api")]);
    let mut stream = scaler.keda.spec_stream(&api).await.unwrap();
    let first = next(&mut stream).await.unwrap().metric_specs;
    assert_eq!(first.iter().map(|spec| spec.target_size).collect::<Vec<_>>(), [5]);

    // Another object's change is not this one's.
    write(manifests.path(), "old.yaml", HTTP_SCALED_OBJECT);
    let old = object("old", [("httpScaledObject", "old")]);
    wait_until(|| scaler.keda.specs(&old), Result::is_ok).await;

    write(manifests.path(), "route.yaml", &route(8, Some(3)));
    let second = next(&mut stream).await.unwrap().metric_specs;
    assert_eq!(second.iter().map(|spec| spec.target_size).collect::<Vec<_>>(), [8, 3]);
    assert_eq!(
        scaler.keda.specs(&api).await.unwrap(),
        second,
        "GetMetricSpec says the same"
    );

    fs::remove_file(manifests.path().join("route.yaml")).unwrap();
    wait_until(|| scaler.keda.specs(&api), Result::is_err).await;
    write(manifests.path(), "route.yaml", &route(9, None));
    let third = next(&mut stream).await.unwrap().metric_specs;
    assert_eq!(third.iter().map(|spec| spec.target_size).collect::<Vec<_>>(), [9]);
}

#[tokio::test]
async fn a_file_that_does_not_parse_keeps_the_last_good_route() {
    let manifests = tempfile::tempdir().unwrap();
    write(manifests.path(), "route.yaml", &route(5, None));
    let interceptor = Interceptor::start();
    let scaler = Scaler::start(
        &[interceptor.address],
        &[("KEDA_HTTP_MANIFESTS", manifests.path().to_str().unwrap())],
    )
    .await;
    let api = object("api", [("interceptorRoute", "api")]);
    write(manifests.path(), "route.yaml", "kind: [");
    write(manifests.path(), "old.yaml", HTTP_SCALED_OBJECT);
    let old = object("old", [("httpScaledObject", "old")]);
    wait_until(|| scaler.keda.specs(&old), Result::is_ok).await;
    assert_eq!(scaler.keda.specs(&api).await.unwrap()[0].target_size, 5);
}
