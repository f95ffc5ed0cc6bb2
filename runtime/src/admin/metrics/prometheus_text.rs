//! The Prometheus text format 0.0.4, made from OpenMetrics text.

/// Drops what the format does not have (units, exemplars, the end mark), gives counters the name of their samples, and
/// maps the types that it does not have to those that Prometheus' client libraries use in their place.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            // The type, which follows, decides the name.
            help = text.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|text| text.split_once(' ')) {
            let (suffix, kind) = suffix_and_type(kind);
            if let Some((_, help)) = help.take() {
                push(&mut out, &["# HELP ", name, suffix, " ", &help.replace("\\\"", "\"")]);
            }
            push(&mut out, &["# TYPE ", name, suffix, " ", kind]);
        } else if !line.starts_with('#') {
            push(&mut out, &[without_exemplar(line)]);
        }
    }
    out
}

fn push(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
    out.push('\n');
}

fn suffix_and_type(kind: &str) -> (&'static str, &str) {
    match kind {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "stateset" => ("", "gauge"),
        "unknown" => ("", "untyped"),
        other => ("", other),
    }
}

/// An exemplar follows the value after ` # `, which a label's value may have too.
fn without_exemplar(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return line[..at].trim_end(),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_b11_the_text_format_has_none_of_what_is_new_in_open_metrics() {
        let open_metrics = r##"# HELP target The \"target\".
# TYPE target info
target_info{service_name="x"} 1
# HELP request Requests.
# TYPE request counter
request_total{path="a # b\"#",code="200"} 3 # {trace_id="1"} 1 1.5
# HELP wait_seconds Waits.
# TYPE wait_seconds histogram
# UNIT wait_seconds seconds
wait_seconds_sum 0.5
wait_seconds_count 1
wait_seconds_bucket{le="+Inf"} 1
# HELP odd Odd.
# TYPE odd unknown
odd 1
# EOF
"##;
        let expected = r##"# HELP target_info The "target".
# TYPE target_info gauge
target_info{service_name="x"} 1
# HELP request_total Requests.
# TYPE request_total counter
request_total{path="a # b\"#",code="200"} 3
# HELP wait_seconds Waits.
# TYPE wait_seconds histogram
wait_seconds_sum 0.5
wait_seconds_count 1
wait_seconds_bucket{le="+Inf"} 1
# HELP odd Odd.
# TYPE odd untyped
odd 1
"##;
        assert_eq!(from_open_metrics(open_metrics), expected);
    }
}
