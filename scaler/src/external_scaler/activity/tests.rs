use super::*;

use std::collections::HashMap;

use futures_util::{FutureExt, StreamExt};
use keda_http_core::demand::{Report, TargetReport};
use keda_http_core::target::TargetKey;

fn demand() -> SharedDemand {
    SharedDemand::new(Duration::from_secs(30), Duration::from_secs(1))
}

fn open(demand: &SharedDemand) -> impl Stream<Item = Result<IsActiveResponse, Status>> {
    let stream = ActivityStream::open(call(), demand.clone(), ScalingObjects::none(), Metrics::default());
    stream.unwrap().messages()
}

fn report(demand: &SharedDemand, origin: Instant, pending: u64, waiting: u64) {
    let key = TargetKey::object("shop", "api");
    let target = TargetReport {
        key,
        arrivals: 1,
        pending,
        waiting,
        starting: false,
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
    demand.observe("a", report);
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
async fn the_signal_is_repeated_only_while_requests_wait_without_an_endpoint() {
    let (demand, origin) = (demand(), Instant::now());
    report(&demand, origin, 1, 1);
    let mut messages = std::pin::pin!(open(&demand));
    assert_eq!(next(&mut messages).await, Some(true));
    for times in 1..=3 {
        assert_eq!(next(&mut messages).await, Some(true));
        assert_eq!(origin.elapsed(), REPEAT_EVERY * times);
    }

    // The requests have an endpoint now: they are pending, and no wake is needed.
    report(&demand, origin, 1, 0);
    assert!(tokio::time::timeout(REPEAT_EVERY * 100, messages.next()).await.is_err());

    // They wait again, although the target was active all the time: the last signal is old, so the next one is sent at
    // once.
    report(&demand, origin, 1, 1);
    assert!(messages.next().now_or_never().is_some());
}
