#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use keda_http_core::route::PortRef;
use keda_http_core::target::TargetKey;

use super::*;
use crate::counters::pending::{Pending, PendingRequests};
use crate::upstream::{ConnectStages, Hold, Needs, Wanted};

fn service() -> Arc<ServiceRef> {
    Arc::new(ServiceRef {
        namespace: "shop".into(),
        service: "api".into(),
        port: PortRef::Number(80),
    })
}

fn backends() -> Backends {
    Backends::new(PoolSettings {
        workers: 1,
        max_idle: 4,
    })
}

fn address(last: u8) -> Address {
    Address::Socket(([10, 0, 0, last], 8080).into())
}

fn endpoint(last: u8) -> ReadyEndpoint {
    ReadyEndpoint {
        address: address(last),
        id: EndpointId(last.into()),
    }
}

fn publish(backends: &Backends, backend: &Backend, ready: &[u8]) {
    let endpoints = Endpoints {
        ready: ready.iter().copied().map(endpoint).collect(),
        protocol: AppProtocol::Http1,
    };
    backends.publish(backend, Ok(endpoints));
}

#[test]
fn endpoints_that_stay_keep_their_counters() {
    let backends = backends();
    let backend = backends.backend(&service());
    publish(&backends, &backend, &[1]);
    let picked = backend.pick(None).unwrap();
    publish(&backends, &backend, &[1, 2]);
    assert_eq!(backend.endpoint(&address(1)).unwrap().in_flight(), 1);
    publish(&backends, &backend, &[2]);
    assert!(picked.is_removed());
    publish(&backends, &backend, &[1, 2]);
    assert_eq!(
        backend.endpoint(&address(1)).unwrap().in_flight(),
        0,
        "a pod that comes back is a new one"
    );
}

#[test]
fn the_less_busy_of_two_is_picked() {
    let backends = backends();
    let backend = backends.backend(&service());
    publish(&backends, &backend, &[1, 2]);
    let picked: Vec<PickedEndpoint> = (0..100).map(|_| backend.pick(None).unwrap()).collect();
    let busy = |last| backend.endpoint(&address(last)).unwrap().in_flight();
    assert_eq!(
        (busy(1), busy(2)),
        (50, 50),
        "with two endpoints both are compared each time"
    );
    drop(picked);
    assert_eq!((busy(1), busy(2)), (0, 0));
}

#[test]
fn an_ejected_endpoint_is_the_last_choice() {
    let backends = backends();
    let backend = backends.backend(&service());
    publish(&backends, &backend, &[1, 2, 3]);
    backend.endpoint(&address(1)).unwrap().eject();
    backend.endpoint(&address(2)).unwrap().eject();
    assert!((0..100).all(|_| backend.pick(None).unwrap().address == address(3)));
    backend.endpoint(&address(3)).unwrap().eject();
    assert!(backend.pick(None).is_some(), "all are ejected: any is better than none");
}

#[test]
fn the_preferred_one_is_picked_while_it_is_ready_and_not_ejected() {
    let backends = backends();
    let backend = backends.backend(&service());
    publish(&backends, &backend, &[1, 2, 3]);
    let all = |id, last| (0..100).all(|_| backend.pick(Some(EndpointId(id))).unwrap().address == address(last));
    assert!(all(2, 2));
    assert!(!all(9, 2), "nobody of that name: any");
    backend.endpoint(&address(2)).unwrap().eject();
    assert!((0..100).all(|_| backend.pick(Some(EndpointId(2))).unwrap().address != address(2)));
    publish(&backends, &backend, &[1]);
    assert!(all(2, 1), "it has gone");
}

#[test]
fn a_pod_that_has_the_address_of_a_former_one_is_another_endpoint() {
    let backends = backends();
    let backend = backends.backend(&service());
    publish(&backends, &backend, &[1]);
    let former = backend.endpoint(&address(1)).unwrap();
    let other = ReadyEndpoint {
        id: EndpointId(99),
        ..endpoint(1)
    };
    let endpoints = Endpoints {
        ready: vec![other],
        protocol: AppProtocol::Http1,
    };
    backends.publish(&backend, Ok(endpoints));
    assert!(former.is_removed());
    assert_eq!(backend.endpoint(&address(1)).unwrap().id, EndpointId(99));
}

#[tokio::test]
async fn who_waits_for_one_service_is_not_woken_by_another() {
    let backends = backends();
    let (mine, other) = (
        backends.backend(&service()),
        Arc::new(ServiceRef {
            service: "other".into(),
            ..ServiceRef::clone(&service())
        }),
    );
    let other = backends.backend(&other);
    let mut waiting = waiter(mine.clone());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    publish(&backends, &other, &[9]);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    publish(&backends, &mine, &[1]);
    let std::task::Poll::Ready(picked) = futures_util::poll!(&mut waiting) else {
        panic!("an endpoint is ready");
    };
    assert_eq!(picked.address, address(1));
}

fn waiter(backend: Arc<Backend>) -> std::pin::Pin<Box<dyn Future<Output = PickedEndpoint>>> {
    Box::pin(async move { backend.ready(None).await })
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
            let _lease = backend.ready(None).await;
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
    backends.drop_unused([ServiceKey::from(&*service())]);
    assert_eq!(backends.for_service(&ServiceKey::from(&*service())).len(), 1);
    drop(backend);
    backends.drop_unused([ServiceKey::from(&*service())]);
    assert!(backends.for_service(&ServiceKey::from(&*service())).is_empty());
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

fn held(pending: &Pending, backend: &Backend, mut stages: ConnectStages) -> ConnectStages {
    let wanted = Wanted {
        backend,
        hold: Hold::Among(pending, None),
        needs: Needs::new(None, false),
        deadline: None,
    };
    stages.begin_wait(wanted).unwrap();
    stages
}

fn pending() -> Pending {
    let key = TargetKey::object("shop", "api");
    PendingRequests::default().target(&key, Duration::from_secs(60)).enter()
}

#[test]
fn a_hold_for_the_fallback_starts_no_target() {
    let backends = backends();
    let backend = backends.backend(&service());
    let pending = pending();
    let at_the_fallback = ConnectStages {
        fallback: true,
        ..ConnectStages::default()
    };
    let _waiting = held(&pending, &backend, at_the_fallback);
    let counts = pending.target().now();
    assert_eq!((counts.waiting, counts.starting), (1, false));
}

#[test]
fn a_start_ends_with_its_backend() {
    let backends = backends();
    let backend = backends.backend(&service());
    let pending = pending();
    drop(held(&pending, &backend, ConnectStages::default()));
    assert!(pending.target().now().starting);
    let key = ServiceKey::from(&*service());
    backends.drop_unused([key.clone()]);
    assert!(pending.target().now().starting, "a route refers to it");
    drop(backend);
    backends.drop_unused([key]);
    assert!(!pending.target().now().starting);
}

#[test]
fn a_start_at_another_backend_outlives_the_target_that_has_left() {
    let backends = backends();
    let backend = backends.backend(&service());
    let pending = pending();
    drop(held(&pending, &backend, ConnectStages::default()));
    backend.end_start(pending.target());
    assert!(!pending.target().now().starting);
    pending.target().begin_start(Duration::from_secs(60));
    backend.end_start(pending.target());
    publish(&backends, &backend, &[1]);
    assert!(pending.target().now().starting, "the former backend has no say in it");
}
