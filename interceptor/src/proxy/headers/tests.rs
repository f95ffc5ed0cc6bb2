#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use http_body_util::{Empty, StreamBody};
use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, prop_oneof, proptest};

use super::*;

type NoBody = Empty<bytes::Bytes>;

fn get(uri: &str) -> http::request::Builder {
    Request::get(uri)
}

fn client() -> ClientFacts {
    ClientFacts {
        forwarded_for: HeaderValue::from_static("192.0.2.7"),
        scheme: HeaderValue::from_static("http"),
    }
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    lines.sort();
    lines
}

#[test]
fn hop_by_hop_headers_stay_behind() {
    let mut map = headers(&[
        ("connection", "keep-alive, X-Mine"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("proxy-authorization", "secret"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABk"),
        ("te", "gzip, trailers"),
        ("trailer", "x-sum"),
        ("x-mine", "1"),
        ("x-yours", "2"),
    ]);
    remove_hop_by_hop(&mut map);
    let kept = [("te", "trailers"), ("trailer", "x-sum"), ("x-yours", "2")];
    assert_eq!(
        lines(&map),
        kept.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

proptest! {
    /// Whatever bytes stand beside it, each header that `Connection` names goes, and only those.
    #[test]
    fn fault_a2_every_connection_option_is_hop_by_hop(
        lines in prop::collection::vec(prop::collection::vec(prop_oneof![
            prop::sample::select(vec!["x-a", "X-B", "\tx-c ", "close", "", "x a"]).prop_map(|option| option.as_bytes().to_vec()),
            prop::collection::vec(prop_oneof![Just(b'\t'), b' '..0x7f, 0x80..=0xff_u8], 0..3),
        ], 0..4), 0..3),
    ) {
        let mut map = headers(&[("x-a", "1"), ("x-b", "2"), ("x-c", "3"), ("x-d", "4")]);
        let mut left = vec!["x-a", "x-b", "x-c", "x-d"];
        for line in lines {
            let line = line.join(&b","[..]);
            for option in line.split(|byte| *byte == b',') {
                left.retain(|name| !option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
            }
            map.append("connection", HeaderValue::from_bytes(&line).unwrap());
        }
        remove_hop_by_hop(&mut map);
        let mut kept: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        kept.sort_unstable();
        prop_assert_eq!(kept, left);
    }
}

#[test]
fn fault_a2_an_option_beside_other_bytes_is_honoured() {
    let mut map = headers(&[("x-secret", "1"), ("te", "x")]);
    map.append("connection", HeaderValue::from_bytes(b"X-Secret, \xff").unwrap());
    map.append("te", HeaderValue::from_bytes(b"\xff, trailers").unwrap());
    remove_hop_by_hop(&mut map);
    assert_eq!(lines(&map), [("te".to_owned(), "trailers".to_owned())]);
}

#[test]
fn te_without_trailers_goes_too() {
    let mut map = headers(&[("te", "gzip")]);
    remove_hop_by_hop(&mut map);
    assert!(map.is_empty());
}

#[test]
fn connection_cannot_name_the_host_or_the_body_away() {
    let mut map = headers(&[
        ("connection", "host, content-length"),
        ("host", "a"),
        ("content-length", "3"),
    ]);
    remove_hop_by_hop(&mut map);
    assert_eq!(map.len(), 2);
}

#[test]
fn forwarded_headers_are_appended_to_or_kept() {
    let mut map = headers(&[("host", "shop.example")]);
    add_forwarded(&mut map, &client()).unwrap();
    assert_eq!(map["x-forwarded-for"], "192.0.2.7");
    assert_eq!(map["x-forwarded-host"], "shop.example");
    assert_eq!(map["x-forwarded-proto"], "http");
    let mut map = headers(&[
        ("host", "shop.example"),
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-for", "198.51.100.2"),
        ("x-forwarded-host", "outer.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("forwarded", "for=1.2.3.4"),
    ]);
    add_forwarded(&mut map, &client()).unwrap();
    assert_eq!(map["x-forwarded-for"], "198.51.100.1, 198.51.100.2, 192.0.2.7");
    assert_eq!(map.get_all("x-forwarded-for").iter().count(), 1);
    assert_eq!(map["x-forwarded-host"], "outer.example");
    assert_eq!(map["x-forwarded-proto"], "https");
    assert_eq!(map["x-forwarded-port"], "443");
    assert!(!map.contains_key("forwarded"));
}

#[test]
fn an_http2_request_becomes_an_http1_request() {
    let request = get("http://shop.example/a/b?c=1;d=%20");
    let request = request
        .version(Version::HTTP_2)
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let mut request = request.body(NoBody::new()).unwrap();
    crate::proxy::target::settle(&mut request, || None).unwrap();
    fit_protocol(&mut request, AppProtocol::Http1).unwrap();
    assert_eq!(request.version(), Version::HTTP_11);
    assert_eq!(request.uri(), "/a/b?c=1;d=%20", "the query passes as it came");
    assert_eq!(request.headers()["host"], "shop.example");
    assert_eq!(request.headers()["cookie"], "a=1; b=2");
    assert!(!request.headers().contains_key("transfer-encoding"));
}

#[test]
fn an_http1_request_becomes_an_http2_request_and_back() {
    let mut request = get("/a?b")
        .header("host", "shop.example:8080")
        .body(NoBody::new())
        .unwrap();
    fit_protocol(&mut request, AppProtocol::H2c).unwrap();
    assert_eq!(request.uri(), "http://shop.example:8080/a?b");
    assert!(!request.headers().contains_key("host"));
    fit_protocol(&mut request, AppProtocol::Http1).unwrap();
    assert_eq!(request.uri(), "/a?b");
    assert_eq!(request.headers()["host"], "shop.example:8080");
}

#[test]
fn a_path_without_a_host_is_refused_for_http2_and_not_lost() {
    let mut request = get("/a?b").body(NoBody::new()).unwrap();
    assert_eq!(
        fit_protocol(&mut request, AppProtocol::H2c),
        Err(InvalidRequest::BadTarget)
    );
}

#[test]
fn a_body_of_unknown_length_is_sent_in_chunks_whatever_the_method() {
    let body = StreamBody::new(futures_util::stream::empty::<
        Result<http_body::Frame<bytes::Bytes>, std::io::Error>,
    >());
    let mut request = get("/").header("host", "a").body(body).unwrap();
    fit_protocol(&mut request, AppProtocol::Http1).unwrap();
    assert_eq!(request.headers()["transfer-encoding"], "chunked");
}

#[test]
fn a_long_list_of_clients_is_refused_before_it_is_copied() {
    let mut map = HeaderMap::new();
    map.insert(
        X_FORWARDED_FOR,
        HeaderValue::from_bytes(&[b'1'; MAX_FORWARDED_FOR]).unwrap(),
    );
    add_forwarded(&mut map.clone(), &client()).unwrap();
    map.append(X_FORWARDED_FOR, HeaderValue::from_static("1"));
    assert_eq!(
        add_forwarded(&mut map, &client()),
        Err(InvalidRequest::LongForwardedFor)
    );
}

#[test]
fn a_request_that_was_forwarded_too_often_is_in_a_loop() {
    let mut map = HeaderMap::new();
    for _ in 0..=MAX_HOPS {
        add_forwarded(&mut map, &client()).unwrap();
    }
    assert_eq!(add_forwarded(&mut map, &client()), Err(InvalidRequest::ForwardingLoop));
    // However the list is cut into lines.
    let mut lines = HeaderMap::new();
    for _ in 0..=MAX_HOPS {
        lines.append(X_FORWARDED_FOR, HeaderValue::from_static("::1"));
    }
    assert_eq!(
        add_forwarded(&mut lines, &client()),
        Err(InvalidRequest::ForwardingLoop)
    );
}
