//! The routes as requests find them: a table that is published whole, and what each route decides about a request.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use http::{HeaderMap, Request, header};
use keda_http_core::route::reply::{self, Requests, When};
use keda_http_core::route::scoped::{Scope, ScopedTable};
use keda_http_core::route::{RouteTable, Rule};
use keda_http_core::session::Session;
use keda_http_core::target::TargetKey;
use keda_http_kubernetes::endpoints::Address;
use keda_http_kubernetes::view::HostConflicts;
use serde::Serialize;
use tokio::time::Instant;

use crate::counters::pending::{Pending, Target};
use crate::proxy::deadline::grpc_timeout;
use crate::proxy::error::ProxyError;
use crate::proxy::static_response::BoundResponse;
use crate::telemetry::metrics::SeriesCache;
use crate::upstream::Hold;
use crate::upstream::backends::Backend;

/// The route table as it is now. Cheap to clone; a change is published whole.
#[derive(Clone)]
pub struct Routes {
    table: Arc<ArcSwap<RouteTable<Arc<BoundRoute>>>>,
    autowired: Arc<ArcSwap<ScopedTable<Arc<BoundRoute>>>>,
    conflicts: Arc<ArcSwap<BTreeMap<TargetKey, HostConflicts>>>,
    live: Arc<AtomicBool>,
}

/// A route with everything a request of it needs, worked out when the route was made.
pub struct BoundRoute {
    /// What is counted for it.
    pub key: TargetKey,
    /// Which requests it takes, for [`RouteView`] only.
    pub rules: Box<[Rule]>,
    pub target: Arc<Target>,
    pub metrics: Arc<SeriesCache>,
    pub upstream: Arc<Backend>,
    /// Gets the requests when the upstream is not ready in time.
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
    pub max_pending: Option<NonZeroU32>,
    /// Its static routes and health checks.
    pub replies: Box<[BoundReply]>,
    /// What is answered instead of holding.
    pub placeholder: Option<Box<Placeholder>>,
}

/// Requests of a route that do not count, and the response that some of them get.
pub struct BoundReply {
    pub to: Requests,
    pub when: When,
    pub response: BoundResponse,
}

/// What is answered instead of holding.
pub struct Placeholder {
    pub response: BoundResponse,
    /// Whether it is only for the requests above `max_pending`.
    pub overflow_only: bool,
}

/// What `/routes` shows of a route.
#[derive(Debug, Serialize)]
pub struct RouteView {
    route: TargetKey,
    rules: Vec<RuleView>,
    upstream: String,
    ready_endpoints: Vec<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
    /// The hosts that it claims and another namespace has, with that namespace.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    lost_hosts: BTreeMap<String, String>,
    /// The hosts for which another route has the same rule and goes first, with that route.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    shadowed_hosts: BTreeMap<String, TargetKey>,
    pending: u64,
    waiting: u64,
}

/// Which requests a rule of a route takes; an empty list takes all.
#[derive(Debug, Serialize)]
struct RuleView {
    hosts: Vec<String>,
    /// Prefixes, which begin with `/`, and anchored regular expressions.
    paths: Vec<String>,
    /// The names of the headers that decide.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<String>,
}

impl From<&Rule> for RuleView {
    fn from(rule: &Rule) -> Self {
        Self {
            hosts: rule.hosts.iter().map(ToString::to_string).collect(),
            paths: rule.paths.iter().map(ToString::to_string).collect(),
            headers: rule.headers.iter().map(|header| header.name.to_string()).collect(),
        }
    }
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            table: Arc::new(ArcSwap::from_pointee(RouteTable::new())),
            autowired: Arc::new(ArcSwap::from_pointee(ScopedTable::default())),
            conflicts: Arc::default(),
            live: Arc::default(),
        }
    }
}

impl Routes {
    /// The table, for one look-up.
    pub fn load(&self) -> Guard<Arc<RouteTable<Arc<BoundRoute>>>> {
        self.table.load()
    }

    /// The tables of autowired Services.
    pub fn load_autowired(&self) -> Guard<Arc<ScopedTable<Arc<BoundRoute>>>> {
        self.autowired.load()
    }

    /// Replaces all that requests and `/routes` see.
    pub fn publish(
        &self,
        table: RouteTable<Arc<BoundRoute>>,
        autowired: ScopedTable<Arc<BoundRoute>>,
        conflicts: Arc<BTreeMap<TargetKey, HostConflicts>>,
    ) {
        self.table.store(Arc::new(table));
        self.autowired.store(Arc::new(autowired));
        self.conflicts.store(conflicts);
    }

    /// The source's first state is in the table.
    pub fn set_live(&self) {
        self.live.store(true, Ordering::Release);
    }

    /// The route of a request that came through an autowired Service: never another Service's.
    pub fn find_autowired(
        &self,
        scope: &Scope,
        host: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Arc<BoundRoute>> {
        self.load_autowired().find(scope, host, path, headers).cloned()
    }

    /// All of them, as people are shown them.
    pub fn views(&self) -> Vec<RouteView> {
        let (table, conflicts) = (self.table.load(), self.conflicts.load());
        let view = |route: &Arc<BoundRoute>| route.view(conflicts.get(&route.key));
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

    /// Whether there may be an [`local_response`](Self::local_response).
    pub fn has_own_answers(&self) -> bool {
        self.placeholder.is_some() || !self.replies.is_empty()
    }

    /// What is answered to a request that `reply` takes, or that counts, because it was not held.
    pub fn local_response<'a>(
        &'a self,
        error: &ProxyError,
        reply: Option<&'a BoundReply>,
    ) -> Option<&'a BoundResponse> {
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

    fn view(&self, conflicts: Option<&HostConflicts>) -> RouteView {
        let counts = self.target.now();
        let lost = conflicts.into_iter().flat_map(|conflicts| &conflicts.lost);
        let shadowed = conflicts.into_iter().flat_map(|conflicts| &conflicts.shadowed);
        RouteView {
            route: self.key.clone(),
            rules: self.rules.iter().map(RuleView::from).collect(),
            upstream: self.upstream.service.to_string(),
            ready_endpoints: self.upstream.addresses(),
            problem: self.upstream.problem(),
            fallback: self.fallback.as_ref().map(|fallback| fallback.service.to_string()),
            lost_hosts: lost.map(|lost| (lost.host.to_string(), lost.owner.clone())).collect(),
            shadowed_hosts: shadowed.map(|(host, by)| (host.to_string(), by.clone())).collect(),
            pending: counts.pending,
            waiting: counts.waiting,
        }
    }
}
