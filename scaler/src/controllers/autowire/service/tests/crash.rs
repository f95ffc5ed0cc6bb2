//! Killed after any write: whoever comes next ends where the first would have ended, and no Service is left without
//! endpoints on the way.

use std::time::Duration;

use keda_http_kubernetes::object::Kind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::cluster::*;
use crate::controllers::autowire::restored::Mode;

/// What happens to the cluster.
#[derive(Debug, Clone)]
enum Event {
    Wire {
        name: usize,
        service: usize,
        fallback: usize,
        by_name: bool,
    },
    Unwire {
        name: usize,
    },
    Interceptors {
        ready: [bool; 2],
    },
    Pods {
        fallback: usize,
        count: usize,
        port: u16,
    },
    PortUse {
        service: usize,
        ports: usize,
    },
    Restore(bool),
    Tamper,
}

const SERVICES: [&str; 2] = ["api", "web"];
const FALLBACKS: [&str; 3] = ["pods", "others", "web"];

fn ports(which: usize) -> Value {
    match which {
        0 => json!([{"name": "http", "port": 80}]),
        1 => json!([{"name": "http", "port": 80}, {"name": "grpc", "port": 81}]),
        _ => json!([{"name": "http", "port": 81}, {"name": "grpc", "port": 80}]),
    }
}

fn begin() -> Cluster {
    let mut cluster = Cluster::empty();
    cluster.interceptors = vec![interceptor("10.1.0.1"), interceptor("10.1.0.2")];
    for service in SERVICES {
        cluster.apply(&front(service, &ports(0)));
    }
    for fallback in &FALLBACKS[..2] {
        cluster.apply(&back(fallback, &ports(1)));
        happen(
            &mut cluster,
            &Event::Pods {
                fallback: usize::from(*fallback != "pods"),
                count: 1,
                port: 8080,
            },
        );
    }
    cluster
}

fn happen(cluster: &mut Cluster, event: &Event) {
    match event {
        Event::Wire {
            name,
            service,
            fallback,
            by_name,
        } => {
            let mut more = json!({"service": SERVICES[*service], "fallbackService": FALLBACKS[*fallback]});
            if *by_name {
                more["port"] = Value::Null;
                more["portName"] = json!("http");
            }
            cluster.apply(&scaled(&format!("scaled-{name}"), &more));
        }
        Event::Unwire { name } => {
            cluster
                .objects
                .remove(&id(Kind::ScaledObject, &format!("scaled-{name}")));
        }
        Event::Interceptors { ready } => {
            for (interceptor, ready) in cluster.interceptors.iter_mut().zip(ready) {
                interceptor.pod.ready = *ready;
            }
        }
        Event::Pods { fallback, count, port } => {
            let addresses: Vec<String> = (0..*count).map(|pod| format!("10.0.{fallback}.{pod}")).collect();
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            let ports = json!([{"name": "http", "port": port}, {"name": "grpc", "port": 9090}]);
            let name = FALLBACKS[*fallback];
            cluster.apply(&pods(&format!("{name}-1"), name, &ports, &addresses));
        }
        Event::PortUse { service, ports: which } => cluster.apply(&front(SERVICES[*service], &ports(*which))),
        Event::Restore(restored) => cluster.mode = if *restored { Mode::Restored } else { Mode::Autowire },
        Event::Tamper => {
            let name = "api-keda-http-http-ipv4";
            cluster.objects.remove(&id(Kind::EndpointSlice, name));
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..3_usize, 0..2_usize, 0..3_usize, any::<bool>())
            .prop_map(|(name, service, fallback, by_name)| Event::Wire { name, service, fallback, by_name }),
        2 => (0..3_usize).prop_map(|name| Event::Unwire { name }),
        3 => any::<[bool; 2]>().prop_map(|ready| Event::Interceptors { ready }),
        2 => (0..2_usize, prop_oneof![Just(0_usize), Just(1), Just(150)], prop_oneof![Just(8080_u16), Just(8081)])
            .prop_map(|(fallback, count, port)| Event::Pods { fallback, count, port }),
        1 => (0..2_usize, 0..3_usize).prop_map(|(service, ports)| Event::PortUse { service, ports }),
        1 => any::<bool>().prop_map(Event::Restore),
        1 => Just(Event::Tamper),
    ]
}

/// A port that pointed somewhere before and does in the end, does so all the time. The final destination must have
/// existed in the beginning: interceptors cannot listen before the port is allocated.
fn check_no_gap((before, cluster): (&Destinations, &Cluster), now: &Destinations, end: &Cluster, events: &[Event]) {
    let known = cluster.listeners();
    for (port, addresses) in before {
        let has_addresses =
            |destinations: &Destinations| destinations.get(port).is_some_and(|addresses| !addresses.is_empty());
        let to_pods = !end.fallback_pods(port).is_empty();
        let to_interceptors = end.listener(port).is_some_and(|listener| known.contains_key(&listener));
        if !addresses.is_empty() && has_addresses(&end.destinations()) && (to_pods || to_interceptors) {
            assert!(has_addresses(now), "{port:?} points nowhere for a moment: {events:?}");
        }
    }
}

async fn end_of(mut cluster: Cluster) -> Cluster {
    cluster.settle(&mut planner()).await;
    cluster
}

/// From a settled state through one event to the next settled state, killed after each of the writes.
async fn survive(events: &[Event]) {
    let mut cluster = begin();
    for event in events {
        let before = cluster.destinations();
        happen(&mut cluster, event);
        let end = end_of(cluster.clone()).await;
        let mut killed = cluster.clone();
        let mut planner = planner();
        for _ in 0..10 {
            let plan = killed.plan(&mut planner);
            for write in &plan.writes {
                killed.write(write);
                // Another writer removed something: that gap is not ours.
                if !matches!(event, Event::Tamper) {
                    check_no_gap((&before, &cluster), &killed.destinations(), &end, events);
                }
                let after = end_of(killed.clone()).await;
                assert_eq!(after.slices(), end.slices(), "{events:?}");
                assert_eq!(after.listeners(), end.listeners(), "{events:?}");
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let (writes, _) = end.clone().settle(&mut planner).await;
        assert!(writes.is_empty(), "settled is settled: {writes:?} {events:?}");
        cluster = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn killed_after_any_write_the_next_one_ends_alike_and_no_service_is_left_without_endpoints(
        events in prop::collection::vec(event(), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(survive(&events));
    }
}
