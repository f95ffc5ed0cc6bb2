//! Per service port: who is ready, who is chosen, and who waits.
//!
//! The ready endpoints are published as a snapshot; a request on the warm path reads it without a lock. A request that
//! finds none waits on its own backend only, so a pod that gets ready wakes nobody else, and waiters are released in
//! the order they came.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use keda_http_core::route::ServiceRef;
use keda_http_core::session::EndpointId;
use keda_http_kubernetes::endpoints::{Address, AppProtocol, Endpoints, ReadyEndpoint, ServiceKey};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::counters::pending::Target;
use crate::upstream::connect::DialError;
use crate::upstream::endpoint::{Endpoint, PickedEndpoint, PoolSettings, choose};

/// All backends that routes refer to. Owned by `routing`; requests reach theirs through their route.
pub(crate) struct Backends {
    by_service: Mutex<HashMap<ServiceKey, Vec<Arc<Backend>>>>,
    pools: PoolSettings,
}

/// A port of a Service.
pub(crate) struct Backend {
    pub(crate) service: Arc<ServiceRef>,
    ready: ArcSwap<Ready>,
    changed: Notify,
    /// Boxed: most of the thousands of backends have none.
    notes: Mutex<Option<Box<Notes>>>,
}

/// What few backends have: the reasons for timeouts, and the targets that wait for the start.
#[derive(Default)]
struct Notes {
    /// Why there are no endpoints, if the reason is another than that none is ready.
    problem: Option<String>,
    /// The last dial that failed since the endpoints changed.
    failure: Option<String>,
    /// The targets whose requests have been held for an endpoint.
    starting: Vec<Arc<Target>>,
}

struct Ready {
    endpoints: Vec<Arc<Endpoint>>,
    protocol: AppProtocol,
}

impl Backends {
    /// No backends yet.
    pub(crate) fn new(pools: PoolSettings) -> Self {
        Self {
            by_service: Mutex::default(),
            pools,
        }
    }

    /// The backend of a service port, made with no endpoints when it is new.
    pub(crate) fn backend(&self, service: &Arc<ServiceRef>) -> Arc<Backend> {
        let mut by_service = self.by_service.lock();
        let ports = by_service.entry(ServiceKey::from(&**service)).or_default();
        if let Some(backend) = ports.iter().find(|backend| backend.service == *service) {
            return backend.clone();
        }
        let backend = Arc::new(Backend::new(service.clone()));
        ports.push(backend.clone());
        backend
    }

    /// The backends of a Service.
    pub(crate) fn for_service(&self, service: &ServiceKey) -> Vec<Arc<Backend>> {
        self.by_service.lock().get(service).cloned().unwrap_or_default()
    }

    /// Drops the backends that no route refers to any more.
    pub(crate) fn drop_unused(&self, services: impl IntoIterator<Item = ServiceKey>) {
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
    pub(crate) fn publish(&self, backend: &Backend, endpoints: Result<Endpoints, String>) {
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
    pub(crate) fn close_idle(&self, limit: Duration) {
        let backends: Vec<_> = self.in_use();
        for endpoint in backends
            .iter()
            .flat_map(|backend| backend.ready.load().endpoints.clone())
        {
            endpoint.close_idle(limit);
        }
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

    /// An endpoint for one request: the preferred one while it is ready and not ejected, else of two chosen at random
    /// the one with less to do, ejected ones last. `None` when none is ready.
    pub(crate) fn pick(&self, preferred: Option<EndpointId>) -> Option<PickedEndpoint> {
        let ready = self.ready.load();
        let chosen = match ready.endpoints.as_slice() {
            [] => return None,
            [only] => only,
            several => preferred
                .and_then(|id| {
                    several
                        .iter()
                        .find(|endpoint| endpoint.id == id && !endpoint.is_ejected())
                })
                .unwrap_or_else(|| choose(several)),
        };
        Some(PickedEndpoint::new(chosen.clone()))
    }

    /// The endpoint of that address, when it is ready.
    #[cfg(test)]
    pub(crate) fn endpoint(&self, address: &Address) -> Option<Arc<Endpoint>> {
        self.ready
            .load()
            .endpoints
            .iter()
            .find(|endpoint| endpoint.address == *address)
            .cloned()
    }

    /// Waits until an endpoint is ready and picks one. Waiters are woken in the order in which they came.
    pub(crate) async fn ready(&self, preferred: Option<EndpointId>) -> PickedEndpoint {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(picked) = self.pick(preferred) {
                return picked;
            }
            changed.await;
        }
    }

    /// Whether another endpoint than this one can be tried right away.
    pub(crate) fn has_alternative(&self, tried: &Endpoint) -> bool {
        let ready = self.ready.load();
        let other = |endpoint: &&Arc<Endpoint>| endpoint.address != tried.address && !endpoint.is_ejected();
        ready.endpoints.iter().any(|endpoint| other(&endpoint))
    }

    /// How many endpoints are ready.
    pub(crate) fn ready_count(&self) -> usize {
        self.ready.load().endpoints.len()
    }

    /// Their addresses, for people.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.ready
            .load()
            .endpoints
            .iter()
            .map(|endpoint| endpoint.address.clone())
            .collect()
    }

    /// Why there are none, where there is more to say than that none is ready.
    pub(crate) fn problem(&self) -> Option<String> {
        self.notes.lock().as_ref()?.problem.clone()
    }

    /// A dial of one of its endpoints has failed.
    pub(crate) fn note_failure(&self, failure: &DialError) {
        let failure = Some(failure.to_string());
        self.notes.lock().get_or_insert_default().failure = failure;
    }

    /// The last dial that failed since the endpoints changed.
    pub(crate) fn failure(&self) -> Option<String> {
        self.notes.lock().as_ref()?.failure.clone()
    }

    /// A request of this target is held until an endpoint is ready. The start is over then, also when nobody waits.
    pub(crate) fn note_start(&self, target: &Arc<Target>) {
        let mut notes = self.notes.lock();
        let starting = &mut notes.get_or_insert_default().starting;
        if !starting.iter().any(|other| Arc::ptr_eq(other, target)) {
            starting.push(target.clone());
        }
        if self.ready_count() > 0 {
            // It got ready in between.
            starting.drain(..).for_each(|target| target.end_start());
        }
    }

    /// This target's requests wait for another backend from now on.
    pub(crate) fn end_start(&self, target: &Arc<Target>) {
        if let Some(notes) = self.notes.lock().as_mut() {
            let ended = notes.starting.extract_if(.., |other| Arc::ptr_eq(other, target));
            ended.for_each(|target| target.end_start());
        }
    }

    fn end_starts(&self) {
        if let Some(notes) = self.notes.lock().as_mut() {
            notes.starting.drain(..).for_each(|target| target.end_start());
        }
    }

    fn note_problem(&self, problem: Option<String>) {
        let mut notes = self.notes.lock();
        if problem.is_some() || notes.is_some() {
            notes.get_or_insert_default().problem = problem;
        }
    }

    fn forget_failure(&self) {
        let mut notes = self.notes.lock();
        *notes = notes
            .take()
            .filter(|notes| notes.problem.is_some() || !notes.starting.is_empty());
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
            self.end_starts();
            self.changed.notify_waiters();
        }
    }
}

impl Drop for Backend {
    /// Nobody would end its starts any more.
    fn drop(&mut self) {
        self.end_starts();
    }
}

#[cfg(test)]
mod tests;
