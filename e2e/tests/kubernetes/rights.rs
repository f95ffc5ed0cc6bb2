//! The programs, as the chart runs them: with its variables, by its service accounts, and so with its rights alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keda_http_e2e::control_plane::ControlPlane;
use keda_http_e2e::ports::free_port;
use keda_http_e2e::wait;
use keda_http_kubernetes::resources::{HttpScaledObject, InterceptorRoute, ScaledObject};
use kube::api::{Api, DynamicObject, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::charts::{charts, namespaces};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_programs_have_the_rights_they_need_in_the_whole_cluster() {
    let (installation, scaler, _interceptor) = check_installation("default").await;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(installation.client.clone());
    let secrets: Api<Secret> = Api::namespaced(installation.client.clone(), "keda");
    wait::until("the webhook has the CA bundle", LIMIT, || async {
        let configuration = webhooks.get("keda-add-ons-http-admission").await.ok()?;
        configuration.webhooks?.remove(0).client_config.ca_bundle
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", scaler.log()));
    let secret = secrets.get("keda-add-ons-http-admission-certs").await.unwrap();
    assert!(!secret.data.unwrap().is_empty());
}

#[tokio::test]
async fn in_one_namespace_the_programs_need_no_rights_beyond_it() {
    check_installation("hardened").await;
}

#[tokio::test]
async fn the_programs_know_each_variable_of_the_chart() {
    // Accepted for the sake of upstream's manifests, without being advertised; and of the libraries.
    let elsewhere = [
        "KEDA_CONDITION_WAIT_TIMEOUT",
        "KEDA_HTTP_DIRECT_POD_ROUTING",
        "TOKIO_WORKER_THREADS",
    ];
    for values in ["default", "upstream", "hardened"] {
        let objects = golden(values);
        for (deployment, program) in [
            ("external-scaler", "keda-http-scaler"),
            ("interceptor", "keda-http-interceptor"),
        ] {
            let help = Command::new(binary(program)).arg("--help").output().await.unwrap();
            let help = String::from_utf8(help.stdout).unwrap();
            for (name, _) in variables(&objects, &format!("keda-add-ons-http-{deployment}")) {
                let (family, member) = name.rsplit_once('_').unwrap();
                let in_family = |line: &str| line.contains(&format!("{family}_{{")) && line.contains(member);
                let known = help.contains(&name) || help.lines().any(in_family);
                let known = known || name.starts_with("OTEL_") || elsewhere.contains(&name.as_str());
                assert!(known, "{values}: {program} --help does not have {name}");
            }
        }
    }
}

/// Both programs run by the chart's golden file, and do their work in namespace `shop` without being refused anything.
async fn check_installation(values: &str) -> (Installation, Program, Program) {
    let installation = Installation::new(values).await;
    let admin = free_port().unwrap();
    let scaler = installation
        .run("external-scaler", "keda-http-scaler", &[("KEDA_HTTP_SCALER_PORT", 0)])
        .await;
    let ports = [("KEDA_HTTP_PROXY_PORT", 0), ("KEDA_HTTP_ADMIN_PORT", admin)];
    let interceptor = installation.run("interceptor", "keda-http-interceptor", &ports).await;
    let client = reqwest::Client::new();
    wait::until("the interceptor is ready", LIMIT, || async {
        let answer = client
            .get(format!("http://127.0.0.1:{admin}/readyz"))
            .send()
            .await
            .ok()?;
        answer.status().is_success().then_some(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", interceptor.log()));
    installation
        .work_is_done()
        .await
        .unwrap_or_else(|error| panic!("{error:#}\nscaler:\n{}", scaler.log()));
    for program in [&scaler, &interceptor] {
        let log = program.log();
        assert!(
            !log.to_lowercase().contains("forbidden"),
            "{values}: {}:\n{log}",
            program.name
        );
    }
    (installation, scaler, interceptor)
}

struct Installation {
    control_plane: Arc<ControlPlane>,
    client: Client,
    objects: Vec<DynamicObject>,
    directory: TempDir,
}

impl Installation {
    /// The objects of a golden file, and something to do for the programs. Objects that only exist for others are left
    /// out.
    async fn new(values: &str) -> Self {
        // Its own: roles are of the whole cluster, and the webhook must not be in the way of other tests.
        let control_plane = ControlPlane::start().await.unwrap();
        namespaces(&control_plane).await;
        let objects = golden(values);
        for object in &objects {
            let kind = &object.types.as_ref().unwrap().kind;
            if !["ServiceMonitor", "Job"].contains(&kind.as_str()) {
                control_plane
                    .apply(&serde_json::to_string(object).unwrap())
                    .await
                    .unwrap();
            }
        }
        for object in work() {
            control_plane.apply(&object.to_string()).await.unwrap();
        }
        Self {
            client: control_plane.client().await.unwrap(),
            control_plane,
            objects,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Runs a program with the variables of its Deployment, and these ports instead of the chart's.
    async fn run(&self, deployment: &str, name: &'static str, ports: &[(&str, u16)]) -> Program {
        let deployment = format!("keda-add-ons-http-{deployment}");
        let kubeconfig = self.kubeconfig(&deployment).await;
        let log = self.directory.path().join(name);
        let file = std::fs::File::create(&log).unwrap();
        let mut command = Command::new(binary(name));
        command
            .env_clear()
            .envs(variables(&self.objects, &deployment))
            .envs(ports.iter().map(|(name, port)| (name, port.to_string())));
        for port in ["OTEL_PROM_EXPORTER_PORT", "KEDA_HTTP_ADMISSION_PORT"] {
            command.env(port, free_port().unwrap().to_string());
        }
        command.envs([
            ("KUBECONFIG", kubeconfig),
            ("HOSTNAME", name.into()),
            ("KEDA_HTTP_BIND_ADDRESS", "127.0.0.1".into()),
        ]);
        let child = command
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Program {
            name,
            log,
            _child: child,
        }
    }

    /// A way to the API server with a token of the service account of the same name.
    async fn kubeconfig(&self, account: &str) -> PathBuf {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), "keda");
        let (parameters, request) = (PostParams::default(), TokenRequest::default());
        let made = accounts.create_token_request(account, &parameters, &request).await;
        let token = made.unwrap().status.unwrap().token;
        let all_rights = std::fs::read_to_string(self.control_plane.kubeconfig()).unwrap();
        let (head, rest) = all_rights.split_once("token: ").unwrap();
        let (_, tail) = rest.split_once('}').unwrap();
        let path = self.directory.path().join(format!("{account}.kubeconfig"));
        std::fs::write(&path, format!("{head}token: {token}}}{tail}")).unwrap();
        path
    }

    /// Each thing that the scaler writes.
    async fn work_is_done(&self) -> anyhow::Result<()> {
        let scaled: Api<ScaledObject> = Api::namespaced(self.client.clone(), "shop");
        wait::until("the kedify-http trigger is converted", LIMIT, || async {
            let trigger = scaled.get("kedify").await.ok()?.spec.triggers.remove(0);
            (trigger.metadata.get("scalerAddress")? == "keda-add-ons-http-external-scaler-headless.keda:9090")
                .then_some(())
        })
        .await?;
        wait::until("the HTTPScaledObject has its ScaledObject", LIMIT, || async {
            scaled.get("api").await.ok()
        })
        .await?;
        let https: Api<HttpScaledObject> = Api::namespaced(self.client.clone(), "shop");
        wait::until("the HTTPScaledObject has a status", LIMIT, || async {
            https
                .get("api")
                .await
                .ok()?
                .status
                .filter(|status| !status.conditions.is_empty())
        })
        .await?;
        let routes: Api<InterceptorRoute> = Api::namespaced(self.client.clone(), "shop");
        wait::until("the InterceptorRoute has a condition", LIMIT, || async {
            routes
                .get("api")
                .await
                .ok()?
                .status
                .filter(|status| !status.conditions.is_empty())
        })
        .await?;
        let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(self.client.clone(), "shop");
        wait::until("the bad trigger has an Event", LIMIT, || async {
            let events = events.list(&kube::api::ListParams::default()).await.ok()?;
            events.into_iter().find(|event| {
                event
                    .regarding
                    .as_ref()
                    .is_some_and(|about| about.name.as_deref() == Some("bad"))
            })
        })
        .await?;
        self.autowire_is_done().await?;
        self.contested_hosts_are_written_down().await
    }

    async fn autowire_is_done(&self) -> anyhow::Result<()> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), "shop");
        wait::until("the autowired Service has endpoints", LIMIT, || async {
            let of_front = kube::api::ListParams::default().labels("kubernetes.io/service-name=front");
            slices.list(&of_front).await.ok()?.items.pop()
        })
        .await?;
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "keda");
        wait::until("the autowired Service has a listener", LIMIT, || async {
            config_maps
                .get("keda-http-listeners")
                .await
                .ok()?
                .data
                .filter(|data| !data.is_empty())
        })
        .await?;
        Ok(())
    }

    /// With one namespace nobody contests a host.
    async fn contested_hosts_are_written_down(&self) -> anyhow::Result<()> {
        if self.watches_all() {
            let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "keda");
            wait::until("the contested host is written down", LIMIT, || async {
                config_maps
                    .get("keda-http-hosts")
                    .await
                    .ok()?
                    .data
                    .filter(|data| data.contains_key("api.test"))
            })
            .await?;
        }
        Ok(())
    }

    fn watches_all(&self) -> bool {
        let variables = variables(&self.objects, "keda-add-ons-http-external-scaler");
        !variables.iter().any(|(name, _)| name == "KEDA_HTTP_WATCH_NAMESPACE")
    }
}

/// The objects of a golden file.
fn golden(values: &str) -> Vec<DynamicObject> {
    let text = std::fs::read_to_string(charts().join(format!("golden/{values}.yaml"))).unwrap();
    let objects: Vec<Option<DynamicObject>> = serde_saphyr::from_multiple(&text).unwrap();
    objects.into_iter().flatten().collect()
}

/// The variables of a Deployment that are plain values.
fn variables(objects: &[DynamicObject], deployment: &str) -> Vec<(String, String)> {
    let found = objects.iter().find(|object| {
        object.types.as_ref().is_some_and(|types| types.kind == "Deployment") && object.name_any() == deployment
    });
    let found: Deployment = serde_json::from_value(serde_json::to_value(found.unwrap()).unwrap()).unwrap();
    let container = found.spec.unwrap().template.spec.unwrap().containers.remove(0);
    let variables = container.env.unwrap().into_iter();
    variables
        .filter_map(|variable| Some((variable.name, variable.value?)))
        .collect()
}

/// A running program; ends when it is dropped.
struct Program {
    name: &'static str,
    log: PathBuf,
    _child: Child,
}

impl Program {
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

/// Something of each kind, and two namespaces that want one host.
fn work() -> Vec<Value> {
    let trigger = |target: &str| {
        json!({"type": "kedify-http", "metadata": {
            "hosts": "kedify.test", "service": "api", "port": "80", "scalingMetric": "requestRate", "targetValue": target,
        }})
    };
    let scaled = |name: &str, target: &str| {
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"namespace": "shop", "name": name},
            "spec": {"scaleTargetRef": {"name": name}, "triggers": [trigger(target)]},
        })
    };
    let route = |namespace: &str| {
        json!({
            "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute", "metadata": {"namespace": namespace, "name": "api"},
            "spec": {"target": {"service": "api", "port": 80}, "rules": [{"hosts": ["api.test"]}],
                "scalingMetric": {"concurrency": {"targetValue": 1}}},
        })
    };
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "api"},
            "spec": {"selector": {"app": "api"}, "ports": [{"port": 80}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "shop", "name": "api-1", "labels": {"kubernetes.io/service-name": "api"}},
            "ports": [{"port": 8080}], "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": true}}]}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "front"}, "spec": {"ports": [{"port": 80}]}}),
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"namespace": "shop", "name": "front"},
            "spec": {"scaleTargetRef": {"name": "front"}, "triggers": [{"type": "kedify-http", "metadata": {
                "hosts": "front", "service": "front", "port": "80", "scalingMetric": "requestRate", "targetValue": "5",
                "trafficAutowire": "service", "fallbackService": "api",
            }}]},
        }),
        scaled("kedify", "5"),
        scaled("bad", "many"),
        route("shop"),
        route("keda"),
        json!({
            "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject", "metadata": {"namespace": "shop", "name": "api"},
            "spec": {"hosts": ["http.test"], "scaleTargetRef": {"name": "api", "service": "api", "port": 80}},
        }),
    ]
}

/// A program that `make test-kubernetes` has built, beside this test.
fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own
        .parent()
        .and_then(|dependencies| dependencies.parent())
        .unwrap()
        .join(name);
    assert!(
        path.is_file(),
        "{} is missing: make test-kubernetes builds it",
        path.display()
    );
    path
}
