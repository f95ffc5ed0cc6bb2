//! Clients that stay at one pod by a cookie.

use std::net::SocketAddr;

use http::Request;
use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::protocols::http2_client;
use crate::support::*;

async fn sticky(interceptor: &Interceptor, more: &Value, apps: &[SocketAddr]) {
    let mut session = json!({"type": "Cookie", "cookie": {"name": "sticky"}});
    for (key, value) in more.as_object().unwrap() {
        session[key] = value.clone();
    }
    interceptor
        .manifests
        .route_with("api", &json!({"sessionPersistence": session}));
    interceptor.manifests.ready("api", apps);
    interceptor.sees("api", apps).await;
}

/// What the app said, and the cookie as it was set.
async fn ask(interceptor: &Interceptor, cookie: Option<&str>, headers: &[(&str, &str)]) -> (String, Option<String>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.get(interceptor.url("/")).header("host", "api.example");
    for (name, value) in headers
        .iter()
        .copied()
        .chain(cookie.map(|cookie| (COOKIE.as_str(), cookie)))
    {
        request = request.header(name, value);
    }
    let response = request.send().await.unwrap();
    let set = response.headers().get(SET_COOKIE);
    let set = set.map(|value| value.to_str().unwrap().to_owned());
    (response.text().await.unwrap(), set)
}

/// The part of a set cookie that clients send back.
fn pair(set: &str) -> &str {
    set.split(';').next().unwrap()
}

#[tokio::test]
async fn a_client_stays_at_its_pod_and_goes_to_another_when_it_has_gone() {
    let apps = [says("one").await, says("two").await, says("three").await];
    let interceptor = Interceptor::start().await;
    sticky(&interceptor, &json!({}), &apps).await;
    let (first, set) = ask(&interceptor, None, &[]).await;
    let set = set.expect("a cookie");
    assert!(
        set.starts_with("sticky=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
        "{set}"
    );
    let port = apps[0].port().to_string();
    assert!(
        !set.contains("127.0.0.1") && !set.contains(&port),
        "no address in clear: {set}"
    );
    for _ in 0..30 {
        assert_eq!(ask(&interceptor, Some(pair(&set)), &[]).await, (first.clone(), None));
    }
    let said = ["one", "two", "three"];
    let left: Vec<_> = apps.iter().zip(said).filter(|(_, said)| *said != first).collect();
    let left: Vec<SocketAddr> = left.into_iter().map(|(app, _)| *app).collect();
    interceptor.manifests.ready("api", &left);
    interceptor.sees("api", &left).await;
    let (second, again) = ask(&interceptor, Some(pair(&set)), &[]).await;
    assert_ne!(first, second);
    let again = again.expect("the session goes on elsewhere");
    for _ in 0..30 {
        assert_eq!(ask(&interceptor, Some(pair(&again)), &[]).await, (second.clone(), None));
    }
}

#[tokio::test]
async fn a_pod_that_refuses_loses_its_client_to_one_that_answers() {
    let (refusing, healthy) = (free_address(), says("well").await);
    let interceptor = Interceptor::start().await;
    sticky(&interceptor, &json!({}), &[refusing, healthy]).await;
    let session = format!("sticky={}.1", id_of(&refusing));
    let (said, set) = ask(&interceptor, Some(&session), &[]).await;
    assert_eq!(said, "well");
    assert!(
        set.unwrap().starts_with(&format!("sticky={}.", id_of(&healthy))),
        "its new pod"
    );
    let metrics = interceptor.metrics().await;
    assert!(
        !metrics.contains("interceptor_upstream_dial_failures_total 0\n"),
        "the pod of the session was tried first: {metrics}"
    );
}

/// What an endpoint without a pod is called: the first eight bytes of its address' SHA-256.
fn id_of(address: &SocketAddr) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, address.to_string().as_bytes());
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_session_ends_with_its_absolute_timeout() {
    let app = says("app").await;
    let interceptor = Interceptor::start().await;
    sticky(&interceptor, &json!({"absoluteTimeout": "1h"}), &[app]).await;
    let old = format!("sticky={}.1000", id_of(&app));
    let (_, set) = ask(&interceptor, Some(&old), &[]).await;
    let set = set.expect("a new session");
    assert!(
        set.starts_with(&format!("sticky={}.", id_of(&app))) && !set.contains(".1000;"),
        "{set}"
    );
    assert_eq!(ask(&interceptor, Some(pair(&set)), &[]).await.1, None);
}

#[tokio::test]
async fn cookies_are_for_tls_only_where_the_client_has_tls_and_only_where_sessions_are_kept() {
    let app = says("app").await;
    let interceptor = Interceptor::start().await;
    sticky(&interceptor, &json!({}), &[app]).await;
    let (_, set) = ask(&interceptor, None, &[("x-forwarded-proto", "HTTPS")]).await;
    assert!(set.unwrap().ends_with("; Secure"));
    let (_, set) = ask(&interceptor, None, &[("x-forwarded-proto", "http")]).await;
    assert!(!set.unwrap().contains("Secure"));
    interceptor.serve("other", app).await;
    assert!(
        !interceptor
            .get("other.example", "/")
            .await
            .headers()
            .contains_key(SET_COOKIE)
    );
}

#[tokio::test]
async fn the_fallback_keeps_no_sessions() {
    let interceptor = Interceptor::start().await;
    interceptor.manifests.service("spare", None);
    interceptor.manifests.ready("spare", &[says("spare").await]);
    let spec = json!({
        "timeouts": {"readiness": "50ms"},
        "coldStart": {"fallback": {"service": {"name": "spare", "port": 80}}},
        "sessionPersistence": {"type": "Cookie"},
    });
    interceptor.manifests.route_with("api", &spec);
    interceptor.sees("api", &[]).await;
    let (said, set) = ask(&interceptor, None, &[]).await;
    assert_eq!((said.as_str(), set), ("spare", None));
}

#[tokio::test]
async fn what_one_client_does_wrong_moves_no_other_from_its_pod() {
    let hangs = |text| saying(text).route("/hangs", axum::routing::any(std::future::pending::<&str>));
    let apps = [app(hangs("one")).await, app(hangs("two")).await];
    let interceptor = Interceptor::start().await;
    let spec = json!({
        "sessionPersistence": {"type": "Cookie", "cookie": {"name": "sticky"}},
        "timeouts": {"request": "500ms"},
    });
    interceptor.manifests.route_with("api", &spec);
    interceptor.manifests.ready("api", &apps);
    interceptor.sees("api", &apps).await;
    let session = format!("sticky={}.1", id_of(&apps[0]));
    let head = format!("POST /hangs HTTP/1.1\r\nhost: api.example\r\ncookie: {session}\r\n");
    let stays = ("one".to_owned(), None);
    let mut impatient = interceptor.send(&format!("{head}grpc-timeout: 20m\r\n\r\n")).await;
    impatient.read_until("504 Gateway Timeout").await;
    assert_eq!(ask(&interceptor, Some(&session), &[]).await, stays, "it did not wait");
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n1\r\na\r\nnonsense\r\n");
    interceptor.send(&chunked).await.read_until("400 Bad Request").await;
    assert_eq!(
        ask(&interceptor, Some(&session), &[]).await,
        stays,
        "its body broke off"
    );
    let mut patient = interceptor.send(&format!("{head}\r\n")).await;
    patient.read_until("504 Gateway Timeout").await;
    let (said, _) = ask(&interceptor, Some(&session), &[]).await;
    assert_eq!(
        said, "two",
        "a pod that does not answer in the route's own time is avoided"
    );
}

/// An app that knows HTTP/1.1 only, and answers the preface of HTTP/2 with an error.
async fn http1_only(text: &'static str) -> SocketAddr {
    raw_app(move |_, mut raw| async move {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if raw.0.read_buf(&mut head).await.unwrap_or_default() == 0 {
                return;
            }
        }
        let status = if head.starts_with(b"PRI ") {
            "400 Bad Request"
        } else {
            "200 OK"
        };
        let length = text.len();
        raw.write(&format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}"
        ))
        .await;
    })
    .await
}

#[tokio::test]
async fn a_grpc_request_to_an_http1_app_moves_no_session_from_its_pod() {
    let apps = [http1_only("one").await, http1_only("two").await];
    let interceptor = Interceptor::start().await;
    sticky(&interceptor, &json!({}), &apps).await;
    let sessions = apps.map(|app| format!("sticky={}.1", id_of(&app)));
    let mut grpc = http2_client(interceptor.bound.proxy).await;
    for session in &sessions {
        let request = Request::post("http://api.example/shop.Cart/Add")
            .header(CONTENT_TYPE, "application/grpc")
            .header(COOKIE, session)
            .body(Full::default())
            .unwrap();
        let response = grpc.send_request(request).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "14", "the app does not speak HTTP/2");
    }
    for (session, said) in sessions.iter().zip(["one", "two"]) {
        assert_eq!(
            ask(&interceptor, Some(session), &[]).await,
            (said.to_owned(), None),
            "it stays at its pod"
        );
    }
}
