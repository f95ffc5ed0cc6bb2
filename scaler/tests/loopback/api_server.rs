//! An API server as far as the scaler asks one: lists, watches, and writes that are refused when they are late. And
//! with faults that a real one does not produce on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::task::AbortOnDropHandle;

pub const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/keda/endpointslices";
pub const ROUTES: &str = "/apis/http.keda.sh/v1beta1/interceptorroutes";
pub const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/keda/leases";

/// The double. Dropping it closes its port.
pub struct ApiServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

struct Shared {
    state: Mutex<Cluster>,
    /// Collections whose lists are not answered yet.
    held: watch::Sender<BTreeSet<String>>,
}

#[derive(Default)]
struct Cluster {
    version: u64,
    /// Objects by name, by the path of their collection.
    collections: BTreeMap<String, BTreeMap<String, Value>>,
    /// What has happened, for watches that begin before it: version, collection, and event.
    events: Vec<(u64, String, Value)>,
    watches: Vec<(String, mpsc::UnboundedSender<Result<Bytes, Infallible>>)>,
    /// Answers every request with an error.
    failing: bool,
    /// Answers lists, but no watch.
    refusing_watches: bool,
    /// Path and query of every list and watch.
    asked: Vec<String>,
}

impl ApiServer {
    /// With these collections, empty. Every other one is 404, as a kind that is not installed.
    pub async fn start(collections: &[&str]) -> Self {
        let mut cluster = Cluster::default();
        for path in collections {
            cluster.collections.insert((*path).to_owned(), BTreeMap::new());
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(cluster),
            held: watch::Sender::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    pub fn client(&self) -> kube::Client {
        let config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        kube::Client::try_from(config).unwrap()
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\nclusters: [{{name: here, cluster: {{server: \
             \"http://{}\"}}}}]\nusers: [{{name: here, user: {{}}}}]\ncontexts: [{{name: here, context: {{cluster: here, user: \
             here, namespace: keda}}}}]\n",
            self.address
        )
    }

    /// Creates or changes an object.
    pub fn put(&self, collection: &str, object: Value) {
        self.shared.state.lock().put(collection, object);
    }

    pub fn delete(&self, collection: &str, name: &str) {
        self.shared.state.lock().delete(collection, name);
    }

    pub fn get(&self, collection: &str, name: &str) -> Option<Value> {
        self.shared.state.lock().collections[collection].get(name).cloned()
    }

    pub fn list(&self, collection: &str) -> Vec<Value> {
        self.shared.state.lock().collections[collection]
            .values()
            .cloned()
            .collect()
    }

    /// From now on every request fails, and all watches have ended.
    pub fn fail(&self) {
        let mut state = self.shared.state.lock();
        state.failing = true;
        state.watches.clear();
    }

    /// From now on every watch is refused, and all watches have ended; lists are answered. The status is not 403, after
    /// which the next list is half a minute away.
    pub fn refuse_watches(&self) {
        let mut state = self.shared.state.lock();
        state.refusing_watches = true;
        state.watches.clear();
    }

    /// From now on requests are answered again.
    pub fn recover(&self) {
        self.shared.state.lock().failing = false;
    }

    /// Tells all watches that what they have seen is too old to go on from, as after a compaction.
    pub fn expire_watches(&self) {
        let mut state = self.shared.state.lock();
        let status =
            json!({"kind": "Status", "code": 410, "status": "Failure", "reason": "Expired", "message": "too old"});
        let event = line(&json!({"type": "ERROR", "object": status}));
        for (_, watch) in state.watches.drain(..) {
            let _ = watch.send(Ok(event.clone()));
        }
    }

    /// Lists of this collection are not answered until they are released.
    pub fn hold(&self, collection: &str) {
        self.shared.held.send_modify(|held| {
            held.insert(collection.to_owned());
        });
    }

    pub fn release(&self) {
        self.shared.held.send_modify(BTreeSet::clear);
    }

    pub fn asked(&self) -> Vec<String> {
        self.shared.state.lock().asked.clone()
    }
}

impl Cluster {
    fn put(&mut self, collection: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let objects = self.collections.get_mut(collection).unwrap();
        let before = objects.insert(name, object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.tell(collection, kind, &object);
        object
    }

    fn delete(&mut self, collection: &str, name: &str) {
        self.version += 1;
        let objects = self.collections.get_mut(collection).unwrap();
        let mut object = objects.remove(name).unwrap();
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.tell(collection, "DELETED", &object);
    }

    fn tell(&mut self, collection: &str, kind: &str, object: &Value) {
        let event = json!({"type": kind, "object": object});
        self.watches
            .retain(|(watched, watch)| watched != collection || watch.send(Ok(line(&event))).is_ok());
        self.events.push((self.version, collection.to_owned(), event));
    }

    fn list(&self, collection: &str) -> Response {
        let items: Vec<&Value> = self.collections[collection].values().collect();
        let metadata = json!({"resourceVersion": self.version.to_string()});
        axum::Json(json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})).into_response()
    }

    fn watch(&mut self, collection: &str, since: u64) -> Response {
        let (sender, events) = mpsc::unbounded_channel();
        for (version, of, event) in &self.events {
            if *version > since && of == collection {
                sender.send(Ok(line(event))).unwrap();
            }
        }
        self.watches.push((collection.to_owned(), sender));
        Body::from_stream(UnboundedReceiverStream::new(events)).into_response()
    }

    /// A write on top of what the writer has seen.
    fn write(&mut self, method: &Method, path: &str, object: Value) -> Response {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let collection = path.strip_suffix(&format!("/{name}")).unwrap_or(path).to_owned();
        let there = self.collections[&collection].get(&name);
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        match (method.as_str(), there) {
            ("POST", Some(_)) => status(StatusCode::CONFLICT, "AlreadyExists"),
            ("PUT", None) => status(StatusCode::NOT_FOUND, "NotFound"),
            ("PUT", Some(there)) if version(there) != version(&object) => status(StatusCode::CONFLICT, "Conflict"),
            _ => axum::Json(self.put(&collection, object)).into_response(),
        }
    }

    fn read(&mut self, path: &str, query: &str) -> Response {
        if self.collections.contains_key(path) {
            self.asked.push(format!("{path}?{query}"));
            let parameter = |name: &str| {
                query
                    .split('&')
                    .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
            };
            return match parameter("watch") {
                Some("true") if self.refusing_watches => status(StatusCode::BAD_REQUEST, "BadRequest"),
                Some("true") => self.watch(path, parameter("resourceVersion").unwrap().parse().unwrap()),
                _ => self.list(path),
            };
        }
        let (collection, name) = path.rsplit_once('/').unwrap();
        let object = self.collections.get(collection).and_then(|objects| objects.get(name));
        object.map_or_else(
            || status(StatusCode::NOT_FOUND, "NotFound"),
            |object| axum::Json(object.clone()).into_response(),
        )
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let mut held = shared.held.subscribe();
    held.wait_for(|held| !held.contains(path)).await.unwrap();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut state = shared.state.lock();
    if state.failing {
        return status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
    }
    match parts.method {
        Method::GET => state.read(path, query),
        method => state.write(&method, path, serde_json::from_slice(&body).unwrap()),
    }
}

fn line(event: &Value) -> Bytes {
    format!("{event}\n").into()
}

fn status(code: StatusCode, reason: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason,
        "message": format!("the API server says {reason}"), "code": code.as_u16(),
    });
    (code, axum::Json(status)).into_response()
}
