//! Whether a Service port points to the interceptors or to the pods, debounced in both directions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use keda_http_core::route::ServiceRef;
use tokio::time::Instant;

use crate::interceptors::slices::Pod;

/// The time after the start in which interceptors are discovered and report their ports. Until then a Service that
/// points to the interceptors stays unchanged.
pub(crate) const FIRST_REPORT_TIME: Duration = Duration::from_secs(5);

/// A pod of an interceptor, with the ports that it listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListeningPod {
    pub(crate) pod: Pod,
    /// The ports it listens on; `None` when it has never reported them.
    pub(crate) open: Option<BTreeSet<u16>>,
}

/// Where a Service port should point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PortDestination {
    /// To this port of these interceptors.
    Interceptors(u16, Vec<ListeningPod>),
    /// Where it points now.
    Unchanged,
    /// To the pods of the fallback Service.
    Pods,
}

/// All interceptors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InterceptorPods(pub(crate) Vec<ListeningPod>);

impl InterceptorPods {
    /// The ready pods that listen on this port and have an address of the family.
    pub(crate) fn accepting(&self, port: u16, of_family: impl Fn(&IpAddr) -> bool) -> Vec<ListeningPod> {
        let open = |one: &ListeningPod| one.open.as_ref().is_some_and(|open| open.contains(&port));
        let accepting = self
            .0
            .iter()
            .filter(|one| one.pod.ready && open(one) && one.pod.addresses.iter().any(&of_family));
        accepting.cloned().collect()
    }

    /// All addresses of all pods, ready or not.
    pub(crate) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.0
            .iter()
            .flat_map(|one| one.pod.addresses.iter().copied())
            .collect()
    }

    /// The ports that any of them listens on.
    pub(crate) fn open(&self) -> BTreeSet<u16> {
        self.0
            .iter()
            .flat_map(|one| one.open.iter().flatten().copied())
            .collect()
    }

    /// Whether every ready pod has reported its ports.
    fn all_reported(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|one| !one.pod.ready || one.open.is_some())
    }
}

/// The state of a Service port, by which its destination is decided.
#[derive(Debug)]
pub(crate) struct PortState<'a> {
    pub(crate) service: &'a ServiceRef,
    /// Whether it points to interceptors now.
    pub(crate) wired: bool,
    /// Its port at the interceptors.
    pub(crate) listener: u16,
    /// The interceptors that can accept its traffic there.
    pub(crate) accepting: Vec<ListeningPod>,
    /// Whether any pod can accept its traffic.
    pub(crate) has_pods: bool,
}

/// Debounces changes: it remembers since when the current destination of a port differs from the right one.
#[derive(Debug)]
pub(crate) struct Health {
    debounce: Duration,
    known_from: Instant,
    differs: HashMap<ServiceRef, Instant>,
}

impl Health {
    /// `debounce`: how long interceptors must be healthy, or not, before the destination changes. `known_from`: from
    /// when on missing interceptors are missing and not only undiscovered.
    pub(crate) fn new(debounce: Duration, known_from: Instant) -> Self {
        Self {
            debounce,
            known_from,
            differs: HashMap::new(),
        }
    }

    /// Decides where a port should point. An interceptor that leaves is left out at once while another one is healthy;
    /// and where there is no pod, healthy interceptors are used at once.
    pub(crate) fn destination(
        &mut self,
        port: PortState<'_>,
        interceptors: &InterceptorPods,
        now: Instant,
    ) -> PortDestination {
        let PortState {
            service,
            wired,
            listener,
            accepting,
            has_pods,
        } = port;
        let healthy = !accepting.is_empty();
        let unknown = now < self.known_from && !interceptors.all_reported();
        let at_once = healthy && !has_pods;
        if wired == healthy || (wired && unknown) || at_once {
            self.differs.remove(service);
            return match (wired, healthy) {
                (_, true) => PortDestination::Interceptors(listener, accepting),
                (true, false) => PortDestination::Unchanged,
                (false, false) => PortDestination::Pods,
            };
        }
        let since = *self.differs.entry(service.clone()).or_insert(now);
        match (now >= since + self.debounce, healthy) {
            (true, true) => PortDestination::Interceptors(listener, accepting),
            (true, false) | (false, true) => PortDestination::Pods,
            (false, false) => PortDestination::Unchanged,
        }
    }

    /// Forgets ports that are no longer autowired.
    pub(crate) fn retain(&mut self, wires: &BTreeMap<ServiceRef, PortDestination>) {
        self.differs.retain(|service, _| wires.contains_key(service));
    }

    /// When the passing of time alone changes a destination.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let debounced = self.differs.values().map(|since| *since + self.debounce);
        let deadlines = debounced.chain([self.known_from]);
        deadlines.filter(|deadline| *deadline > now).min()
    }
}

#[cfg(test)]
mod tests {
    use keda_http_core::route::PortRef;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn service() -> ServiceRef {
        ServiceRef {
            namespace: "shop".into(),
            service: "api".into(),
            port: PortRef::Number(80),
        }
    }

    fn interceptor(address: &str, ready: bool, open: Option<u16>) -> ListeningPod {
        ListeningPod {
            pod: Pod {
                interceptor: "10.0.0.1:9090".parse().unwrap(),
                addresses: vec![address.parse().unwrap()],
                ready,
                node: None,
                zone: None,
            },
            open: open.map(|port| BTreeSet::from([port])),
        }
    }

    /// How many interceptors, or the other destination.
    fn ask(health: &mut Health, wired: bool, all: &[ListeningPod]) -> Result<usize, PortDestination> {
        let interceptors = InterceptorPods(all.to_vec());
        let accepting = interceptors.accepting(100, IpAddr::is_ipv4);
        let service = service();
        let port = PortState {
            service: &service,
            wired,
            listener: 100,
            accepting,
            has_pods: true,
        };
        match health.destination(port, &interceptors, Instant::now()) {
            PortDestination::Interceptors(100, accepting) => Ok(accepting.len()),
            other => Err(other),
        }
    }

    #[test]
    fn only_ready_interceptors_that_listen_there_accept_traffic() {
        let all = [
            interceptor("10.0.0.1", true, Some(100)),
            interceptor("10.0.0.2", false, Some(100)),
            interceptor("10.0.0.3", true, Some(101)),
            interceptor("10.0.0.4", true, None),
            interceptor("fd00::5", true, Some(100)),
        ];
        let accepting = InterceptorPods(all.to_vec()).accepting(100, IpAddr::is_ipv4);
        assert_eq!(accepting, all[..1]);
    }

    #[tokio::test(start_paused = true)]
    async fn healthy_interceptors_are_used_after_the_debounce_time() {
        let mut health = Health::new(SECOND, Instant::now() + FIRST_REPORT_TIME);
        let one = [interceptor("10.0.0.1", true, Some(100))];
        assert_eq!(ask(&mut health, false, &one), Err(PortDestination::Pods));
        assert_eq!(health.deadline(Instant::now()), Some(Instant::now() + SECOND));
        advance(SECOND / 2).await;
        assert_eq!(ask(&mut health, false, &[]), Err(PortDestination::Pods), "gone again");
        advance(SECOND / 2).await;
        assert_eq!(
            ask(&mut health, false, &one),
            Err(PortDestination::Pods),
            "the time begins anew"
        );
        advance(SECOND).await;
        assert_eq!(ask(&mut health, false, &one), Ok(1));
        assert_eq!(ask(&mut health, false, &one), Ok(1), "until it has been written");
        assert_eq!(ask(&mut health, true, &one), Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn healthy_interceptors_are_used_at_once_where_there_is_no_pod() {
        let mut health = Health::new(SECOND, Instant::now() + FIRST_REPORT_TIME);
        let interceptors = InterceptorPods(vec![interceptor("10.0.0.1", true, Some(100))]);
        let service = service();
        for (has_pods, expected) in [
            (true, PortDestination::Pods),
            (false, PortDestination::Interceptors(100, interceptors.0.clone())),
        ] {
            let accepting = interceptors.0.clone();
            let port = PortState {
                service: &service,
                wired: false,
                listener: 100,
                accepting,
                has_pods,
            };
            assert_eq!(health.destination(port, &interceptors, Instant::now()), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unhealthy_interceptors_are_left_after_the_debounce_time_but_one_of_several_at_once() {
        let mut health = Health::new(SECOND, Instant::now() + FIRST_REPORT_TIME);
        advance(FIRST_REPORT_TIME).await;
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|address| interceptor(address, true, Some(100)));
        assert_eq!(ask(&mut health, true, &[one.clone(), two]), Ok(2));
        let drains = interceptor("10.0.0.2", false, Some(100));
        assert_eq!(ask(&mut health, true, &[one.clone(), drains.clone()]), Ok(1));
        assert_eq!(
            ask(&mut health, true, std::slice::from_ref(&drains)),
            Err(PortDestination::Unchanged)
        );
        advance(SECOND / 2).await;
        assert_eq!(ask(&mut health, true, &[one, drains.clone()]), Ok(1), "back in time");
        assert_eq!(
            ask(&mut health, true, std::slice::from_ref(&drains)),
            Err(PortDestination::Unchanged)
        );
        advance(SECOND).await;
        assert_eq!(ask(&mut health, true, &[drains]), Err(PortDestination::Pods));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_start_nothing_is_unhealthy_until_the_interceptors_have_reported() {
        let mut health = Health::new(SECOND, Instant::now() + FIRST_REPORT_TIME);
        assert_eq!(
            ask(&mut health, true, &[]),
            Err(PortDestination::Unchanged),
            "not discovered yet"
        );
        advance(SECOND * 2).await;
        let silent = interceptor("10.0.0.1", true, None);
        assert_eq!(
            ask(&mut health, true, &[silent]),
            Err(PortDestination::Unchanged),
            "has not reported yet"
        );
        let deaf = interceptor("10.0.0.1", true, Some(101));
        assert_eq!(
            ask(&mut health, true, std::slice::from_ref(&deaf)),
            Err(PortDestination::Unchanged)
        );
        advance(SECOND).await;
        assert_eq!(
            ask(&mut health, true, &[deaf]),
            Err(PortDestination::Pods),
            "it has reported, and does not listen there"
        );
        let mut health = Health::new(SECOND, Instant::now() + FIRST_REPORT_TIME);
        assert_eq!(ask(&mut health, true, &[]), Err(PortDestination::Unchanged));
        assert_eq!(
            health.deadline(Instant::now()),
            Some(Instant::now() + FIRST_REPORT_TIME)
        );
        advance(FIRST_REPORT_TIME).await;
        assert_eq!(ask(&mut health, true, &[]), Err(PortDestination::Unchanged));
        advance(SECOND).await;
        assert_eq!(
            ask(&mut health, true, &[]),
            Err(PortDestination::Pods),
            "no interceptor was discovered"
        );
    }
}
