use super::*;

const MS: u64 = 1_000_000;

fn span(id: &str, parent: &str, service: &str, name: &str, kind: SpanKind, from_to: (u64, u64)) -> Span {
    Span {
        trace: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
        id: id.to_owned(),
        parent: parent.to_owned(),
        name: name.to_owned(),
        service: service.to_owned(),
        kind,
        start: 1_700_000_000_000_000_000 + from_to.0 * MS,
        end: 1_700_000_000_000_000_000 + from_to.1 * MS,
        ..Span::default()
    }
}

fn with(mut span: Span, attributes: &[(&str, &str)]) -> Span {
    span.attributes = attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    span
}

fn cold_start() -> Vec<Span> {
    let interceptor = "keda-http-interceptor";
    let server = [
        ("http.request.method", "GET"),
        ("url.path", "/"),
        ("server.address", "hello.local"),
        ("cold-start", "true"),
        ("http.response.status_code", "200"),
    ];
    vec![
        span("5", "3", interceptor, "wait for endpoint", SpanKind::Internal, (0, 900)),
        with(
            span("7", "6", "hello", "GET /", SpanKind::Server, (912, 920)),
            &[("http.response.status_code", "200")],
        ),
        with(
            span("6", "2", interceptor, "HTTP GET", SpanKind::Client, (910, 922)),
            &[("server.port", "12345")],
        ),
        span("4", "3", interceptor, "signal", SpanKind::Internal, (0, 1)),
        span("3", "2", interceptor, "cold start", SpanKind::Internal, (0, 910)),
        with(
            span(
                "2",
                "1",
                interceptor,
                "keda-http-interceptor",
                SpanKind::Server,
                (0, 923),
            ),
            &server,
        ),
        span("1", "", "demo-client", "demo request", SpanKind::Client, (0, 925)),
    ]
}

#[test]
fn a_cold_start_is_a_tree_with_bars() {
    let expected = "\
cold start  GET  hello.local/  200  925 ms
demo request                demo-client             925 ms  ████████████████████████████████████████
│  client
└─ keda-http-interceptor    keda-http-interceptor   923 ms  ███████████████████████████████████████▉
   │  server  http.request.method=GET  url.path=/  http.response.status_code=200  cold-start=true  …
   ├─ cold start            keda-http-interceptor   910 ms  ███████████████████████████████████████▎
   │  ├─ signal             keda-http-interceptor  1.00 ms  ▏
   │  └─ wait for endpoint  keda-http-interceptor   900 ms  ██████████████████████████████████████▉
   └─ HTTP GET              keda-http-interceptor  12.0 ms                                         ▊
      │  client  server.port=12345
      └─ GET /              hello                  8.00 ms                                         ▊
            server  http.response.status_code=200
trace 4bf92f3577b34da6a3ce929d0e0e4736
";
    let drawn = render(&cold_start(), 100, false);
    assert_eq!(drawn, expected, "\n{drawn}");
}

#[test]
fn no_line_is_wider_than_asked_for() {
    let mut spans = cold_start();
    spans[0].name = "n".repeat(200);
    spans[0].service = "s".repeat(200);
    spans[0].error = Some("e".repeat(300));
    for width in [80, 100, 140] {
        let drawn = render(&spans, width, false);
        let widest = drawn.lines().map(length).max();
        assert!(widest <= Some(width), "{widest:?}\n{drawn}");
    }
}

#[test]
fn without_colour_there_is_no_escape_and_with_it_the_text_is_the_same() {
    let plain = render(&cold_start(), 100, false);
    assert!(!plain.contains('\x1b'));
    let mut coloured = render(&cold_start(), 100, true);
    assert!(coloured.contains('\x1b'));
    for code in ["0", "1", "2", "31", "33", "34", "36"] {
        coloured = coloured.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(coloured, plain);
}

#[test]
fn an_error_is_shown_and_a_span_without_its_parent_is_a_root() {
    let mut lost = span("2", "unknown", "app", "GET /", SpanKind::Server, (0, 10));
    lost.error = Some("boom".to_owned());
    let drawn = render(&[lost], 100, false);
    assert!(
        drawn.contains("\nGET /") && drawn.contains("server  ERROR boom"),
        "{drawn}"
    );
}

#[test]
fn strange_traces_are_drawn_too() {
    assert!(!render(&[], 100, false).is_empty());
    let circle = [
        span("1", "2", "a", "a", SpanKind::Internal, (0, 1)),
        span("2", "1", "a", "b", SpanKind::Internal, (0, 1)),
        span("3", "3", "a", "c", SpanKind::Internal, (0, 1)),
    ];
    assert!(!render(&circle, 100, false).is_empty());
    let mut backwards = span("1", "", "a", "a", SpanKind::Internal, (0, 0));
    backwards.end = 0;
    assert!(!render(&[backwards], 20, false).is_empty());
}

#[test]
fn durations_have_three_digits() {
    let table = [
        (0, "0.00 µs"),
        (1_234, "1.23 µs"),
        (999_400, "999 µs"),
        (999_600, "1.00 ms"),
        (12_340_000, "12.3 ms"),
        (99_970_000, "100 ms"),
        (1_834_000_000, "1.83 s"),
        (75_000_000_000, "75.0 s"),
    ];
    for (nanoseconds, text) in table {
        assert_eq!(duration(nanoseconds), text);
    }
}
