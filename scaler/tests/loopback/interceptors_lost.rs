//! Interceptors that go, hang and come again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keda_http_core::demand::Reading;
use keda_http_core::target::TargetKey;
use keda_http_runtime::readiness::Readiness;
use keda_http_scaler::demand::{Measure, SharedDemand};
use keda_http_scaler::interceptors;
use keda_http_scaler::metrics::Metrics;
use keda_http_scaler::peers::Peers;
use keda_http_scaler::queue::QueueClient;
use keda_http_scaler::subscription::Subscriptions;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::interceptor::Interceptor;
use crate::keda::{kedify, next, until, wait_until, within};
use crate::scaler::Scaler;

#[tokio::test]
async fn the_last_report_of_a_lost_interceptor_counts_for_a_while_and_then_there_is_an_error_not_zero() {
    let interceptor = Interceptor::start();
    interceptor.set("shop/api", 3, 3, 0);
    let scaler = Scaler::start(&[interceptor.address], &[("KEDA_HTTP_SCALER_RETENTION", "700ms")]).await;
    let api = kedify("concurrency", []);
    wait_until(|| scaler.keda.is_active(&api), |active| matches!(active, Ok(true))).await;

    let address = interceptor.address.to_string();
    drop(interceptor);
    wait_until(
        || scaler.metrics(),
        |text| text.contains("scaler_pinger_unreachable_pods 1"),
    )
    .await;
    assert!(
        scaler.keda.is_active(&api).await.unwrap(),
        "the last report still counts"
    );
    assert_eq!(scaler.keda.metrics(&api, "").await.unwrap()[0].metric_value, 3);

    // It never turns into "inactive" on the way.
    let error = until(|| scaler.keda.is_active(&api), |active| !matches!(active, Ok(true)))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains(&address), "{}", error.message());
    assert_eq!(
        scaler.keda.metrics(&api, "").await.unwrap_err().code(),
        Code::Unavailable
    );
}

#[tokio::test]
async fn an_interceptor_that_hangs_delays_no_call_about_others() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let interceptor = Interceptor::start();
    let scaler = Scaler::start(&[hanging.local_addr().unwrap(), interceptor.address], &[]).await;
    let api = kedify("concurrency", []);
    wait_until(|| scaler.keda.is_active(&api), |active| matches!(active, Ok(false))).await;
    let mut stream = scaler.keda.stream(&api).await.unwrap();
    let _connection = within(hanging.accept()).await.unwrap();

    // The connection of the one that hangs stays open and silent for seconds from here on.
    let asked = Instant::now();
    interceptor.set("shop/api", 1, 1, 0);
    assert!(next(&mut stream).await.unwrap().result);
    for _ in 0..50 {
        assert!(scaler.keda.is_active(&api).await.unwrap());
        assert_eq!(scaler.keda.metrics(&api, "").await.unwrap()[0].metric_value, 1);
    }
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "it took {:?}",
        asked.elapsed()
    );
}

#[tokio::test]
async fn a_restarted_interceptor_makes_no_spike_of_the_rate() {
    let first = Interceptor::start_old();
    let address = first.address;
    first.set("shop/api", 100_000, 1, 0);
    let scaler = Scaler::start(&[address], &[]).await;
    let api = kedify("requestRate", [("window", "60s")]);
    let mut stream = scaler.keda.stream(&api).await.unwrap();
    assert!(next(&mut stream).await.unwrap().result);
    drop(first);
    wait_until(
        || scaler.metrics(),
        |text| text.contains("scaler_pinger_unreachable_pods 1"),
    )
    .await;

    let second = Interceptor::start_at(address, "boot-2");
    second.set("shop/api", 3, 0, 0);
    wait_until(
        || scaler.metrics(),
        |text| text.contains("scaler_pinger_unreachable_pods 0"),
    )
    .await;
    let rate = scaler.keda.metrics(&api, "").await.unwrap()[0].metric_value_float;
    assert!(rate <= 3.0, "three requests in all cannot be {rate} a second");

    second.set("shop/api", 9, 0, 0);
    let after = until(
        || scaler.keda.metrics(&api, ""),
        |values| values.as_ref().unwrap()[0].metric_value_float > rate,
    );
    let after = after.await.unwrap()[0].metric_value_float;
    assert!(after <= 9.0, "nine requests in all cannot be {after} a second");
}

/// Between scaler and interceptor, until it is frozen: then bytes go nowhere, yet nothing is closed.
async fn relay(to: SocketAddr, frozen: CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            let frozen = frozen.clone();
            tokio::spawn(async move {
                let mut onward = TcpStream::connect(to).await.unwrap();
                let copy = tokio::io::copy_bidirectional(&mut from, &mut onward);
                if frozen.run_until_cancelled(copy).await.is_none() {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_peer_that_falls_silent_without_closing_is_noticed_within_seconds() {
    let interceptor = Interceptor::start();
    interceptor.set("shop/api", 1, 1, 0);
    let frozen = CancellationToken::new();
    let relay = relay(interceptor.address, frozen.clone()).await;
    let scaler = Scaler::start(&[relay], &[]).await;
    let api = kedify("concurrency", []);
    wait_until(|| scaler.keda.is_active(&api), |active| matches!(active, Ok(true))).await;

    frozen.cancel();
    let asked = Instant::now();
    wait_until(
        || scaler.metrics(),
        |text| text.contains("scaler_pinger_unreachable_pods 1"),
    )
    .await;
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        asked.elapsed()
    );
    assert!(
        scaler.keda.is_active(&api).await.unwrap(),
        "the last report counts for the retention time"
    );
}

#[tokio::test]
async fn an_interceptor_that_leaves_the_set_counts_no_more_and_one_that_joins_it_does() {
    let (leaving, joining) = (Interceptor::start(), Interceptor::start());
    leaving.set("shop/api", 2, 2, 0);
    joining.set("shop/api", 5, 5, 0);
    let [leaving_name, joining_name] = [&leaving, &joining].map(|peer| peer.address.to_string().parse().unwrap());
    let set = interceptors::fixed([leaving_name]);
    let metrics = Metrics::default();
    let subscriptions = Subscriptions {
        demand: SharedDemand::new(Duration::from_secs(3600)),
        peers: Peers::new(Readiness::new(), metrics.clone()),
        metrics,
        queue: QueueClient::new(Duration::from_millis(5)).unwrap(),
        poll_every: Duration::from_millis(5),
    };
    let (demand, stop) = (subscriptions.demand.clone(), CancellationToken::new());
    let running = subscriptions.run(set.subscribe(), Readiness::new().register("list"), stop.clone());
    let running = tokio::spawn(running);
    let concurrency = async || demand.measure(&Measure::Concurrency(TargetKey::object("shop", "api")));
    wait_until(concurrency, |reading| *reading == Reading::Known(2.0)).await;

    set.send_replace([joining_name].into());
    wait_until(concurrency, |reading| *reading == Reading::Known(5.0)).await;
    stop.cancel();
    within(running).await.unwrap();
}
