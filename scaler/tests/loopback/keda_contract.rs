//! What KEDA relies on: names, values, errors, signals.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::Code;

use crate::interceptor::Interceptor;
use crate::keda::{kedify, next, object, until, wait_until, within};
use crate::scaler::Scaler;

#[tokio::test]
async fn a_signal_has_no_timer_in_its_way() {
    let interceptor = Interceptor::start_old();
    // Were there a poll or a tick between report and signal, it would take an hour.
    let hours = [
        ("KEDA_HTTP_QUEUE_TICK_DURATION", "1h"),
        ("KEDA_HTTP_SCALER_STREAM_INTERVAL_MS", "3600000"),
    ];
    let scaler = Scaler::start(&[interceptor.address], &hours).await;
    let mut streams = BTreeMap::new();
    for name in ["a", "b", "c"] {
        let trigger = kedify("concurrency", [("kedifyTrigger", name)]);
        wait_until(|| scaler.keda.is_active(&trigger), |active| matches!(active, Ok(false))).await;
        streams.insert(name, scaler.keda.stream(&trigger).await.unwrap());
    }
    for name in ["b", "c", "a"] {
        interceptor.set(&format!("shop/api:{name}"), 1, 1, 0);
        assert!(next(streams.get_mut(name).unwrap()).await.unwrap().result);
    }
    // Each was told its own edge and nothing else.
    scaler.shutdown.cancel();
    for stream in streams.values_mut() {
        assert_eq!(next(stream).await, None);
    }
}

#[tokio::test]
async fn a_target_that_is_active_when_the_stream_opens_is_signalled_at_once_and_only_once() {
    let interceptor = Interceptor::start();
    interceptor.set("shop/api", 5, 2, 0);
    let scaler = Scaler::start(&[interceptor.address], &[]).await;
    let api = kedify("concurrency", []);
    wait_until(|| scaler.keda.is_active(&api), |active| matches!(active, Ok(true))).await;
    let mut stream = scaler.keda.stream(&api).await.unwrap();
    assert!(next(&mut stream).await.unwrap().result);

    interceptor.set("shop/api", 6, 3, 0);
    wait_until(
        || scaler.keda.metrics(&api, ""),
        |values| values.as_ref().unwrap()[0].metric_value == 3,
    )
    .await;
    scaler.shutdown.cancel();
    assert_eq!(
        next(&mut stream).await,
        None,
        "no second signal for a target that stays active"
    );
}

#[tokio::test]
async fn a_stream_that_opens_before_anything_is_known_gets_its_signal_when_it_is() {
    let interceptor = Interceptor::start();
    let address = interceptor.address;
    drop(interceptor);
    let scaler = Scaler::start(&[address], &[]).await;
    let api = kedify("concurrency", []);
    let mut stream = scaler.keda.stream(&api).await.unwrap();
    assert_eq!(scaler.keda.is_active(&api).await.unwrap_err().code(), Code::Unavailable);

    let interceptor = Interceptor::start_at(address, "boot-1");
    interceptor.set("shop/api", 1, 1, 1);
    assert!(next(&mut stream).await.unwrap().result);
}

#[tokio::test]
async fn a_restarted_scaler_has_full_windows_at_once() {
    let interceptor = Interceptor::start_old();
    interceptor.set_recent("shop/api", vec![10; 60]);
    let api = kedify("requestRate", [("window", "60s")]);
    for _ in 0..2 {
        let scaler = Scaler::start(&[interceptor.address], &[]).await;
        let values = until(|| scaler.keda.metrics(&api, ""), Result::is_ok).await.unwrap();
        let rate = values[0].metric_value_float;
        assert!((9.0..=10.5).contains(&rate), "the very first value is {rate}");
        assert!(scaler.keda.is_active(&api).await.unwrap());
    }
}

#[tokio::test]
async fn several_triggers_of_a_scaled_object_have_their_own_keys_and_names() {
    let interceptor = Interceptor::start();
    interceptor.set("shop/api:read", 4, 4, 0);
    interceptor.set("shop/api:write_all", 1, 1, 0);
    let scaler = Scaler::start(&[interceptor.address], &[]).await;
    for (trigger, name, value) in [
        ("read", "http_api_read_concurrency", 4),
        ("write_all", "http_api_write_005Fall_concurrency", 1),
    ] {
        let call = kedify("concurrency", [("kedifyTrigger", trigger), ("targetValue", "7")]);
        let specs = scaler.keda.specs(&call).await.unwrap();
        assert_eq!(specs.len(), 1);
        assert_eq!((specs[0].metric_name.as_str(), specs[0].target_size), (name, 7));
        let values = until(|| scaler.keda.metrics(&call, name), Result::is_ok).await.unwrap();
        assert_eq!((values[0].metric_name.as_str(), values[0].metric_value), (name, value));
    }
}

#[tokio::test]
async fn an_unknown_metric_name_is_an_empty_list() {
    let interceptor = Interceptor::start();
    let scaler = Scaler::start(&[interceptor.address], &[]).await;
    let api = kedify("requestRate", []);
    wait_until(
        || scaler.keda.metrics(&api, ""),
        |values| matches!(values, Ok(values) if values.len() == 1),
    )
    .await;
    assert_eq!(scaler.keda.metrics(&api, "http_api_concurrency").await.unwrap(), []);
}

#[tokio::test]
async fn bad_metadata_is_an_invalid_argument_that_names_key_and_value() {
    let interceptor = Interceptor::start();
    let scaler = Scaler::start(&[interceptor.address], &[]).await;
    for (key, value) in [
        ("targetValue", "many"),
        ("window", "1 minute"),
        ("granularity", "0s"),
        ("scalingMetric", "rps"),
    ] {
        let call = kedify("requestRate", [(key, value)]);
        let errors = [
            scaler.keda.is_active(&call).await.unwrap_err(),
            scaler.keda.specs(&call).await.unwrap_err(),
            scaler.keda.metrics(&call, "").await.unwrap_err(),
            scaler.keda.stream(&call).await.unwrap_err(),
            scaler.keda.spec_stream(&call).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.code(), Code::InvalidArgument);
            let message = error.message();
            assert!(
                message.contains("shop/api") && message.contains(key) && message.contains(value),
                "{message}"
            );
        }
    }
    let nothing = scaler
        .keda
        .is_active(&object("api", [("scalerAddress", "scaler:8080")]))
        .await
        .unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
    assert!(nothing.message().contains("interceptorRoute"), "{}", nothing.message());
}

#[tokio::test]
async fn the_interceptors_own_scaling_is_the_sum_over_all_targets() {
    let interceptors = [Interceptor::start(), Interceptor::start()];
    interceptors[0].set("shop/api", 3, 3, 0);
    interceptors[1].set("bank/api", 4, 4, 0);
    let scaler = Scaler::start(&interceptors.each_ref().map(|interceptor| interceptor.address), &[]).await;
    let own = object("interceptor", [("interceptorTargetPendingRequests", "200")]);
    let specs = scaler.keda.specs(&own).await.unwrap();
    assert_eq!(
        (specs[0].metric_name.as_str(), specs[0].target_size),
        ("http-shop_002Finterceptor", 200)
    );
    let all = |values: &Result<Vec<_>, _>| values.as_ref().is_ok_and(|values: &Vec<_>| value_of(values) == 7);
    wait_until(|| scaler.keda.metrics(&own, ""), all).await;
    assert!(scaler.keda.is_active(&own).await.unwrap());
}

fn value_of(values: &[keda_http_proto::externalscaler::MetricValue]) -> i64 {
    values[0].metric_value
}

#[tokio::test]
async fn a_stream_that_keda_closes_is_no_longer_counted_as_open() {
    let interceptor = Interceptor::start();
    let scaler = Scaler::start(&[interceptor.address], &[]).await;
    let stream = scaler.keda.stream(&kedify("requestRate", [])).await.unwrap();
    let count = |count: u32| format!("scaler_streams{{rpc=\"StreamIsActive\"}} {count}");
    wait_until(|| scaler.metrics(), |text| text.contains(&count(1))).await;
    drop(stream);
    wait_until(|| scaler.metrics(), |text| text.contains(&count(0))).await;
}

#[tokio::test]
async fn the_first_call_after_start_is_answered_within_the_deadline_even_without_interceptors() {
    let scaler = Scaler::start(&["127.0.0.1:1".parse().unwrap()], &[]).await;
    let call = kedify("requestRate", []);
    let error = within(scaler.keda.is_active(&call)).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let explained = |answer: &Result<bool, tonic::Status>| {
        answer
            .as_ref()
            .is_err_and(|error| error.message().contains("127.0.0.1:1 is not reachable"))
    };
    wait_until(|| scaler.keda.is_active(&call), explained).await;
    assert!(
        tokio::time::timeout(Duration::from_secs(5), scaler.keda.specs(&call))
            .await
            .unwrap()
            .is_ok()
    );
}
