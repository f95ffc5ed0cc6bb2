#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::route::{PortRef, Timeouts};

fn key(text: &str) -> TargetKey {
    TargetKey::from(text)
}

fn host(text: &str) -> HostPattern {
    text.parse().unwrap()
}

/// A route with one rule; autowired where it names a Service.
fn route(name: &str, created: i64, hosts: &[&str], autowired: Option<&str>) -> Route {
    let key = key(name);
    let service = |service: &str| {
        Arc::new(ServiceRef {
            namespace: key.namespace().into(),
            service: service.into(),
            port: PortRef::Number(80),
        })
    };
    Route {
        created,
        rules: vec![Rule {
            hosts: hosts.iter().map(|text| host(text)).collect(),
            ..Rule::default()
        }],
        upstream: service("pods"),
        fallback: None,
        timeouts: Timeouts::default(),
        window: std::time::Duration::ZERO,
        replies: Vec::new(),
        cold_start: None,
        session: None,
        autowired: autowired.map(service),
        key: key.clone(),
    }
}

fn set(claims: &mut Claims, route: &Route) {
    claims.set(&route.key, Claimant::from_route(route, "cluster.local"));
}

fn keys(texts: &[&str]) -> BTreeSet<TargetKey> {
    texts.iter().map(|text| key(text)).collect()
}

#[test]
fn at_the_start_the_oldest_claim_wins_whatever_the_order() {
    for order in [[0, 1, 2], [2, 1, 0]] {
        let routes = [
            route("b/x", 1, &["shop.test"], None),
            route("a/x", 1, &["shop.test"], None),
            route("c/x", 2, &["shop.test"], None),
        ];
        let mut claims = Claims::default();
        order.iter().for_each(|i: &usize| set(&mut claims, &routes[*i]));
        assert_eq!(claims.owner(&host("shop.test")), None, "nothing is settled yet");
        assert_eq!(claims.settle(), keys(&["a/x", "b/x", "c/x"]));
        assert_eq!(claims.owner(&host("shop.test")), Some("a"));
    }
}

#[test]
fn the_owner_keeps_a_host_while_one_of_its_routes_claims_it() {
    let mut claims = Claims::default();
    set(&mut claims, &route("new/x", 9, &["shop.test", "own.test"], None));
    assert_eq!(claims.settle(), keys(&["new/x"]));
    // An older object that claims it later does not get it.
    set(&mut claims, &route("old/x", 1, &["shop.test"], None));
    assert_eq!(claims.settle(), keys(&[]));
    let lost = Lost {
        host: host("shop.test"),
        owner: "new".into(),
        in_cluster: false,
    };
    assert_eq!(claims.lost(&key("old/x")), [lost]);
    assert_eq!(claims.lost(&key("new/x")), []);
    assert_eq!(claims.contested(), BTreeMap::from([(host("shop.test"), "new".into())]));
    set(&mut claims, &route("new/y", 9, &["shop.test"], None));
    claims.remove(&key("new/x"));
    assert_eq!(claims.settle(), keys(&[]), "another route of its namespace claims it");
    claims.remove(&key("new/y"));
    assert_eq!(claims.settle(), keys(&["old/x"]), "and now it is free");
    assert_eq!(claims.owner(&host("shop.test")), Some("old"));
    assert_eq!(claims.contested(), BTreeMap::new());
}

#[test]
fn a_record_takes_precedence_over_age_and_ownership_where_its_namespace_claims() {
    let mut claims = Claims::default();
    let record = |namespace: &str| BTreeMap::from([(host("shop.test"), namespace.to_owned())]);
    set(&mut claims, &route("a/x", 1, &["shop.test"], None));
    set(&mut claims, &route("b/x", 2, &["shop.test"], None));
    claims.set_record(record("b"));
    claims.settle();
    assert_eq!(claims.owner(&host("shop.test")), Some("b"));
    claims.set_record(record("a"));
    assert_eq!(claims.settle(), keys(&["a/x", "b/x"]));
    claims.set_record(record("nobody"));
    assert_eq!(claims.settle(), keys(&[]));
    assert_eq!(claims.owner(&host("shop.test")), Some("a"));
}

#[test]
fn a_route_keeps_only_the_hosts_that_its_namespace_owns() {
    let mut claims = Claims::default();
    set(&mut claims, &route("a/x", 1, &["*.test", "shop.test"], None));
    set(&mut claims, &route("a/default", 1, &[], None));
    let mut of_b = route("b/x", 2, &["shop.test", "b.test", "*.test"], None);
    of_b.rules.push(Rule::default());
    set(&mut claims, &of_b);
    claims.settle();
    // An exact host below somebody else's wildcard is a host of its own.
    let owned = claims.owned(&of_b);
    assert_eq!(owned.rules.len(), 1, "the catch-all is another's");
    assert_eq!(owned.rules[0].hosts, [host("b.test")]);
    let of_a = route("a/x", 1, &["*.test", "shop.test"], None);
    assert!(matches!(claims.owned(&of_a), Cow::Borrowed(_)));
    let lost: Vec<HostPattern> = claims.lost(&key("b/x")).into_iter().map(|lost| lost.host).collect();
    assert_eq!(lost, [host("*"), host("*.test"), host("shop.test")]);
}

#[test]
fn names_inside_the_cluster_are_those_of_the_autowired_service() {
    let mut claims = Claims::default();
    let names = [
        ("api", true),
        ("api.shop", true),
        ("api.shop.svc", true),
        ("api.shop.svc.cluster.local", true),
        ("other.shop", false),
        ("api.shop.svc.other.domain", false),
        ("api.other.svc", false),
        ("api.shopping", false),
        ("api.example.com", false),
        ("*.shop", false),
        ("*", false),
    ];
    let hosts = names.map(|(name, _)| name);
    set(&mut claims, &route("first/x", 0, &hosts, None));
    set(&mut claims, &route("shop/api", 1, &hosts, Some("api")));
    set(&mut claims, &route("shop/plain", 1, &hosts, None));
    claims.settle();
    let in_cluster = |key: &TargetKey| -> BTreeMap<HostPattern, bool> {
        let lost = claims.lost(key).into_iter();
        lost.map(|lost| (lost.host, lost.in_cluster)).collect()
    };
    let expected = names.map(|(name, expected)| (host(name), expected));
    assert_eq!(in_cluster(&key("shop/api")), BTreeMap::from(expected));
    assert!(in_cluster(&key("shop/plain")).values().all(|in_cluster| !in_cluster));
}

/// The rules said over everything there is, each time anew.
#[derive(Default)]
struct Model {
    claims: BTreeMap<(usize, usize), (i64, BTreeSet<usize>)>,
    owners: BTreeMap<usize, usize>,
    record: BTreeMap<usize, usize>,
}

impl Model {
    fn settle(&mut self) -> BTreeSet<TargetKey> {
        let before = self.owners.clone();
        let decide = |host: usize| {
            let of_host = self.claims.iter().filter(|(_, (_, hosts))| hosts.contains(&host));
            let by_age: Vec<(i64, usize)> = of_host.map(|((ns, _), (created, _))| (*created, *ns)).collect();
            let claims = |ns: &&usize| by_age.iter().any(|(_, other)| other == *ns);
            let recorded = self.record.get(&host).filter(claims);
            let present = before.get(&host).filter(claims);
            let oldest = by_age.iter().min().map(|(_, ns)| ns);
            recorded.or(present).or(oldest).map(|ns| (host, *ns))
        };
        self.owners = (0..HOSTS).filter_map(decide).collect();
        let moved = |host: &&usize| before.get(*host) != self.owners.get(*host);
        let concerned = self
            .claims
            .iter()
            .filter(|(_, (_, hosts))| hosts.iter().any(|host| moved(&host)));
        concerned.map(|((ns, name), _)| key_of(*ns, *name)).collect()
    }

    fn contested(&self) -> BTreeMap<HostPattern, String> {
        let several = |host: &usize| {
            let of_host = self.claims.iter().filter(|(_, (_, hosts))| hosts.contains(host));
            of_host.map(|((ns, _), _)| ns).collect::<BTreeSet<_>>().len() > 1
        };
        let contested = (0..HOSTS).filter(several);
        contested
            .map(|host| (host_of(host), namespace(self.owners[&host])))
            .collect()
    }
}

const HOSTS: usize = 4;

fn namespace(number: usize) -> String {
    format!("ns{number}")
}

fn key_of(ns: usize, name: usize) -> TargetKey {
    TargetKey::object(&namespace(ns), &name.to_string())
}

fn host_of(number: usize) -> HostPattern {
    host(["a.test", "b.test", "*.test", "*"][number])
}

#[derive(Debug, Clone)]
enum Step {
    Set(usize, usize, i64, BTreeSet<usize>),
    Remove(usize, usize),
    Record(BTreeMap<usize, usize>),
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let hosts = proptest::collection::btree_set(0..HOSTS, 0..HOSTS);
    let record = proptest::collection::btree_map(0..HOSTS, 0..4_usize, 0..3);
    prop_oneof![
        4 => (0..3_usize, 0..2_usize, 0..3_i64, hosts).prop_map(|(ns, name, created, hosts)| Step::Set(ns, name, created, hosts)),
        2 => (0..3_usize, 0..2_usize).prop_map(|(ns, name)| Step::Remove(ns, name)),
        1 => record.prop_map(Step::Record),
        3 => Just(Step::Settle),
    ]
}

proptest! {
    #[test]
    fn any_history_ends_as_the_rules_say(steps in proptest::collection::vec(step(), 1..40)) {
        let (mut claims, mut model) = (Claims::default(), Model::default());
        for step in steps.into_iter().chain([Step::Settle]) {
            match step {
                Step::Set(ns, name, created, hosts) => {
                    let texts: Vec<String> = hosts.iter().map(|number| host_of(*number).to_string()).collect();
                    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                    let mut route = route(key_of(ns, name).as_str(), created, &texts, None);
                    if texts.is_empty() {
                        route.rules.clear();
                    }
                    set(&mut claims, &route);
                    model.claims.insert((ns, name), (created, hosts));
                }
                Step::Remove(ns, name) => {
                    claims.remove(&key_of(ns, name));
                    model.claims.remove(&(ns, name));
                }
                Step::Record(record) => {
                    let named = record.iter().map(|(number, ns)| (host_of(*number), namespace(*ns)));
                    claims.set_record(named.collect());
                    model.record = record;
                }
                Step::Settle => {
                    prop_assert_eq!(claims.settle(), model.settle());
                    for number in 0..HOSTS {
                        let owner = model.owners.get(&number).map(|ns| namespace(*ns));
                        prop_assert_eq!(claims.owner(&host_of(number)), owner.as_deref());
                    }
                    prop_assert_eq!(claims.contested(), model.contested());
                }
            }
        }
        prop_assert_eq!(claims.hosts.len(), model.owners.len(), "nothing is kept of hosts that nobody claims");
    }
}
