use proptest::prelude::*;

use super::*;

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

fn traceparent(text: &str) -> Option<SpanContext> {
    extract(&headers(&[("traceparent", text)]), ALL)
}

#[test]
fn propagators_by_name() {
    let read = |text: &str| Propagation::from_environment(&Environment::of([("OTEL_PROPAGATORS", text)]));
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
        None
    );
}

#[test]
fn a_tracestate_is_kept_and_a_malformed_one_dropped() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let state = |values: &[(&'static str, &str)]| {
        let mut all = vec![("traceparent", parent.as_str())];
        all.extend(values);
        extract(&headers(&all), ALL).unwrap().trace_state().header()
    };
    assert_eq!(state(&[("tracestate", "a=1,b=2")]), "a=1,b=2");
    assert_eq!(state(&[("tracestate", "a=1"), ("tracestate", "b=2")]), "a=1,b=2");
    assert_eq!(state(&[("tracestate", "A B C")]), "");
}

#[test]
fn b3_in_one_header() {
    let read = |text: &str| extract(&headers(&[("b3", text)]), ALL);
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
        extract(&headers(&all), ALL).unwrap().is_sampled()
    };
    assert!(read(&[]));
    assert!(read(&[("x-b3-sampled", "1")]) && read(&[("x-b3-sampled", "true")]));
    assert!(!read(&[("x-b3-sampled", "0")]) && !read(&[("x-b3-sampled", "false")]));
    assert!(read(&[("x-b3-sampled", "0"), ("x-b3-flags", "1")]));
    assert_eq!(extract(&headers(&[("x-b3-traceid", TRACE)]), ALL), None);
}

#[test]
fn trace_context_wins_and_only_what_is_propagated_is_read() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let b3 = format!("{SPAN}-{SPAN}-0");
    let both = headers(&[("b3", &b3), ("traceparent", &parent)]);
    assert_eq!(extract(&both, ALL).unwrap().trace_id().to_string(), TRACE);
    let only_b3 = Propagation {
        b3: true,
        ..Propagation::NONE
    };
    assert!(!extract(&both, only_b3).unwrap().is_sampled());
    assert_eq!(extract(&both, Propagation::NONE), None);
    let broken = headers(&[("b3", &b3), ("traceparent", "garbage")]);
    assert!(!extract(&broken, ALL).unwrap().is_sampled());
}

#[test]
fn the_callers_decision_is_known_beforehand() {
    let sampled = |pairs: &[(&'static str, &str)]| is_sampled_out(&headers(pairs), ALL);
    assert_eq!(sampled(&[]), None);
    assert_eq!(sampled(&[("traceparent", "garbage")]), None);
    assert_eq!(
        sampled(&[("traceparent", &format!("00-{TRACE}-{SPAN}-00"))]),
        Some(true)
    );
    assert_eq!(
        sampled(&[("traceparent", &format!("00-{TRACE}-{SPAN}-01"))]),
        Some(false)
    );
    assert_eq!(sampled(&[("b3", "0")]), Some(true));
    assert_eq!(sampled(&[("b3", "1")]), None);
    assert_eq!(sampled(&[("b3", &format!("{TRACE}-{SPAN}"))]), Some(false));
    assert_eq!(sampled(&[("x-b3-sampled", "0")]), Some(true));
    assert_eq!(sampled(&[("x-b3-sampled", "1")]), None);
    assert_eq!(
        is_sampled_out(&headers(&[("b3", "0"), ("x-b3-sampled", "0")]), Propagation::NONE),
        None
    );
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
        prop_assert_eq!(extract(&map, ALL).unwrap(), context.clone());
        prop_assert_eq!(is_sampled_out(&map, ALL), Some(!context.is_sampled()));
        for propagation in [Propagation { b3: true, ..Propagation::NONE }, Propagation { b3_multi: true, ..Propagation::NONE }] {
            let mut map = HeaderMap::new();
            inject(&context, &mut map, propagation);
            let got = extract(&map, propagation).unwrap();
            prop_assert_eq!((got.trace_id(), got.span_id()), (context.trace_id(), context.span_id()));
            prop_assert_eq!(got.is_sampled(), context.is_sampled());
        }
    }

    #[test]
    fn garbage_is_harmless_and_both_readers_agree(values in prop::collection::vec(almost(), 8)) {
        let names = [&TRACEPARENT, &TRACESTATE, &B3, &B3_TRACE_ID, &B3_SPAN_ID, &B3_SAMPLED, &B3_FLAGS, &TRACEPARENT];
        let mut map = HeaderMap::new();
        for (name, value) in names.into_iter().zip(values).take(7) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                map.append(name, value);
            }
        }
        if let Some(context) = extract(&map, ALL) {
            prop_assert!(context.is_valid());
            prop_assert_eq!(is_sampled_out(&map, ALL), Some(!context.is_sampled()));
        }
    }
}
