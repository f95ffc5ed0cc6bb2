//! Interceptors that go, hang and come again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keda_http_core::demand::Reading;
use keda_http_core::target::TargetKey;
use keda_http_runtime::readiness::Readiness;
use keda_http_scaler::demand::{Measure, SharedDemand};
use keda_http_scaler::interceptors::open_ports::OpenPorts;
use keda_http_scaler::interceptors::peers::Peers;
use keda_http_scaler::interceptors::queue::QueueClient;
use keda_http_scaler::interceptors::subscription::Subscriptions;
use keda_http_scaler::interceptors::{self, Interceptors};
use keda_http_scaler::metrics::Metrics;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

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
    let interceptor = Interceptor::start_old();
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
async fn a_scaler_that_has_just_started_does_not_take_a_young_interceptor_for_one_that_has_seen_a_whole_window() {
    let started = Instant::now();
    let interceptor = Interceptor::start();
    let scaler = Scaler::start(&[interceptor.address], &[]).await;
    let api = kedify("requestRate", [("window", "2s")]);
    let heard =
        |answer: &Result<bool, Status>| !matches!(answer, Err(status) if status.message().contains("not answered yet"));
    let error = until(|| scaler.keda.is_active(&api), heard).await.unwrap_err();
    assert!(
        error.message().contains("has not been ready for a whole window"),
        "{}",
        error.message()
    );
    wait_until(|| scaler.keda.is_active(&api), |active| matches!(active, Ok(false))).await;
    assert!(started.elapsed() >= Duration::from_secs(2));
    // What has run for long enough is believed at once.
    let old = Interceptor::start_old();
    let scaler = Scaler::start(&[old.address], &[]).await;
    let api = kedify("requestRate", [("window", "1h")]);
    assert!(!until(|| scaler.keda.is_active(&api), Result::is_ok).await.unwrap());
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

/// Subscriptions to a set that the test changes.
struct Subscribed {
    set: watch::Sender<Interceptors>,
    demand: SharedDemand,
    listeners: OpenPorts,
    stop: CancellationToken,
    running: JoinHandle<Result<(), JoinError>>,
}

impl Subscribed {
    fn to(interceptors: impl IntoIterator<Item = SocketAddr>) -> Self {
        let set = interceptors::fixed(interceptors.into_iter().map(Into::into));
        let metrics = Metrics::default();
        let subscriptions = Subscriptions {
            demand: SharedDemand::new(Duration::from_secs(3600), Duration::from_secs(1)),
            peers: Peers::new(Readiness::new(), metrics.clone()),
            open_ports: OpenPorts::default(),
            metrics,
            queue: QueueClient::new(Duration::from_millis(5)).unwrap(),
            poll_every: Duration::from_millis(5),
        };
        let (demand, listeners) = (subscriptions.demand.clone(), subscriptions.open_ports.clone());
        let stop = CancellationToken::new();
        let running = subscriptions.run(set.subscribe(), Readiness::new().register("list"), stop.clone());
        Self {
            set,
            demand,
            listeners,
            stop,
            running: tokio::spawn(running),
        }
    }

    fn list(&self, interceptors: impl IntoIterator<Item = SocketAddr>) {
        self.list_as(interceptors, true);
    }

    fn list_as(&self, interceptors: impl IntoIterator<Item = SocketAddr>, ready: bool) {
        let listed = interceptors.into_iter().map(|interceptor| (interceptor.into(), ready));
        self.set.send_replace(Some(listed.collect()));
    }

    async fn concurrency_becomes(&self, wanted: Reading<f64>) {
        wait_until(|| self.concurrency(), |reading| *reading == wanted).await;
    }

    async fn concurrency(&self) -> Reading<f64> {
        self.demand
            .measure(&Measure::Concurrency(TargetKey::object("shop", "api")))
    }

    async fn end(self) {
        self.stop.cancel();
        within(self.running).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_interceptor_that_is_no_longer_listed_counts_until_its_stream_ends() {
    let (leaving, joining) = (Interceptor::start(), Interceptor::start());
    leaving.set("shop/api", 2, 2, 0);
    joining.set("shop/api", 5, 5, 0);
    let scaler = Subscribed::to([leaving.address]);
    scaler.concurrency_becomes(Reading::Known(2.0)).await;

    scaler.list([joining.address]);
    scaler.concurrency_becomes(Reading::Known(7.0)).await;
    // It still answers the requests it had.
    leaving.set("shop/api", 2, 1, 0);
    joining.set("shop/api", 8, 8, 0);
    leaving.set("shop/api", 12, 11, 0);
    scaler.concurrency_becomes(Reading::Known(19.0)).await;
    drop(leaving);
    scaler.concurrency_becomes(Reading::Known(8.0)).await;
    scaler.end().await;
}

#[tokio::test]
async fn that_nothing_is_pending_is_only_known_while_requests_reach_an_interceptor() {
    let (leaving, joining) = (Interceptor::start(), Interceptor::start());
    leaving.set("shop/api", 2, 2, 0);
    let scaler = Subscribed::to([leaving.address]);
    scaler.concurrency_becomes(Reading::Known(2.0)).await;
    // It drains: the Service leads to nobody, or past the interceptors, which says nothing about the target.
    scaler.list_as([leaving.address], false);
    scaler.concurrency_becomes(Reading::Known(2.0)).await;
    leaving.set("shop/api", 2, 0, 0);
    scaler.concurrency_becomes(Reading::NoData).await;
    scaler.list_as([leaving.address], true);
    let falls = |reading: &Reading<f64>| matches!(reading, Reading::Known(_));
    wait_until(|| scaler.concurrency(), falls).await;

    scaler.list([]);
    scaler.concurrency_becomes(Reading::NoData).await;
    scaler.list([joining.address]);
    wait_until(|| scaler.concurrency(), falls).await;
    scaler.end().await;
}

#[tokio::test]
async fn an_interceptor_neither_connected_nor_listed_is_removed_and_one_listed_again_is_connected() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let interceptor = Interceptor::start();
    interceptor.set("shop/api", 5, 5, 0);
    let silent = hanging.local_addr().unwrap();
    let scaler = Subscribed::to([silent, interceptor.address]);
    scaler.concurrency_becomes(Reading::Known(5.0)).await;
    let (mut connection, _) = within(hanging.accept()).await.unwrap();
    scaler.list([interceptor.address]);
    // Its connection is closed at once, not after a time-out.
    let asked = Instant::now();
    within(connection.read_to_end(&mut Vec::new())).await.unwrap();
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "it took {:?}",
        asked.elapsed()
    );

    let address = interceptor.address;
    scaler.list([]);
    drop(interceptor);
    scaler.concurrency_becomes(Reading::NoData).await;
    let again = Interceptor::start_at(address, "boot-2");
    again.set("shop/api", 1, 1, 0);
    scaler.list([address]);
    scaler.concurrency_becomes(Reading::Known(1.0)).await;
    scaler.end().await;
}

#[tokio::test]
async fn the_open_ports_of_autowired_services_are_known_as_reported() {
    let interceptor = Interceptor::start();
    interceptor.open(&[20_000]);
    let scaler = Subscribed::to([interceptor.address]);
    let mut open = scaler.listeners.subscribe();
    let ports = |ports: &[u16]| Some(ports.iter().copied().collect());
    let name = interceptor.address.into();
    within(open.wait_for(|open| open.get(&name).cloned() == ports(&[20_000])))
        .await
        .unwrap();
    interceptor.open(&[20_001, 20_000]);
    within(open.wait_for(|open| open.get(&name).cloned() == ports(&[20_000, 20_001])))
        .await
        .unwrap();
    scaler.list([]);
    drop(interceptor);
    within(open.wait_for(|open| open.is_empty())).await.unwrap();
    scaler.end().await;
}
