//! Takes the objects of the source in, and publishes the route table and the backends.

pub mod own_config_map;
mod ownership;
pub mod source;
pub mod staleness;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use http::{HeaderMap, Request, header};
use keda_http_core::claims::Lost;
use keda_http_core::reply::{self, Requests, When};
use keda_http_core::route::scoped::{Scope, ScopedTable};
use keda_http_core::route::{Route, RouteTable};
use keda_http_core::session::Session;
use keda_http_core::target::TargetKey;
use keda_http_kubernetes::endpoints::{Address, EndpointIndex, ServiceKey};
use keda_http_kubernetes::routes::{RouteChange, RouteIndex};
use keda_http_kubernetes::source::{Change, Problem, Source};
use keda_http_runtime::memory::{Leftovers, give_back};
use keda_http_runtime::readiness::{PendingTask, Readiness};
use serde::Serialize;
use tokio::time::Instant;

use crate::config::RouteDefaults;
use crate::counters::pending::{Pending, PendingRequests, Target};
use crate::proxy::error::ProxyError;
use crate::proxy::static_response::{BoundResponse, PublishedBodies};
use crate::server::listeners::WantedListeners;
use crate::telemetry::metrics::{Metrics, SeriesCache};
use crate::upstream::Hold;
use crate::upstream::backends::{Backend, Backends, service_key};

pub use ownership::Ownership;

/// The route table as it is now. Cheap to clone; a change is published whole.
#[derive(Clone)]
pub struct Routes {
    table: Arc<ArcSwap<RouteTable<Arc<BoundRoute>>>>,
    autowired: Arc<ArcSwap<ScopedTable<Arc<BoundRoute>>>>,
    lost_hosts: Arc<ArcSwap<BTreeMap<TargetKey, Vec<Lost>>>>,
    live: Arc<AtomicBool>,
}

/// A route with everything a request of it needs, worked out when the route was made.
pub struct BoundRoute {
    /// What is counted for it.
    pub key: TargetKey,
    /// Its counters.
    pub target: Arc<Target>,
    /// Its series.
    pub metrics: Arc<SeriesCache>,
    /// Where requests go.
    pub upstream: Arc<Backend>,
    /// Where they go when that is not ready in time.
    pub fallback: Option<Arc<Backend>>,
    /// How long a request may be held.
    pub readiness: Option<Duration>,
    /// How long a request may take in all.
    pub request: Option<Duration>,
    /// From the request sent to the first response header.
    pub response_header: Option<Duration>,
    /// Keeps clients at the endpoint that answered them first.
    pub session: Option<Box<Session>>,
    /// How many requests may be held; `None`: any number.
    max_pending: Option<NonZeroU32>,
    replies: Box<[BoundReply]>,
    placeholder: Option<Box<Placeholder>>,
}

/// Requests of a route that do not count, and the response that some of them get.
pub struct BoundReply {
    to: Requests,
    /// When they get it.
    pub when: When,
    /// The response.
    pub response: BoundResponse,
}

/// What is answered instead of holding.
struct Placeholder {
    response: BoundResponse,
    /// Whether it is only for the requests above `max_pending`.
    overflow_only: bool,
}

/// What `/routes` shows of a route.
#[derive(Debug, Serialize)]
pub struct RouteView {
    route: TargetKey,
    upstream: String,
    ready_endpoints: Vec<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
    /// The hosts that it claims and another namespace has, with that namespace.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    lost_hosts: BTreeMap<String, String>,
    pending: u64,
    waiting: u64,
}

/// What is made of routes.
pub struct RoutingSettings {
    /// For what routes do not say.
    pub defaults: RouteDefaults,
    /// Whose a host is that several claim.
    pub ownership: Ownership,
    /// Where the listeners of autowired Services are told.
    pub listeners: WantedListeners,
}

/// The fold of the source's changes into routes and backends.
pub struct Routing {
    routes: Routes,
    backends: Arc<Backends>,
    pending: PendingRequests,
    metrics: Metrics,
    defaults: RouteDefaults,
    route_index: RouteIndex,
    endpoint_index: EndpointIndex,
    bodies: PublishedBodies,
    bound: HashMap<TargetKey, (Arc<Route>, Arc<BoundRoute>)>,
    ownership: Ownership,
    listeners: WantedListeners,
    readiness: Readiness,
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            table: Arc::new(ArcSwap::from_pointee(RouteTable::new())),
            autowired: Arc::new(ArcSwap::from_pointee(ScopedTable::default())),
            lost_hosts: Arc::default(),
            live: Arc::default(),
        }
    }
}

impl Routes {
    /// The table, for one look-up.
    pub fn load(&self) -> Guard<Arc<RouteTable<Arc<BoundRoute>>>> {
        self.table.load()
    }

    /// The route of a request that came through an autowired Service: never another Service's.
    pub fn find_autowired(
        &self,
        scope: &Scope,
        host: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Arc<BoundRoute>> {
        self.autowired.load().find(scope, host, path, headers).cloned()
    }

    /// All of them, as people are shown them.
    pub fn views(&self) -> Vec<RouteView> {
        let (table, lost) = (self.table.load(), self.lost_hosts.load());
        let view = |route: &Arc<BoundRoute>| route.view(lost.get(&route.key));
        let mut views: Vec<RouteView> = table.values().map(view).collect();
        views.sort_by(|one, other| one.route.cmp(&other.route));
        views
    }

    /// Whether the source's first state is in the table; before that there is no route at all.
    pub fn are_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }
}

impl BoundRoute {
    /// The static route or health check that takes a request: it does not count then, whoever answers it.
    pub fn reply<B>(&self, request: &Request<B>) -> Option<&BoundReply> {
        if self.replies.is_empty() {
            return None;
        }
        let host = request.headers().get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        let requests = self.replies.iter().map(|reply| &reply.to);
        let first = reply::first_match(requests, host, request.uri().path(), request.headers())?;
        self.replies.get(first)
    }

    /// Whether a request may be held.
    pub fn hold<'a>(&self, pending: Option<&'a Pending>) -> Hold<'a> {
        match (pending, &self.placeholder) {
            (None, _) => Hold::Never,
            (_, Some(placeholder)) if !placeholder.overflow_only => Hold::Never,
            (Some(pending), _) => Hold::Among(pending, self.max_pending),
        }
    }

    /// Whether there may be an [`instead`](Self::instead).
    pub fn has_own_answers(&self) -> bool {
        self.placeholder.is_some() || !self.replies.is_empty()
    }

    /// What is answered to a request that `reply` takes, or that counts, because it was not held.
    pub fn instead<'a>(&'a self, error: &ProxyError, reply: Option<&'a BoundReply>) -> Option<&'a BoundResponse> {
        match error {
            ProxyError::Unavailable | ProxyError::TooManyPending => {
                let reply = reply.map(|reply| &reply.response);
                reply.or_else(|| self.placeholder.as_ref().map(|placeholder| &placeholder.response))
            }
            _ => None,
        }
    }

    /// When a request that arrives now must have ended: by the route's limit, or sooner by its own `grpc-timeout`.
    pub fn deadline(&self, headers: &HeaderMap) -> Option<Instant> {
        let own = headers
            .get("grpc-timeout")
            .and_then(|value| value.to_str().ok())
            .and_then(grpc_timeout);
        let limit = match (self.request, own) {
            (Some(limit), Some(own)) => Some(limit.min(own)),
            (limit, own) => limit.or(own),
        };
        limit.map(|limit| Instant::now() + limit)
    }

    fn view(&self, lost: Option<&Vec<Lost>>) -> RouteView {
        let counts = self.target.now();
        let lost = lost.into_iter().flatten();
        RouteView {
            route: self.key.clone(),
            upstream: self.upstream.service.to_string(),
            ready_endpoints: self.upstream.addresses(),
            problem: self.upstream.problem(),
            fallback: self.fallback.as_ref().map(|fallback| fallback.service.to_string()),
            lost_hosts: lost.map(|lost| (lost.host.to_string(), lost.owner.clone())).collect(),
            pending: counts.pending,
            waiting: counts.waiting,
        }
    }
}

/// gRPC's own deadline: up to eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

impl Routing {
    /// Nothing taken in yet.
    pub fn new(
        routes: Routes,
        backends: Arc<Backends>,
        pending: PendingRequests,
        metrics: Metrics,
        settings: RoutingSettings,
        readiness: Readiness,
    ) -> Self {
        if settings.ownership.is_kept() {
            routes.table.store(Arc::new(RouteTable::of_owned_hosts()));
        }
        Self {
            routes,
            backends,
            pending,
            metrics,
            defaults: settings.defaults,
            route_index: RouteIndex::default(),
            endpoint_index: EndpointIndex::default(),
            bodies: PublishedBodies::default(),
            bound: HashMap::new(),
            ownership: settings.ownership,
            listeners: settings.listeners,
            readiness,
        }
    }

    /// Takes changes in until the source ends; `initial` is dropped when the first state is live. That one comes in
    /// pieces, so that many objects are never in memory at once.
    pub async fn run(mut self, mut source: Source, initial: PendingTask) {
        while let Some(piece) = source.initial().await {
            self.apply(&piece);
        }
        // Only now it is known who claimed a host first.
        self.place(self.bound.keys().cloned().collect());
        let mut problems = source.problems();
        self.tell_problems(&problems.borrow_and_update());
        self.routes.live.store(true, Ordering::Release);
        drop(initial);
        give_back();
        let mut leftovers = Leftovers::default();
        let mut freshness = source.freshness();
        loop {
            tokio::select! {
                changes = source.next() => match changes {
                    Some(changes) => {
                        self.apply(&changes);
                        leftovers.add(changes.len());
                    }
                    None => return,
                },
                // After an outage everything is listed anew.
                Ok(()) = freshness.changed() => leftovers.add_all(),
                () = leftovers.give_back() => {}
                Ok(()) = problems.changed() => {}
            }
            self.tell_problems(&problems.borrow_and_update());
        }
    }

    /// One batch: routes first, then the endpoints of every service that was touched or is newly referred to.
    fn apply(&mut self, changes: &[Change]) {
        let mut touched = BTreeSet::new();
        let mut route_changes = Vec::new();
        let mut hosts_changed = false;
        for change in changes {
            touched.extend(self.endpoint_index.apply(change));
            self.bodies.apply(change);
            self.listeners.apply(change);
            hosts_changed |= self.ownership.apply(change);
            route_changes.extend(self.route_index.apply(change));
        }
        if hosts_changed || !route_changes.is_empty() {
            self.apply_routes(route_changes, &mut touched);
        }
        for service in &touched {
            for backend in self.backends.of_service(service) {
                let endpoints = self.endpoint_index.endpoints(&backend.service);
                self.backends
                    .publish(&backend, endpoints.map_err(|error| error.to_string()));
            }
        }
        tracing::debug!(
            changes = changes.len(),
            services = touched.len(),
            routes = self.bound.len(),
            "objects taken in"
        );
    }

    fn apply_routes(&mut self, changes: Vec<RouteChange>, touched: &mut BTreeSet<ServiceKey>) {
        let mut changed = BTreeSet::new();
        for change in changes {
            let (key, old) = match change {
                RouteChange::Set(route) => {
                    let bound = self.bind(&route);
                    touched.extend(services(&bound));
                    self.ownership.set(&route);
                    let key = route.key.clone();
                    (key.clone(), self.bound.insert(key, (route, bound)))
                }
                RouteChange::Remove(key) => {
                    self.ownership.remove(&key);
                    self.pending.retire(&key);
                    let old = self.bound.remove(&key);
                    (key, old)
                }
            };
            touched.extend(old.iter().flat_map(|(_, old)| services(old)));
            changed.insert(key);
        }
        if self.routes.are_live() {
            self.place(changed);
        }
        self.backends.drop_unused(touched.iter().cloned());
        self.bodies.drop_unused();
    }

    /// Publishes the routes that have changed, and those that have won or lost a host by that.
    fn place(&mut self, mut changed: BTreeSet<TargetKey>) {
        changed.extend(self.ownership.settle(&changed));
        let mut table = RouteTable::clone(&self.routes.load());
        let mut autowired = ScopedTable::clone(&self.routes.autowired.load());
        for key in &changed {
            match self.bound.get(key) {
                Some((route, bound)) => {
                    table.insert(&self.ownership.owned(route), bound.clone());
                    autowired.insert(route, bound.clone());
                }
                None => {
                    table.remove(key);
                    autowired.remove(key);
                }
            }
        }
        self.metrics.routes.set(i64::try_from(table.len()).unwrap_or(i64::MAX));
        self.routes.table.store(Arc::new(table));
        self.routes.autowired.store(Arc::new(autowired));
        self.routes.lost_hosts.store(self.ownership.lost().clone());
    }

    fn bind(&self, route: &Route) -> Arc<BoundRoute> {
        let own = |value: Option<Duration>, default: Option<Duration>| match value {
            Some(value) if value.is_zero() => None,
            Some(value) => Some(value),
            None => default,
        };
        let timeouts = &self.defaults.timeouts;
        Arc::new(BoundRoute {
            key: route.key.clone(),
            target: self.pending.target(&route.key, route.window),
            metrics: self.metrics.of_route(&route.key),
            upstream: self.backends.backend(&route.upstream),
            fallback: route.fallback.as_ref().map(|fallback| self.backends.backend(fallback)),
            readiness: timeouts
                .readiness
                .limit(route.timeouts.readiness, route.fallback.is_some()),
            request: own(route.timeouts.request, timeouts.request),
            response_header: own(route.timeouts.response_header, timeouts.response_header),
            max_pending: route
                .cold_start
                .as_ref()
                .and_then(|cold_start| cold_start.max_pending)
                .or(self.defaults.cold_start.max_pending),
            session: route.session.clone(),
            replies: self.bind_replies(route),
            placeholder: self.bind_placeholder(route),
        })
    }

    fn bind_replies(&self, route: &Route) -> Box<[BoundReply]> {
        let bound = route.replies.iter().map(|reply| BoundReply {
            to: reply.to.clone(),
            when: reply.when,
            response: BoundResponse::new(&reply.response, route.key.namespace(), &self.bodies),
        });
        bound.collect()
    }

    fn bind_placeholder(&self, route: &Route) -> Option<Box<Placeholder>> {
        let cold_start = route.cold_start.as_ref()?;
        let response = cold_start.placeholder.as_ref()?;
        Some(Box::new(Placeholder {
            response: BoundResponse::new(response, route.key.namespace(), &self.bodies),
            overflow_only: cold_start.holds(),
        }))
    }

    /// What cannot be used is told on `/readyz` and as a metric.
    fn tell_problems(&self, unreadable: &[Problem]) {
        let unreadable: Vec<String> = unreadable
            .iter()
            .map(|problem| format!("{}: {}", problem.place, problem.reason))
            .collect();
        let refused = self.route_index.refused();
        let refused: Vec<String> = refused
            .iter()
            .flat_map(|(id, errors)| {
                errors
                    .iter()
                    .map(move |error| format!("{:?} {}/{}: {error}", id.kind, id.namespace, id.name))
            })
            .collect();
        let bodies = self.bodies.missing();
        self.metrics
            .problems
            .set(i64::try_from(unreadable.len() + refused.len() + bodies.len()).unwrap_or(i64::MAX));
        self.readiness.set_problems("response bodies", bodies);
        self.readiness.set_problems("manifests", unreadable);
        self.readiness.set_problems("routes", refused);
        self.readiness.set_problems("hosts", self.ownership.problems());
    }
}

fn services(route: &BoundRoute) -> Vec<ServiceKey> {
    let backends = [Some(&route.upstream), route.fallback.as_ref()];
    backends
        .into_iter()
        .flatten()
        .map(|backend| service_key(&backend.service))
        .collect()
}

#[cfg(test)]
mod tests;
