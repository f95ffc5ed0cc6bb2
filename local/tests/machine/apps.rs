//! Apps of all kinds.

use crate::fixture::{App, Fixture};

const KEY: &str = "default/app";

#[tokio::test]
async fn a_users_own_app_is_woken_and_put_to_rest_again() {
    let python = "{name: app, command: [python3, -m, http.server, $(PORT), --bind, 127.0.0.1], env: [{name: PORT, value: \
                  '8080'}], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}";
    let has_python = std::process::Command::new("python3").arg("--version").output().is_ok();
    let hello = "{name: app, command: [hello]}";
    let container = if has_python { python } else { hello };
    let fixture = Fixture::start(&App { container, cooldown: 1 }.yaml()).await;
    assert_eq!(fixture.get("app.local", "/").await.0, 200);
    let status = fixture.status("app", |status| status.pods == 0).await;
    assert_eq!(status.history, [0, 1, 0]);
    assert_eq!(fixture.get("app.local:8080", "/").await.0, 200, "and woken again");
    fixture.local.stop().await;
}

#[tokio::test]
async fn an_app_that_listens_late_is_waited_for_though_it_counts_as_ready() {
    let container = "{name: app, command: [hello], env: [{name: STARTUP_DELAY_MS, value: '1500'}]}";
    let fixture = Fixture::start(&App::that_stays(container).yaml()).await;
    let (status, body) = fixture.get("app.local", "/").await;
    assert_eq!(status, 200);
    assert!(body.starts_with("Hello from app-"), "{body}");
    fixture.pending(KEY, 0).await;
    fixture.local.stop().await;
}

#[tokio::test]
async fn an_app_that_crashes_at_start_fails_its_requests_and_nothing_stays_counted() {
    let container = "{name: app, command: [sh, -c, 'exit 3']}";
    let fixture = Fixture::start(&App::that_stays(container).yaml_with_route("3s")).await;
    let (status, body) = fixture.get("app.local", "/").await;
    assert!([502, 504].contains(&status), "{status} {body}");
    fixture.pending(KEY, 0).await;
    fixture.local.stop().await;
}

#[tokio::test]
async fn an_app_that_never_gets_ready_fails_its_requests_in_time() {
    let container = "{name: app, command: [hello], readinessProbe: {exec: {command: ['false']}, periodSeconds: 1}}";
    let fixture = Fixture::start(&App::that_stays(container).yaml_with_route("2s")).await;
    let (status, body) = fixture.get("app.local", "/").await;
    assert!([502, 504].contains(&status), "{status} {body}");
    fixture.pending(KEY, 0).await;
    fixture.local.stop().await;
}

#[tokio::test]
async fn a_change_of_the_users_files_counts_at_once() {
    let container = "{name: app, command: [hello], env: [{name: HOSTNAME, value: ignored}]}";
    let app = App::that_stays(container);
    let fixture = Fixture::start(&app.yaml()).await;
    assert_eq!(fixture.get("app.local", "/").await.0, 200);
    assert_eq!(fixture.get("other.local", "/").await.0, 404);
    let changed = app.yaml().replace("hosts: app.local", "hosts: other.local");
    std::fs::write(fixture.manifests.path().join("app.yaml"), changed).unwrap();
    let switched = async {
        while fixture.get("other.local", "/").await.0 != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::fixture::DEADLINE, switched)
        .await
        .expect("switched in time");
    assert_eq!(fixture.get("app.local", "/").await.0, 404);
    fixture.local.stop().await;
}
