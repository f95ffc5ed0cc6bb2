//! An API server on loopback that speaks lists and watches, and misbehaves when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

/// What it has, and how it misbehaves.
#[derive(Default)]
struct Contents {
    version: u64,
    /// By plural, namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    /// What has happened, each with its version: `ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`, plural, namespace, object.
    events: Vec<(u64, &'static str, String, String, Value)>,
    /// Versions before this one are forgotten.
    compacted: u64,
    /// Lists that are read page by page, by version.
    snapshots: BTreeMap<u64, Vec<Value>>,
    /// The plural whose watches are too old however young they are.
    forgetful: Option<String>,
    /// Answers instead, by plural.
    refused: BTreeMap<String, u16>,
    /// The same for watches only.
    unwatchable: BTreeMap<String, u16>,
    /// Plurals whose lists are not answered.
    unanswered: BTreeSet<String>,
    /// Watches say nothing, and do not end.
    silent: bool,
    /// Watches that began in an earlier one end at once.
    epoch: u64,
    /// Requests, with their queries.
    asked: Vec<String>,
    watching: BTreeMap<String, usize>,
}

type Shared = Arc<Server>;

struct Server {
    contents: Mutex<Contents>,
    /// Woken by every change of the contents.
    changed: watch::Sender<()>,
}

pub struct ApiServer {
    address: SocketAddr,
    server: Shared,
    serving: Option<AbortOnDropHandle<()>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    watch: Option<bool>,
    resource_version: Option<String>,
    timeout_seconds: Option<u64>,
    limit: Option<usize>,
    #[serde(rename = "continue")]
    token: Option<String>,
    label_selector: Option<String>,
    field_selector: Option<String>,
}

/// What a request is about.
#[derive(Clone)]
struct Wanted {
    path: String,
    plural: String,
    namespace: Option<String>,
    label: Option<(String, String)>,
    name: Option<String>,
}

impl Wanted {
    fn of(path: &str, parameters: &Parameters) -> Self {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let at = parts.iter().position(|part| *part == "namespaces");
        let label = parameters.label_selector.as_deref();
        let field = parameters.field_selector.as_deref();
        Self {
            path: path.to_owned(),
            plural: (*parts.last().unwrap()).to_owned(),
            namespace: at.map(|at| parts[at + 1].to_owned()),
            label: label.map(|label| {
                let (key, value) = label.split_once('=').unwrap();
                (key.to_owned(), value.to_owned())
            }),
            name: field.map(|field| field.strip_prefix("metadata.name=").unwrap().to_owned()),
        }
    }

    fn has(&self, plural: &str, namespace: &str, object: &Value) -> bool {
        let metadata = &object["metadata"];
        plural == self.plural
            && self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && self.name.as_deref().is_none_or(|wanted| metadata["name"] == wanted)
            && self
                .label
                .as_ref()
                .is_none_or(|(key, value)| metadata["labels"][key] == value.as_str())
    }
}

impl ApiServer {
    pub async fn start() -> Self {
        let server = Arc::new(Server {
            contents: Mutex::default(),
            changed: watch::Sender::new(()),
        });
        server.contents.lock().version = 100;
        let mut this = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            server,
            serving: None,
        };
        this.resume().await;
        this
    }

    pub fn config(&self) -> kube::Config {
        kube::Config::new(format!("http://{}", self.address).parse().unwrap())
    }

    /// Nobody listens on the port any more, and every connection is cut.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await; // cancelled
        }
    }

    /// Listens (again).
    pub async fn resume(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(self.server.clone());
        self.serving = Some(AbortOnDropHandle::new(tokio::spawn(serve(listener, router))));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Contents) -> T) -> T {
        let result = change(&mut self.server.contents.lock());
        self.server.changed.send_replace(());
        result
    }

    pub fn apply(&self, mut object: Value) {
        self.change(|contents| {
            contents.version += 1;
            let version = contents.version;
            object["metadata"]["resourceVersion"] = version.to_string().into();
            let plural = format!("{}s", object["kind"].as_str().unwrap().to_ascii_lowercase());
            let namespace = object["metadata"]["namespace"].as_str().unwrap().to_owned();
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            let key = (plural.clone(), namespace.clone(), name);
            let before = contents.objects.insert(key, object.clone());
            let what = if before.is_some() { "MODIFIED" } else { "ADDED" };
            contents.events.push((version, what, plural, namespace, object));
        });
    }

    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        self.change(|contents| {
            let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
            let Some(mut object) = contents.objects.remove(&key) else {
                return;
            };
            contents.version += 1;
            object["metadata"]["resourceVersion"] = contents.version.to_string().into();
            let event = (contents.version, "DELETED", key.0, key.1, object);
            contents.events.push(event);
        });
    }

    /// Tells every watch how far it is.
    pub fn bookmark(&self) -> u64 {
        self.change(|contents| {
            contents.version += 1;
            let object = json!({ "metadata": { "resourceVersion": contents.version.to_string() } });
            let version = contents.version;
            contents
                .events
                .push((version, "BOOKMARK", String::new(), String::new(), object));
            version
        })
    }

    /// Sends an event as it is given to the watches of a plural.
    pub fn send(&self, what: &'static str, plural: &str, object: Value) {
        self.change(|contents| {
            contents.version += 1;
            let event = (contents.version, what, plural.to_owned(), "any".to_owned(), object);
            contents.events.push(event);
        });
    }

    /// Forgets what has happened up to now.
    pub fn compact(&self) {
        self.change(|contents| {
            contents.version += 1;
            contents.compacted = contents.version;
            contents.snapshots.clear();
        });
    }

    /// Forgets the past of a plural as soon as it is past, so that no watch can begin.
    pub fn forget_always(&self, plural: &str) {
        self.change(|contents| contents.forgetful = Some(plural.to_owned()));
    }

    /// No longer does.
    pub fn forget_never(&self) {
        self.change(|contents| contents.forgetful = None);
    }

    /// Ends every watch.
    pub fn end_watches(&self) {
        self.change(|contents| contents.epoch += 1);
    }

    /// Answers requests of a plural so; `None` as they should be.
    pub fn refuse(&self, plural: &str, status: Option<u16>) {
        self.change(|contents| match status {
            Some(status) => contents.refused.insert(plural.to_owned(), status),
            None => contents.refused.remove(plural),
        });
    }

    /// The same for watches only.
    pub fn refuse_watches(&self, plural: &str, status: Option<u16>) {
        self.change(|contents| match status {
            Some(status) => contents.unwatchable.insert(plural.to_owned(), status),
            None => contents.unwatchable.remove(plural),
        });
    }

    /// Whether lists of a plural are answered.
    pub fn answer_lists(&self, plural: &str, answered: bool) {
        self.change(|contents| match answered {
            true => contents.unanswered.remove(plural),
            false => contents.unanswered.insert(plural.to_owned()),
        });
    }

    /// Whether watches say nothing and do not end, as over a connection that is half open.
    pub fn silence(&self, silent: bool) {
        self.change(|contents| contents.silent = silent);
    }

    pub fn asked(&self) -> Vec<String> {
        self.server.contents.lock().asked.clone()
    }

    /// How many watches there are of each path.
    pub fn watching(&self) -> BTreeMap<String, usize> {
        self.server.contents.lock().watching.clone()
    }

    /// Waits until it is so.
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let mut changed = self.server.changed.subscribe();
        let waiting = async {
            while !holds(self) {
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(super::SOON, waiting)
            .await
            .unwrap_or_else(|_| panic!("{what}: {:?} {:?}", self.watching(), self.asked()));
    }

    /// Every object, as its plural, namespace and the object.
    pub fn objects(&self) -> Vec<(String, String, Value)> {
        let contents = self.server.contents.lock();
        let each = contents.objects.iter();
        each.map(|((plural, namespace, _), object)| (plural.clone(), namespace.clone(), object.clone()))
            .collect()
    }
}

async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let connection = auto::Builder::new(TokioExecutor::new());
            let _ = connection.serve_connection(TokioIo::new(stream), service).await; // cut by either side
        });
    }
}

async fn answer(State(server): State<Shared>, uri: Uri, Query(parameters): Query<Parameters>) -> Response {
    let wanted = Wanted::of(uri.path(), &parameters);
    let watch = parameters.watch == Some(true);
    let (refusal, unanswered) = {
        let mut contents = server.contents.lock();
        contents.asked.push(uri.to_string());
        let only_watches = watch.then(|| contents.unwatchable.get(&wanted.plural)).flatten();
        let refusal = contents.refused.get(&wanted.plural).or(only_watches).copied();
        (refusal, contents.unanswered.contains(&wanted.plural) && !watch)
    };
    server.changed.send_replace(());
    if unanswered {
        std::future::pending::<()>().await;
    }
    match refusal {
        Some(status) => refuse(status, "as it was told"),
        None if watch => follow(server, wanted, &parameters),
        None => list(&mut server.contents.lock(), &wanted, &parameters),
    }
}

fn refuse(status: u16, message: &str) -> Response {
    let code = StatusCode::from_u16(status).unwrap();
    (code, axum::Json(status_object(status, message))).into_response()
}

fn status_object(status: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "Because", "code": status})
}

fn list(contents: &mut Contents, wanted: &Wanted, parameters: &Parameters) -> Response {
    let (version, from) = match &parameters.token {
        None => {
            let all = contents.objects.iter();
            let matching = all.filter(|((plural, namespace, _), object)| wanted.has(plural, namespace, object));
            let matching = matching.map(|(_, object)| object.clone()).collect();
            // Every list is of a version of its own, so that its pages can be told from another's.
            contents.version += 1;
            contents.snapshots.insert(contents.version, matching);
            (contents.version, 0)
        }
        Some(token) => {
            let (version, from) = token.split_once(':').unwrap();
            (version.parse().unwrap(), from.parse().unwrap())
        }
    };
    let Some(all) = contents.snapshots.get(&version) else {
        return refuse(410, "the continue parameter is too old");
    };
    let to = (from + parameters.limit.unwrap()).min(all.len());
    let more = to < all.len();
    axum::Json(json!({
        "kind": "List",
        "apiVersion": "v1",
        "metadata": {
            "resourceVersion": version.to_string(),
            "continue": if more { format!("{version}:{to}") } else { String::new() },
        },
        "items": all[from..to].iter().map(without_kind).collect::<Vec<_>>(),
    }))
    .into_response()
}

/// As the API server lists its own kinds.
fn without_kind(object: &Value) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().unwrap();
    fields.remove("kind");
    fields.remove("apiVersion");
    object
}

/// Counts a watch while it lasts.
struct Watching(Shared, String);

impl Watching {
    fn new(server: Shared, path: &str) -> Self {
        *server.contents.lock().watching.entry(path.to_owned()).or_default() += 1;
        server.changed.send_replace(());
        Self(server, path.to_owned())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        {
            let watching = &mut self.0.contents.lock().watching;
            let count = watching.get_mut(&self.1).unwrap();
            *count -= 1;
            if *count == 0 {
                watching.remove(&self.1);
            }
        }
        self.0.changed.send_replace(());
    }
}

struct Following {
    watching: Watching,
    changed: watch::Receiver<()>,
    wanted: Wanted,
    version: u64,
    epoch: u64,
    ends: Instant,
    ended: bool,
}

fn follow(server: Shared, wanted: Wanted, parameters: &Parameters) -> Response {
    let epoch = server.contents.lock().epoch;
    let following = Following {
        changed: server.changed.subscribe(),
        version: parameters.resource_version.as_ref().unwrap().parse().unwrap(),
        epoch,
        ends: Instant::now() + Duration::from_secs(parameters.timeout_seconds.unwrap()),
        watching: Watching::new(server, &wanted.path),
        wanted,
        ended: false,
    };
    let lines = stream::unfold(following, |mut following| async {
        let text = following.next().await?;
        Some((Ok::<_, Infallible>(text), following))
    });
    Body::from_stream(lines).into_response()
}

impl Following {
    /// What has happened since, as lines; `None` when the watch ends.
    async fn next(&mut self) -> Option<String> {
        loop {
            self.changed.borrow_and_update();
            let text = self.look()?;
            if !text.is_empty() {
                return Some(text);
            }
            let silent = self.watching.0.contents.lock().silent;
            tokio::select! {
                _ = self.changed.changed() => {}
                () = tokio::time::sleep_until(self.ends), if !silent => return None,
            }
        }
    }

    fn look(&mut self) -> Option<String> {
        let contents = self.watching.0.contents.lock();
        if contents.silent {
            return Some(String::new());
        }
        if self.ended {
            return None;
        }
        if self.version < contents.compacted || contents.forgetful.as_ref() == Some(&self.wanted.plural) {
            self.ended = true;
            return Some(line("ERROR", &status_object(410, "too old resource version")));
        }
        let since = contents.events.iter().filter(|event| event.0 > self.version);
        let ours = since.filter(|(_, what, plural, namespace, object)| {
            let raw = namespace == "any" && *plural == self.wanted.plural;
            *what == "BOOKMARK" || raw || self.wanted.has(plural, namespace, object)
        });
        let text: String = ours.map(|(_, what, _, _, object)| line(what, object)).collect();
        self.version = self.version.max(contents.version);
        // What has happened before the end is told before it.
        self.ended = contents.epoch != self.epoch;
        (!text.is_empty() || !self.ended).then_some(text)
    }
}

fn line(what: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": what, "object": object}))
}
