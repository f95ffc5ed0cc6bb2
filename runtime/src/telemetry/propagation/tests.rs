use proptest::prelude::*;

use super::*;
use crate::env::Environment;
use crate::settings;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
const ALL: Propagation = Propagation {
    trace_context: true,
    baggage: true,
    b3: true,
    b3_multi: true,
};

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn span(map: &HeaderMap, propagation: Propagation) -> Option<SpanContext> {
    extract(map, propagation).span
}

fn decision(pairs: &[(&'static str, &str)]) -> Option<bool> {
    extract(&headers(pairs), ALL).sampled
}

fn traceparent(text: &str) -> Option<SpanContext> {
    span(&headers(&[("traceparent", text)]), ALL)
}

#[test]
fn propagators_by_name() {
    let read = |text: &str| {
        settings::read(&Environment::of([("OTEL_PROPAGATORS", text)]), Propagation::read).map(|(read, _)| read)
    };
    let default = read("").unwrap();
    assert!(default.trace_context && default.baggage && !default.b3 && !default.b3_multi);
    assert_eq!(read("tracecontext, baggage,b3,b3multi"), Ok(ALL));
    assert_eq!(read("none"), Ok(Propagation::NONE));
    let error = read("tracecontext,jaeger").unwrap_err().to_string();
    assert!(
        error.contains("OTEL_PROPAGATORS=\"tracecontext,jaeger\"") && error.contains("b3multi"),
        "{error}"
    );
}

#[test]
fn a_traceparent_is_read() {
    let context = traceparent(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
    assert_eq!(context.trace_id().to_string(), TRACE);
    assert_eq!(context.span_id().to_string(), SPAN);
    assert!(context.is_sampled() && context.is_remote());
    assert!(!traceparent(&format!("00-{TRACE}-{SPAN}-02")).unwrap().is_sampled());
}

#[test]
fn later_versions_may_say_more() {
    for text in [
        format!("cc-{TRACE}-{SPAN}-01"),
        format!("01-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
    ] {
        assert!(traceparent(&text).unwrap().is_sampled(), "{text}");
    }
}

#[test]
fn a_malformed_traceparent_is_as_if_absent() {
    let zeros = ("0".repeat(32), "0".repeat(16));
    let upper = TRACE.to_uppercase();
    let bad = [
        String::new(),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", zeros.0),
        format!("00-{TRACE}-{}-01", zeros.1),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("00-{TRACE}-{SPAN}-01-"),
        format!("cc-{TRACE}-{SPAN}-01.more"),
        format!("00-{TRACE}-{SPAN}-0"),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{upper}-{SPAN}-01"),
        format!("00-{TRACE}x{SPAN}-01"),
        format!("0g-{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}-0x"),
        format!(" 00-{TRACE}-{SPAN}-01"),
    ];
    for text in bad {
        assert_eq!(traceparent(&text), None, "{text}");
    }
    let twice = format!("00-{TRACE}-{SPAN}-01");
    assert_eq!(
        extract(&headers(&[("traceparent", &twice), ("traceparent", &twice)]), ALL),
        Caller::default()
    );
}

#[test]
fn a_tracestate_is_kept_and_a_malformed_one_dropped() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let state = |values: &[(&'static str, &str)]| {
        let mut all = vec![("traceparent", parent.as_str())];
        all.extend(values);
        span(&headers(&all), ALL).unwrap().trace_state().header()
    };
    assert_eq!(state(&[("tracestate", "a=1,b=2")]), "a=1,b=2");
    assert_eq!(state(&[("tracestate", "a=1"), ("tracestate", "b=2")]), "a=1,b=2");
    assert_eq!(state(&[("tracestate", "A B C")]), "");
    assert_eq!(state(&[("tracestate", "a=1"), ("tracestate", "\u{e9}=2")]), "");
}

#[test]
fn fault_b13_an_over_long_tracestate_is_dropped() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let state = |text: &str| {
        let span = span(&headers(&[("traceparent", &parent), ("tracestate", text)]), ALL).unwrap();
        span.trace_state().header()
    };
    let members = |count: usize| (0..count).map(|key| format!("k{key}=1")).collect::<Vec<_>>().join(",");
    let long = |bytes: usize| format!("a={},b={}", "x".repeat(250), "y".repeat(bytes - 255));
    assert_eq!(state(&members(32)), members(32));
    assert_eq!(state(&members(33)), "");
    assert_eq!(state(&long(511)).len(), 511);
    let too_long = format!("{},c=1", long(509));
    assert_eq!((too_long.len(), state(&too_long)), (513, String::new()));
}

#[test]
fn b3_in_one_header() {
    let read = |text: &str| span(&headers(&[("b3", text)]), ALL);
    let short = read(&format!("{SPAN}-{SPAN}-1")).unwrap();
    assert_eq!(short.trace_id().to_string(), format!("{}{SPAN}", "0".repeat(16)));
    for (rest, sampled) in [
        ("", true),
        ("-1", true),
        ("-d", true),
        ("-0", false),
        ("-1-05e3ac9a4f6e3b90", true),
    ] {
        let context = read(&format!("{TRACE}-{SPAN}{rest}")).unwrap();
        assert_eq!(
            (context.trace_id().to_string().as_str(), context.is_sampled()),
            (TRACE, sampled),
            "{rest}"
        );
    }
    for bad in ["0", "1", "d", "x", "-", "abc-def-1"] {
        assert_eq!(read(bad), None, "{bad}");
    }
    assert_eq!(read(&format!("{TRACE}-{SPAN}-2")), None);
    assert_eq!(read(&format!("{TRACE}-{SPAN}-1-a-b")), None);
}

#[test]
fn b3_in_several_headers() {
    let read = |more: &[(&'static str, &str)]| {
        let mut all = vec![("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
        all.extend(more);
        span(&headers(&all), ALL).unwrap().is_sampled()
    };
    assert!(read(&[]));
    assert!(read(&[("x-b3-sampled", "1")]) && read(&[("x-b3-sampled", "true")]));
    assert!(!read(&[("x-b3-sampled", "0")]) && !read(&[("x-b3-sampled", "false")]));
    assert!(read(&[("x-b3-sampled", "0"), ("x-b3-flags", "1")]));
    assert_eq!(extract(&headers(&[("x-b3-traceid", TRACE)]), ALL), Caller::default());
}

#[test]
fn trace_context_wins_and_only_what_is_propagated_is_read() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let b3 = format!("{SPAN}-{SPAN}-0");
    let both = headers(&[("b3", &b3), ("traceparent", &parent)]);
    assert_eq!(span(&both, ALL).unwrap().trace_id().to_string(), TRACE);
    let only_b3 = Propagation {
        b3: true,
        ..Propagation::NONE
    };
    assert!(!span(&both, only_b3).unwrap().is_sampled());
    assert_eq!(extract(&both, Propagation::NONE), Caller::default());
    let broken = headers(&[("b3", &b3), ("traceparent", "garbage")]);
    assert!(!span(&broken, ALL).unwrap().is_sampled());
}

#[test]
fn fault_b13_a_decision_is_kept_with_and_without_ids() {
    let (sampled, unsampled, deferred) = (
        format!("{TRACE}-{SPAN}-1"),
        format!("{TRACE}-{SPAN}-0"),
        format!("{TRACE}-{SPAN}"),
    );
    let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
    let with_ids = |more: &[(&'static str, &'static str)]| decision(&[&ids[..], more].concat());
    let table = [
        (decision(&[]), None),
        (decision(&[("traceparent", "garbage")]), None),
        (
            decision(&[("traceparent", &format!("00-{TRACE}-{SPAN}-00"))]),
            Some(false),
        ),
        (
            decision(&[("traceparent", &format!("00-{TRACE}-{SPAN}-01"))]),
            Some(true),
        ),
        (decision(&[("b3", "0")]), Some(false)),
        (decision(&[("b3", "1")]), Some(true)),
        (decision(&[("b3", "d")]), Some(true)),
        (decision(&[("b3", "x")]), None),
        (decision(&[("b3", &sampled)]), Some(true)),
        (decision(&[("b3", &unsampled)]), Some(false)),
        (decision(&[("b3", &deferred)]), Some(true)),
        (decision(&[("x-b3-sampled", "0")]), Some(false)),
        (decision(&[("x-b3-sampled", "False")]), Some(false)),
        (decision(&[("x-b3-sampled", "1")]), Some(true)),
        (decision(&[("x-b3-flags", "1")]), Some(true)),
        (decision(&[("x-b3-sampled", "0"), ("x-b3-flags", "1")]), Some(true)),
        (
            decision(&[("x-b3-sampled", "0"), ("x-b3-traceid", "nonsense")]),
            Some(false),
        ),
        (with_ids(&[]), Some(true)),
        (with_ids(&[("x-b3-sampled", "0")]), Some(false)),
        // A header that comes first and is malformed does not hide a decision in another format.
        (decision(&[("traceparent", "garbage"), ("b3", "0")]), Some(false)),
        (decision(&[("b3", "garbage"), ("x-b3-sampled", "0")]), Some(false)),
    ];
    for (row, (decision, expected)) in table.into_iter().enumerate() {
        assert_eq!(decision, expected, "row {row}");
    }
    let refusals = headers(&[("b3", "0"), ("x-b3-sampled", "0")]);
    assert_eq!(extract(&refusals, Propagation::NONE), Caller::default());
}

#[test]
fn fault_b13_baggage_that_is_malformed_or_over_long_is_dropped() {
    let context = traceparent(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
    let passes = |values: &[&str], propagation| {
        let pairs: Vec<_> = values.iter().map(|value| ("baggage", *value)).collect();
        let (mut map, given) = (headers(&pairs), headers(&pairs));
        inject(&context, &mut map, propagation);
        let passed: Vec<_> = map.get_all("baggage").iter().collect();
        assert!(passed.is_empty() || passed == given.get_all("baggage").iter().collect::<Vec<_>>());
        !passed.is_empty()
    };
    let members = |count| vec!["a=1"; count].join(",");
    for good in [
        "user=1",
        "user = 1 ; p ; q=2 , b=",
        "k=a=b",
        "k=%C3%A9",
        &members(180),
        &format!("k={}", "v".repeat(8190)),
    ] {
        assert!(passes(&[good], ALL), "{good}");
    }
    assert!(passes(&["a=1", "b=2"], ALL));
    for bad in [
        "",
        "user",
        "=1",
        "user=1,",
        "user=1,,b=2",
        "us er=1",
        "user=a b",
        "user=\"1\"",
        "user=1;",
        "user=\u{e9}",
        "user=a\\b",
        &members(181),
        &format!("k={}", "v".repeat(8191)),
    ] {
        assert!(!passes(&[bad], ALL), "{bad}");
        assert!(
            passes(&[bad], Propagation { baggage: false, ..ALL }),
            "not ours to judge: {bad}"
        );
    }
    assert!(!passes(&["a=1", "b"], ALL));
}

#[test]
fn injecting_replaces_what_the_caller_sent() {
    let mut map = headers(&[
        ("traceparent", "old"),
        ("traceparent", "older"),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
        ("b3", "0"),
        ("x-b3-flags", "1"),
        ("x-b3-parentspanid", SPAN),
        ("baggage", "user=1"),
    ]);
    let context = traceparent(&format!("00-{TRACE}-{SPAN}-00")).unwrap();
    inject(&context, &mut map, ALL);
    let expected = headers(&[
        ("traceparent", &format!("00-{TRACE}-{SPAN}-00")),
        ("b3", &format!("{TRACE}-{SPAN}-0")),
        ("x-b3-traceid", TRACE),
        ("x-b3-spanid", SPAN),
        ("x-b3-sampled", "0"),
        ("baggage", "user=1"),
    ]);
    assert_eq!(map, expected);
}

fn contexts() -> impl Strategy<Value = SpanContext> {
    let state = prop_oneof![Just(""), Just("a=1"), Just("vendor@x=t:61rcWkgMzE,b=2")];
    (1..=u128::MAX, 1..=u64::MAX, any::<bool>(), state).prop_map(|(trace, span, sampled, state)| {
        let flags = TraceFlags::default().with_sampled(sampled);
        let state = if state.is_empty() {
            TraceState::NONE
        } else {
            state.parse().unwrap()
        };
        SpanContext::new(trace.into(), span.into(), flags, true, state)
    })
}

/// Bytes that look like the real thing more often than not.
fn almost() -> impl Strategy<Value = Vec<u8>> {
    let digits = prop::collection::vec(prop::sample::select(b"0123456789abcdef-,=xd\xff ".to_vec()), 0..70);
    let template = format!("00-{TRACE}-{SPAN}-01").into_bytes();
    let broken = (any::<prop::sample::Index>(), 32_u8..=255).prop_map(move |(index, byte)| {
        let mut text = template.clone();
        text[index.index(template.len())] = byte;
        text
    });
    prop_oneof![digits, broken]
}

proptest! {
    #[test]
    fn what_was_injected_is_extracted(context in contexts()) {
        let mut map = HeaderMap::new();
        inject(&context, &mut map, ALL);
        prop_assert_eq!(extract(&map, ALL), Caller { sampled: Some(context.is_sampled()), span: Some(context.clone()) });
        for propagation in [Propagation { b3: true, ..Propagation::NONE }, Propagation { b3_multi: true, ..Propagation::NONE }] {
            let mut map = HeaderMap::new();
            inject(&context, &mut map, propagation);
            let got = span(&map, propagation).unwrap();
            prop_assert_eq!((got.trace_id(), got.span_id()), (context.trace_id(), context.span_id()));
            prop_assert_eq!(got.is_sampled(), context.is_sampled());
        }
    }

    #[test]
    fn garbage_is_harmless(values in prop::collection::vec(almost(), 8)) {
        let names = ["traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags", "baggage"];
        let mut map = HeaderMap::new();
        for (name, value) in names.into_iter().zip(values) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                map.append(name, value);
            }
        }
        let caller = extract(&map, ALL);
        if let Some(span) = caller.span {
            prop_assert!(span.is_valid());
            prop_assert_eq!(caller.sampled, Some(span.is_sampled()));
            inject(&span, &mut map, ALL);
        }
    }
}
