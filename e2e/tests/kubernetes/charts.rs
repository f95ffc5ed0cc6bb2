//! What the chart renders, before a real API server: each field is known to it, each value allowed, and what the scaler
//! has written into the chart's objects outlives an upgrade.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use keda_http_e2e::control_plane::{ControlPlane, binaries};
use kube::api::{Api, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt, discovery};
use serde_json::json;

#[tokio::test]
async fn the_api_server_takes_every_object_of_the_golden_files() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    namespaces(&control_plane).await;
    for values in ["default", "upstream", "hardened"] {
        let text = std::fs::read_to_string(charts().join(format!("golden/{values}.yaml"))).unwrap();
        let objects: Vec<Option<DynamicObject>> = serde_saphyr::from_multiple(&text).unwrap();
        let mut taken = 0;
        for object in objects.into_iter().flatten() {
            let kind = object.types.as_ref().unwrap().kind.clone();
            // The Prometheus operator's CRDs are not here.
            if kind != "ServiceMonitor" {
                let answer = dry_run(&client, &object).await;
                assert!(
                    answer.is_ok(),
                    "{values}: {kind} {}: {}",
                    object.name_any(),
                    answer.unwrap_err()
                );
                taken += 1;
            }
        }
        assert!(taken > 15, "{values}: {taken} objects");
    }
}

#[tokio::test]
async fn a_misspelled_field_would_be_refused() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let object = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: default}\nspec: {prots: []}\n";
    let answer = dry_run(
        &control_plane.client().await.unwrap(),
        &serde_saphyr::from_str(object).unwrap(),
    )
    .await;
    assert!(answer.unwrap_err().to_string().contains("prots"));
}

#[tokio::test]
async fn certificates_outlive_an_upgrade_and_a_rollback_and_notes_list_what_has_no_effect() {
    let Some(program) = helm() else {
        eprintln!("Skipped: no Helm is here.");
        return;
    };
    // Its own: the webhook must not be in the way of other tests.
    let control_plane = ControlPlane::start().await.unwrap();
    namespaces(&control_plane).await;
    let helm = |arguments: &[&str]| run_helm(&program, &control_plane, arguments);
    let chart = charts().join("keda-add-ons-http").display().to_string();
    let release = ["http-add-on", chart.as_str(), "--set", "crds.install=false"];

    let installed = helm(&[&["install"], release.as_slice()].concat());
    assert!(
        installed.contains("keda-add-ons-http-interceptor-proxy.keda:8080"),
        "{installed}"
    );
    assert!(!installed.contains("Please note"), "{installed}");
    write_certificates(&control_plane).await;
    assert_eq!(
        certificates(&control_plane).await,
        ("Y2E=".to_owned(), "Y2VydA==".to_owned())
    );

    let set = [
        "--set",
        "admission.timeoutSeconds=7,interceptor.keepAlive=1s,operator.replicas=2,interceptor.drainTimeout=1m,interceptor.terminationGracePeriodSeconds=45",
    ];
    let upgraded = helm(&[&["upgrade"], release.as_slice(), set.as_slice()].concat());
    for note in [
        "interceptor.keepAlive has no effect",
        "operator.*: there is no operator Deployment",
        "interceptor.terminationGracePeriodSeconds is 45, but shutdownDelay, drainTimeout and 10 s add up to 75",
    ] {
        assert!(upgraded.contains(note), "{note:?} is not in\n{upgraded}");
    }
    assert_eq!(
        certificates(&control_plane).await,
        ("Y2E=".to_owned(), "Y2VydA==".to_owned())
    );
    helm(&["rollback", "http-add-on", "1"]);
    assert_eq!(
        certificates(&control_plane).await,
        ("Y2E=".to_owned(), "Y2VydA==".to_owned())
    );
}

const WEBHOOK: &str = "keda-add-ons-http-admission";
const SECRET: &str = "keda-add-ons-http-admission-certs";

/// As the scaler does.
async fn write_certificates(control_plane: &Arc<ControlPlane>) {
    let (webhooks, secrets) = apis(control_plane).await;
    let bundle = json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "Y2E="}]);
    let patch = Patch::<()>::Json(serde_json::from_value(bundle).unwrap());
    webhooks.patch(WEBHOOK, &PatchParams::default(), &patch).await.unwrap();
    let data = Patch::Merge(json!({"data": {"tls.crt": "Y2VydA=="}}));
    secrets.patch(SECRET, &PatchParams::default(), &data).await.unwrap();
}

async fn certificates(control_plane: &Arc<ControlPlane>) -> (String, String) {
    let (webhooks, secrets) = apis(control_plane).await;
    let webhook = webhooks.get(WEBHOOK).await.unwrap().webhooks.unwrap().remove(0);
    let bundle = serde_json::to_value(webhook.client_config).unwrap()["caBundle"].clone();
    let data = serde_json::to_value(secrets.get(SECRET).await.unwrap()).unwrap()["data"]["tls.crt"].clone();
    (
        bundle.as_str().unwrap_or_default().to_owned(),
        data.as_str().unwrap_or_default().to_owned(),
    )
}

async fn apis(control_plane: &Arc<ControlPlane>) -> (Api<MutatingWebhookConfiguration>, Api<Secret>) {
    let client = control_plane.client().await.unwrap();
    (Api::all(client.clone()), Api::namespaced(client, "keda"))
}

/// Those that the golden files name.
pub async fn namespaces(control_plane: &Arc<ControlPlane>) {
    for name in ["keda", "shop"] {
        let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
        control_plane.apply(&namespace).await.unwrap();
    }
}

async fn dry_run(client: &Client, object: &DynamicObject) -> kube::Result<DynamicObject> {
    let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
    let (resource, _) = discovery::pinned_kind(client, &kind).await?;
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut parameters = PatchParams::apply("charts").force().dry_run();
    parameters.field_validation = Some(ValidationDirective::Strict);
    api.patch(&object.name_any(), &parameters, &Patch::Apply(object)).await
}

pub fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts")
}

fn helm() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|directory| directory.join("helm"));
    in_path
        .chain([binaries().join("helm")])
        .find(|program| program.is_file())
}

fn run_helm(program: &Path, control_plane: &ControlPlane, arguments: &[&str]) -> String {
    let output: Output = Command::new(program)
        .args(arguments)
        .args(["--namespace", "keda"])
        .env("KUBECONFIG", control_plane.kubeconfig())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned();
    assert!(output.status.success(), "helm {arguments:?}: {text}");
    text
}
