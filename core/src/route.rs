//! Routes, the table that finds the route of a request, and responses of the interceptor itself.
//!
//! Matching is upstream's (host, then the longest path, then headers) with two additions: hosts are compared without
//! case, port and trailing dot, and when the headers at the longest path do not match, shorter paths are tried.

mod anchored;
pub mod header;
pub mod host;
pub mod path;
pub mod reply;
mod rule;
pub mod scoped;
pub mod shadow;
mod table;

pub use rule::Rule;
pub use table::RouteTable;

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::session::Session;
use crate::target::TargetKey;
use reply::{Reply, StaticResponse};

/// One route: which requests match, where they go, and how long they may take. Made by `kubernetes::routes`.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// What is counted and scaled for it.
    pub key: TargetKey,
    /// Seconds since 1970 of the object's creation; of two routes that match alike the older one wins.
    pub created: i64,
    /// A request belongs to the route when one of the rules matches; no rules match nothing.
    pub rules: Vec<Rule>,
    /// Where requests go.
    pub upstream: Arc<ServiceRef>,
    /// Where requests go when the upstream is not ready in time.
    pub fallback: Option<Arc<ServiceRef>>,
    /// The route's own timeouts.
    pub timeouts: Timeouts,
    /// The longest rate window that is asked for this target; the interceptor remembers arrivals that long.
    pub window: Duration,
    /// Responses that the interceptor gives itself, in the order in which they are tried.
    pub replies: Vec<Reply>,
    /// What happens to requests while the upstream has no ready endpoint; `None`: they are held.
    pub cold_start: Option<Box<ColdStart>>,
    /// Keeps clients at the endpoint of their first response.
    pub session: Option<Box<Session>>,
    /// With `trafficAutowire: service` the port of the selector-less Service whose traffic the interceptors receive.
    /// Requests at its listener belong to this route, whichever route owns the host.
    pub autowired: Option<Arc<ServiceRef>>,
}

/// What happens to requests while the upstream has no ready endpoint. They count whatever the response is, which wakes the
/// workload.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColdStart {
    /// The response that is given instead of holding.
    pub placeholder: Option<StaticResponse>,
    /// How many requests one interceptor holds; `None`: its own setting.
    pub max_pending: Option<NonZeroU32>,
    /// What happens to requests above that.
    pub overflow: Overflow,
}

/// What happens to requests above the number that may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// They are refused.
    #[default]
    Reject,
    /// They get the placeholder, and the others are held although there is one.
    Placeholder,
}

/// Which of the routes with equal conditions gets the requests: the one of the older object, then (as upstream) of the
/// greater namespace and name. It comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seniority {
    created: i64,
    key: TargetKey,
}

impl Seniority {
    fn from_route(route: &Route) -> Self {
        Self {
            created: route.created,
            key: route.key.clone(),
        }
    }
}

impl Ord for Seniority {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_name = || (other.key.namespace(), other.key.name()).cmp(&(self.key.namespace(), self.key.name()));
        self.created.cmp(&other.created).then_with(by_name)
    }
}

impl PartialOrd for Seniority {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ColdStart {
    /// Whether requests are held at all: a placeholder is given at once, unless it is only for the overflow.
    pub fn holds(&self) -> bool {
        self.placeholder.is_none() || (self.max_pending.is_some() && self.overflow == Overflow::Placeholder)
    }
}

/// A port of a Service, by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortRef {
    /// `port`: the Service's port number (not the container's).
    Number(u16),
    /// `portName`.
    Name(String),
}

/// A port of a Service in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceRef {
    /// Namespace of the Service, always the route's own.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Which of its ports.
    pub port: PortRef,
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)
    }
}

/// The timeouts of a route. `None`: the interceptor's setting. `Some(0)`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// How long a request may be held.
    pub readiness: Option<Duration>,
    /// How long a request may take in all, the hold included.
    pub request: Option<Duration>,
    /// From the request fully sent to the first response header.
    pub response_header: Option<Duration>,
}
