//! Whether a Service port leads to the interceptors or to the pods: not at the first word, in either direction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use keda_http_core::route::ServiceRef;
use tokio::time::Instant;

/// For how long after the start a Service that leads to the data path is left so, until the interceptors have been found
/// and have told of their ports.
pub const FIRST_WORD: Duration = Duration::from_secs(5);

/// What autowire knows of one interceptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interceptor {
    /// Its addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// Whether it is ready, and does not drain.
    pub ready: bool,
    /// The ports it listens on; `None` when it has never told.
    pub open: Option<BTreeSet<u16>>,
    /// Its node.
    pub node: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
}

/// Where a Service port leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Traffic {
    /// To these interceptors, at this port of theirs.
    Interceptors(u16, Vec<Interceptor>),
    /// Where it leads now.
    Hold,
    /// To the pods.
    Pods,
}

/// The interceptors as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataPath(pub Vec<Interceptor>);

impl DataPath {
    /// Those that can take traffic at this port of theirs.
    pub fn taking(&self, port: u16, has: impl Fn(&IpAddr) -> bool) -> Vec<Interceptor> {
        let open = |interceptor: &Interceptor| interceptor.open.as_ref().is_some_and(|open| open.contains(&port));
        let taking = self
            .0
            .iter()
            .filter(|one| one.ready && open(one) && one.addresses.iter().any(&has));
        taking.cloned().collect()
    }

    /// All their addresses, ready or not.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.0.iter().flat_map(|one| one.addresses.iter().copied()).collect()
    }

    /// The ports that any of them listens on.
    pub fn open(&self) -> BTreeSet<u16> {
        self.0
            .iter()
            .flat_map(|one| one.open.iter().flatten().copied())
            .collect()
    }

    /// Whether all who are ready have told of their ports.
    fn has_told(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|one| !one.ready || one.open.is_some())
    }
}

/// What is asked about a Service port.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Which.
    pub service: &'a ServiceRef,
    /// Whether it leads to interceptors now.
    pub wired: bool,
    /// Its port at the interceptors.
    pub listener: u16,
    /// The interceptors that could take its traffic there.
    pub taking: Vec<Interceptor>,
    /// Whether any pod could take its traffic.
    pub has_pods: bool,
}

/// Remembers since when things are not as they look in the slices.
#[derive(Debug)]
pub struct Health {
    debounce: Duration,
    informed: Instant,
    differs: HashMap<ServiceRef, Instant>,
}

impl Health {
    /// `debounce`: how long interceptors must be there, or not, before it counts. `informed`: from when on all is known of
    /// them that there is to know.
    pub fn new(debounce: Duration, informed: Instant) -> Self {
        Self {
            debounce,
            informed,
            differs: HashMap::new(),
        }
    }

    /// Where a port leads. An interceptor that goes is left out at once, as long as another one is there; and where there
    /// is no pod, interceptors that are well need not prove it first.
    pub fn traffic(&mut self, asked: Asked<'_>, data_path: &DataPath, now: Instant) -> Traffic {
        let Asked {
            service,
            wired,
            listener: port,
            taking,
            has_pods,
        } = asked;
        let well = !taking.is_empty();
        let unknown = now < self.informed && !data_path.has_told();
        let at_once = well && !has_pods;
        if wired == well || (wired && unknown) || at_once {
            self.differs.remove(service);
            return match (wired, well) {
                (_, true) => Traffic::Interceptors(port, taking),
                (true, false) => Traffic::Hold,
                (false, false) => Traffic::Pods,
            };
        }
        let since = *self.differs.entry(service.clone()).or_insert(now);
        match (now >= since + self.debounce, well) {
            (true, true) => Traffic::Interceptors(port, taking),
            (true, false) | (false, true) => Traffic::Pods,
            (false, false) => Traffic::Hold,
        }
    }

    /// Forgets those that are not autowired any more.
    pub fn retain(&mut self, wires: &BTreeMap<ServiceRef, Traffic>) {
        self.differs.retain(|service, _| wires.contains_key(service));
    }

    /// When time alone changes something.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let debounced = self.differs.values().map(|since| *since + self.debounce);
        let deadlines = debounced.chain([self.informed]);
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

    fn interceptor(address: &str, ready: bool, open: Option<u16>) -> Interceptor {
        Interceptor {
            addresses: vec![address.parse().unwrap()],
            ready,
            open: open.map(|port| BTreeSet::from([port])),
            node: None,
            zone: None,
        }
    }

    /// How many interceptors, or else.
    fn ask(health: &mut Health, wired: bool, all: &[Interceptor]) -> Result<usize, Traffic> {
        let data_path = DataPath(all.to_vec());
        let taking = data_path.taking(100, IpAddr::is_ipv4);
        let service = service();
        let asked = Asked {
            service: &service,
            wired,
            listener: 100,
            taking,
            has_pods: true,
        };
        match health.traffic(asked, &data_path, Instant::now()) {
            Traffic::Interceptors(100, taking) => Ok(taking.len()),
            other => Err(other),
        }
    }

    #[test]
    fn only_ready_ones_that_listen_there_take_traffic() {
        let all = [
            interceptor("10.0.0.1", true, Some(100)),
            interceptor("10.0.0.2", false, Some(100)),
            interceptor("10.0.0.3", true, Some(101)),
            interceptor("10.0.0.4", true, None),
            interceptor("fd00::5", true, Some(100)),
        ];
        let taking = DataPath(all.to_vec()).taking(100, IpAddr::is_ipv4);
        assert_eq!(taking, all[..1]);
    }

    #[tokio::test(start_paused = true)]
    async fn well_counts_after_a_while() {
        let mut health = Health::new(SECOND, Instant::now() + FIRST_WORD);
        let one = [interceptor("10.0.0.1", true, Some(100))];
        assert_eq!(ask(&mut health, false, &one), Err(Traffic::Pods));
        assert_eq!(health.deadline(Instant::now()), Some(Instant::now() + SECOND));
        advance(SECOND / 2).await;
        assert_eq!(ask(&mut health, false, &[]), Err(Traffic::Pods), "gone again");
        advance(SECOND / 2).await;
        assert_eq!(
            ask(&mut health, false, &one),
            Err(Traffic::Pods),
            "the time begins anew"
        );
        advance(SECOND).await;
        assert_eq!(ask(&mut health, false, &one), Ok(1));
        assert_eq!(ask(&mut health, false, &one), Ok(1), "until it has been written");
        assert_eq!(ask(&mut health, true, &one), Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_is_no_pod_well_counts_at_once() {
        let mut health = Health::new(SECOND, Instant::now() + FIRST_WORD);
        let data_path = DataPath(vec![interceptor("10.0.0.1", true, Some(100))]);
        let service = service();
        for (has_pods, expected) in [
            (true, Traffic::Pods),
            (false, Traffic::Interceptors(100, data_path.0.clone())),
        ] {
            let taking = data_path.0.clone();
            let asked = Asked {
                service: &service,
                wired: false,
                listener: 100,
                taking,
                has_pods,
            };
            assert_eq!(health.traffic(asked, &data_path, Instant::now()), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unwell_counts_after_a_while_but_one_of_several_goes_at_once() {
        let mut health = Health::new(SECOND, Instant::now() + FIRST_WORD);
        advance(FIRST_WORD).await;
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|address| interceptor(address, true, Some(100)));
        assert_eq!(ask(&mut health, true, &[one.clone(), two.clone()]), Ok(2));
        let drains = Interceptor { ready: false, ..two };
        assert_eq!(ask(&mut health, true, &[one.clone(), drains.clone()]), Ok(1));
        assert_eq!(
            ask(&mut health, true, std::slice::from_ref(&drains)),
            Err(Traffic::Hold)
        );
        advance(SECOND / 2).await;
        assert_eq!(ask(&mut health, true, &[one, drains.clone()]), Ok(1), "back in time");
        assert_eq!(
            ask(&mut health, true, std::slice::from_ref(&drains)),
            Err(Traffic::Hold)
        );
        advance(SECOND).await;
        assert_eq!(ask(&mut health, true, &[drains]), Err(Traffic::Pods));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_start_nothing_is_unwell_until_the_interceptors_have_told() {
        let mut health = Health::new(SECOND, Instant::now() + FIRST_WORD);
        assert_eq!(ask(&mut health, true, &[]), Err(Traffic::Hold), "not found yet");
        advance(SECOND * 2).await;
        let silent = interceptor("10.0.0.1", true, None);
        assert_eq!(
            ask(&mut health, true, &[silent]),
            Err(Traffic::Hold),
            "has not told yet"
        );
        let deaf = interceptor("10.0.0.1", true, Some(101));
        assert_eq!(ask(&mut health, true, std::slice::from_ref(&deaf)), Err(Traffic::Hold));
        advance(SECOND).await;
        assert_eq!(
            ask(&mut health, true, &[deaf]),
            Err(Traffic::Pods),
            "it has told, and does not listen there"
        );
        let mut health = Health::new(SECOND, Instant::now() + FIRST_WORD);
        assert_eq!(ask(&mut health, true, &[]), Err(Traffic::Hold));
        assert_eq!(health.deadline(Instant::now()), Some(Instant::now() + FIRST_WORD));
        advance(FIRST_WORD).await;
        assert_eq!(ask(&mut health, true, &[]), Err(Traffic::Hold));
        advance(SECOND).await;
        assert_eq!(ask(&mut health, true, &[]), Err(Traffic::Pods), "nobody came");
    }
}
