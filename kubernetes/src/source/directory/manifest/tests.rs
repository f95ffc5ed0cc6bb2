#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

/// The objects as `kind namespace/name`, or the first slip as `document: reason`.
fn read(name: &str, text: &str) -> Vec<String> {
    let manifests = documents(text, name.ends_with("json"))
        .and_then(|documents| documents.iter().map(Document::objects).collect::<Result<Vec<_>, _>>());
    match manifests {
        Ok(manifests) => manifests
            .into_iter()
            .flatten()
            .map(|manifest| manifest.object.id().to_string())
            .collect(),
        Err(malformed) => vec![format!("{}: {}", malformed.document, malformed.reason)],
    }
}

const SERVICE: &str = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a","namespace":"shop"}}"#;
const SLICE: &str = r#"{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"b"},"addressType":"IPv4","endpoints":[]}"#;

#[test]
fn json_may_be_documents_arrays_and_lists() {
    let both = ["Service shop/a", "EndpointSlice default/b"];
    assert_eq!(read("x.json", &format!("{SERVICE}\n{SLICE}")), both);
    assert_eq!(read("x.json", &format!("[{SERVICE},{SLICE}]")), both);
    let list = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{SERVICE},{SLICE}]}}"#);
    assert_eq!(read("x.json", &list), both);
    assert_eq!(read("x.yaml", &list), both);
    assert_eq!(read("x.json", ""), [""; 0]);
}

#[test]
fn yaml_may_be_documents_and_lists() {
    let both = ["Service shop/a", "EndpointSlice default/b"];
    assert_eq!(
        read(
            "x.yaml",
            &format!("# one\n%YAML 1.2\n--- {SERVICE}\n...\n# two\n---\n{SLICE}\n---\n# nothing\n")
        ),
        both
    );
    assert_eq!(
        read(
            "x.yaml",
            &format!("apiVersion: v1\nkind: List\nitems:\n- {SERVICE}\n- {SLICE}\n")
        ),
        both
    );
    assert_eq!(
        read("x.yaml", "{apiVersion: v1, kind: Service, metadata: {name: a}}"),
        ["Service default/a"]
    );
    assert_eq!(read("x.yaml", "\u{feff}# only a comment\n"), [""; 0]);
    assert_eq!(
        read("x.yaml", "a: |\n  ---\n  text\napiVersion: v1\nkind: Secret"),
        [""; 0]
    );
}

#[test]
fn other_kinds_are_ignored() {
    assert_eq!(
        read(
            "x.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {x: y}"
        ),
        [""; 0]
    );
    assert_eq!(
        read(
            "x.yaml",
            "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}"
        ),
        [""; 0]
    );
}

#[test]
fn errors_name_document_and_line() {
    let table = [
        ("x.json", format!("{SERVICE}\n{{\"kind\":"), "2: EOF while parsing a value at line 2 column 8"),
        ("x.yaml", "a: b".into(), "1: (from line 1) is not a manifest: it needs an apiVersion and a kind"),
        ("x.yaml", "- a".into(), "1: (from line 1) is not a manifest: \"a\" is not allowed; allowed: a map with apiVersion and kind"),
        ("x.yaml", "apiVersion: v1\nkind: Service\nmetadata: {}".into(), "1: (from line 1) Service: metadata.name is missing"),
        (
            "x.yaml",
            "apiVersion: http.keda.sh/v1\nkind: InterceptorRoute\nmetadata: {name: a}".into(),
            "1: (from line 1) apiVersion: \"http.keda.sh/v1\" of InterceptorRoute is not supported; allowed: http.keda.sh/v1beta1",
        ),
        (
            "x.yaml",
            format!("{SERVICE}\n---\napiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{name: a}}\nspec: {{scaleTargetRef: {{name: a}}, triggers: [{{type: kedify-http, metadata: {{port: 8080}}}}]}}"),
            "2: (from line 2) ScaledObject \"a\": spec.triggers[0].metadata: port must be a string; quote it: \"8080\"",
        ),
        (
            "x.json",
            r#"{"apiVersion":"http.keda.sh/v1beta1","kind":"InterceptorRoute","metadata":{"name":"a"},"spec":{"target":{"port":80},"scalingMetric":{}}}"#.into(),
            "1: (from line 1) InterceptorRoute \"a\": spec.target: service is missing",
        ),
    ];
    for (name, text, expected) in table {
        assert_eq!(read(name, &text), [expected]);
    }
}

#[test]
fn an_error_in_yaml_names_its_line_in_the_file() {
    let told = read(
        "x.yaml",
        &format!("{SERVICE}\n---\nkind: Service\nmetadata: [unclosed\n"),
    );
    assert!(
        told[0].starts_with("2: (from line 2)") && told[0].contains("of the file"),
        "{told:?}"
    );
}

#[test]
fn fault_c7_a_key_that_is_given_twice_is_named_with_its_line() {
    let yaml = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  labels: {x: y}\n  name: b\n";
    assert_eq!(
        read("x.yaml", yaml),
        ["1: (from line 1) the key \"name\" is given twice; keep one of the two (line 6 of the file)"]
    );
    let json = "{\"apiVersion\":\"v1\",\n\"kind\":\"ConfigMap\",\n\"metadata\":{\"name\":\"a\"},\n\"data\":{\"x\":\"1\",\n\"x\":\"2\"}}";
    assert_eq!(
        read("x.json", json),
        ["1: (from line 1) the key \"x\" is given twice; keep one of the two (line 5 of the file)"]
    );
    let second = format!("{SERVICE}\n---\nkind: Service\nkind: Service\n");
    assert_eq!(
        read("x.yaml", &second),
        ["2: (from line 2) the key \"kind\" is given twice; keep one of the two (line 4 of the file)"]
    );
    // The same key in two maps is not given twice.
    assert_eq!(
        read(
            "x.json",
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"name":"b"}}"#
        ),
        ["ConfigMap default/a"]
    );
}

#[test]
fn an_alias_bomb_is_refused_after_ten_thousand_values_or_a_mebibyte() {
    let laughs: String = (1..9)
        .map(|i| format!("l{i}: &l{i} [{}]\n", vec![format!("*l{}", i - 1); 9].join(",")))
        .collect();
    let laughs = format!("l0: &l0 [a,a,a,a,a,a,a,a,a]\n{laughs}");
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), ["*a"; 11].join(","));
    for bomb in [laughs, long] {
        let refused = read("x.yaml", &bomb);
        assert!(refused[0].contains(ALIASES), "{refused:?}");
    }
    let labels = "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: &l {app: web}}\nspec: {selector: *l}\n";
    assert_eq!(read("x.yaml", labels), ["Service default/a"]);
    let items: String = (0..30_000).map(|i| format!("  k{i}: v\n")).collect();
    let large = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n{items}");
    assert_eq!(read("x.yaml", &large), ["ConfigMap default/a"]);
}

#[test]
fn fault_a_deeply_nested_manifest_is_refused() {
    let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let list = r#"{"apiVersion":"v1","kind":"List","items":["#;
    let lists = |depth: usize| format!("{}{SERVICE}{}", list.repeat(depth), "]}".repeat(depth));
    for deep in [arrays(65), arrays(10_000), lists(32), lists(10_000)] {
        assert_eq!(read("x.json", &deep), [format!("1: (from line 1) {TOO_DEEP}")]);
        let refused = read("x.yaml", &deep);
        assert!(refused[0].starts_with("1: (from line 1)"), "{refused:?}");
    }
    assert_eq!(
        read("x.json", &format!("{SERVICE}\n{}", arrays(65))),
        [format!("2: (from line 2) {TOO_DEEP}")]
    );
    assert_eq!(read("x.json", &arrays(64)), [""; 0]);
    assert_eq!(read("x.json", &lists(31)), ["Service shop/a"]);
    let annotation = format!(r#""name":"a","annotations":{{"x":"\"{}"}}"#, "[".repeat(65));
    let brackets = SERVICE.replace(r#""name":"a""#, &annotation);
    assert_eq!(read("x.json", &brackets), ["Service shop/a"]);
}
