//! The webhook, called by a real API server as the chart configures it.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use keda_http_core::trigger::TRIGGER_NAME_KEY;
use keda_http_e2e::control_plane::ControlPlane;
use keda_http_e2e::wait;
use keda_http_kubernetes::resources::ScaledObject;
use keda_http_runtime::readiness::Readiness;
use keda_http_scaler::admission;
use keda_http_scaler::admission::certificates::{self, Names, Serving};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client, Error, ResourceExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::charts::charts;

const LIMIT: Duration = Duration::from_secs(90);
const SCALER: &str = "scaler.keda:9090";
const SERVICE: &str = "keda-add-ons-http-admission";
const SECRET: &str = "keda-add-ons-http-admission-certs";

/// The webhook for the ScaledObjects of one namespace, until it is dropped.
struct Admission {
    client: Client,
    namespace: String,
    tasks: JoinSet<()>,
    stop: DropGuard,
}

impl Admission {
    /// A namespace whose ScaledObjects go through the webhook from now on.
    async fn start(control_plane: &ControlPlane) -> Self {
        let namespace = control_plane.namespace("admission").await.unwrap();
        Self::start_in(control_plane, namespace).await
    }

    async fn start_in(control_plane: &ControlPlane, namespace: String) -> Self {
        let mut admission = Self {
            client: control_plane.client().await.unwrap(),
            namespace,
            tasks: JoinSet::new(),
            stop: CancellationToken::new().drop_guard(),
        };
        let (listener, port) = listen().await;
        admission.lead_to(control_plane, port).await;
        admission.start_replica(listener, SCALER);
        admission.is_called(SCALER).await;
        admission
    }

    /// Leads the API server to this port.
    async fn lead_to(&self, control_plane: &ControlPlane, port: u16) {
        for object in [service(&self.namespace), configuration(&self.namespace, port)] {
            control_plane.apply(&object.to_string()).await.unwrap();
        }
    }

    /// Serves as each replica of the scaler does, for the scaler of this address.
    fn start_replica(&mut self, listener: TcpListener, scaler: &str) {
        let names = Names {
            namespace: self.namespace.clone(),
            service: SERVICE.to_owned(),
            secret: SECRET.to_owned(),
            webhook: self.namespace.clone(),
        };
        let (serving, readiness, stop) = (Serving::default(), Readiness::new(), self.stop.token().clone());
        let maintaining = certificates::maintain(self.client.clone(), names, serving.clone(), readiness, stop.clone());
        let served = admission::serve(listener, serving, scaler.to_owned(), stop);
        self.tasks.spawn(maintaining);
        self.tasks.spawn(async { served.await.unwrap() });
    }

    /// The API server takes notice of webhooks and authorities in its own time.
    async fn is_called(&self, scaler: &str) {
        wait::until("the webhook is called", LIMIT, || async {
            let answer = self
                .dry_run(&kedify_http("probe", &json!([trigger("probe", "5")])))
                .await
                .ok()?;
            let answered_by = &answer.data["spec"]["triggers"][0]["metadata"]["scalerAddress"];
            (answered_by == scaler).then_some(())
        })
        .await
        .unwrap();
    }

    fn objects(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<ScaledObject>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    async fn create(&self, object: &Value) -> kube::Result<DynamicObject> {
        let object = serde_json::from_value(object.clone()).unwrap();
        self.objects().create(&PostParams::default(), &object).await
    }

    async fn dry_run(&self, object: &Value) -> kube::Result<DynamicObject> {
        let parameters = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let object = serde_json::from_value(object.clone()).unwrap();
        self.objects().create(&parameters, &object).await
    }

    async fn configuration(&self) -> MutatingWebhookConfiguration {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        configurations.get(&self.namespace).await.unwrap()
    }

    async fn authorities(&self) -> Option<Vec<u8>> {
        let mut webhooks = self.configuration().await.webhooks.unwrap();
        Some(webhooks.remove(0).client_config.ca_bundle?.0)
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Leads to this machine, under the name that the certificate is for.
fn service(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": SERVICE},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    })
}

/// The chart's, for one namespace only, so that it is not in the way of other tests; and a call that fails is not
/// passed over, so that it is seen.
fn configuration(namespace: &str, port: u16) -> Value {
    let text = std::fs::read_to_string(charts().join("golden/default.yaml")).unwrap();
    let objects: Vec<Option<Value>> = serde_saphyr::from_multiple(&text).unwrap();
    let mut objects = objects.into_iter().flatten();
    let mut found = objects
        .find(|object| object["kind"] == "MutatingWebhookConfiguration")
        .unwrap();
    found["metadata"]["name"] = namespace.into();
    let webhook = &mut found["webhooks"][0];
    webhook["clientConfig"]["service"]["namespace"] = namespace.into();
    webhook["clientConfig"]["service"]["port"] = port.into();
    webhook["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    webhook["failurePolicy"] = "Fail".into();
    found
}

fn kedify_http(name: &str, triggers: &Value) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name},
        "spec": {"scaleTargetRef": {"name": name}, "triggers": triggers},
    })
}

fn trigger(name: &str, target: &str) -> Value {
    json!({"type": "kedify-http", "name": name, "metadata": {
        "hosts": format!("{name}.test"), "service": "api", "port": "80", "scalingMetric": "requestRate",
        "targetValue": target,
    }})
}

/// The ScaledObject of the tracing tutorial.
fn tutorial() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/tutorial/scaledobject.yaml");
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn type_of(object: &DynamicObject, trigger: usize) -> &Value {
    &object.data["spec"]["triggers"][trigger]["type"]
}

fn version(object: &DynamicObject) -> (Option<i64>, Option<String>) {
    (object.metadata.generation, object.resource_version())
}

#[tokio::test]
async fn the_tutorials_object_becomes_what_stock_keda_can_use_and_keeps_all_else() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let admission = Admission::start(&control_plane).await;
    let created = admission.create(&tutorial()).await.unwrap();
    let mut expected = tutorial()["spec"].clone();
    expected["triggers"][0]["type"] = "external-push".into();
    expected["triggers"][0]["metadata"]["scalerAddress"] = SCALER.into();
    assert_eq!(created.data["spec"], expected);
}

/// How tools bring an object to what a manifest says.
#[derive(Debug, Clone, Copy)]
enum Tool {
    /// `kubectl apply --server-side`, Flux.
    ServerSideApply,
    /// `kubectl apply`, which sends what differs.
    MergePatch,
    /// `kubectl replace`.
    Replace,
}

impl Tool {
    async fn apply(self, objects: &Api<DynamicObject>, manifest: &Value) -> DynamicObject {
        let name = manifest["metadata"]["name"].as_str().unwrap();
        let wanted: DynamicObject = serde_json::from_value(manifest.clone()).unwrap();
        let existing = objects.get_opt(name).await.unwrap();
        let applied = match (self, existing) {
            (Self::ServerSideApply, _) => {
                let parameters = PatchParams::apply("gitops");
                objects.patch(name, &parameters, &Patch::Apply(&wanted)).await
            }
            (_, None) => objects.create(&PostParams::default(), &wanted).await,
            (Self::MergePatch, Some(_)) => {
                let spec = Patch::Merge(json!({"spec": manifest["spec"]}));
                objects.patch(name, &PatchParams::default(), &spec).await
            }
            (Self::Replace, Some(mut object)) => {
                object.data["spec"] = manifest["spec"].clone();
                objects.replace(name, &PostParams::default(), &object).await
            }
        };
        applied.unwrap()
    }
}

#[tokio::test]
async fn what_is_applied_again_changes_nothing_and_what_is_new_is_written() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let admission = Admission::start(&control_plane).await;
    for (tool, name) in [
        (Tool::ServerSideApply, "server-side-apply"),
        (Tool::MergePatch, "merge-patch"),
        (Tool::Replace, "replace"),
    ] {
        let objects = admission.objects();
        let mut manifest = tutorial();
        manifest["metadata"]["name"] = name.into();
        let created = tool.apply(&objects, &manifest).await;
        assert_eq!(type_of(&created, 0), "external-push", "{tool:?}");
        for _ in 0..2 {
            let applied = tool.apply(&objects, &manifest).await;
            assert_eq!(version(&applied), version(&created), "{tool:?}");
            assert_eq!(type_of(&applied, 0), "external-push", "{tool:?}");
        }
        manifest["spec"]["triggers"][0]["metadata"]["targetValue"] = "2".into();
        let changed = tool.apply(&objects, &manifest).await;
        assert_eq!(changed.metadata.generation, Some(2), "{tool:?}");
        assert_eq!(type_of(&changed, 0), "external-push", "{tool:?}");
    }
}

#[tokio::test]
async fn a_dry_run_is_answered_with_what_would_be_and_stores_nothing() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let admission = Admission::start(&control_plane).await;
    let answer = admission.dry_run(&tutorial()).await.unwrap();
    assert_eq!(type_of(&answer, 0), "external-push");
    assert!(admission.objects().get_opt(&answer.name_any()).await.unwrap().is_none());
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_key_value_and_what_is_allowed() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let admission = Admission::start(&control_plane).await;
    for (key, value, allowed) in [
        ("targetValue", "many", "a number"),
        ("scalingMetric", "latency", "requestRate"),
        ("port", "99999", "65535"),
        ("window", "soon", "duration"),
    ] {
        let mut object = tutorial();
        object["spec"]["triggers"][0]["metadata"][key] = value.into();
        let Err(Error::Api(refusal)) = admission.create(&object).await else {
            panic!("{key}: {value} is taken");
        };
        let message = &refusal.message;
        for part in ["spec.triggers[0]", key, value, allowed] {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
        assert_eq!(refusal.code, 422);
    }
}

#[tokio::test]
async fn several_triggers_are_distinguished_by_name_and_others_are_left_alone() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let admission = Admission::start(&control_plane).await;
    let others = [
        json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "80"}}),
        json!({"type": "external-push", "metadata": {"scalerAddress": "elsewhere:1", "hosts": "a"}}),
        json!({"type": "cron", "name": "web", "metadata": {"timezone": "UTC", "start": "0 8 * * *"}}),
    ];
    let untouched = admission.create(&kedify_http("others", &json!(others))).await.unwrap();
    assert_eq!(untouched.data["spec"]["triggers"], json!(others));

    let both = json!([trigger("web", "5"), others[0], trigger("api", "7")]);
    let created = admission.create(&kedify_http("both", &both)).await.unwrap();
    let triggers = &created.data["spec"]["triggers"];
    for (index, name, target) in [(0, "web", "5"), (2, "api", "7")] {
        let (trigger, metadata) = (&triggers[index], &triggers[index]["metadata"]);
        assert_eq!(
            (&trigger["type"], &trigger["name"]),
            (&json!("external-push"), &json!(name))
        );
        assert_eq!(metadata[TRIGGER_NAME_KEY], name);
        assert_eq!(
            (&metadata["hosts"], &metadata["targetValue"]),
            (&json!(format!("{name}.test")), &json!(target))
        );
    }
    assert_eq!(triggers[1], others[0]);

    let unnamed = json!([trigger("web", "5"), trigger("web", "7")]);
    let refusal = admission
        .create(&kedify_http("unnamed", &unnamed))
        .await
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("spec.triggers[1].name"), "{refusal}");
}

#[tokio::test]
async fn what_was_there_before_is_converted_by_its_next_write_or_can_still_be_edited_and_deleted() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("admission").await.unwrap();
    for (name, target) in [("good", "5"), ("bad", "many")] {
        let mut object = kedify_http(name, &json!([trigger(name, target)]));
        object["metadata"]["namespace"] = namespace.as_str().into();
        control_plane.apply(&object.to_string()).await.unwrap();
    }
    let admission = Admission::start_in(&control_plane, namespace).await;
    let objects = admission.objects();
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": "a"}}}));
    let good = objects.patch("good", &PatchParams::default(), &label).await.unwrap();
    assert_eq!(type_of(&good, 0), "external-push");
    let bad = objects.patch("bad", &PatchParams::default(), &label).await.unwrap();
    assert_eq!(
        (type_of(&bad, 0), bad.labels()["team"].as_str()),
        (&json!("kedify-http"), "a")
    );
    objects.delete("bad", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn certificates_that_are_gone_are_made_anew_and_the_api_server_trusts_every_replica() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let mut admission = Admission::start(&control_plane).await;
    let (listener, port) = listen().await;
    admission.start_replica(listener, "other:9090");
    let former = admission.authorities().await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(admission.client.clone(), &admission.namespace);
    secrets.delete(SECRET, &DeleteParams::default()).await.unwrap();
    wait::until("the new authority", LIMIT, || async {
        let authorities = admission
            .authorities()
            .await
            .filter(|authorities| *authorities != former)?;
        let secret = secrets.get(SECRET).await.ok()?.data?;
        (secret["ca.crt"].0 == authorities).then_some(())
    })
    .await
    .unwrap();
    admission.is_called(SCALER).await;
    admission.lead_to(&control_plane, port).await;
    admission.is_called("other:9090").await;
}

#[tokio::test]
async fn an_authority_that_somebody_took_out_of_the_configuration_is_put_back() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let admission = Admission::start(&control_plane).await;
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(admission.client.clone());
    let mut without = admission.configuration().await;
    for webhook in without.webhooks.iter_mut().flatten() {
        webhook.client_config.ca_bundle = None;
    }
    let name = &admission.namespace;
    configurations
        .replace(name, &PostParams::default(), &without)
        .await
        .unwrap();
    wait::until("the authority is back", LIMIT, || admission.authorities())
        .await
        .unwrap();
    admission.is_called(SCALER).await;
}
