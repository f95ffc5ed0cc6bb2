#![allow(clippy::unwrap_used)]

use http_body::Body;
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::source::Change;
use serde_json::{Value, json};

use super::*;

fn config_map(data: &Value) -> Change {
    let document = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"name": "pages", "namespace": "shop", "labels": {"http.keda.sh/response-body": "true"}},
    });
    Change::Apply(Object::parse(&document).unwrap().unwrap())
}

fn deleted() -> Change {
    Change::Delete(ObjectId {
        kind: Kind::ConfigMap,
        namespace: "shop".into(),
        name: "pages".into(),
    })
}

fn response(status: u16, body: StaticBody) -> StaticResponse {
    StaticResponse {
        body,
        ..StaticResponse::empty(StatusCode::from_u16(status).unwrap())
    }
}

fn from_config_map(key: Option<&str>) -> StaticResponse {
    let body = StaticBody::ConfigMap {
        name: "pages".into(),
        key: key.map(Into::into),
    };
    response(203, body)
}

/// Status, media type and length.
fn answer(response: &BoundResponse, path: &str) -> (u16, Option<String>, u64) {
    let response = match response.respond(path) {
        Ok(response) => response,
        Err(error) => error.response(false),
    };
    let media_type = response.headers().get(header::CONTENT_TYPE);
    let media_type = media_type.map(|value| value.to_str().unwrap().to_owned());
    let length = response.body().size_hint().exact().unwrap();
    (response.status().as_u16(), media_type, length)
}

const HTML: &str = "text/html; charset=utf-8";

/// Upstream's table of bodies in ConfigMaps.
#[test]
fn a_key_that_a_path_leads_to_may_be_missing_and_one_that_is_named_may_not() {
    let mut bodies = PublishedBodies::default();
    bodies.apply(&config_map(
        &json!({"index.html": "<p>", "style.css": "p{}", "empty": ""}),
    ));
    let bound = |response: &StaticResponse, namespace| BoundResponse::new(response, namespace, &bodies);
    let by_path = bound(&from_config_map(None), "shop");
    let html = Some(HTML.to_owned());
    assert_eq!(answer(&by_path, "/"), (203, html.clone(), 3));
    assert_eq!(answer(&by_path, "/index.html"), (203, html.clone(), 3));
    assert_eq!(
        answer(&by_path, "/style.css"),
        (203, Some("text/css; charset=utf-8".into()), 3)
    );
    assert_eq!(answer(&by_path, "/favicon.ico"), (203, None, 0));
    assert_eq!(answer(&by_path, "/a/index.html"), (203, None, 0));
    let named = bound(&from_config_map(Some("index.html")), "shop");
    assert_eq!(answer(&named, "/anything"), (203, html, 3));
    assert_eq!(answer(&bound(&from_config_map(Some("empty")), "shop"), "/").2, 0);
    assert_eq!(answer(&bound(&from_config_map(Some("other")), "shop"), "/").0, 500);
    assert_eq!(answer(&bound(&from_config_map(None), "elsewhere"), "/").0, 500);
    assert_eq!(bodies.missing().len(), 1, "a ConfigMap of another namespace is none");
}

#[test]
fn responses_that_are_bound_already_have_every_change() {
    let mut bodies = PublishedBodies::default();
    let bound = BoundResponse::new(&from_config_map(Some("index.html")), "shop", &bodies);
    assert_eq!(answer(&bound, "/").0, 500);
    assert_eq!(bodies.missing().len(), 1);
    for (text, length) in [("one", 3), ("three", 5)] {
        bodies.apply(&config_map(&json!({"index.html": text})));
        assert_eq!((answer(&bound, "/").2, bodies.missing().len()), (length, 0));
    }
    bodies.apply(&deleted());
    assert_eq!(answer(&bound, "/").0, 500);
    drop(bound);
    bodies.drop_unused();
    assert_eq!(bodies.missing(), [""; 0], "nobody asks for it any more");
}

#[test]
fn the_type_of_an_inline_body_is_that_of_the_route_or_its_own() {
    let bodies = PublishedBodies::default();
    let mut page = response(200, StaticBody::Inline("<html>".into()));
    assert_eq!(
        answer(&BoundResponse::new(&page, "shop", &bodies), "/").1,
        Some(HTML.into())
    );
    page.headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/x"));
    assert_eq!(
        answer(&BoundResponse::new(&page, "shop", &bodies), "/").1,
        Some("text/x".into())
    );
    let empty = response(200, StaticBody::Inline(String::new()));
    assert_eq!(
        answer(&BoundResponse::new(&empty, "shop", &bodies), "/"),
        (200, None, 0)
    );
}

#[test]
fn statuses_that_have_no_body_get_none() {
    let mut bodies = PublishedBodies::default();
    bodies.apply(&config_map(&json!({"index.html": "<p>"})));
    for status in [204, 205, 304] {
        let inline = response(status, StaticBody::Inline("text".into()));
        assert_eq!(
            answer(&BoundResponse::new(&inline, "shop", &bodies), "/"),
            (status, None, 0)
        );
        let mut page = from_config_map(None);
        page.status = StatusCode::from_u16(status).unwrap();
        assert_eq!(
            answer(&BoundResponse::new(&page, "shop", &bodies), "/"),
            (status, None, 0)
        );
    }
}
