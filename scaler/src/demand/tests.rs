use super::*;

use futures_util::FutureExt;
use keda_http_core::demand::TargetReport;

const RETENTION: Duration = Duration::from_secs(30);
const DEBOUNCE: Duration = Duration::from_secs(1);

fn key() -> TargetKey {
    TargetKey::object("shop", "api")
}

fn scope(window: u64) -> ActivityScope {
    ActivityScope::Target {
        key: key(),
        window: Duration::from_secs(window),
    }
}

/// The number of rising edges; panics when the watcher was not notified.
fn edges(watcher: &mut Watcher) -> u64 {
    watcher.changed().now_or_never().unwrap().count
}

fn report(origin: Instant, key: TargetKey, arrivals: u64, pending: u64) -> Report {
    let target = TargetReport {
        key,
        arrivals,
        pending,
        waiting: 0,
        starting: false,
        pending_nanos: None,
        recent_arrivals: Vec::new(),
    };
    Report {
        boot: Some("boot".to_owned()),
        uptime: Duration::from_secs(3600) + origin.elapsed(),
        complete: false,
        targets: vec![target],
        removed: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_edge_is_reported_once_and_again_after_the_window_without_a_timer() {
    let (demand, origin) = (SharedDemand::new(RETENTION, DEBOUNCE), Instant::now());
    demand.observe("a", report(origin, key(), 0, 0));
    let (mut watcher, active) = demand.watch(scope(10));
    assert_eq!(active, Reading::Known(false));

    demand.observe("a", report(origin, key(), 1, 0));
    assert_eq!(edges(&mut watcher), 1);
    tokio::time::advance(Duration::from_secs(5)).await;
    demand.observe("a", report(origin, key(), 2, 0));
    assert_eq!(edges(&mut watcher), 1, "still active: no edge");

    // Nobody looks while the window runs out, yet the next arrival is an edge.
    tokio::time::advance(Duration::from_secs(20)).await;
    demand.observe("a", report(origin, key(), 3, 0));
    assert_eq!(edges(&mut watcher), 2);
}

#[tokio::test(start_paused = true)]
async fn reports_of_other_targets_notify_only_watchers_of_everything() {
    let (demand, origin) = (SharedDemand::new(RETENTION, DEBOUNCE), Instant::now());
    let (watcher, active) = demand.watch(scope(10));
    assert_eq!(active, Reading::NoData);
    let (mut everything, _) = demand.watch(ActivityScope::Everything);
    demand.observe("a", report(origin, TargetKey::object("shop", "other"), 1, 1));
    assert!(!watcher.changes.has_changed().unwrap());
    assert_eq!(edges(&mut everything), 1);
}

#[tokio::test(start_paused = true)]
async fn watchers_that_are_gone_are_dropped() {
    let demand = SharedDemand::new(RETENTION, DEBOUNCE);
    let origin = Instant::now();
    drop(demand.watch(scope(10)));
    tokio::time::advance(EXPIRE_EVERY).await;
    demand.observe("a", report(origin, TargetKey::object("shop", "other"), 1, 1));
    assert!(demand.state.lock().targets.is_empty());
}

#[tokio::test(start_paused = true)]
async fn streams_that_have_ended_leave_nothing_behind_although_no_interceptor_reports() {
    let demand = SharedDemand::new(RETENTION, DEBOUNCE);
    for name in 0..1000 {
        let key = TargetKey::object("shop", &format!("api-{name}"));
        drop(demand.watch(ActivityScope::Target { key, window: RETENTION }));
    }
    tokio::time::advance(EXPIRE_EVERY).await;
    let _open = demand.watch(scope(10));
    assert_eq!(demand.state.lock().targets.len(), 1);
}
