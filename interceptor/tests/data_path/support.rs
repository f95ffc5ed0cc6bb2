//! An interceptor in this process on free ports, manifests to change, and apps to forward to.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use keda_http_interceptor::app::{Addresses, App, PROGRAM};
use keda_http_interceptor::config::Config;
use keda_http_runtime::env::Environment;
use keda_http_runtime::telemetry::Telemetry;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something that must happen.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Asks again and again until the answer is the right one.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    soon(what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// A running interceptor.
pub struct Interceptor {
    pub bound: Addresses,
    pub manifests: Manifests,
    pub shutdown: CancellationToken,
    run: JoinHandle<anyhow::Result<()>>,
    http: reqwest::Client,
    _telemetry: Telemetry,
}

impl Interceptor {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Started with an empty directory and these variables besides the ones every test needs.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        Self::on(Manifests::new(), variables).await
    }

    pub async fn on(manifests: Manifests, variables: &[(&str, &str)]) -> Self {
        let interceptor = Self::begin(manifests, variables).await;
        until("readiness", || async {
            (interceptor.admin("/readyz").await.0 == 200).then_some(())
        })
        .await;
        interceptor
    }

    /// Started, and not waited for.
    pub async fn begin(manifests: Manifests, variables: &[(&str, &str)]) -> Self {
        let least = [
            ("KEDA_HTTP_PROXY_PORT", "0"),
            ("KEDA_HTTP_ADMIN_PORT", "0"),
            ("OTEL_PROM_EXPORTER_PORT", "0"),
            ("KEDA_HTTP_BIND_ADDRESS", "127.0.0.1"),
            ("KEDA_HTTP_WORKERS", "2"),
            ("KEDA_HTTP_SHUTDOWN_DELAY", "0s"),
            ("KEDA_HTTP_MANIFESTS", manifests.path()),
        ];
        let environment = Environment::of(least.into_iter().chain(variables.iter().copied()));
        let started = PROGRAM.start([], &environment, Config::read).unwrap();
        let bound = App::bind(started.config, started.process).await.unwrap();
        let shutdown = CancellationToken::new();
        Self {
            bound: bound.addresses,
            run: tokio::spawn(bound.run(shutdown.clone())),
            manifests,
            shutdown,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            _telemetry: started.telemetry,
        }
    }

    /// A GET through the data path, on a connection of its own.
    pub async fn get(&self, host: &str, path: &str) -> reqwest::Response {
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        client.get(self.url(path)).header("host", host).send().await.unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.bound.proxy)
    }

    /// A raw connection to the data path.
    pub async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.bound.proxy).await.unwrap())
    }

    /// A raw connection that has sent this.
    pub async fn send(&self, bytes: &str) -> Raw {
        let mut raw = self.connect().await;
        raw.write(bytes).await;
        raw
    }

    /// Status and text of something on the admin port.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let response = self
            .http
            .get(format!("http://{}{path}", self.bound.admin))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.bound.metrics.unwrap());
        self.http.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// What `/queue` says of a route of namespace `shop`: pending now, and arrivals.
    pub async fn queue(&self, name: &str) -> (i64, i64) {
        let queue: Value = serde_json::from_str(&self.admin("/queue").await.1).unwrap();
        let entry = &queue[format!("shop/{name}")];
        (
            entry["Concurrency"].as_i64().unwrap_or(-1),
            entry["RequestCount"].as_i64().unwrap_or(-1),
        )
    }

    /// Waits until as many requests of a route are pending.
    pub async fn pending(&self, name: &str, expected: i64) {
        until(&format!("{expected} pending"), || async {
            (self.queue(name).await.0 == expected).then_some(())
        })
        .await;
    }

    /// Waits until as many requests of a route are held.
    pub async fn waiting(&self, name: &str, expected: u64) {
        until(&format!("{expected} waiting"), || async {
            (self.view(name).await["waiting"] == expected).then_some(())
        })
        .await;
    }

    /// What `/routes` shows of a route.
    pub async fn view(&self, name: &str) -> Value {
        let routes: Vec<Value> = serde_json::from_str(&self.admin("/routes").await.1).unwrap();
        let found = routes
            .into_iter()
            .find(|route| route["route"] == format!("shop/{name}"));
        found.unwrap_or(Value::Null)
    }

    /// Waits until a route's ready endpoints are these.
    pub async fn sees(&self, name: &str, ready: &[SocketAddr]) {
        let mut ready = ready.to_vec();
        ready.sort();
        let expected = json!(ready);
        until("the endpoints", || async {
            (self.view(name).await["ready_endpoints"] == expected).then_some(())
        })
        .await;
    }

    /// Makes a route with this app behind it, and waits until it is live.
    pub async fn serve(&self, name: &str, app: SocketAddr) {
        self.manifests.route(name);
        self.manifests.ready(name, &[app]);
        self.sees(name, &[app]).await;
    }

    /// Makes a route without endpoints, and waits until it is live.
    pub async fn idle(&self, name: &str) {
        self.manifests.route(name);
        self.sees(name, &[]).await;
    }

    /// Ends it and waits for the end.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.ended().await
    }

    /// Waits for the end.
    pub async fn ended(self) -> anyhow::Result<()> {
        soon("the end", self.run).await.unwrap()
    }
}

/// A directory of manifests; everything is in namespace `shop`.
pub struct Manifests {
    directory: tempfile::TempDir,
}

impl Manifests {
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces a file by rename, as every writer should.
    pub fn write(&self, name: &str, content: &str) {
        let temporary = self.file(&format!(".{name}.tmp"));
        std::fs::write(&temporary, content).unwrap();
        std::fs::rename(temporary, self.file(name)).unwrap();
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.file(name)).unwrap();
    }

    /// A route for host `<name>.example` to Service `<name>` port 80.
    pub fn route(&self, name: &str) {
        self.route_with(name, &json!({}));
    }

    /// The same with more in its spec.
    pub fn route_with(&self, name: &str, more: &Value) {
        let mut spec = json!({
            "target": {"service": name, "port": 80},
            "rules": [{"hosts": [format!("{name}.example")]}],
            "scalingMetric": {"concurrency": {"targetValue": 10}},
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let route = json!({
            "apiVersion": "http.keda.sh/v1beta1",
            "kind": "InterceptorRoute",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": spec,
        });
        self.service(name, None);
        self.write(&format!("{name}-route.json"), &route.to_string());
    }

    pub fn service(&self, name: &str, app_protocol: Option<&str>) {
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"ports": [{"name": "http", "port": 80, "appProtocol": app_protocol}]},
        });
        self.write(&format!("{name}-service.json"), &service.to_string());
    }

    /// The Service's ready endpoints are these: an EndpointSlice each, since their ports differ.
    pub fn ready(&self, name: &str, ready: &[SocketAddr]) {
        let slices: Vec<Value> = ready
            .iter()
            .enumerate()
            .map(|(number, address)| slice(name, number, *address))
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": slices});
        self.write(&format!("{name}-endpoints.json"), &list.to_string());
    }
}

fn slice(name: &str, number: usize, address: SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-{number}"),
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": address.port()}],
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
    })
}

/// A socket that speaks HTTP/1.1 by hand.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn write(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Reads until this text has come, and gives all that was read.
    pub async fn read_until(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        soon(text, async {
            while !String::from_utf8_lossy(&read).contains(text) {
                assert_ne!(
                    self.0.read_buf(&mut read).await.unwrap(),
                    0,
                    "closed after {:?}",
                    String::from_utf8_lossy(&read)
                );
            }
        })
        .await;
        String::from_utf8(read).unwrap()
    }

    /// Leaves at once: a reset, which is no half-close whenever it comes.
    pub fn leave(self) {
        self.0.set_zero_linger().unwrap();
    }

    /// Reads until the other side closes.
    pub async fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        // A reset is an end, too.
        let _ = soon("the end of the connection", self.0.read_to_end(&mut read)).await;
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// A port nobody listens on (yet).
pub fn free_address() -> SocketAddr {
    let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap()
}

/// An app made of an axum router.
pub async fn app(router: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    serve_on(listener, router);
    address
}

pub fn serve_on(listener: TcpListener, router: axum::Router) {
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
}

/// An app that answers everything with this text.
pub async fn says(text: &'static str) -> SocketAddr {
    app(saying(text)).await
}

pub fn saying(text: &'static str) -> axum::Router {
    axum::Router::new().fallback(move || async move { text })
}

/// An app that hands each connection to a function, for what no library would do.
pub async fn raw_app<F: Future<Output = ()> + Send + 'static>(
    each: impl Fn(usize, Raw) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(each(number, Raw(stream)));
        }
    });
    address
}

pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
