//! The leader's controllers on a real API server.

use std::time::Duration;

use keda_http_e2e::control_plane::ControlPlane;
use keda_http_e2e::wait;
use keda_http_kubernetes::definitions;
use keda_http_kubernetes::object::Kind;
use keda_http_kubernetes::resources::{HttpScaledObject, InterceptorRoute, ScaledObject};
use keda_http_kubernetes::source::cluster::{self, ClusterSettings};
use keda_http_runtime::readiness::Readiness;
use keda_http_scaler::controllers::context::Context;
use keda_http_scaler::controllers::running::Controller;
use keda_http_scaler::controllers::{conditions, conversion, feed, http_scaled_object};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(60);

/// The controllers of one namespace, until it is dropped.
struct Leading {
    client: Client,
    namespace: String,
    _tasks: JoinSet<()>,
}

impl Leading {
    async fn start(control_plane: &ControlPlane) -> Self {
        let namespace = control_plane.namespace("controllers").await.unwrap();
        let all = [conversion(), http_scaled_objects(), conditions()];
        Self::start_in(control_plane, namespace, all).await
    }

    async fn start_in(
        control_plane: &ControlPlane,
        namespace: String,
        controllers: impl IntoIterator<Item = Controller>,
    ) -> Self {
        let client = control_plane.client().await.unwrap();
        let context = Context {
            client: client.clone(),
            namespace: namespace.clone(),
            scaler_address: "scaler.keda:9090".to_owned(),
        };
        let mut tasks = JoinSet::new();
        let mut listeners = Vec::new();
        for controller in controllers {
            let (listener, news) = mpsc::unbounded_channel();
            listeners.push(listener);
            let context = context.clone();
            tasks.spawn(async move { panic!("{} ended: {:?}", controller.name, controller.run(context, news).await) });
        }
        let settings = ClusterSettings {
            watch_namespace: Some(namespace.clone()),
            kinds: Kind::ALL.into_iter().collect(),
            own_config_maps: None,
            autowired: false,
            slices_of: None,
        };
        tasks.spawn(feed::feed(
            cluster::open(client.clone(), settings),
            listeners,
            Readiness::new(),
        ));
        Self {
            client,
            namespace,
            _tasks: tasks,
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn route_is(&self, name: &str, reason: &str) -> String {
        let routes: Api<InterceptorRoute> = self.api();
        wait::until(&format!("{name} is {reason}"), LIMIT, || async {
            let conditions = routes.get_status(name).await.ok()?.status?.conditions;
            let found = conditions.into_iter().find(|condition| condition.reason == reason)?;
            Some(found.message)
        })
        .await
        .unwrap()
    }
}

fn conversion() -> Controller {
    Controller::new("conversion", conversion::run)
}

fn http_scaled_objects() -> Controller {
    Controller::new("httpscaledobjects", http_scaled_object::run)
}

fn conditions() -> Controller {
    Controller::new("conditions", |context, news| {
        conditions::run(context, "cluster.local".to_owned(), news)
    })
}

#[tokio::test]
async fn a_route_says_what_it_lacks_until_it_lacks_nothing() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let leading = Leading::start(&control_plane).await;
    let namespace = &leading.namespace;
    let route = json!({
        "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute", "metadata": {"namespace": namespace, "name": "api"},
        "spec": {"target": {"service": "api", "port": 80}, "rules": [{"hosts": ["api.test"]}], "scalingMetric": {"concurrency": {"targetValue": 1}}},
    });
    control_plane.apply(&route.to_string()).await.unwrap();
    let message = leading.route_is("api", "ServiceNotFound").await;
    assert!(message.contains(&format!("{namespace}/api")), "{message}");
    let service = |port: u16| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": "api"},
            "spec": {"ports": [{"name": "http", "port": port}]}})
    };
    control_plane.apply(&service(8080).to_string()).await.unwrap();
    let message = leading.route_is("api", "PortNotFound").await;
    assert!(message.contains("8080"), "{message}");
    control_plane.apply(&service(80).to_string()).await.unwrap();
    leading.route_is("api", "Reconciled").await;
    let mut bad = route.clone();
    bad["spec"]["rules"] = json!([{"hosts": ["a b"]}]);
    control_plane.apply(&bad.to_string()).await.unwrap();
    let message = leading.route_is("api", "InvalidSpec").await;
    assert!(
        message.contains("spec.rules[0].hosts[0]") && message.contains("a b"),
        "{message}"
    );
}

#[tokio::test]
async fn an_existing_scaled_object_is_converted_and_an_invalid_one_gets_an_event() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let leading = Leading::start(&control_plane).await;
    let scaled = |name: &str, target: &str| {
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"namespace": leading.namespace, "name": name},
            "spec": {"scaleTargetRef": {"name": name}, "triggers": [{"type": "kedify-http", "metadata": {
                "hosts": "api.test", "service": "api", "port": "80", "scalingMetric": "requestRate", "targetValue": target,
            }}]},
        })
    };
    control_plane.apply(&scaled("good", "5").to_string()).await.unwrap();
    control_plane.apply(&scaled("bad", "many").to_string()).await.unwrap();
    let objects: Api<ScaledObject> = leading.api();
    let converted = wait::until("it is converted", LIMIT, || async {
        let object = objects.get("good").await.ok()?;
        (object.spec.triggers[0].type_ == "external-push").then_some(object)
    })
    .await
    .unwrap();
    assert_eq!(converted.spec.triggers[0].metadata["scalerAddress"], "scaler.keda:9090");
    let events: Api<k8s_openapi::api::events::v1::Event> = leading.api();
    let note = wait::until("the event", LIMIT, || async {
        let events = events.list(&Default::default()).await.ok()?.items;
        let about = |event: &k8s_openapi::api::events::v1::Event| event.regarding.as_ref()?.name.clone();
        events
            .into_iter()
            .find(|event| about(event).as_deref() == Some("bad"))?
            .note
    })
    .await
    .unwrap();
    assert!(note.contains("targetValue") && note.contains("many"), "{note}");
}

#[tokio::test]
async fn an_http_scaled_object_has_a_scaled_object_of_its_own_unless_an_annotation_says_no() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let leading = Leading::start(&control_plane).await;
    let http = |annotations: serde_json::Value| {
        json!({
            "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject",
            "metadata": {"namespace": leading.namespace, "name": "api", "annotations": annotations},
            "spec": {"hosts": ["api.test"], "replicas": {"max": 3},
                "scaleTargetRef": {"name": "api", "kind": "Deployment", "apiVersion": "apps/v1", "service": "api", "port": 80}},
        })
    };
    control_plane.apply(&http(json!({})).to_string()).await.unwrap();
    let objects: Api<ScaledObject> = leading.api();
    let made = wait::until("the ScaledObject", LIMIT, || async { objects.get("api").await.ok() })
        .await
        .unwrap();
    assert_eq!(made.spec.triggers[0].metadata["httpScaledObject"], "api");
    assert_eq!(made.owner_references()[0].kind, "HTTPScaledObject");
    let https: Api<HttpScaledObject> = leading.api();
    wait::until("its status", LIMIT, || async {
        https
            .get_status("api")
            .await
            .ok()?
            .status?
            .target_service
            .filter(|service| service == "api:80")
    })
    .await
    .unwrap();
    let skip = "httpscaledobject.keda.sh/skip-scaledobject-creation";
    control_plane
        .apply(&http(json!({skip: "true"})).to_string())
        .await
        .unwrap();
    wait::until("it is removed", LIMIT, || async {
        objects.get_opt("api").await.ok()?.is_none().then_some(())
    })
    .await
    .unwrap();
}

/// As older releases of the Go add-on left them: `Ready` more than once, and without a time of its change.
fn former_conditions() -> Value {
    json!([
        {"type": "Ready", "status": "Unknown", "reason": "PendingCreation", "message": "m", "timestamp": "2025-12-05T18:52:42Z"},
        {"type": "Ready", "status": "True", "reason": "HTTPScaledObjectIsReady", "timestamp": "2025-12-05T18:52:42Z"},
    ])
}

/// Our definition of HTTPScaledObject, but with any status.
fn former_definition() -> Value {
    let mut definition = definitions::http_scaled_object();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    definition
}

fn http(namespace: &str, max: u32) -> Value {
    json!({
        "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject", "metadata": {"namespace": namespace, "name": "api"},
        "spec": {"replicas": {"max": max}, "scaleTargetRef": {"name": "api", "service": "api", "port": 80}},
    })
}

#[tokio::test]
async fn conditions_that_an_older_release_has_written_are_replaced_by_whichever_controller_writes_first() {
    let control_plane = ControlPlane::start().await.unwrap();
    control_plane.apply(&former_definition().to_string()).await.unwrap();
    let mut objects: Vec<Api<HttpScaledObject>> = Vec::new();
    for _ in 0..2 {
        let namespace = control_plane.namespace("former").await.unwrap();
        control_plane.apply(&http(&namespace, 1).to_string()).await.unwrap();
        objects.push(Api::namespaced(control_plane.client().await.unwrap(), &namespace));
    }
    let former = Patch::Merge(json!({"status": {"conditions": former_conditions()}}));
    for objects in &objects {
        wait::until("the former definition is in force", LIMIT, || async {
            let patched = objects
                .patch_status("api", &PatchParams::default(), &former)
                .await
                .ok()?;
            (patched.status?.conditions.len() == 2).then_some(())
        })
        .await
        .unwrap();
    }
    let ours = definitions::http_scaled_object();
    control_plane.apply(&ours.to_string()).await.unwrap();
    let partly = Patch::Merge(json!({"status": {"targetService": "x"}}));
    wait::until(
        "ours is in force, and takes no write that leaves them",
        LIMIT,
        || async {
            let dry_run = PatchParams::default().dry_run();
            objects[0].patch_status("api", &dry_run, &partly).await.err()
        },
    )
    .await
    .unwrap();
    let namespace = |objects: &Api<HttpScaledObject>| objects.namespace().unwrap().to_owned();
    let _targets = Leading::start_in(&control_plane, namespace(&objects[0]), [http_scaled_objects()]).await;
    let _conditions = Leading::start_in(&control_plane, namespace(&objects[1]), [conditions()]).await;
    wait::until("the status names the target", LIMIT, || async {
        objects[0].get_status("api").await.ok()?.status?.target_service
    })
    .await
    .unwrap();
    wait::until("the status has the condition", LIMIT, || async {
        let conditions = objects[1].get_status("api").await.ok()?.status?.conditions;
        (conditions.len() == 1 && conditions[0].reason == "ServiceNotFound").then_some(())
    })
    .await
    .unwrap();
    for objects in &objects {
        control_plane
            .apply(&http(&namespace(objects), 2).to_string())
            .await
            .unwrap();
    }
}

/// Why the policy refuses.
const TAKEN: &str = "the workload has one already";

/// Somebody's policy that takes no ScaledObject of this name in the namespace, once it is in force.
async fn refuse(leading: &Leading, control_plane: &ControlPlane, name: &str) {
    let namespace = &leading.namespace;
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": namespace},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [{"apiGroups": ["keda.sh"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["scaledobjects"]}],
            },
            "validations": [{"expression": format!("object.metadata.name != '{name}'"), "message": TAKEN}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": namespace},
        "spec": {"policyName": namespace, "validationActions": ["Deny"]},
    });
    control_plane.apply(&policy.to_string()).await.unwrap();
    control_plane.apply(&binding.to_string()).await.unwrap();
    let objects: Api<ScaledObject> = leading.api();
    let object: ScaledObject = serde_json::from_value(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name},
        "spec": {"scaleTargetRef": {"name": name}, "triggers": [{"type": "cron", "metadata": {}}]},
    }))
    .unwrap();
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    wait::until("the policy is in force", LIMIT, || async {
        let refused = objects.create(&dry_run, &object).await.err()?;
        refused.to_string().contains(TAKEN).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_refusal_of_one_object_is_reported_on_it_and_delays_no_other() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let leading = Leading::start(&control_plane).await;
    refuse(&leading, &control_plane, "refused").await;
    let of = |name: &str| {
        let mut object = http(&leading.namespace, 3);
        object["metadata"]["name"] = json!(name);
        object.to_string()
    };
    control_plane.apply(&of("refused")).await.unwrap();
    let events: Api<k8s_openapi::api::events::v1::Event> = leading.api();
    wait::until("the event", LIMIT, || async {
        let events = events.list(&Default::default()).await.ok()?.items;
        let matches = |event: &k8s_openapi::api::events::v1::Event| {
            let regarding = event.regarding.as_ref().and_then(|object| object.name.as_deref());
            let note = event.note.as_deref().unwrap_or_default();
            regarding == Some("refused") && note.contains(TAKEN)
        };
        events.iter().any(matches).then_some(())
    })
    .await
    .unwrap();
    control_plane.apply(&of("fine")).await.unwrap();
    let objects: Api<ScaledObject> = leading.api();
    wait::until("the other's ScaledObject", LIMIT, || async {
        objects.get("fine").await.ok()
    })
    .await
    .unwrap();
}
