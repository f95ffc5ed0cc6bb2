//! The program in a cluster: interceptors, objects and the lead by the API server.

use keda_http_proto::externalscaler::ScaledObjectRef;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child;
use tonic::Code;

use crate::api_server::{ApiServer, LEASES, ROUTES, SLICES};
use crate::discovery::slice;
use crate::interceptor::Interceptor;
use crate::keda::{Keda, next, object, until, wait_until, within};
use crate::process::{free_ports, get, program, terminate};

struct Program {
    keda: Keda,
    metrics: u16,
    child: Child,
    _kubeconfig: TempDir,
}

impl Program {
    fn start(server: &ApiServer, more: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
        let [port, metrics] = free_ports();
        let settings = [
            ("KUBECONFIG", kubeconfig.to_str().unwrap()),
            ("KEDA_HTTP_SCALER_TARGET_ADMIN_NAMESPACE", "keda"),
            ("KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE", "interceptor-admin"),
            ("KEDA_HTTP_SCALER_TARGET_ADMIN_DEPLOYMENT", "interceptor"),
            ("KEDA_HTTP_SCALER_TARGET_ADMIN_PORT", "9090"),
            ("KEDA_HTTP_SCALER_PORT", &port.to_string()),
            ("OTEL_PROM_EXPORTER_PORT", &metrics.to_string()),
        ];
        let mut command = program(&settings);
        command.envs(more.iter().copied());
        Self {
            keda: Keda::of(([127, 0, 0, 1], port).into()),
            metrics,
            child: command.spawn().unwrap(),
            _kubeconfig: directory,
        }
    }

    async fn ready(&self, wanted: u16) {
        let status = async || {
            reqwest::get(format!("http://127.0.0.1:{}/readyz", self.metrics))
                .await
                .map(|ready| ready.status())
        };
        wait_until(status, |status| status.as_ref().is_ok_and(|status| *status == wanted)).await;
    }

    async fn problems(&self) -> Value {
        let (_, report) = get(self.metrics, "/readyz?verbose").await;
        serde_json::from_str::<Value>(&report).unwrap()["problems"].clone()
    }

    async fn sigterm(&mut self) -> Option<i32> {
        terminate(&self.child).await;
        within(self.child.wait()).await.unwrap().code()
    }
}

fn route(name: &str, concurrency: u32) -> Value {
    json!({
        "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "target": {"service": "api", "port": 80}, "rules": [{"hosts": ["api.example"]}],
            "scalingMetric": {"concurrency": {"targetValue": concurrency}},
        },
    })
}

fn list(server: &ApiServer, interceptor: &Interceptor) {
    server.put(
        SLICES,
        slice("one", interceptor.address.port(), &[("127.0.0.1", Some(true))]),
    );
}

fn scaled_by(route: &str) -> ScaledObjectRef {
    object("api", [("interceptorRoute", route)])
}

#[tokio::test]
async fn what_upstreams_manifests_set_is_enough() {
    // HTTPScaledObjects are not installed, and there are no rights to anything else.
    let server = ApiServer::start(&[SLICES, ROUTES]).await;
    let interceptor = Interceptor::start();
    list(&server, &interceptor);
    server.put(ROUTES, route("api", 5));
    interceptor.set("shop/api", 3, 3, 0);
    let program = Program::start(&server, &[]);
    program.ready(200).await;
    let specs = program.keda.specs(&scaled_by("api")).await.unwrap();
    assert_eq!(specs[0].target_size, 5);
    assert_eq!(
        program.keda.metrics(&scaled_by("api"), "").await.unwrap()[0].metric_value,
        3
    );
    let mut stream = program.keda.stream(&scaled_by("api")).await.unwrap();
    assert!(next(&mut stream).await.unwrap().result);
    let missing = program.keda.specs(&scaled_by("gone")).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert!(missing.message().contains("InterceptorRoute shop/gone"), "{missing}");
    assert!(program.problems().await.to_string().contains("HTTPScaledObject"));

    server.put(ROUTES, route("api", 8));
    let specs = async || program.keda.specs(&scaled_by("api")).await.unwrap()[0].target_size;
    wait_until(specs, |target| *target == 8).await;
}

#[tokio::test]
async fn objects_that_are_not_known_yet_are_unavailable_and_never_missing() {
    let server = ApiServer::start(&[SLICES, ROUTES]).await;
    let interceptor = Interceptor::start();
    list(&server, &interceptor);
    server.hold(ROUTES);
    let program = Program::start(&server, &[]);
    let asked = async || program.keda.specs(&scaled_by("api")).await;
    let told = until(asked, |told| {
        told.as_ref()
            .is_err_and(|error| error.message().contains("not known yet"))
    })
    .await;
    assert_eq!(told.unwrap_err().code(), Code::Unavailable);
    for error in [
        program.keda.is_active(&scaled_by("api")).await.unwrap_err(),
        program.keda.metrics(&scaled_by("api"), "").await.unwrap_err(),
        program.keda.stream(&scaled_by("api")).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::Unavailable, "{error}");
    }
    server.put(ROUTES, route("api", 5));
    server.release();
    program.ready(200).await;
    assert_eq!(asked().await.unwrap()[0].target_size, 5);
    assert_eq!(
        program.keda.specs(&scaled_by("gone")).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn an_outage_of_the_api_server_changes_no_answer_and_is_reported() {
    let server = ApiServer::start(&[SLICES, ROUTES]).await;
    let interceptor = Interceptor::start();
    list(&server, &interceptor);
    server.put(ROUTES, route("api", 5));
    let program = Program::start(&server, &[]);
    program.ready(200).await;
    server.fail();
    wait_until(
        async || program.problems().await,
        |problems| problems.get("objects").is_some() && problems.get("discovery of interceptors").is_some(),
    )
    .await;
    interceptor.set("shop/api", 7, 7, 0);
    wait_until(
        async || program.keda.is_active(&scaled_by("api")).await,
        |active| matches!(active, Ok(true)),
    )
    .await;
    assert_eq!(program.keda.specs(&scaled_by("api")).await.unwrap()[0].target_size, 5);
    program.ready(200).await;
    server.recover();
    wait_until(
        async || program.problems().await,
        |problems| problems.get("discovery of interceptors").is_none(),
    )
    .await;
}

#[tokio::test]
async fn every_replica_says_the_same_one_leads_and_sigterm_hands_the_lead_over() {
    let server = ApiServer::start(&[SLICES, ROUTES, LEASES]).await;
    let interceptor = Interceptor::start();
    list(&server, &interceptor);
    server.put(ROUTES, route("api", 5));
    interceptor.set("shop/api", 3, 3, 0);
    let holder = async || {
        let lease = server.get(LEASES, "keda-add-ons-http-scaler").unwrap_or_default();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    };
    let settings = |name| [("KEDA_HTTP_CONTROLLERS_ENABLED", "true"), ("HOSTNAME", name)];
    let mut one = Program::start(&server, &settings("one"));
    wait_until(holder, |holder| holder.starts_with("one_")).await;
    let two = Program::start(&server, &settings("two"));
    for program in [&one, &two] {
        program.ready(200).await;
        let values = async || program.keda.metrics(&scaled_by("api"), "").await;
        wait_until(values, |values| {
            values.as_ref().is_ok_and(|values| values[0].metric_value == 3)
        })
        .await;
    }
    let mut stream = one.keda.stream(&scaled_by("api")).await.unwrap();
    assert!(next(&mut stream).await.unwrap().result);

    assert_eq!(one.sigterm().await, Some(0));
    assert_eq!(next(&mut stream).await, None, "the stream ends with OK");
    assert!(!holder().await.starts_with("one_"), "the lead is given up");
    wait_until(holder, |holder| holder.starts_with("two_")).await;
    assert_eq!(
        two.keda.metrics(&scaled_by("api"), "").await.unwrap()[0].metric_value,
        3
    );
}
