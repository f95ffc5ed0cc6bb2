use super::*;

use std::collections::HashMap;

use futures_util::{FutureExt, StreamExt};
use keda_http_core::demand::{Report, TargetReport};
use keda_http_core::target::TargetKey;
use keda_http_runtime::readiness::Readiness;

use crate::interceptors::peers::Peers;

fn service() -> Service {
    Service {
        demand: SharedDemand::new(Duration::from_secs(30), Duration::from_secs(1)),
        objects: Objects::none(),
        peers: Peers::new(Readiness::new(), Metrics::default()),
        metrics: Metrics::default(),
        shutdown: CancellationToken::new(),
    }
}

fn report(service: &Service, origin: Instant, pending: u64, waiting: u64) {
    let key = TargetKey::object("shop", "api");
    let target = TargetReport {
        key,
        arrivals: 1,
        pending,
        waiting,
        pending_nanos: None,
        recent_arrivals: Vec::new(),
    };
    let boot = Some("boot".to_owned());
    let report = Report {
        boot,
        uptime: origin.elapsed(),
        complete: true,
        targets: vec![target],
        removed: Vec::new(),
    };
    service.demand.observe("a", report);
}

fn call() -> ScaledObjectRef {
    let metadata = [
        ("hosts", "a.example"),
        ("service", "api"),
        ("port", "80"),
        ("scalingMetric", "concurrency"),
    ];
    let scaler_metadata: HashMap<_, _> = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    ScaledObjectRef {
        name: "api".to_owned(),
        namespace: "shop".to_owned(),
        scaler_metadata,
    }
}

/// The next message, without waiting for ever in a test that fails: the clock is paused, so an hour takes no time.
async fn next(messages: &mut (impl Stream<Item = Result<IsActiveResponse, Status>> + Unpin)) -> Option<bool> {
    let message = tokio::time::timeout(Duration::from_secs(3600), messages.next())
        .await
        .expect("a message or the end");
    message.map(|message| message.unwrap().result)
}

#[tokio::test(start_paused = true)]
async fn while_requests_wait_in_vain_the_signal_is_repeated_and_no_longer() {
    let (service, origin) = (service(), Instant::now());
    report(&service, origin, 1, 1);
    let mut messages = std::pin::pin!(ActivityStream::open(call(), &service).unwrap().messages());
    assert_eq!(next(&mut messages).await, Some(true));
    for times in 1..=3 {
        assert_eq!(next(&mut messages).await, Some(true));
        assert_eq!(origin.elapsed(), REPEAT_EVERY * times);
    }

    // The requests have an endpoint now: they are pending, and nobody must be woken.
    report(&service, origin, 1, 0);
    assert!(tokio::time::timeout(REPEAT_EVERY * 100, messages.next()).await.is_err());

    // They wait again, though the target was active all the time: that is told at once, for the last signal is long ago.
    report(&service, origin, 1, 1);
    assert!(messages.next().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_nothing_to_say_ends_on_shutdown() {
    let service = service();
    let mut messages = std::pin::pin!(ActivityStream::open(call(), &service).unwrap().messages());
    assert!(messages.next().now_or_never().is_none());
    service.shutdown.cancel();
    assert_eq!(next(&mut messages).await, None);
}
