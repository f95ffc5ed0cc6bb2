//! Which ports of the interceptors are given out to Service ports, and when they are taken back.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::time::Duration;

use keda_http_core::route::ServiceRef;
use keda_http_kubernetes::listeners::Listeners;
use tokio::time::Instant;

/// How long a port is kept for its Service after the last use: nodes and clients may still send to it, and it must not
/// soon be another Service's.
const GRACE: Duration = Duration::from_secs(300);

/// What is known about the ports.
#[derive(Debug)]
pub struct Ports<'a> {
    /// What has been given out.
    pub given: &'a Listeners,
    /// Which Service ports need one.
    pub needed: &'a BTreeSet<ServiceRef>,
    /// To which ports slices lead.
    pub used: &'a BTreeSet<u16>,
    /// Which ports interceptors still listen on: one that is not given out any more may be another Service's there.
    pub open: &'a BTreeSet<u16>,
}

/// Gives ports out and takes them back.
#[derive(Debug)]
pub struct Keeper {
    range: RangeInclusive<u16>,
    unused: HashMap<u16, Instant>,
}

impl Keeper {
    /// Gives out ports of this range.
    pub fn new(range: RangeInclusive<u16>) -> Self {
        Self {
            range,
            unused: HashMap::new(),
        }
    }

    /// What should be given out.
    pub fn next(&mut self, ports: &Ports<'_>, now: Instant) -> Listeners {
        let mut listeners = self.kept(ports, now);
        let served: BTreeSet<ServiceRef> = listeners
            .iter()
            .filter(|(port, _)| self.range.contains(port))
            .map(|(_, service)| service.clone())
            .collect();
        let free = |port: &u16| !ports.given.contains_key(port) && !ports.open.contains(port);
        let free: Vec<u16> = {
            let missing = ports.needed.difference(&served).count();
            self.range.clone().filter(free).take(missing).collect()
        };
        let missing = ports.needed.difference(&served).cloned();
        listeners.extend(free.into_iter().zip(missing));
        listeners
    }

    /// When a port will have been unused for long enough.
    pub fn deadline(&self) -> Option<Instant> {
        self.unused.values().min().map(|since| *since + GRACE)
    }

    /// What has been given out and is in use, or was until a short time ago.
    fn kept(&mut self, ports: &Ports<'_>, now: Instant) -> Listeners {
        let mut served = BTreeSet::new();
        let mut kept = Listeners::new();
        for (port, service) in ports.given {
            let needed = self.range.contains(port) && ports.needed.contains(service) && served.insert(service);
            if needed || ports.used.contains(port) {
                self.unused.remove(port);
            } else if now >= *self.unused.entry(*port).or_insert(now) + GRACE {
                continue;
            }
            kept.insert(*port, service.clone());
        }
        self.unused.retain(|port, _| kept.contains_key(port));
        kept
    }
}

/// The port of a Service port: when it has several for a time, the one of the range.
pub fn port_of(listeners: &Listeners, range: &RangeInclusive<u16>, service: &ServiceRef) -> Option<u16> {
    let mut ports = listeners.iter().filter(|(_, known)| *known == service);
    ports.find(|(port, _)| range.contains(port)).map(|(port, _)| *port)
}

#[cfg(test)]
mod tests {
    use keda_http_core::route::PortRef;

    use super::*;

    fn service(name: &str) -> ServiceRef {
        ServiceRef {
            namespace: "shop".into(),
            service: name.into(),
            port: PortRef::Number(80),
        }
    }

    fn next(keeper: &mut Keeper, given: &Listeners, needed: &[&str], used: &[u16], open: &[u16]) -> Listeners {
        let ports = Ports {
            given,
            needed: &needed.iter().map(|name| service(name)).collect(),
            used: &used.iter().copied().collect(),
            open: &open.iter().copied().collect(),
        };
        keeper.next(&ports, Instant::now())
    }

    fn text(listeners: &Listeners) -> Vec<String> {
        let entries = listeners.iter();
        entries
            .map(|(port, service)| format!("{port} {}", service.service))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_is_taken_back_when_it_was_not_used_for_a_while() {
        let mut keeper = Keeper::new(100..=101);
        let given = next(&mut keeper, &Listeners::new(), &["a", "b"], &[], &[]);
        assert_eq!(text(&given), ["100 a", "101 b"]);
        assert_eq!(keeper.deadline(), None);
        let kept = next(&mut keeper, &given, &["b"], &[100], &[]);
        assert_eq!((&kept, keeper.deadline()), (&given, None), "slices lead to it");
        assert_eq!(next(&mut keeper, &given, &["b"], &[], &[]), given);
        assert_eq!(keeper.deadline(), Some(Instant::now() + GRACE));
        tokio::time::advance(GRACE - Duration::from_secs(1)).await;
        assert_eq!(next(&mut keeper, &given, &["b"], &[], &[]), given);
        assert_eq!(
            next(&mut keeper, &given, &["a", "b"], &[], &[]),
            given,
            "it is needed again"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            next(&mut keeper, &given, &["b"], &[], &[]),
            given,
            "and the time begins anew"
        );
        tokio::time::advance(GRACE).await;
        assert_eq!(text(&next(&mut keeper, &given, &["b"], &[], &[])), ["101 b"]);
        assert_eq!(keeper.deadline(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_is_never_given_to_another_while_anybody_may_still_take_it_for_the_first_ones() {
        let mut keeper = Keeper::new(100..=102);
        let given = Listeners::from([(100, service("a"))]);
        assert_eq!(text(&next(&mut keeper, &given, &["b"], &[], &[])), ["100 a", "101 b"]);
        tokio::time::advance(GRACE).await;
        assert_eq!(
            text(&next(&mut keeper, &given, &["b"], &[], &[101])),
            ["102 b"],
            "not in the same step either"
        );
        assert_eq!(
            text(&next(&mut keeper, &Listeners::new(), &["b"], &[], &[100])),
            ["101 b"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_port_goes_without_and_the_others_keep_theirs() {
        let mut keeper = Keeper::new(100..=101);
        let given = next(&mut keeper, &Listeners::new(), &["a", "b", "c"], &[], &[]);
        assert_eq!(text(&given), ["100 a", "101 b"]);
        assert_eq!(port_of(&given, &(100..=101), &service("c")), None);
        assert_eq!(port_of(&given, &(100..=101), &service("b")), Some(101));
    }

    #[tokio::test(start_paused = true)]
    async fn ports_of_a_former_range_are_replaced_and_kept_meanwhile() {
        let mut keeper = Keeper::new(200..=201);
        let given = next(
            &mut keeper,
            &Listeners::from([(100, service("a"))]),
            &["a"],
            &[100],
            &[],
        );
        assert_eq!(text(&given), ["100 a", "200 a"]);
        assert_eq!(port_of(&given, &(200..=201), &service("a")), Some(200));
        assert_eq!(next(&mut keeper, &given, &["a"], &[200], &[]), given);
        tokio::time::advance(GRACE).await;
        assert_eq!(text(&next(&mut keeper, &given, &["a"], &[200], &[])), ["200 a"]);
    }
}
