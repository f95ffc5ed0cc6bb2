#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use keda_http_core::route::PortRef;

use super::*;

fn service() -> ServiceRef {
    ServiceRef {
        namespace: "shop".into(),
        service: "api".into(),
        port: PortRef::Number(80),
    }
}

fn backends() -> Backends {
    Backends::new(PoolSettings {
        workers: 1,
        max_idle: 4,
    })
}

fn address(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 8080).into()
}

fn publish(backends: &Backends, backend: &Backend, ready: &[u8]) {
    let endpoints = Endpoints {
        ready: ready.iter().copied().map(address).collect(),
        protocol: AppProtocol::Http1,
    };
    backends.publish(backend, Ok(endpoints));
}

#[test]
fn endpoints_that_stay_keep_their_counters() {
    let backends = backends();
    let backend = backends.backend(&service());
    publish(&backends, &backend, &[1]);
    let lease = backend.pick().unwrap();
    publish(&backends, &backend, &[1, 2]);
    assert_eq!(backend.endpoint(address(1)).unwrap().in_flight(), 1);
    publish(&backends, &backend, &[2]);
    assert!(lease.is_removed());
    publish(&backends, &backend, &[1, 2]);
    assert_eq!(
        backend.endpoint(address(1)).unwrap().in_flight(),
        0,
        "a pod that comes back is a new one"
    );
}

#[test]
fn the_less_busy_of_two_is_picked() {
    let backends = backends();
    let backend = backends.backend(&service());
    publish(&backends, &backend, &[1, 2]);
    let leases: Vec<Lease> = (0..100).map(|_| backend.pick().unwrap()).collect();
    let busy = |last| backend.endpoint(address(last)).unwrap().in_flight();
    assert_eq!(
        (busy(1), busy(2)),
        (50, 50),
        "with two endpoints both are compared each time"
    );
    drop(leases);
    assert_eq!((busy(1), busy(2)), (0, 0));
}

#[test]
fn a_quarantined_endpoint_is_the_last_choice() {
    let backends = backends();
    let backend = backends.backend(&service());
    publish(&backends, &backend, &[1, 2, 3]);
    backend.endpoint(address(1)).unwrap().quarantine();
    backend.endpoint(address(2)).unwrap().quarantine();
    assert!((0..100).all(|_| backend.pick().unwrap().address == address(3)));
    backend.endpoint(address(3)).unwrap().quarantine();
    assert!(backend.pick().is_some(), "all are quarantined: any is better than none");
}

#[tokio::test]
async fn who_waits_for_one_service_is_not_woken_by_another() {
    let backends = backends();
    let (mine, other) = (
        backends.backend(&service()),
        ServiceRef {
            service: "other".into(),
            ..service()
        },
    );
    let other = backends.backend(&other);
    let mut waiting = waiter(mine.clone());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    publish(&backends, &other, &[9]);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    publish(&backends, &mine, &[1]);
    let std::task::Poll::Ready(lease) = futures_util::poll!(&mut waiting) else {
        panic!("an endpoint is ready");
    };
    assert_eq!(lease.address, address(1));
}

fn waiter(backend: Arc<Backend>) -> std::pin::Pin<Box<dyn Future<Output = Lease>>> {
    Box::pin(async move { backend.ready().await })
}

#[tokio::test]
async fn waiters_are_released_in_the_order_they_came() {
    let backends = backends();
    let backend = backends.backend(&service());
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for number in 0..100 {
        let (backend, order) = (backend.clone(), order.clone());
        waiters.push(tokio::spawn(async move {
            let _lease = backend.ready().await;
            order.lock().push(number);
        }));
        tokio::task::yield_now().await;
    }
    publish(&backends, &backend, &[1]);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(*order.lock(), (0..100).collect::<Vec<_>>());
}

#[test]
fn backends_nobody_refers_to_are_dropped() {
    let backends = backends();
    let backend = backends.backend(&service());
    backends.drop_unused([service_key(&service())]);
    assert_eq!(backends.of_service(&service_key(&service())).len(), 1);
    drop(backend);
    backends.drop_unused([service_key(&service())]);
    assert!(backends.of_service(&service_key(&service())).is_empty());
}

#[test]
fn a_service_that_cannot_be_resolved_says_why() {
    let backends = backends();
    let backend = backends.backend(&service());
    backends.publish(&backend, Err("there is no Service shop/api".into()));
    assert_eq!(backend.problem().as_deref(), Some("there is no Service shop/api"));
    publish(&backends, &backend, &[1]);
    assert_eq!(backend.problem(), None);
}

#[test]
fn random_numbers_cover_the_range() {
    let mut seen = [0_u32; 3];
    (0..3_000).for_each(|_| seen[random_below(3)] += 1);
    assert!(seen.iter().all(|count| *count > 800), "{seen:?}");
}
