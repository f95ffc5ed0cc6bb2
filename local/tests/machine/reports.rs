//! What is printed about requests that get no answer.

use crate::fixture::{App, Fixture};

fn http_scaled_object(container: &str) -> String {
    let app = App::that_stays(container).yaml();
    let (workload, _) = app.split_once("---\n{apiVersion: keda.sh").unwrap();
    format!(
        "{workload}---\n{{apiVersion: http.keda.sh/v1alpha1, kind: HTTPScaledObject, metadata: {{name: app}}, spec: {{hosts: \
         [app.local], scaleTargetRef: {{name: app, service: app, port: 80}}}}}}\n"
    )
}

#[tokio::test]
async fn fault_c3_an_http_scaled_object_alone_wakes_its_app() {
    let fixture = Fixture::start(&http_scaled_object("{name: app, command: [hello]}")).await;
    assert_eq!(fixture.get("app.local", "/").await.0, 200);
    fixture.local.stop().await;
}

#[tokio::test]
async fn fault_c3_an_interceptor_route_alone_is_reported() {
    let app = App::that_stays("{name: app, command: [hello]}");
    let with_route = app.yaml_with_route("1s");
    let parts: Vec<&str> = with_route.split("---\n").collect();
    let alone: Vec<&str> = parts
        .into_iter()
        .filter(|part| !part.contains("kind: ScaledObject"))
        .collect();
    let fixture = Fixture::start(&alone.join("---\n")).await;
    let warning = "InterceptorRoute default/app: spec: no ScaledObject starts Deployment default/app for this route";
    assert!(fixture.printed.contains(warning));
    fixture.local.stop().await;
}

#[tokio::test]
async fn an_object_that_is_not_a_valid_route_is_reported_once() {
    let app = App::that_stays("{name: app, command: [hello]}");
    let route = app.yaml_with_route("60s");
    let fixture = Fixture::start(&route).await;
    let write = |yaml: String| std::fs::write(fixture.manifests.path().join("app.yaml"), yaml).unwrap();
    write(route.replace("targetValue: 100", "targetValue: 0"));
    fixture.printed.wait_for("targetValue: ").await;
    // A later change of the same file, which the interceptor reads after it.
    write(route.replace("app.local", "later.local"));
    let later = async { while fixture.get("later.local", "/").await.0 != 200 {} };
    tokio::time::timeout(crate::fixture::DEADLINE, later).await.unwrap();
    assert!(!fixture.printed.contains("WARN"));
    fixture.local.stop().await;
}

#[tokio::test]
async fn fault_c4_an_app_on_a_fixed_port_is_reported_with_and_without_a_probe() {
    for probe in ["", ", readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}"] {
        let container = format!("{{name: app, command: [sleep, '1000']{probe}}}");
        let app = App::that_stays(&container);
        let fixture = Fixture::start(&app.yaml()).await;
        let request = fixture.request("app.local", "/");
        fixture.printed.wait_for(" refused the connection (PORT): ").await;
        request.abort();
        fixture.local.stop().await;
    }
}

#[tokio::test]
async fn fault_c6_a_paused_object_is_printed_and_does_not_scale() {
    let app = App::that_stays("{name: app, command: [hello]}");
    let paused = app.yaml().replace(
        "kind: ScaledObject, metadata: {name: app}",
        "kind: ScaledObject, metadata: {name: app, annotations: {autoscaling.keda.sh/paused: 'true'}}",
    );
    let fixture = Fixture::start(&paused).await;
    assert!(
        fixture
            .printed
            .contains("default/app: paused by annotation at 0 replicas")
    );
    let request = fixture.request("app.local", "/");
    fixture.pending("default/app", 1).await;
    assert_eq!(fixture.status("app", |_| true).await.pods, 0);
    request.abort();
    fixture.local.stop().await;
}

#[tokio::test]
async fn a_document_that_becomes_malformed_is_printed_once_with_the_users_path() {
    let app = App::that_stays("{name: app, command: [hello]}");
    let fixture = Fixture::start(&app.yaml()).await;
    let file = fixture.manifests.path().canonicalize().unwrap().join("app.yaml");
    std::fs::write(&file, format!("{}---\nkind: [\n", app.yaml())).unwrap();
    let printed = &fixture.printed;
    printed
        .wait_for(&format!("manifests      | error: {}: ", file.display()))
        .await;
    printed.wait_for("(its last valid state stays in force)").await;
    fixture.local.stop().await;
    assert!(!fixture.printed.contains("a manifest is not valid"));
}
