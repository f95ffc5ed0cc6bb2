#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn settle(request: http::request::Builder) -> Result<Request<()>, InvalidRequest> {
    let mut request = request.body(()).unwrap();
    super::settle(&mut request, || Some(([192, 0, 2, 1], 8080).into()))?;
    Ok(request)
}

fn get(uri: &str) -> http::request::Builder {
    Request::get(uri)
}

#[test]
fn the_host_is_settled_from_an_absolute_form() {
    let request = get("http://inner.example:81/a?b").header("host", "outer.example");
    assert_eq!(settle(request).unwrap().headers()["host"], "inner.example:81");
}

#[test]
fn fault_user_information_is_refused() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for user in ["user@", "user:password@", "@", ":@", "user%40evil@"] {
            let uri = format!("http://{user}ok.test/");
            if let Ok(uri) = uri.parse::<Uri>() {
                let request = Request::get(uri).version(version);
                assert_eq!(settle(request).unwrap_err(), InvalidRequest::BadHost, "{user}");
            }
        }
    }
}

#[test]
fn a_request_without_host_and_a_tunnel_are_refused() {
    assert_eq!(settle(get("/")).unwrap_err(), InvalidRequest::NoHost);
    let connect = Request::connect("inner.example:443");
    assert_eq!(settle(connect).unwrap_err(), InvalidRequest::Connect);
}

#[test]
fn fault_b5_an_http_1_0_request_without_host_is_for_the_address_it_came_to() {
    let request = Request::options("/").version(Version::HTTP_10);
    assert_eq!(settle(request).unwrap().headers()["host"], "192.0.2.1:8080");
}

#[test]
fn fault_a3_a_request_names_one_host() {
    let http2 = |uri: &str| get(uri).version(Version::HTTP_2);
    for request in [
        http2("/").header("host", "a.test").header("host", "b.test"),
        http2("/").header("host", "a.test").header("host", "a.test"),
        http2("http://a.test/").header("host", "b.test"),
        http2("http://a.test/")
            .header("host", "a.test")
            .header("host", "b.test"),
        http2("http://a.test/").header("host", "a.test:80"),
        get("/").header("host", "a.test").header("host", "a.test"),
    ] {
        assert_eq!(settle(request).unwrap_err(), InvalidRequest::RepeatedHost);
    }
    assert_eq!(settle(http2("http://u@a.test/")).unwrap_err(), InvalidRequest::BadHost);
    assert_eq!(settle(http2("/")).unwrap_err(), InvalidRequest::NoHost);
    let same = settle(http2("http://a.test/").header("host", "A.test")).unwrap();
    assert_eq!(same.headers().get_all("host").iter().count(), 1);
    assert_eq!(
        settle(http2("/").header("host", "a.test")).unwrap().headers()["host"],
        "a.test"
    );
}

#[test]
fn fault_a4_a_target_has_one_of_four_forms() {
    let with_host = |uri: &str| get(uri).header("host", "ok.test");
    for uri in [
        "okh2.test",
        "x",
        "raw.test:80",
        "*",
        "ftp://ok.test/",
        "/\u{e9}",
        "/?\u{e9}",
    ] {
        assert_eq!(settle(with_host(uri)).unwrap_err(), InvalidRequest::BadTarget, "{uri}");
    }
    for uri in [
        "/",
        "//x",
        "/a?b",
        "http://ok.test",
        "http://ok.test?b",
        "https://ok.test/a",
    ] {
        settle(with_host(uri)).unwrap_or_else(|error| panic!("{uri}: {error}"));
    }
    let with_method = |method: &str| with_host("*").method(method);
    settle(with_method("OPTIONS")).unwrap();
    assert_eq!(settle(with_method("PRI")).unwrap_err(), InvalidRequest::BadTarget);
}

#[test]
fn fault_a5_a_host_is_a_host_and_perhaps_a_port() {
    for host in [
        "",
        " ",
        "a b",
        "x, evil",
        "a/b",
        "a?b",
        "a#b",
        "a@b",
        "a\\b",
        "a\"b",
        "<a>",
        "a|b",
        "a^b",
        "a`b",
        "{a}",
        ":80",
        "a:b",
        "a:8 0",
        "a:-1",
        "a:+1",
        "a:80:80",
        "a:65536",
        "a:99999999999999999999",
        "[::1",
        "::1",
        "[]",
        "[a]",
        "[::1]a",
        "[::1]:x",
        "[::1%25eth0]",
        "[1.2.3.4]",
        "a]",
        "a%zz",
        "a%20b",
        "http://a",
    ] {
        let request = get("/").header("host", host);
        assert_eq!(settle(request).unwrap_err(), InvalidRequest::BadHost, "{host:?}");
    }
    for bytes in [&b"\xff"[..], b"a\xc3\xa9.test", b"a\tb"] {
        let request = get("/").header("host", bytes);
        assert_eq!(settle(request).unwrap_err(), InvalidRequest::BadHost, "{bytes:?}");
    }
    for host in [
        "a",
        "a.test.",
        "A_b-c.test:8080",
        "a:",
        "10.0.0.1:80",
        "[::1]",
        "[2001:db8::1]:443",
        "a:0",
        "x,y",
    ] {
        settle(get("/").header("host", host)).unwrap_or_else(|error| panic!("{host}: {error}"));
    }
}

#[test]
fn every_host_that_is_let_through_can_be_an_authority() {
    for byte in 0..=u8::MAX {
        let host = [b'a', byte, b'b'];
        if is_host(&host) {
            Authority::try_from(&host[..]).unwrap_or_else(|error| panic!("{}: {error}", host.escape_ascii()));
        }
    }
}

#[test]
fn fault_a8_a_length_is_a_signed_number_of_64_bits_and_stands_once() {
    let with_lengths = |lengths: &[&str]| {
        let request = get("/").header("host", "a.test");
        lengths
            .iter()
            .fold(request, |request, length| request.header("content-length", *length))
    };
    for lengths in [
        &["9223372036854775808"][..],
        &["18446744073709551615"],
        &["-1"],
        &["+1"],
        &[""],
        &["1, 1"],
        &["1", "2"],
        &["1", "x"],
    ] {
        assert_eq!(
            settle(with_lengths(lengths)).unwrap_err(),
            InvalidRequest::BadLength,
            "{lengths:?}"
        );
    }
    settle(with_lengths(&["9223372036854775807"])).unwrap();
    let twice = settle(with_lengths(&["2", "02"])).unwrap();
    assert_eq!(twice.headers().get_all("content-length").iter().count(), 1);
}
