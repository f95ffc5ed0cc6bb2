//! Allocates ports of the interceptors to Service ports, and releases them.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::time::Duration;

use keda_http_core::route::ServiceRef;
use keda_http_kubernetes::listeners::Listeners;
use tokio::time::Instant;

/// How long a port stays allocated to its Service after the last use: nodes and clients may still send to it, so it
/// must not belong to another Service soon.
const GRACE: Duration = Duration::from_secs(300);

/// The use of ports, by which they are allocated.
#[derive(Debug)]
pub struct PortUse<'a> {
    /// The current allocation.
    pub allocated: &'a Listeners,
    /// Which Service ports need one.
    pub needed: &'a BTreeSet<ServiceRef>,
    /// The ports to which slices point.
    pub used: &'a BTreeSet<u16>,
    /// The ports on which interceptors still listen. One that is no longer allocated may still be another Service's
    /// there.
    pub open: &'a BTreeSet<u16>,
}

#[derive(Debug)]
pub struct PortAllocator {
    range: RangeInclusive<u16>,
    unused: HashMap<u16, Instant>,
}

impl PortAllocator {
    pub fn new(range: RangeInclusive<u16>) -> Self {
        Self {
            range,
            unused: HashMap::new(),
        }
    }

    pub fn allocate(&mut self, ports: &PortUse<'_>, now: Instant) -> Listeners {
        let mut listeners = self.kept(ports, now);
        let served: BTreeSet<ServiceRef> = listeners
            .iter()
            .filter(|(port, _)| self.range.contains(port))
            .map(|(_, service)| service.clone())
            .collect();
        let free = |port: &u16| !ports.allocated.contains_key(port) && !ports.open.contains(port);
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

    /// The allocated ports that are in use, or were until a short time ago.
    fn kept(&mut self, ports: &PortUse<'_>, now: Instant) -> Listeners {
        let mut served = BTreeSet::new();
        let mut kept = Listeners::new();
        for (port, service) in ports.allocated {
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

/// The port of a Service port. It has several while a changed range is being rolled out: then the one within the range.
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

    fn next(
        allocator: &mut PortAllocator,
        allocated: &Listeners,
        needed: &[&str],
        used: &[u16],
        open: &[u16],
    ) -> Listeners {
        let ports = PortUse {
            allocated,
            needed: &needed.iter().map(|name| service(name)).collect(),
            used: &used.iter().copied().collect(),
            open: &open.iter().copied().collect(),
        };
        allocator.allocate(&ports, Instant::now())
    }

    fn text(listeners: &Listeners) -> Vec<String> {
        let entries = listeners.iter();
        entries
            .map(|(port, service)| format!("{port} {}", service.service))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_is_released_when_it_was_not_used_for_a_while() {
        let mut allocator = PortAllocator::new(100..=101);
        let given = next(&mut allocator, &Listeners::new(), &["a", "b"], &[], &[]);
        assert_eq!(text(&given), ["100 a", "101 b"]);
        assert_eq!(allocator.deadline(), None);
        let kept = next(&mut allocator, &given, &["b"], &[100], &[]);
        assert_eq!((&kept, allocator.deadline()), (&given, None), "slices point to it");
        assert_eq!(next(&mut allocator, &given, &["b"], &[], &[]), given);
        assert_eq!(allocator.deadline(), Some(Instant::now() + GRACE));
        tokio::time::advance(GRACE - Duration::from_secs(1)).await;
        assert_eq!(next(&mut allocator, &given, &["b"], &[], &[]), given);
        assert_eq!(
            next(&mut allocator, &given, &["a", "b"], &[], &[]),
            given,
            "it is needed again"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            next(&mut allocator, &given, &["b"], &[], &[]),
            given,
            "and the time begins anew"
        );
        tokio::time::advance(GRACE).await;
        assert_eq!(text(&next(&mut allocator, &given, &["b"], &[], &[])), ["101 b"]);
        assert_eq!(allocator.deadline(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_never_goes_to_another_service_while_it_may_still_be_used_for_the_first_one() {
        let mut allocator = PortAllocator::new(100..=102);
        let given = Listeners::from([(100, service("a"))]);
        assert_eq!(
            text(&next(&mut allocator, &given, &["b"], &[], &[])),
            ["100 a", "101 b"]
        );
        tokio::time::advance(GRACE).await;
        assert_eq!(
            text(&next(&mut allocator, &given, &["b"], &[], &[101])),
            ["102 b"],
            "not in the same step either"
        );
        assert_eq!(
            text(&next(&mut allocator, &Listeners::new(), &["b"], &[], &[100])),
            ["101 b"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_finds_no_port_has_none_and_the_others_keep_theirs() {
        let mut allocator = PortAllocator::new(100..=101);
        let given = next(&mut allocator, &Listeners::new(), &["a", "b", "c"], &[], &[]);
        assert_eq!(text(&given), ["100 a", "101 b"]);
        assert_eq!(port_of(&given, &(100..=101), &service("c")), None);
        assert_eq!(port_of(&given, &(100..=101), &service("b")), Some(101));
    }

    #[tokio::test(start_paused = true)]
    async fn ports_of_a_former_range_are_replaced_and_kept_meanwhile() {
        let mut allocator = PortAllocator::new(200..=201);
        let given = next(
            &mut allocator,
            &Listeners::from([(100, service("a"))]),
            &["a"],
            &[100],
            &[],
        );
        assert_eq!(text(&given), ["100 a", "200 a"]);
        assert_eq!(port_of(&given, &(200..=201), &service("a")), Some(200));
        assert_eq!(next(&mut allocator, &given, &["a"], &[200], &[]), given);
        tokio::time::advance(GRACE).await;
        assert_eq!(text(&next(&mut allocator, &given, &["a"], &[200], &[])), ["200 a"]);
    }
}
