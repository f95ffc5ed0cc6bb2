#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn key() -> TargetKey {
    TargetKey::object("shop", "api")
}

fn target(pending: &PendingRequests) -> Arc<Target> {
    pending.target(&key(), Duration::from_secs(60))
}

#[test]
fn a_dropped_guard_leaves() {
    let pending = PendingRequests::default();
    let target = target(&pending);
    let (first, second) = (target.enter(), target.enter());
    assert_eq!((target.now().arrivals, target.now().pending), (2, 2));
    drop(first);
    assert_eq!(target.now().pending, 1);
    drop(second);
    assert_eq!((target.now().arrivals, target.now().pending), (2, 0));
}

#[test]
fn the_integral_is_pending_times_time() {
    let pending = PendingRequests::default();
    let target = target(&pending);
    let from = target.boot.elapsed();
    let guards = [target.enter(), target.enter()];
    let entered: u64 = guards.iter().map(|guard| nanos(guard.entered)).sum();
    let now = from + Duration::from_secs(10);
    assert_eq!(target.counts(now).pending_nanos, Some(2 * nanos(now) - entered));
    drop(guards);
    let ended = target.counts(now).pending_nanos;
    assert_eq!(
        ended,
        target.counts(now + Duration::from_secs(99)).pending_nanos,
        "nothing pending, nothing grows"
    );
}

#[test]
fn counts_return_to_zero_whatever_many_threads_do() {
    let pending = PendingRequests::default();
    let target = target(&pending);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..2_000 {
                    let request = target.enter();
                    let waiting = (round % 3 == 0).then(|| request.wait(None));
                    if round % 2 == 0 {
                        drop(waiting);
                    }
                }
            });
        }
        for _ in 0..2_000 {
            let counts = target.now();
            assert!(counts.pending <= 4 && counts.waiting <= 4, "{counts:?}");
        }
    });
    let counts = target.now();
    assert_eq!((counts.arrivals, counts.pending, counts.waiting), (8_000, 0, 0));
}

#[test]
fn as_many_wait_as_may_and_every_place_is_given_again() {
    const LIMIT: u32 = 3;
    let pending = PendingRequests::default();
    let target = target(&pending);
    let limit = NonZeroU32::new(LIMIT);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let request = target.enter();
                    let waiting = request.wait(limit);
                    assert!(target.now().waiting <= LIMIT.into());
                    drop(waiting);
                }
            });
        }
    });
    let request = target.enter();
    let waiting: Vec<Waiting> = (0..LIMIT).map(|_| request.wait(limit).unwrap()).collect();
    assert!(request.wait(limit).is_none());
    assert_eq!(
        target.waiting.load(Ordering::SeqCst),
        u64::from(LIMIT),
        "refused ones leave nothing behind"
    );
    assert!(request.wait(None).is_some(), "without a limit there is always room");
    drop(waiting);
    assert!(request.wait(limit).is_some());
}

#[test]
fn an_integral_never_runs_backwards_while_requests_come_and_go() {
    let pending = PendingRequests::default();
    let target = target(&pending);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..20_000).for_each(|_| drop(target.enter()));
            done.store(true, Ordering::SeqCst);
        });
        let mut last = 0;
        while !done.load(Ordering::SeqCst) {
            let now = target.boot.elapsed();
            let Some(integral) = target.counts(now).pending_nanos else {
                continue;
            };
            // A request may enter after `now` was read; one request's nanoseconds are the most that can be off.
            assert!(integral.wrapping_add(1_000_000_000) >= last, "{last} -> {integral}");
            last = integral;
        }
    });
}

#[tokio::test]
async fn the_first_arrival_after_quiet_is_an_edge_and_the_next_is_not() {
    let pending = PendingRequests::default();
    let target = target(&pending);
    let first = target.enter();
    assert_eq!(pending.edges().await.len(), 1);
    let second = target.enter();
    assert!(pending.shared.edges.lock().is_empty());
    drop((first, second));
    let seen = target.now();
    assert_eq!(target.try_quiet(seen), Quiet::Yes);
    let _third = target.enter();
    assert_eq!(pending.edges().await.len(), 1);
}

#[tokio::test]
async fn a_request_that_slips_in_before_quiet_is_not_lost() {
    let pending = PendingRequests::default();
    let target = target(&pending);
    drop(target.enter());
    let _ = pending.edges().await;
    let seen = target.now();
    drop(target.enter());
    assert_eq!(target.try_quiet(seen), Quiet::No, "the reporter keeps it in its hands");
}

#[tokio::test]
async fn the_first_to_wait_is_an_edge_even_under_traffic() {
    let pending = PendingRequests::default();
    let target = target(&pending);
    let request = target.enter();
    let _ = pending.edges().await;
    let waiting = request.wait(None);
    assert_eq!(pending.edges().await.len(), 1);
    assert_eq!(target.now().waiting, 1);
    drop(waiting);
    assert_eq!((target.now().waiting, target.now().pending), (0, 1));
}

#[test]
fn a_route_that_goes_and_comes_back_keeps_its_requests() {
    let pending = PendingRequests::default();
    let first = target(&pending);
    let request = first.enter();
    pending.retire(&key());
    assert!(!pending.remove_retired(&first), "a request is pending");
    let again = target(&pending);
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(again.now().pending, 1);
    drop(request);
    assert_eq!(again.now().pending, 0);
    assert!(!pending.remove_retired(&again), "the route is back");
    pending.retire(&key());
    assert!(pending.remove_retired(&again));
    assert!(pending.existing(&key()).is_none());
}
