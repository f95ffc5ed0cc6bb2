use axum::body::to_bytes;
use tokio::net::TcpStream;

use super::*;
use crate::admission::certificates::tests::serving;

fn scaled_object(target: &str) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"scaleTargetRef": {"name": "api"}, "triggers": [{"type": "kedify-http", "metadata": {
            "hosts": "api.test", "service": "api", "port": "80", "scalingMetric": "requestRate", "targetValue": target,
        }}]},
    })
}

fn review(operation: &str, object: &Value, old: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "operation": operation, "object": object, "oldObject": old,
            "kind": {"group": "keda.sh", "version": "v1alpha1", "kind": "ScaledObject"},
            "resource": {"group": "keda.sh", "version": "v1alpha1", "resource": "scaledobjects"},
            "userInfo": {"username": "kubernetes-admin"},
        },
    })
}

async fn ask(body: impl Into<Bytes>) -> (StatusCode, Value) {
    let response = mutate(State("scaler.keda:9090".to_owned()), body.into()).await;
    let status = response.status();
    let body = to_bytes(response.into_body(), MAX_BODY).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn a_kedify_http_trigger_is_patched() {
    let (status, answer) = ask(review("CREATE", &scaled_object("5"), &Value::Null).to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let response = &answer["response"];
    assert_eq!((&response["uid"], &response["allowed"]), (&json!("1"), &json!(true)));
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: Value = serde_json::from_slice(&patch).unwrap();
    assert_eq!(patch[1]["value"], "external-push");
    assert_eq!(patch[2]["value"], "scaler.keda:9090");
}

#[tokio::test]
async fn an_invalid_trigger_is_refused_with_the_key_the_value_and_what_is_allowed() {
    let (_, answer) = ask(review("CREATE", &scaled_object("many"), &Value::Null).to_string()).await;
    assert_eq!(answer["response"]["allowed"], false);
    let message = answer["response"]["status"]["message"].as_str().unwrap();
    assert!(message.contains("targetValue") && message.contains("many"), "{message}");
}

#[tokio::test]
async fn an_old_object_with_an_invalid_trigger_can_still_be_edited() {
    let bad = scaled_object("many");
    let (_, answer) = ask(review("UPDATE", &bad, &bad).to_string()).await;
    assert_eq!(answer["response"]["allowed"], true);
    let (_, answer) = ask(review("UPDATE", &bad, &scaled_object("5")).to_string()).await;
    assert_eq!(
        answer["response"]["allowed"], false,
        "but a valid trigger cannot become invalid"
    );
}

#[tokio::test]
async fn other_objects_are_allowed_unchanged() {
    for (pointer, value) in [
        ("/request/operation", json!("DELETE")),
        ("/request/subResource", json!("status")),
        ("/request/resource/resource", json!("scaledjobs")),
        ("/request/object/spec/triggers/0/type", json!("cpu")),
        ("/request/object/spec", json!("nonsense")),
    ] {
        let mut review = review("CREATE", &scaled_object("many"), &Value::Null);
        review["request"]["subResource"] = json!("");
        *review.pointer_mut(pointer).unwrap() = value;
        let (_, answer) = ask(review.to_string()).await;
        assert_eq!(answer["response"]["allowed"], true, "{pointer}");
        assert!(answer["response"]["patch"].is_null(), "{pointer}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_a_review_is_a_bad_request() {
    for body in ["", "{}", "[]", "{\"apiVersion\": \"v1\", \"kind\": \"Pod\"}"] {
        assert_eq!(ask(body.to_owned()).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test]
async fn it_answers_over_tls_while_another_client_stays_silent() {
    let (serving, authorities) = serving("admission.keda.svc");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve(listener, serving, "scaler.keda:9090".to_owned(), stop.clone()));
    let _silent = TcpStream::connect(address).await.unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(authorities.as_bytes()).unwrap()])
        .resolve("admission.keda.svc", address)
        .build()
        .unwrap();
    let url = format!("https://admission.keda.svc:{}/mutate", address.port());
    let body = review("CREATE", &scaled_object("5"), &Value::Null).to_string();
    let answered = client
        .post(&url)
        .header("content-type", "application/json")
        .body(body)
        .send();
    let answer = tokio::time::timeout(Duration::from_secs(20), answered)
        .await
        .unwrap()
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["response"]["allowed"], true);
    let huge = client
        .post(&url)
        .header("content-type", "application/json")
        .body(vec![b' '; MAX_BODY + 1]);
    assert_eq!(huge.send().await.unwrap().status(), 413);
    stop.cancel();
    served.await.unwrap().unwrap();
}
