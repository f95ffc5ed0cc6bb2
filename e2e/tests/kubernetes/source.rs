//! Objects of a real API server, as `Change`s.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;

use keda_http_core::route::{PortRef, ServiceRef};
use keda_http_e2e::control_plane::ControlPlane;
use keda_http_kubernetes::endpoints::EndpointIndex;
use keda_http_kubernetes::index::Index;
use keda_http_kubernetes::object::Kind;
use keda_http_kubernetes::routes::RouteIndex;
use keda_http_kubernetes::source::cluster::{self, ClusterSettings};
use keda_http_kubernetes::source::{Change, Source};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

const LIMIT: Duration = Duration::from_secs(60);

/// Everything a data path knows, folded from the changes of the source.
struct World {
    source: Source,
    routes: RouteIndex,
    endpoints: EndpointIndex,
    keys: BTreeSet<String>,
}

impl World {
    async fn open(control_plane: &ControlPlane, namespace: &str) -> Self {
        Self::with(control_plane.client().await.unwrap(), Some(namespace)).await
    }

    async fn with(client: kube::Client, namespace: Option<&str>) -> Self {
        let settings = ClusterSettings {
            slices_of: None,
            watch_namespace: namespace.map(str::to_owned),
            kinds: Kind::ALL.into_iter().collect(),
            own_config_maps: None,
            autowired: false,
        };
        let source = cluster::open(client, settings);
        let mut world = Self {
            source,
            routes: RouteIndex::default(),
            endpoints: EndpointIndex::default(),
            keys: BTreeSet::new(),
        };
        while let Some(piece) = timeout(LIMIT, world.source.initial()).await.unwrap() {
            world.take(&piece);
        }
        world
    }

    fn take(&mut self, changes: &[Change]) {
        use keda_http_kubernetes::routes::RouteChange;
        for change in changes {
            self.endpoints.update(change);
            for route in self.routes.update(change) {
                match route {
                    RouteChange::Set(route) => self.keys.insert(route.key.to_string()),
                    RouteChange::Remove(key) => self.keys.remove(&key.to_string()),
                };
            }
        }
    }

    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        while !holds(self) {
            let changes = timeout(LIMIT, self.source.next())
                .await
                .unwrap_or_else(|_| panic!("{what}"));
            self.take(&changes.unwrap());
        }
    }

    fn ready(&self, namespace: &str, service: &str) -> Option<usize> {
        let service = ServiceRef {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port: PortRef::Number(80),
        };
        self.endpoints
            .endpoints(&service)
            .ok()
            .map(|endpoints| endpoints.ready.len())
    }
}

fn route(namespace: &str, name: &str) -> String {
    format!(
        "apiVersion: http.keda.sh/v1beta1\nkind: InterceptorRoute\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{target: {{service: {name}, port: 80}}, rules: [{{hosts: [{name}.test]}}], scalingMetric: {{concurrency: {{targetValue: 1}}}}}}\n"
    )
}

fn service(namespace: &str, name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints: [{{addresses: [10.0.0.1]}}]\n"
    )
}

#[tokio::test]
async fn routes_and_the_endpoints_of_their_namespaces_arrive_and_go() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("source").await.unwrap();
    control_plane.apply(&service(&namespace, "early")).await.unwrap();
    control_plane.apply(&route(&namespace, "early")).await.unwrap();
    let mut world = World::open(&control_plane, &namespace).await;
    let key = format!("{namespace}/early");
    assert!(
        world.keys.contains(&key),
        "the initial state is complete: {:?}",
        world.keys
    );
    assert_eq!(world.ready(&namespace, "early"), Some(1), "with its endpoints");
    // A kind that was just defined can be listed before it can be watched.
    let mut freshness = world.source.freshness();
    let current = timeout(LIMIT, freshness.wait_for(|freshness| freshness.current)).await;
    current.expect("the state is current").unwrap();

    control_plane.apply(&route(&namespace, "late")).await.unwrap();
    control_plane.apply(&service(&namespace, "late")).await.unwrap();
    world
        .until("the late endpoint", |world| world.ready(&namespace, "late") == Some(1))
        .await;

    control_plane
        .delete("http.keda.sh/v1beta1", "InterceptorRoute", &namespace, "early")
        .await
        .unwrap();
    world
        .until("the route is gone", |world| !world.keys.contains(&key))
        .await;
    control_plane
        .delete("http.keda.sh/v1beta1", "InterceptorRoute", &namespace, "late")
        .await
        .unwrap();
    // With the last route of the namespace nobody looks at its Services any more.
    world
        .until("the Services are forgotten", |world| {
            world.ready(&namespace, "late").is_none()
        })
        .await;
}

#[tokio::test]
async fn what_changes_during_an_outage_is_known_after_it() {
    let control_plane = ControlPlane::start().await.unwrap();
    let namespace = control_plane.namespace("outage").await.unwrap();
    control_plane.apply(&route(&namespace, "kept")).await.unwrap();
    control_plane.apply(&service(&namespace, "kept")).await.unwrap();
    let mut world = World::open(&control_plane, &namespace).await;
    let mut freshness = world.source.freshness();
    control_plane.stop_api_server();
    timeout(LIMIT, freshness.wait_for(|now| !now.current))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(world.ready(&namespace, "kept"), Some(1), "what was known stays");
    assert!(
        !world.source.problems().borrow().is_empty(),
        "and the outage is reported"
    );
    control_plane.start_api_server().await.unwrap();
    timeout(LIMIT, freshness.wait_for(|now| now.current))
        .await
        .unwrap()
        .unwrap();
    control_plane.apply(&route(&namespace, "new")).await.unwrap();
    let key = format!("{namespace}/new");
    world.until("the new route", |world| world.keys.contains(&key)).await;
    assert!(world.source.problems().borrow().is_empty(), "nothing is wrong any more");
}

/// Passes connections on to the API server, counts them, and can fall silent without ending them.
struct Relay {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    silent: watch::Sender<bool>,
}

impl Relay {
    async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            silent: watch::Sender::new(false),
        };
        let to = url.trim_start_matches("https://").to_owned();
        let (connections, silent) = (relay.connections.clone(), relay.silent.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(pass(client, to.clone(), silent.clone()));
            }
        });
        relay
    }

    async fn client(&self, control_plane: &ControlPlane) -> kube::Client {
        let mut config = control_plane.config().await.unwrap();
        config.cluster_url = format!("https://{}", self.address).parse().unwrap();
        cluster::client_with(config).unwrap()
    }
}

/// What is on its way when it falls silent is lost, and the connection stays open for ever.
async fn pass(mut client: TcpStream, to: String, mut silent: watch::Receiver<bool>) {
    let mut server = TcpStream::connect(to).await.unwrap();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        _ = silent.wait_for(|silent| *silent) => {}
    }
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn many_namespaces_are_watched_over_few_connections() {
    let control_plane = ControlPlane::start().await.unwrap();
    let each = (0..70).map(|_| async {
        let namespace = control_plane.namespace("many").await?;
        control_plane.apply(&route(&namespace, "app")).await?;
        control_plane.apply(&service(&namespace, "app")).await?;
        anyhow::Ok(namespace)
    });
    let namespaces = try_join_all(each).await.unwrap();
    let relay = Relay::to(&control_plane.url()).await;
    let mut world = World::with(relay.client(&control_plane).await, None).await;
    assert_eq!(world.keys.len(), 70);
    // 213 watches; an API server takes 100 on a connection.
    let connections = relay.connections.load(Ordering::Relaxed);
    assert!((3..=8).contains(&connections), "{connections}");
    for namespace in &namespaces {
        assert_eq!(world.ready(namespace, "app"), Some(1));
        control_plane.apply(&service(namespace, "late")).await.unwrap();
    }
    world
        .until("every namespace is heard of", |world| {
            let ready = |namespace: &String| world.ready(namespace, "late") == Some(1);
            namespaces.iter().all(ready)
        })
        .await;
}

#[tokio::test]
async fn a_silently_dead_connection_is_closed_within_half_a_minute() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("half-open").await.unwrap();
    control_plane.apply(&route(&namespace, "kept")).await.unwrap();
    let relay = Relay::to(&control_plane.url()).await;
    let mut world = World::with(relay.client(&control_plane).await, Some(&namespace)).await;
    let mut freshness = world.source.freshness();
    relay.silent.send_replace(true);
    let began = Instant::now();
    control_plane.apply(&route(&namespace, "new")).await.unwrap();
    timeout(LIMIT, freshness.wait_for(|now| !now.current))
        .await
        .unwrap()
        .unwrap();
    relay.silent.send_replace(false);
    let key = format!("{namespace}/new");
    world.until("the new route", |world| world.keys.contains(&key)).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    timeout(LIMIT, freshness.wait_for(|now| now.current))
        .await
        .unwrap()
        .unwrap();
}
