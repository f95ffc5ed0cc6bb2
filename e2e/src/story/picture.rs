//! A trace as a picture (SVG): one line for each span, below the span that it belongs to.

use std::fmt::Write as _;

use super::traces::{Span, Trace};

const NAMES: f64 = 330.0;
const WIDTH: f64 = 900.0;
const LINE: f64 = 30.0;
const TOP: f64 = 46.0;

/// The picture.
pub fn picture(trace: &Trace) -> String {
    let lines = lines(trace);
    let start = trace.spans.iter().map(|span| span.start).min().unwrap_or_default();
    let end = trace.spans.iter().map(Span::end).max().unwrap_or(start + 1);
    let scale = (WIDTH - NAMES - 90.0) / (end - start).max(1) as f64;
    let height = TOP + LINE * lines.len() as f64 + 16.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-weight=\"600\">Trace {}: {} spans, {}</text>\n",
        trace.id,
        lines.len(),
        written((end - start) as f64)
    );
    for (number, (depth, span)) in lines.iter().enumerate() {
        let y = TOP + LINE * number as f64;
        let x = NAMES + (span.start - start) as f64 * scale;
        let width = (span.duration.as_micros() as f64 * scale).max(1.5);
        let colour = if span.service == "http-call" {
            "#4dabf7"
        } else {
            "#d9480f"
        };
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "<rect x=\"0\" y=\"{y}\" width=\"{WIDTH}\" height=\"{LINE}\" fill=\"{}\"/>\
             <text x=\"{}\" y=\"{}\">{}</text><text x=\"{}\" y=\"{}\" fill=\"#868e96\" text-anchor=\"end\" font-size=\"11\">{}</text>\
             <rect x=\"{x:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"14\" rx=\"2\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{}\" font-size=\"11\">{}</text>",
            if number % 2 == 0 { "#f8f9fa" } else { "#ffffff" },
            16 + depth * 16,
            y + 19.0,
            escaped(&span.name),
            NAMES - 12.0,
            y + 19.0,
            escaped(&span.service),
            y + 8.0,
            x + width + 6.0,
            y + 19.0,
            written(span.duration.as_micros() as f64)
        );
    }
    text.push_str("</svg>\n");
    text
}

/// Every span with how deep it is, each behind the one above it.
fn lines(trace: &Trace) -> Vec<(usize, &Span)> {
    let roots = trace.spans.iter().filter(|span| trace.parent(span).is_none());
    roots.flat_map(|root| below(trace, root, 0)).collect()
}

fn below<'a>(trace: &'a Trace, span: &'a Span, depth: usize) -> Vec<(usize, &'a Span)> {
    let children = trace
        .spans
        .iter()
        .filter(|child| child.parent.as_ref() == Some(&span.id));
    let deeper = children.flat_map(|child| below(trace, child, depth + 1));
    std::iter::once((depth, span)).chain(deeper).collect()
}

fn written(microseconds: f64) -> String {
    match microseconds {
        ..1000.0 => format!("{microseconds:.0} µs"),
        1000.0..1e6 => format!("{:.1} ms", microseconds / 1000.0),
        _ => format!("{:.2} s", microseconds / 1e6),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn spans_stand_below_the_one_they_belong_to() {
        let span = |name: &str, parent: Option<&str>, start| Span {
            name: name.to_owned(),
            service: "api".to_owned(),
            id: name.to_owned(),
            parent: parent.map(str::to_owned),
            start,
            duration: Duration::from_micros(100),
        };
        let trace = Trace {
            id: "1".to_owned(),
            spans: vec![
                span("a", None, 0),
                span("b", Some("a"), 10),
                span("c", Some("a"), 30),
                span("<d>", Some("b"), 40),
            ],
            raw: serde_json::Value::Null,
        };
        let order: Vec<_> = lines(&trace)
            .into_iter()
            .map(|(depth, span)| (depth, span.name.as_str()))
            .collect();
        assert_eq!(order, [(0, "a"), (1, "b"), (2, "<d>"), (1, "c")]);
        assert!(picture(&trace).contains("&lt;d>"));
    }
}
