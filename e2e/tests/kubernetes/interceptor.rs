//! The interceptor with the objects of a real API server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use keda_http_e2e::control_plane::ControlPlane;
use keda_http_e2e::ports::free_port;
use keda_http_e2e::wait;
use keda_http_interceptor::Objects;
use keda_http_interceptor::app::{Addresses, App, PROGRAM};
use keda_http_interceptor::config::{Config, SourceConfig};
use keda_http_runtime::env::Environment;
use keda_http_runtime::telemetry::Telemetry;
use tokio_util::sync::{CancellationToken, DropGuard};

const LIMIT: Duration = Duration::from_secs(60);

struct Interceptor {
    bound: Addresses,
    http: reqwest::Client,
    _shutdown: DropGuard,
    _telemetry: Telemetry,
}

impl Interceptor {
    async fn start(control_plane: &ControlPlane, own_namespace: &str, variables: &[(&str, &str)]) -> Self {
        let least = [
            ("KEDA_HTTP_PROXY_PORT", "0"),
            ("KEDA_HTTP_ADMIN_PORT", "0"),
            ("OTEL_PROM_EXPORTER_PORT", "0"),
            ("KEDA_HTTP_BIND_ADDRESS", "127.0.0.1"),
            ("KEDA_HTTP_WORKERS", "2"),
        ];
        let environment = Environment::of(least.into_iter().chain(variables.iter().copied()));
        let started = PROGRAM.start([], &environment, Config::read).unwrap();
        let config = started.config;
        let SourceConfig::Cluster(cluster) = &config.source else {
            panic!("{:?}", config.source)
        };
        let objects = Objects::of_cluster(control_plane.client().await.unwrap(), own_namespace.to_owned(), cluster);
        let bound = App::bind_with(objects, config, started.process).unwrap();
        let shutdown = CancellationToken::new();
        let interceptor = Self {
            bound: bound.addresses,
            http: reqwest::Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(0)
                .build()
                .unwrap(),
            _shutdown: shutdown.clone().drop_guard(),
            _telemetry: started.telemetry,
        };
        tokio::spawn(bound.run(shutdown));
        interceptor.is_ready(200).await;
        interceptor
    }

    async fn get(&self, port: u16, path: &str, host: &str) -> Option<(u16, String)> {
        let url = format!("http://127.0.0.1:{port}{path}");
        let response = self.http.get(url).header("host", host).send().await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    }

    async fn admin(&self, path: &str) -> (u16, String) {
        self.get(self.bound.admin.port(), path, "admin").await.unwrap()
    }

    async fn is_ready(&self, expected: u16) {
        wait::until("the readiness", LIMIT, || async {
            (self.admin("/readyz").await.0 == expected).then_some(())
        })
        .await
        .unwrap();
    }

    /// Waits until this host leads to the app that says this.
    async fn leads(&self, port: u16, host: &str, app: &str) {
        wait::until(&format!("{host} to {app}"), LIMIT, || async {
            self.get(port, "/", host).await.filter(|(_, text)| text == app)
        })
        .await
        .unwrap();
    }

    /// An API server that has just come up may refuse a watch or two at first.
    async fn is_current(&self) {
        wait::until("what is known is current", LIMIT, || async {
            (self.age().await.abs() < f64::EPSILON).then_some(())
        })
        .await
        .unwrap();
    }

    async fn age(&self) -> f64 {
        let metrics = self.bound.metrics.unwrap().port();
        let (_, text) = self.get(metrics, "/metrics", "metrics").await.unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("interceptor_routing_table_age_seconds "));
        line.unwrap().parse().unwrap()
    }
}

/// An app that says this, at an address that may stand in an EndpointSlice; `None` on a machine with its loopback only.
async fn says(text: String) -> Option<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    // Asking for the way there sends nothing.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address: IpAddr = socket.local_addr().unwrap().ip();
    let listener = tokio::net::TcpListener::bind((address, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(move || std::future::ready(text.clone()));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Some(address)
}

/// A Service with one pod at this address.
fn pods(namespace: &str, name: &str, pod: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: {}}}]\nendpoints: [{{addresses: [{}]}}]\n",
        pod.port(),
        pod.ip()
    )
}

fn route(namespace: &str, host: &str) -> String {
    format!(
        "apiVersion: http.keda.sh/v1beta1\nkind: InterceptorRoute\nmetadata: {{name: web, namespace: {namespace}}}\n\
         spec: {{target: {{service: web, port: 80}}, rules: [{{hosts: [{host}]}}], scalingMetric: {{concurrency: {{targetValue: 1}}}}}}\n"
    )
}

fn autowired(namespace: &str) -> String {
    format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{name: api, namespace: {namespace}}}\nspec:\n  \
         scaleTargetRef: {{name: api}}\n  triggers:\n  - type: kedify-http\n    metadata: {{hosts: api, service: api, port: '80', \
         fallbackService: web, trafficAutowire: service, scalingMetric: requestRate}}\n"
    )
}

fn config_map(namespace: &str, name: &str, entries: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {{{entries}}}\n"
    )
}

/// A namespace with a Service whose app says the namespace's name.
async fn namespace(control_plane: &ControlPlane, prefix: &str) -> Option<String> {
    let name = control_plane.namespace(prefix).await.unwrap();
    let Some(pod) = says(name.clone()).await else {
        eprintln!("this machine has no address but its loopback, where no pod may be: nothing to test");
        return None;
    };
    control_plane.apply(&pods(&name, "web", pod)).await.unwrap();
    Some(name)
}

#[tokio::test]
async fn autowired_services_of_two_namespaces_and_a_contested_host() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let own = control_plane.namespace("own").await.unwrap();
    let Some(shop) = namespace(&control_plane, "shop").await else {
        return;
    };
    let blog = namespace(&control_plane, "blog").await.unwrap();
    let host = format!("{shop}.test");
    control_plane.apply(&route(&shop, &host)).await.unwrap();
    let interceptor = Interceptor::start(&control_plane, &own, &[]).await;
    let proxy = interceptor.bound.proxy.port();
    interceptor.leads(proxy, &host, &shop).await;

    let ports = [free_port().unwrap(), free_port().unwrap()];
    let entries = format!("'{}': '{shop}/api:80', '{}': '{blog}/api:80'", ports[0], ports[1]);
    let listeners = config_map(&own, "keda-http-listeners", &entries);
    control_plane.apply(&listeners).await.unwrap();
    for (port, namespace) in ports.into_iter().zip([&shop, &blog]) {
        control_plane.apply(&autowired(namespace)).await.unwrap();
        interceptor.leads(port, "api", namespace).await;
        interceptor.leads(port, "10.96.0.7", namespace).await;
    }

    // The other namespace claims the host that this one has had first, until it is written down otherwise.
    control_plane.apply(&route(&blog, &host)).await.unwrap();
    wait::until("the conflict", LIMIT, || async {
        let report = interceptor.admin("/readyz?verbose").await.1;
        let conflict = format!("{blog}/web: host {host} belongs to namespace {shop}");
        report.contains(&conflict).then_some(())
    })
    .await
    .unwrap();
    interceptor.leads(proxy, &host, &shop).await;
    let record = config_map(&own, "keda-http-hosts", &format!("{host}: {blog}"));
    control_plane.apply(&record).await.unwrap();
    interceptor.leads(proxy, &host, &blog).await;
}

#[tokio::test]
async fn without_the_api_server_it_serves_the_last_state_and_reports_its_age() {
    let control_plane = ControlPlane::start().await.unwrap();
    let Some(shop) = namespace(&control_plane, "shop").await else {
        return;
    };
    control_plane.apply(&route(&shop, "shop.test")).await.unwrap();
    let steady = Interceptor::start(&control_plane, &shop, &[]).await;
    let strict = [("KEDA_HTTP_ROUTING_TABLE_MAX_STALENESS", "2s")];
    let strict = Interceptor::start(&control_plane, &shop, &strict).await;
    steady.is_current().await;

    control_plane.stop_api_server();
    strict.is_ready(503).await;
    assert!(
        strict
            .admin("/readyz?verbose")
            .await
            .1
            .contains("no response from the API server since")
    );
    assert_eq!(steady.admin("/readyz").await.0, 200, "without a limit it stays ready");
    assert!(steady.age().await >= 1.0);
    for interceptor in [&steady, &strict] {
        let proxy = interceptor.bound.proxy.port();
        assert_eq!(
            interceptor.get(proxy, "/", "shop.test").await,
            Some((200, shop.clone()))
        );
    }

    control_plane.start_api_server().await.unwrap();
    strict.is_ready(200).await;
    control_plane.apply(&route(&shop, "new.test")).await.unwrap();
    for interceptor in [&steady, &strict] {
        interceptor
            .leads(interceptor.bound.proxy.port(), "new.test", &shop)
            .await;
    }
    steady.is_current().await;
}
