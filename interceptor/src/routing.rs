//! Applies the changes of the source, and publishes the route table and the backends.

pub mod own_config_map;
mod ownership;
pub mod source;
pub mod staleness;
pub mod wanted_listeners;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use keda_http_core::route::scoped::ScopedTable;
use keda_http_core::route::{Route, RouteTable};
use keda_http_core::target::TargetKey;
use keda_http_kubernetes::endpoints::ServiceKey;
use keda_http_kubernetes::index::Index;
use keda_http_kubernetes::routes::RouteChange;
use keda_http_kubernetes::source::{Change, Problem, Source};
use keda_http_kubernetes::view::{View, ViewChange};
use keda_http_runtime::memory::{Leftovers, give_back};
use keda_http_runtime::readiness::{PendingTask, Readiness};

use crate::config::RouteDefaults;
use crate::counters::pending::PendingRequests;
use crate::proxy::routes::{BoundReply, BoundRoute, Placeholder, Routes};
use crate::proxy::static_response::{BoundResponse, PublishedBodies};
use crate::routing::wanted_listeners::WantedListeners;
use crate::telemetry::metrics::Metrics;
use crate::upstream::backends::Backends;

pub use ownership::Ownership;

/// Settings for binding routes.
pub struct RoutingSettings {
    /// For settings that a route does not have.
    pub defaults: RouteDefaults,
    /// How hosts are decided about that several namespaces claim.
    pub ownership: Ownership,
    /// Where the wanted listeners of autowired Services are published.
    pub listeners: WantedListeners,
}

/// The fold of the source's changes into routes and backends.
pub struct Routing {
    routes: Routes,
    backends: Arc<Backends>,
    pending: PendingRequests,
    metrics: Metrics,
    defaults: RouteDefaults,
    view: View,
    bodies: PublishedBodies,
    bound: HashMap<TargetKey, Arc<BoundRoute>>,
    ownership: Ownership,
    listeners: WantedListeners,
    readiness: Readiness,
}

impl Routing {
    /// Without any objects yet.
    pub fn new(
        routes: Routes,
        backends: Arc<Backends>,
        pending: PendingRequests,
        metrics: Metrics,
        settings: RoutingSettings,
        readiness: Readiness,
    ) -> Self {
        if settings.ownership.settings.owned {
            routes.publish(RouteTable::of_owned_hosts(), ScopedTable::default(), Arc::default());
        }
        Self {
            routes,
            backends,
            pending,
            metrics,
            defaults: settings.defaults,
            view: View::new(settings.ownership.settings.clone()),
            bodies: PublishedBodies::default(),
            bound: HashMap::new(),
            ownership: settings.ownership,
            listeners: settings.listeners,
            readiness,
        }
    }

    /// Applies changes until the source ends; `initial` is dropped when the first state is live. That one comes in
    /// pieces, so that many objects are never in memory at once.
    pub async fn run(mut self, mut source: Source, initial: PendingTask) {
        while let Some(piece) = source.initial().await {
            self.apply(&piece);
        }
        // Only now it is known who claimed a host first.
        self.place(self.bound.keys().cloned().collect());
        let mut problems = source.problems();
        self.report_problems(&problems.borrow_and_update());
        self.routes.set_live();
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
            self.report_problems(&problems.borrow_and_update());
        }
    }

    /// One batch: routes first, then the endpoints of every service that was touched or is newly referred to.
    fn apply(&mut self, changes: &[Change]) {
        let mut touched = BTreeSet::new();
        let mut route_changes = Vec::new();
        let mut hosts_changed = false;
        for change in changes {
            self.bodies.apply(change);
            self.listeners.apply(change);
            if let Some(owners) = self.ownership.recorded(change) {
                self.view.set_record(owners);
                hosts_changed = true;
            }
            for change in self.view.update(change) {
                match change {
                    ViewChange::Route(route) => route_changes.push(route),
                    ViewChange::Endpoints(service) => drop(touched.insert(service)),
                }
            }
        }
        if hosts_changed || !route_changes.is_empty() {
            self.apply_routes(route_changes, &mut touched);
        }
        for service in &touched {
            for backend in self.backends.for_service(service) {
                let endpoints = self.view.endpoints(&backend.service);
                self.backends
                    .publish(&backend, endpoints.map_err(|error| error.to_string()));
            }
        }
        tracing::debug!(
            changes = changes.len(),
            services = touched.len(),
            routes = self.bound.len(),
            "objects applied"
        );
    }

    fn apply_routes(&mut self, changes: Vec<RouteChange>, touched: &mut BTreeSet<ServiceKey>) {
        let mut changed = BTreeSet::new();
        for change in changes {
            let (key, old) = match change {
                RouteChange::Set(route) => {
                    let bound = self.bind(&route);
                    touched.extend(services(&bound));
                    let key = route.key.clone();
                    (key.clone(), self.bound.insert(key, bound))
                }
                RouteChange::Remove(key) => {
                    self.pending.retire(&key);
                    let old = self.bound.remove(&key);
                    (key, old)
                }
            };
            if let Some(old) = &old {
                touched.extend(services(old));
                end_start(old, self.bound.get(&key));
            }
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
        let before = self.view.conflicts().clone();
        changed.extend(self.view.settle());
        ownership::log_changes(&changed, &before, self.view.conflicts());
        let mut table = RouteTable::clone(&self.routes.load());
        let mut autowired = ScopedTable::clone(&self.routes.load_autowired());
        for key in &changed {
            match self.view.route(key).zip(self.bound.get(key)) {
                Some((route, bound)) => {
                    table.insert(&self.view.owned(route), bound.clone());
                    autowired.insert(route, bound.clone());
                }
                None => {
                    table.remove(key);
                    autowired.remove(key);
                }
            }
        }
        self.metrics.routes.set(i64::try_from(table.len()).unwrap_or(i64::MAX));
        self.routes.publish(table, autowired, self.view.conflicts().clone());
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
            rules: route.rules.clone().into(),
            target: self.pending.target(&route.key, route.window),
            metrics: self.metrics.for_route(&route.key),
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

    /// Reports what is not valid on `/readyz` and as a metric.
    fn report_problems(&self, unreadable: &[Problem]) {
        let unreadable: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
        let refused = self.view.refused();
        let refused: Vec<String> = refused
            .iter()
            .flat_map(|(id, errors)| errors.iter().map(move |error| format!("{id}: {error}")))
            .collect();
        let bodies = self.bodies.missing();
        self.metrics
            .problems
            .set(i64::try_from(unreadable.len() + refused.len() + bodies.len()).unwrap_or(i64::MAX));
        self.readiness.set_problems("response bodies", bodies);
        self.readiness.set_problems("manifests", unreadable);
        self.readiness.set_problems("routes", refused);
        self.readiness
            .set_problems("hosts", ownership::problems(self.view.conflicts()));
    }
}

/// Nobody waits any more for the workload that the route has left.
fn end_start(old: &BoundRoute, new: Option<&Arc<BoundRoute>>) {
    if new.is_none_or(|new| !Arc::ptr_eq(&new.upstream, &old.upstream)) {
        old.upstream.end_start(&old.target);
    }
}

fn services(route: &BoundRoute) -> Vec<ServiceKey> {
    let backends = [Some(&route.upstream), route.fallback.as_ref()];
    backends
        .into_iter()
        .flatten()
        .map(|backend| ServiceKey::from(&*backend.service))
        .collect()
}
