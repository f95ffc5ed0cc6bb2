//! Interceptor and scaler are killed outright while requests are held.

use crate::fixture::{App, Fixture, kill, runs_again};

const KEY: &str = "default/app";
/// Slow enough to be killed at, quick enough to wait for.
const SLOW: &str = "{name: app, command: [hello], env: [{name: STARTUP_DELAY_MS, value: '2500'}], readinessProbe: {httpGet: \
                    {path: /healthz, port: 8080}, periodSeconds: 1}}";

#[tokio::test]
async fn a_request_that_is_held_while_the_scaler_dies_is_answered() {
    let fixture = Fixture::start(
        &App {
            container: SLOW,
            cooldown: 1,
        }
        .yaml(),
    )
    .await;
    let request = fixture.request("app.local", "/");
    fixture.pending(KEY, 1).await;
    kill(fixture.local.scaler()).await;
    assert_eq!(request.await.unwrap().unwrap().0, 200);
    fixture.pending(KEY, 0).await;
    assert_eq!(fixture.queue(KEY).await.request_count, 1);
    runs_again(fixture.local.scaler()).await;
    fixture.status("app", |status| status.pods == 0).await;
    fixture.local.stop().await;
}

#[tokio::test]
async fn a_scaler_that_was_dead_when_the_request_came_wakes_the_app_once_it_is_back() {
    let fixture = Fixture::start(&App::that_stays(SLOW).yaml()).await;
    kill(fixture.local.scaler()).await;
    let request = fixture.request("app.local", "/");
    fixture.pending(KEY, 1).await;
    runs_again(fixture.local.scaler()).await;
    assert_eq!(request.await.unwrap().unwrap().0, 200);
    fixture.pending(KEY, 0).await;
    fixture.local.stop().await;
}

#[tokio::test]
async fn a_request_that_is_held_while_the_interceptor_dies_fails_and_its_retry_is_answered() {
    let fixture = Fixture::start(
        &App {
            container: SLOW,
            cooldown: 1,
        }
        .yaml(),
    )
    .await;
    let request = fixture.request("app.local", "/");
    fixture.pending(KEY, 1).await;
    kill(fixture.local.interceptor()).await;
    let error = request.await.unwrap().expect_err("the connection is gone");
    assert!(error.is_request() || error.is_connect(), "{error:?}");
    runs_again(fixture.local.interceptor()).await;
    fixture.interceptor_ready().await;
    assert_eq!(fixture.get("app.local", "/").await.0, 200);
    fixture.pending(KEY, 0).await;
    assert_eq!(
        fixture.queue(KEY).await.request_count,
        1,
        "counted anew since its restart"
    );
    // What the dead one had reported does not keep the app awake.
    fixture.status("app", |status| status.pods == 0).await;
    fixture.local.stop().await;
}
