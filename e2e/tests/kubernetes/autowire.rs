//! Autowire of kind `service` on a real API server, with the rights that `docs/autowire.md` lists and no others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use keda_http_e2e::control_plane::ControlPlane;
use keda_http_e2e::wait;
use keda_http_kubernetes::listeners::{self, CONFIG_MAP};
use keda_http_kubernetes::wired::{self, STATE};
use keda_http_runtime::readiness::Readiness;
use keda_http_scaler::cluster::Cluster;
use keda_http_scaler::config::{AdminService, AutowireCommandConfig, AutowireConfig, ClusterConfig};
use keda_http_scaler::controllers::autowire;
use keda_http_scaler::controllers::autowire::command::{dry_run, restore};
use keda_http_scaler::controllers::context::{Context, InterceptorView};
use keda_http_scaler::controllers::feed;
use keda_http_scaler::host_port::HostPort;
use keda_http_scaler::interceptors::open_ports::OpenPortsByInterceptor;
use keda_http_scaler::interceptors::slices::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(60);
const SLICE: &str = "api-keda-http-http-ipv4";
const ADMIN: &str = "interceptor-admin";

/// What the controller needs in the namespaces of workloads, and in its own.
const RULES: [(&str, &str, &str); 5] = [
    ("http.keda.sh", "interceptorroutes, httpscaledobjects", "list, watch"),
    ("keda.sh", "scaledobjects", "list, watch"),
    ("\"\"", "services", "get, list, watch"),
    (
        "discovery.k8s.io",
        "endpointslices",
        "list, watch, create, patch, delete",
    ),
    ("events.k8s.io", "events", "create"),
];
const OWN_RULES: [(&str, &str, &str); 3] = [
    ("\"\"", "configmaps", "get, list, watch, create, patch"),
    ("\"\"", "services", "get"),
    ("discovery.k8s.io", "endpointslices", "list, watch"),
];

/// A workload's namespace, the scaler's own, and interceptors that are said to be there.
struct Stage {
    control_plane: Arc<ControlPlane>,
    /// Of an administrator.
    client: Client,
    /// Of the scaler.
    scaler: Client,
    namespace: String,
    own: String,
    pods: watch::Sender<Arc<[Pod]>>,
    listeners: watch::Sender<OpenPortsByInterceptor>,
    leader: JoinSet<()>,
}

fn interceptor() -> HostPort {
    "10.1.0.1:9090".parse().unwrap()
}

fn pod(ready: bool) -> Arc<[Pod]> {
    let pod = Pod {
        interceptor: interceptor(),
        addresses: vec!["10.1.0.1".parse().unwrap()],
        ready,
        node: Some("node-1".to_owned()),
        zone: None,
    };
    Arc::new([pod])
}

impl Stage {
    async fn set() -> Self {
        let control_plane = ControlPlane::shared().await.unwrap();
        let namespace = control_plane.namespace("wired").await.unwrap();
        let own = control_plane.namespace("scaler").await.unwrap();
        let kubeconfig = Kubeconfig::read_from(control_plane.kubeconfig()).unwrap();
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        config.auth_info.impersonate = Some(format!("system:serviceaccount:{own}:scaler"));
        allow(&control_plane, &namespace, &own, &RULES).await;
        allow(&control_plane, &own, &own, &OWN_RULES).await;
        let stage = Self {
            client: control_plane.client().await.unwrap(),
            scaler: Client::try_from(config).unwrap(),
            pods: watch::Sender::new(pod(true)),
            listeners: watch::Sender::new(OpenPortsByInterceptor::new()),
            leader: JoinSet::new(),
            control_plane,
            namespace,
            own,
        };
        let ports = json!([{"name": "admin", "port": 9090}]);
        stage
            .apply(
                &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": ADMIN, "namespace": stage.own},
            "spec": {"selector": {"app": "interceptor"}, "ports": ports}}),
            )
            .await;
        let mut slice = stage.slice("admin-1", ADMIN, 9090, &["10.1.0.1"]);
        slice["metadata"]["namespace"] = json!(stage.own);
        stage.apply(&slice).await;
        stage
    }

    /// A workload with two pods behind Service `pods`, and a ScaledObject that wants Service `api`.
    async fn workload(&self) {
        let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": self.namespace}, "spec": spec});
        let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
        self.apply(&service("api", json!({"ports": ports}))).await;
        self.apply(&service("pods", json!({"ports": ports, "selector": {"app": "api"}})))
            .await;
        self.apply(&self.slice("pods-1", "pods", 8080, &["10.0.0.1", "10.0.0.2"]))
            .await;
        self.apply(&json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "api", "namespace": self.namespace},
            "spec": {"scaleTargetRef": {"name": "api"}, "triggers": [{"type": "kedify-http", "metadata": {
                "hosts": "api", "service": "api", "port": "80", "fallbackService": "pods", "scalingMetric": "requestRate",
                "trafficAutowire": "service",
            }}]},
        }))
        .await;
    }

    fn slice(&self, name: &str, service: &str, port: u16, addresses: &[&str]) -> Value {
        let endpoints = addresses
            .iter()
            .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}));
        let port_name = if port == 9090 { "admin" } else { "http" };
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "namespace": self.namespace, "labels": {"kubernetes.io/service-name": service}},
            "ports": [{"name": port_name, "port": port}], "endpoints": endpoints.collect::<Value>(),
        })
    }

    async fn apply(&self, object: &Value) {
        self.control_plane.apply(&object.to_string()).await.unwrap();
    }

    async fn delete(&self, api_version: &str, kind: &str, name: &str) {
        self.control_plane
            .delete(api_version, kind, &self.namespace, name)
            .await
            .unwrap();
    }

    /// Starts the controller, as whoever has the Lease does.
    fn lead(&mut self) {
        let context = Context {
            client: self.scaler.clone(),
            namespace: self.own.clone(),
            scaler_address: "scaler.keda:9090".to_owned(),
        };
        let data_path = InterceptorView {
            service: self.admin_service(),
            pods: self.pods.subscribe(),
            open_ports: self.listeners.subscribe(),
        };
        let (sender, news) = mpsc::unbounded_channel();
        let source = feed::open(&self.command().0, true);
        let readiness = Readiness::new();
        let config = self.config();
        self.leader.spawn(async move {
            tokio::join!(feed::feed(source, vec![sender], readiness), async {
                autowire::run(context, config, data_path, news).await.unwrap();
            },);
        });
    }

    /// Kills it, wherever it is.
    async fn kill(&mut self) {
        self.leader.shutdown().await;
    }

    fn admin_service(&self) -> AdminService {
        AdminService {
            namespace: self.own.clone(),
            service: ADMIN.to_owned(),
            port: 9090,
        }
    }

    fn config(&self) -> AutowireConfig {
        AutowireConfig {
            ports: 20_000..=20_009,
            debounce: Duration::from_millis(300),
            sync_period: Duration::from_millis(500),
        }
    }

    fn command(&self) -> (Cluster, AutowireCommandConfig) {
        let cluster = Cluster {
            client: self.scaler.clone(),
            namespace: self.own.clone(),
            watch_namespace: Some(self.namespace.clone()),
        };
        let config = AutowireCommandConfig {
            cluster: ClusterConfig::default(),
            admin_service: self.admin_service(),
            autowire: self.config(),
        };
        (cluster, config)
    }

    fn slices(&self) -> Api<EndpointSlice> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The interceptor listens on every port that is written down; says which.
    async fn listen(&self) -> BTreeSet<u16> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.own);
        let given = wait::until("a port is given out", LIMIT, || async {
            let config_map = config_maps.get_opt(CONFIG_MAP).await.ok()??;
            let (listeners, _) = listeners::read(&config_map);
            (!listeners.is_empty()).then(|| listeners.into_keys().collect::<BTreeSet<u16>>())
        });
        let given = given.await.unwrap();
        self.listeners
            .send_replace(OpenPortsByInterceptor::from([(interceptor(), given.clone())]));
        given
    }

    /// Waits until the slices of Service `api` are these, as `state addresses -> port`.
    async fn leads(&self, expected: &[&str]) {
        let selection = ListParams::default().labels(wired::SELECTOR);
        let last = Mutex::new(Vec::new());
        let waited = wait::until("the slices are as expected", LIMIT, || async {
            let listed = self.slices().list(&selection).await.unwrap();
            *last.lock() = listed.items.iter().map(text).collect::<Vec<_>>();
            (*last.lock() == expected).then_some(())
        });
        if let Err(error) = waited.await {
            panic!("{error:#}: expected {expected:?}, found {:?}", last.lock());
        }
    }

    async fn event(&self, reason: &str) -> Event {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = wait::until(reason, LIMIT, || async {
            let events = events.list(&ListParams::default()).await.ok()?;
            events
                .items
                .into_iter()
                .find(|event| event.reason.as_deref() == Some(reason))
        });
        found.await.unwrap()
    }
}

fn text(slice: &EndpointSlice) -> String {
    let addresses: Vec<String> = slice
        .endpoints
        .iter()
        .map(|endpoint| endpoint.addresses.join("|"))
        .collect();
    let port = slice.ports.as_ref().unwrap()[0].port.unwrap();
    format!(
        "{} {} -> {port}",
        wired::annotation(slice, STATE).unwrap_or("?"),
        addresses.join(",")
    )
}

/// Gives the ServiceAccount `scaler` of `own` these rights in `namespace`.
async fn allow(control_plane: &ControlPlane, namespace: &str, own: &str, rules: &[(&str, &str, &str)]) {
    let rules = rules.iter().map(|(group, resources, verbs)| {
        format!("  - {{apiGroups: [{group}], resources: [{resources}], verbs: [{verbs}]}}\n")
    });
    let rules: String = rules.collect();
    let role = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: scaler, namespace: {namespace}}}\nrules:\n{rules}"
    );
    let binding = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: scaler, namespace: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: scaler}}\n\
         subjects: [{{kind: ServiceAccount, name: scaler, namespace: {own}}}]\n"
    );
    control_plane.apply(&role).await.unwrap();
    control_plane.apply(&binding).await.unwrap();
}

const TO_PODS: &str = "fallback 10.0.0.1,10.0.0.2 -> 8080";
const TO_INTERCEPTORS: &str = "wired 10.1.0.1 -> 20000";
const RELEASED: &str = "released 10.0.0.1,10.0.0.2 -> 8080";

#[tokio::test]
async fn a_service_points_to_healthy_interceptors_and_to_its_pods_otherwise() {
    let mut stage = Stage::set().await;
    stage.workload().await;
    stage.lead();
    stage.leads(&[TO_PODS]).await;
    assert_eq!(stage.listen().await, BTreeSet::from([20_000]));
    stage.leads(&[TO_INTERCEPTORS]).await;
    let event = stage.event("AutowireWired").await;
    assert_eq!(event.regarding.unwrap().name.as_deref(), Some("api"));
    stage.pods.send_replace(pod(false));
    stage.leads(&[TO_PODS]).await;
    stage.pods.send_replace(pod(true));
    stage.leads(&[TO_INTERCEPTORS]).await;
}

#[tokio::test]
async fn what_others_do_to_the_slices_is_put_right_and_nothing_is_written_without_need() {
    let mut stage = Stage::set().await;
    stage.workload().await;
    stage.lead();
    stage.listen().await;
    stage.leads(&[TO_INTERCEPTORS]).await;
    let slices = stage.slices();
    let emptied = Patch::Merge(json!({"endpoints": null}));
    slices.patch(SLICE, &PatchParams::default(), &emptied).await.unwrap();
    stage.leads(&[TO_INTERCEPTORS]).await;
    slices.delete(SLICE, &DeleteParams::default()).await.unwrap();
    wait::until("it is there again", LIMIT, || async {
        slices.get_opt(SLICE).await.unwrap()
    })
    .await
    .unwrap();
    stage.leads(&[TO_INTERCEPTORS]).await;
    let before = slices.get(SLICE).await.unwrap().metadata;
    stage.kill().await;
    stage.lead();
    // The leader reports this after its writes, so its first write is done by then.
    stage.apply(&json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "x", "namespace": stage.namespace},
        "spec": {"scaleTargetRef": {"name": "x"}, "triggers": [{"type": "kedify-http", "metadata": {
            "hosts": "x", "service": "x", "port": "80", "scalingMetric": "requestRate", "trafficAutowire": "ingress",
        }}]},
    }))
    .await;
    stage.event("AutowireKindNotRewired").await;
    assert_eq!(
        slices.get(SLICE).await.unwrap().metadata.resource_version,
        before.resource_version
    );
}

#[tokio::test]
async fn a_service_is_given_back_when_its_object_goes_and_its_pods_are_followed_by_the_next_leader_too() {
    let mut stage = Stage::set().await;
    stage.workload().await;
    stage.lead();
    stage.listen().await;
    stage.leads(&[TO_INTERCEPTORS]).await;
    stage.kill().await;
    stage.delete("keda.sh/v1alpha1", "ScaledObject", "api").await;
    stage.leads(&[TO_INTERCEPTORS]).await;
    stage.lead();
    stage.leads(&[RELEASED]).await;
    stage.apply(&stage.slice("pods-1", "pods", 8080, &["10.0.0.9"])).await;
    stage.leads(&["released 10.0.0.9 -> 8080"]).await;
    stage.kill().await;
    stage.lead();
    stage.apply(&stage.slice("pods-1", "pods", 8080, &["10.0.0.8"])).await;
    stage.leads(&["released 10.0.0.8 -> 8080"]).await;
    stage.delete("v1", "Service", "pods").await;
    stage.leads(&[]).await;
}

#[tokio::test]
async fn restore_gives_everything_back_for_good_while_a_leader_runs() {
    let mut stage = Stage::set().await;
    stage.workload().await;
    stage.lead();
    stage.listen().await;
    stage.leads(&[TO_INTERCEPTORS]).await;
    let (cluster, config) = stage.command();
    let output = restore(&cluster, &config).await.unwrap();
    let expected = format!(
        "Service {}/api points to the pods of pods: 2 endpoints",
        stage.namespace
    );
    assert!(
        output.contains(&expected) && output.contains("kubectl annotate"),
        "{output}"
    );
    stage.leads(&[RELEASED]).await;
    stage.kill().await;
    stage.lead();
    // The next leader of this installation keeps to it; that it has looked is seen by the pods it follows.
    stage.apply(&stage.slice("pods-1", "pods", 8080, &["10.0.0.7"])).await;
    stage.leads(&["released 10.0.0.7 -> 8080"]).await;
    let output = dry_run(&cluster, &config).await.unwrap();
    assert!(output.contains("restore` has restored all Services"), "{output}");
    // The next installation does not.
    let services: Api<Service> = Api::namespaced(stage.client.clone(), &stage.own);
    let admin = services.get(ADMIN).await.unwrap();
    services.delete(ADMIN, &DeleteParams::default()).await.unwrap();
    let anew = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": ADMIN, "namespace": stage.own},
        "spec": {"selector": {"app": "interceptor"}, "ports": [{"name": "admin", "port": 9090}]}});
    stage.apply(&anew).await;
    assert_ne!(services.get(ADMIN).await.unwrap().metadata.uid, admin.metadata.uid);
    stage.kill().await;
    stage.lead();
    stage.leads(&[TO_INTERCEPTORS]).await;
}

#[tokio::test]
async fn restore_and_dry_run_need_no_leader() {
    let mut stage = Stage::set().await;
    let (cluster, config) = stage.command();
    assert_eq!(dry_run(&cluster, &config).await.unwrap(), "Nothing would be written.\n");
    stage.workload().await;
    let output = dry_run(&cluster, &config).await.unwrap();
    let namespace = &stage.namespace;
    let expected = format!(
        "ConfigMap keda-http-listeners\n    + 20000: {namespace}/api:80\nService {namespace}/api\n  EndpointSlice {SLICE}, new\n\
         \x20   + 10.1.0.1 port 20000\n    + state wired\n"
    );
    assert_eq!(output, expected);
    stage.leads(&[]).await;
    stage.lead();
    stage.listen().await;
    stage.leads(&[TO_INTERCEPTORS]).await;
    stage.kill().await;
    stage.delete("keda.sh/v1alpha1", "ScaledObject", "api").await;
    restore(&cluster, &config).await.unwrap();
    stage.leads(&[RELEASED]).await;
}

#[tokio::test]
async fn what_cannot_be_autowired_gets_an_event_and_a_foreign_slice_is_left_alone() {
    let mut stage = Stage::set().await;
    stage.workload().await;
    let selector = json!({"spec": {"selector": {"app": "api"}}});
    let services: Api<Service> = Api::namespaced(stage.client.clone(), &stage.namespace);
    services
        .patch("api", &PatchParams::default(), &Patch::Merge(selector))
        .await
        .unwrap();
    stage.apply(&stage.slice(SLICE, "api", 8080, &["10.0.0.5"])).await;
    stage.lead();
    let event = stage.event("AutowireServiceHasSelector").await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert!(event.note.unwrap().contains("move the selector to the fallbackService"));
    let none = json!({"spec": {"selector": null}});
    services
        .patch("api", &PatchParams::default(), &Patch::Merge(none))
        .await
        .unwrap();
    stage.listen().await;
    stage.event("AutowireForeignEndpointSlices").await;
    assert_eq!(
        stage.slices().get(SLICE).await.unwrap().endpoints[0].addresses,
        ["10.0.0.5"]
    );
    stage.delete("discovery.k8s.io/v1", "EndpointSlice", SLICE).await;
    stage.leads(&[TO_INTERCEPTORS]).await;
}
