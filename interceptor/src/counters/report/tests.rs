#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const WINDOW: Duration = Duration::from_secs(60);

struct Watched {
    pending: PendingRequests,
    reports: Reports,
}

fn start() -> Watched {
    let pending = PendingRequests::default();
    let (reporter, reports) = reporter(pending.clone(), tokio::sync::watch::Sender::default().subscribe());
    tokio::spawn(reporter.run());
    Watched { pending, reports }
}

impl Watched {
    fn target(&self) -> Arc<Target> {
        self.pending.target(&TargetKey::object("shop", "api"), WINDOW)
    }

    async fn watch(&self) -> impl Stream<Item = Report> + Unpin {
        let subscription = self.reports.subscription().await.unwrap();
        Box::pin(Reports::stream(subscription).map(Result::unwrap))
    }
}

async fn next(stream: &mut (impl Stream<Item = Report> + Unpin)) -> Report {
    tokio::time::timeout(Duration::from_secs(30), stream.next())
        .await
        .expect("a report")
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_first_report_is_complete() {
    let watched = start();
    let _request = watched.target().enter();
    let first = next(&mut watched.watch().await).await;
    assert!(first.complete);
    assert_eq!(first.targets.len(), 1);
    assert_eq!((first.targets[0].arrivals, first.targets[0].pending), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_first_request_is_reported_at_once_and_so_is_the_first_that_waits() {
    let watched = start();
    let target = watched.target();
    let mut reports = watched.watch().await;
    next(&mut reports).await;
    let before = tokio::time::Instant::now();
    let request = target.enter();
    assert_eq!(next(&mut reports).await.targets[0].pending, 1);
    let _waiting = request.wait(None);
    assert_eq!(next(&mut reports).await.targets[0].waiting, 1);
    assert_eq!(before.elapsed(), Duration::ZERO, "no timer has passed");
    assert!(request.signalled().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_quiet_is_not_reported_again() {
    let watched = start();
    let target = watched.target();
    let mut reports = watched.watch().await;
    next(&mut reports).await;
    drop(target.enter());
    let report = next(&mut reports).await;
    assert_eq!(report.targets[0].arrivals, 1);
    // Its end is reported once more, and nothing after that.
    let more = tokio::time::timeout(Duration::from_secs(60), reports.by_ref().take(2).count());
    assert!(more.await.is_err(), "silence");
    drop(target.enter());
    assert_eq!(next(&mut reports).await.targets[0].arrivals, 2);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_comes_late_has_the_last_seconds() {
    let watched = start();
    let target = watched.target();
    let mut reports = watched.watch().await;
    next(&mut reports).await;
    (0..5).for_each(|_| drop(target.enter()));
    while next(&mut reports).await.targets[0].arrivals < 5 {}
    let late = next(&mut watched.watch().await).await;
    assert_eq!(late.targets[0].recent_arrivals.iter().sum::<u32>(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_removed_route_is_reported_when_its_last_request_has_ended() {
    let watched = start();
    let target = watched.target();
    let mut reports = watched.watch().await;
    next(&mut reports).await;
    let request = target.enter();
    watched.pending.retire(&target.key);
    let kept = next(&mut reports).await;
    assert!(kept.removed.is_empty());
    drop(request);
    while next(&mut reports).await.removed != ["shop/api"] {}
    assert!(watched.pending.existing(&target.key).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_numbers_between_two_reports_give_the_mean() {
    let watched = start();
    let target = watched.target();
    let mut reports = watched.watch().await;
    let first = next(&mut reports).await;
    let requests = [target.enter(), target.enter()];
    let second = next(&mut reports).await;
    let silence = tokio::time::timeout(Duration::from_secs(10), reports.next());
    assert!(silence.await.is_err(), "what is pending stays pending: nothing to tell");
    drop(requests);
    let third = next(&mut reports).await;
    let grown = third.targets[0]
        .pending_nanos
        .wrapping_sub(second.targets[0].pending_nanos);
    let expected = 2 * (third.uptime_nanos - second.uptime_nanos);
    assert!(grown <= expected && grown > expected / 2, "{grown} of {expected}");
    assert!(first.uptime_nanos <= second.uptime_nanos);
}
