//! Misbehaviours of the Go add-on's scaler that were seen and reproduced; here they must not happen.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::interceptor::Interceptor;
use crate::keda::{kedify, next, object, until, wait_until};
use crate::objects::write;
use crate::scaler::Scaler;

#[tokio::test]
async fn go_baseline_1_first_request_on_a_new_rate_route_activates() {
    let interceptor = Interceptor::start_old();
    let scaler = Scaler::start(&[interceptor.address], &[]).await;
    let api = kedify("requestRate", []);
    // The key is new to an interceptor that has long been known.
    wait_until(|| scaler.keda.is_active(&api), |active| matches!(active, Ok(false))).await;
    let mut stream = scaler.keda.stream(&api).await.unwrap();

    interceptor.set("shop/api", 1, 1, 1);

    assert!(next(&mut stream).await.unwrap().result);
    assert!(scaler.keda.is_active(&api).await.unwrap());
    let metrics = scaler.keda.metrics(&api, "http_api_rate").await.unwrap();
    assert!(metrics[0].metric_value_float > 0.0, "{metrics:?}");
}

#[tokio::test]
async fn go_baseline_1_a_first_request_that_ended_before_its_report_activates_too() {
    let interceptor = Interceptor::start_old();
    let scaler = Scaler::start(&[interceptor.address], &[]).await;
    let api = kedify("requestRate", []);
    wait_until(|| scaler.keda.is_active(&api), |active| matches!(active, Ok(false))).await;
    let mut stream = scaler.keda.stream(&api).await.unwrap();

    interceptor.set("shop/api", 1, 0, 0);

    assert!(next(&mut stream).await.unwrap().result);
    assert!(scaler.keda.is_active(&api).await.unwrap());
}

#[tokio::test]
async fn go_baseline_2_short_requests_keep_a_concurrency_route_active() {
    let interceptor = Interceptor::start_old();
    let scaler = Scaler::start(&[interceptor.address], &[]).await;
    let api = kedify("concurrency", []);
    wait_until(|| scaler.keda.is_active(&api), |active| matches!(active, Ok(false))).await;
    // None of the requests is ever seen pending.
    interceptor.set("shop/api", 1, 0, 0);
    wait_until(|| scaler.keda.is_active(&api), |active| matches!(active, Ok(true))).await;
    for arrivals in 2..40 {
        interceptor.set("shop/api", arrivals, 0, 0);
        assert!(scaler.keda.is_active(&api).await.unwrap(), "after {arrivals} requests");
    }
}

#[tokio::test]
async fn go_baseline_3_a_granularity_below_a_second_does_not_stop_the_scaler() {
    let interceptor = Interceptor::start_old();
    interceptor.set_recent("shop/api", vec![10; 10]);
    let scaler = Scaler::start(&[interceptor.address], &[]).await;
    for granularity in ["500ms", "100ms", "1500ms"] {
        let api = kedify("requestRate", [("granularity", granularity), ("window", "10s")]);
        let metrics = until(|| scaler.keda.metrics(&api, "http_api_rate"), Result::is_ok)
            .await
            .unwrap();
        assert!(metrics[0].metric_value_float > 0.0, "{granularity}: {metrics:?}");
    }
    for granularity in ["0s", "1ns"] {
        let api = kedify("requestRate", [("granularity", granularity), ("window", "10s")]);
        let refused = scaler.keda.metrics(&api, "").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{granularity}: {refused}");
    }
    let half = kedify("requestRate", [("granularity", "500ms"), ("window", "10s")]);
    let rate = scaler.keda.metrics(&half, "").await.unwrap()[0].metric_value_float;
    assert!(
        (4.0..=5.5).contains(&rate),
        "ten a second are five per half second, not {rate}"
    );
    assert!(scaler.keda.is_active(&half).await.unwrap(), "the scaler still answers");
}

#[tokio::test]
async fn go_baseline_3_a_route_object_with_any_granularity_does_not_stop_the_scaler() {
    let manifests = tempfile::tempdir().unwrap();
    let interceptor = Interceptor::start();
    interceptor.set_recent("shop/api", vec![10; 10]);
    let directory = manifests.path().to_str().unwrap();
    for granularity in ["500ms", "1ns", "1500ms"] {
        let rate = format!("{{targetValue: 1, window: 10s, granularity: {granularity}}}");
        let route = format!(
            "apiVersion: http.keda.sh/v1beta1\nkind: InterceptorRoute\nmetadata: {{name: api, namespace: shop}}\n\
             spec: {{target: {{service: api, port: 80}}, scalingMetric: {{requestRate: {rate}}}}}"
        );
        write(manifests.path(), "route.yaml", &route);
        let scaler = Scaler::start(&[interceptor.address], &[("KEDA_HTTP_MANIFESTS", directory)]).await;
        let api = object("api", [("interceptorRoute", "api")]);
        wait_until(|| scaler.keda.is_active(&api), |active| matches!(active, Ok(true))).await;
        let metrics = scaler.keda.metrics(&api, "http_api_rate").await.unwrap();
        assert!(metrics[0].metric_value_float > 0.0, "{granularity}: {metrics:?}");
    }
}

#[tokio::test]
async fn go_baseline_4_shutdown_ends_open_streams_with_ok_and_does_not_wait_for_them() {
    let interceptor = Interceptor::start();
    let mut scaler = Scaler::start(&[interceptor.address], &[]).await;
    let (api, other) = (kedify("requestRate", []), kedify("concurrency", []));
    let mut activity = scaler.keda.stream(&api).await.unwrap();
    let mut more_activity = scaler.keda.stream(&other).await.unwrap();
    let mut specs = scaler.keda.spec_stream(&api).await.unwrap();
    assert_eq!(
        next(&mut specs).await.unwrap().metric_specs[0].metric_name,
        "http_api_rate"
    );

    let asked = Instant::now();
    scaler.shutdown.cancel();

    assert_eq!(next(&mut activity).await, None, "the end is OK, not an error");
    assert_eq!(next(&mut more_activity).await, None);
    assert_eq!(next(&mut specs).await, None);
    scaler.ended().await.unwrap();
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "it took {:?}",
        asked.elapsed()
    );
}
