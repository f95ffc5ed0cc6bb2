//! Per service port: who is ready, who is chosen, and who waits.
//!
//! The ready endpoints are published as a snapshot; a request on the warm path reads it without a lock. A request that
//! finds none waits on its own backend only, so a pod that gets ready wakes nobody else, and waiters are released in
//! the order they came.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use keda_http_core::route::ServiceRef;
use keda_http_core::session::EndpointId;
use keda_http_kubernetes::endpoints::{Address, AppProtocol, Endpoints, ReadyEndpoint, ServiceKey};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::counters::pending::nanos;
use crate::upstream::connect::DialError;
use crate::upstream::pool::Pool;

/// For how long an endpoint that refused a connection is avoided while another one is ready.
const QUARANTINE: Duration = Duration::from_secs(1);

/// What quarantine times count from.
static ORIGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

/// All backends that routes refer to. Owned by `routing`; requests reach theirs through their route.
pub struct Backends {
    by_service: Mutex<HashMap<ServiceKey, Vec<Arc<Backend>>>>,
    pools: PoolSettings,
}

/// How many pools an endpoint needs and what they may keep.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// One pool for each worker.
    pub workers: u16,
    /// Idle connections kept to one endpoint by one worker.
    pub max_idle: u32,
}

/// A port of a Service.
pub struct Backend {
    /// Which.
    pub service: Arc<ServiceRef>,
    ready: ArcSwap<Ready>,
    changed: Notify,
    /// Boxed: most backends have nothing to say, and there are thousands of them.
    notes: Mutex<Option<Box<Notes>>>,
}

/// What went wrong at a backend, for those that time out.
#[derive(Default)]
struct Notes {
    /// Why there are no endpoints, where there is more to say than that none is ready.
    problem: Option<String>,
    /// The last dial that failed since the endpoints changed.
    failure: Option<String>,
}

struct Ready {
    endpoints: Vec<Arc<Endpoint>>,
    protocol: AppProtocol,
}

/// A ready pod. Its connections live as long as somebody refers to it: once it has left its backend's snapshot and
/// the last request has let go of it, its idle connections close by themselves.
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// What it is called in cookies.
    pub id: EndpointId,
    /// How it speaks.
    pub protocol: AppProtocol,
    in_flight: AtomicU32,
    /// Nanoseconds since `ORIGIN` until which it is avoided; 0 is not at all.
    quarantined_until: AtomicU64,
    /// Nanoseconds since `ORIGIN` of the first failure since it last answered; 0 is none.
    failing_since: AtomicU64,
    removed: AtomicBool,
    settings: PoolSettings,
    /// One for each worker, made for the first request: most of thousands of endpoints have none.
    pools: OnceLock<Box<[Pool]>>,
}

/// An endpoint in use by one request.
pub struct Lease {
    endpoint: Arc<Endpoint>,
}

impl Backends {
    /// No backends yet.
    pub fn new(pools: PoolSettings) -> Self {
        Self {
            by_service: Mutex::default(),
            pools,
        }
    }

    /// The backend of a service port, made with no endpoints when it is new.
    pub fn backend(&self, service: &Arc<ServiceRef>) -> Arc<Backend> {
        let mut by_service = self.by_service.lock();
        let ports = by_service.entry(service_key(service)).or_default();
        if let Some(backend) = ports.iter().find(|backend| backend.service == *service) {
            return backend.clone();
        }
        let backend = Arc::new(Backend::new(service.clone()));
        ports.push(backend.clone());
        backend
    }

    /// The backends of a Service.
    pub fn of_service(&self, service: &ServiceKey) -> Vec<Arc<Backend>> {
        self.by_service.lock().get(service).cloned().unwrap_or_default()
    }

    /// Drops the backends that no route refers to any more.
    pub fn drop_unused(&self, services: impl IntoIterator<Item = ServiceKey>) {
        let mut by_service = self.by_service.lock();
        for service in services {
            if let Some(ports) = by_service.get_mut(&service) {
                ports.retain(|backend| Arc::strong_count(backend) > 1);
                if ports.is_empty() {
                    by_service.remove(&service);
                }
            }
        }
    }

    /// Publishes what is ready for a backend.
    pub fn publish(&self, backend: &Backend, endpoints: Result<Endpoints, String>) {
        match endpoints {
            Ok(endpoints) => backend.publish(&endpoints, self.pools, None),
            Err(problem) => backend.publish(&Endpoints::default(), self.pools, Some(problem)),
        }
    }

    /// The backends that somebody refers to; the others, whose last request has ended after their route, are dropped.
    fn in_use(&self) -> Vec<Arc<Backend>> {
        let mut by_service = self.by_service.lock();
        by_service.retain(|_, ports| {
            ports.retain(|backend| Arc::strong_count(backend) > 1);
            !ports.is_empty()
        });
        by_service.values().flatten().cloned().collect()
    }

    /// Closes connections that have been idle for longer than `limit`.
    pub fn close_idle(&self, limit: Duration) {
        let backends: Vec<_> = self.in_use();
        for endpoint in backends
            .iter()
            .flat_map(|backend| backend.ready.load().endpoints.clone())
        {
            let pools = endpoint.pools.get().into_iter().flatten();
            pools.for_each(|pool| pool.close_idle(limit));
        }
    }
}

/// The Service of a service port.
pub fn service_key(service: &ServiceRef) -> ServiceKey {
    ServiceKey {
        namespace: service.namespace.clone(),
        name: service.service.clone(),
    }
}

impl Backend {
    fn new(service: Arc<ServiceRef>) -> Self {
        Self {
            service,
            ready: ArcSwap::from_pointee(Ready {
                endpoints: Vec::new(),
                protocol: AppProtocol::default(),
            }),
            changed: Notify::new(),
            notes: Mutex::new(None),
        }
    }

    /// An endpoint for one request: the preferred one while it is ready and not quarantined, else of two chosen at random
    /// the one with less to do, quarantined ones last. `None` when none is ready.
    pub fn pick(&self, preferred: Option<EndpointId>) -> Option<Lease> {
        let ready = self.ready.load();
        let chosen = match ready.endpoints.as_slice() {
            [] => return None,
            [only] => only,
            several => preferred
                .and_then(|id| {
                    several
                        .iter()
                        .find(|endpoint| endpoint.id == id && !endpoint.is_avoided())
                })
                .unwrap_or_else(|| choose(several)),
        };
        Some(Lease::new(chosen.clone()))
    }

    /// The endpoint of that address, when it is ready.
    #[cfg(test)]
    pub fn endpoint(&self, address: &Address) -> Option<Arc<Endpoint>> {
        self.ready
            .load()
            .endpoints
            .iter()
            .find(|endpoint| endpoint.address == *address)
            .cloned()
    }

    /// Waits until an endpoint is ready and picks one. Waiters are woken in the order in which they came.
    pub async fn ready(&self, preferred: Option<EndpointId>) -> Lease {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(lease) = self.pick(preferred) {
                return lease;
            }
            changed.await;
        }
    }

    /// Whether another endpoint than this one can be tried right away.
    pub fn has_alternative(&self, tried: &Endpoint) -> bool {
        let ready = self.ready.load();
        let other = |endpoint: &&Arc<Endpoint>| endpoint.address != tried.address && !endpoint.is_avoided();
        ready.endpoints.iter().any(|endpoint| other(&endpoint))
    }

    /// How many endpoints are ready.
    pub fn ready_count(&self) -> usize {
        self.ready.load().endpoints.len()
    }

    /// Their addresses, for people.
    pub fn addresses(&self) -> Vec<Address> {
        self.ready
            .load()
            .endpoints
            .iter()
            .map(|endpoint| endpoint.address.clone())
            .collect()
    }

    /// Why there are none, where there is more to say than that none is ready.
    pub fn problem(&self) -> Option<String> {
        self.notes.lock().as_ref()?.problem.clone()
    }

    /// A dial of one of its endpoints has failed.
    pub fn note_failure(&self, failure: &DialError) {
        let failure = Some(failure.to_string());
        self.notes.lock().get_or_insert_default().failure = failure;
    }

    /// The last dial that failed since the endpoints changed.
    pub fn failure(&self) -> Option<String> {
        self.notes.lock().as_ref()?.failure.clone()
    }

    fn note_problem(&self, problem: Option<String>) {
        let mut notes = self.notes.lock();
        if problem.is_some() || notes.is_some() {
            notes.get_or_insert_default().problem = problem;
        }
    }

    fn forget_failure(&self) {
        let mut notes = self.notes.lock();
        *notes = notes.take().filter(|notes| notes.problem.is_some());
        if let Some(notes) = notes.as_mut() {
            notes.failure = None;
        }
    }

    /// Endpoints that stay keep their counters and connections.
    fn publish(&self, endpoints: &Endpoints, pools: PoolSettings, problem: Option<String>) {
        self.note_problem(problem);
        let old = self.ready.load_full();
        if old.protocol == endpoints.protocol
            && old
                .endpoints
                .iter()
                .map(|endpoint| (&endpoint.address, endpoint.id))
                .eq(endpoints.ready.iter().map(|ready| (&ready.address, ready.id)))
        {
            return;
        }
        // A pod that has the address of a former one is another endpoint.
        let kept = |ready: &ReadyEndpoint| {
            let same = |endpoint: &&Arc<Endpoint>| {
                (&endpoint.address, endpoint.id, endpoint.protocol) == (&ready.address, ready.id, endpoints.protocol)
            };
            old.endpoints.iter().find(same).cloned()
        };
        let new: Vec<_> = endpoints
            .ready
            .iter()
            .map(|ready| kept(ready).unwrap_or_else(|| Arc::new(Endpoint::new(ready, endpoints.protocol, pools))))
            .collect();
        for gone in old
            .endpoints
            .iter()
            .filter(|endpoint| !new.iter().any(|other| Arc::ptr_eq(other, endpoint)))
        {
            gone.remove();
        }
        self.forget_failure();
        let any = !new.is_empty();
        self.ready.store(Arc::new(Ready {
            endpoints: new,
            protocol: endpoints.protocol,
        }));
        if any {
            self.changed.notify_waiters();
        }
    }
}

/// Power of two choices among the endpoints that are not quarantined, or among all when all are.
fn choose(endpoints: &[Arc<Endpoint>]) -> &Arc<Endpoint> {
    let now = ORIGIN.elapsed();
    let better = |a: usize, b: usize| {
        let rank = |i: usize| {
            (
                endpoints[i].is_quarantined(now),
                endpoints[i].in_flight.load(Ordering::Relaxed),
            )
        };
        if rank(b) < rank(a) { b } else { a }
    };
    let (first, second) = two_of(endpoints.len());
    let chosen = better(first, second);
    if endpoints[chosen].is_quarantined(now) {
        let all = (0..endpoints.len()).reduce(better).unwrap_or(chosen);
        return &endpoints[all];
    }
    &endpoints[chosen]
}

/// Two different indices below `len` (at least 2).
fn two_of(len: usize) -> (usize, usize) {
    let first = random_below(len);
    let second = random_below(len - 1);
    (first, if second >= first { second + 1 } else { second })
}

/// A number below `bound`; cheap, good enough to spread load.
pub(crate) fn random_below(bound: usize) -> usize {
    use std::cell::Cell;
    use std::hash::{BuildHasher, RandomState};
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0_u8) | 1);
    }
    let random = STATE.with(|state| {
        // xorshift64*
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    });
    let bound = bound.max(1) as u64;
    usize::try_from((random * bound) >> 32).unwrap_or(0)
}

impl Endpoint {
    fn new(ready: &ReadyEndpoint, protocol: AppProtocol, settings: PoolSettings) -> Self {
        Self {
            address: ready.address.clone(),
            id: ready.id,
            protocol,
            in_flight: AtomicU32::new(0),
            quarantined_until: AtomicU64::new(0),
            failing_since: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            settings,
            pools: OnceLock::new(),
        }
    }

    /// The pool of a worker.
    pub fn pool(&self, worker: usize) -> &Pool {
        &self.pools()[worker]
    }

    fn pools(&self) -> &[Pool] {
        let PoolSettings { workers, max_idle } = self.settings;
        self.pools
            .get_or_init(|| (0..workers).map(|_| Pool::new(max_idle as usize)).collect())
    }

    /// It refused, reset, or did not answer: avoid it for a while when there is another. Says for how long it has been failing.
    pub fn quarantine(&self) -> Duration {
        let now = ORIGIN.elapsed();
        self.quarantined_until.store(nanos(now + QUARANTINE), Ordering::Relaxed);
        let first = self
            .failing_since
            .compare_exchange(0, nanos(now), Ordering::Relaxed, Ordering::Relaxed);
        now.saturating_sub(Duration::from_nanos(first.err().unwrap_or(nanos(now))))
    }

    /// It answered.
    pub fn trust(&self) {
        if self.quarantined_until.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.quarantined_until.store(0, Ordering::Relaxed);
        self.failing_since.store(0, Ordering::Relaxed);
    }

    /// Whether it is to be avoided now.
    pub fn is_avoided(&self) -> bool {
        self.is_quarantined(ORIGIN.elapsed())
    }

    fn is_quarantined(&self, now: Duration) -> bool {
        let until = self.quarantined_until.load(Ordering::Relaxed);
        until != 0 && u128::from(until) > now.as_nanos()
    }

    /// Whether it has left its backend; connections to it are not kept then.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
        // Those that nobody has asked for yet are made too: who asks for them later must find them closed.
        self.pools().iter().for_each(Pool::close_all);
    }

    /// Requests it is working on.
    #[cfg(test)]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Lease {
    fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint }
    }
}

impl std::ops::Deref for Lease {
    type Target = Arc<Endpoint>;

    fn deref(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
