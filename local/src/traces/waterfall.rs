//! A trace drawn as a waterfall: pure.

use std::collections::{BTreeSet, HashMap};

use super::{Span, SpanKind};

/// The attributes that are shown, in this order.
const SHOWN: [&str; 9] = [
    "http.request.method",
    "url.path",
    "http.response.status_code",
    "cold-start",
    "keda.route.namespace",
    "keda.route.name",
    "server.address",
    "server.port",
    "error.message",
];

const DURATION_WIDTH: usize = 8;
const SHORTEST_BAR: usize = 12;
/// Of the width, in percent.
const LONGEST_NAME: usize = 36;
/// Of the width, in percent.
const LONGEST_SERVICE: usize = 22;

/// A span's place in the tree.
struct Row<'a> {
    span: &'a Span,
    /// What is drawn before its name.
    branch: String,
    /// What is drawn before the line of its attributes.
    below: String,
}

/// Draws the spans of one trace as a tree with a bar for each, in `width` columns.
pub fn render(spans: &[Span], width: usize, colour: bool) -> String {
    let rows = tree(spans);
    let (start, end) = extent(spans);
    let paint = Paint { colour };
    let columns = Columns::fit(&rows, width);
    let mut lines = vec![paint.bold(&cut(&headline(spans, end - start), width))];
    for row in &rows {
        lines.push(line(row, &columns, (start, end), &paint));
        lines.extend(details(row, width).map(|details| paint.dim(&details)));
    }
    lines.push(paint.dim(&format!("trace {}", spans.first().map_or("", |span| &span.trace))));
    lines.join("\n") + "\n"
}

/// Parents before children, siblings by their start and then by their end. Spans whose parent has not arrived are roots.
fn tree(spans: &[Span]) -> Vec<Row<'_>> {
    let known: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let mut children: HashMap<&str, Vec<&Span>> = HashMap::new();
    for span in spans {
        let parent = if known.contains(span.parent.as_str()) {
            span.parent.as_str()
        } else {
            ""
        };
        children.entry(parent).or_default().push(span);
    }
    for siblings in children.values_mut() {
        siblings.sort_by_key(|span| (span.start, span.end));
    }
    let mut rows = Vec::new();
    for root in children.remove("").unwrap_or_default() {
        rows.push(row(root, String::new(), String::new(), &children));
        descend(root, "", &mut children, &mut rows);
    }
    rows
}

/// Removes the children from the map, so that a cycle of parents ends.
fn descend<'a>(parent: &Span, indent: &str, children: &mut HashMap<&str, Vec<&'a Span>>, rows: &mut Vec<Row<'a>>) {
    let own = children.remove(parent.id.as_str()).unwrap_or_default();
    let last = own.len().saturating_sub(1);
    for (index, span) in own.into_iter().enumerate() {
        let (branch, further) = if index == last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        let inner = format!("{indent}{further}");
        rows.push(row(span, format!("{indent}{branch}"), inner.clone(), children));
        descend(span, &inner, children, rows);
    }
}

fn row<'a>(span: &'a Span, branch: String, indent: String, children: &HashMap<&str, Vec<&Span>>) -> Row<'a> {
    let has_children = children.contains_key(span.id.as_str());
    let below = indent + if has_children { "│  " } else { "   " };
    Row { span, branch, below }
}

fn extent(spans: &[Span]) -> (u64, u64) {
    let start = spans.iter().map(|span| span.start).min().unwrap_or(0);
    let end = spans.iter().map(|span| span.end).max().unwrap_or(0);
    (start, end.max(start))
}

fn headline(spans: &[Span], nanoseconds: u64) -> String {
    let server = spans
        .iter()
        .find(|span| span.kind == SpanKind::Server && span.attribute("cold-start").is_some());
    let attribute = |name| server.and_then(|span| span.attribute(name)).unwrap_or_default();
    let what = if attribute("cold-start") == "true" {
        "cold start"
    } else {
        "request"
    };
    let url = format!("{}{}", attribute("server.address"), attribute("url.path"));
    let parts = [
        what,
        attribute("http.request.method"),
        &url,
        attribute("http.response.status_code"),
        &duration(nanoseconds),
    ];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("  ")
}

struct Columns {
    name: usize,
    service: usize,
    bar: usize,
}

impl Columns {
    fn fit(rows: &[Row<'_>], width: usize) -> Self {
        let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
        let name = longest(&mut rows.iter().map(|row| length(&row.branch) + length(&row.span.name)))
            .min(width * LONGEST_NAME / 100);
        let service = longest(&mut rows.iter().map(|row| length(&row.span.service))).min(width * LONGEST_SERVICE / 100);
        let rest = width.saturating_sub(name + service + DURATION_WIDTH + 5);
        Self {
            name,
            service,
            bar: rest.max(SHORTEST_BAR),
        }
    }
}

fn line(row: &Row<'_>, columns: &Columns, extent: (u64, u64), paint: &Paint) -> String {
    let Row { span, branch, .. } = row;
    let name = padded(&format!("{branch}{}", span.name), columns.name);
    let service = padded(&span.service, columns.service);
    let took = duration(span.end.saturating_sub(span.start));
    let took = " ".repeat(DURATION_WIDTH.saturating_sub(length(&took))) + &took;
    let bar = bar(span, extent, columns.bar);
    let service = paint.dim(&service);
    let bar = paint.bar(&bar, span);
    format!("{name}  {service} {took}  {bar}").trim_end().to_owned()
}

/// Where in the trace the span lies, in eighths of a column at its end. Never empty, however short.
fn bar(span: &Span, (start, end): (u64, u64), columns: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let total = u128::from(end - start).max(1);
    let eighths = columns as u128 * 8;
    let at = |time: u64| usize::try_from(u128::from(time.clamp(start, end) - start) * eighths / total).unwrap_or(0);
    let first = (at(span.start) / 8).min(columns.saturating_sub(1));
    let length = at(span.end).saturating_sub(first * 8).max(1);
    let part = PARTS.get(length % 8).copied().unwrap_or_default();
    format!("{}{}{part}", " ".repeat(first), "█".repeat(length / 8))
}

/// The kind and the attributes worth a look; nothing for a span of work within a service that has none.
fn details(row: &Row<'_>, width: usize) -> Option<String> {
    let span = row.span;
    let mut parts: Vec<String> = Vec::new();
    if span.kind != SpanKind::Internal {
        parts.push(span.kind.name().to_owned());
    }
    let shown = SHOWN
        .iter()
        .filter_map(|name| span.attribute(name).map(|value| format!("{name}={value}")));
    parts.extend(shown);
    if let Some(error) = &span.error {
        parts.push(if error.is_empty() {
            "ERROR".to_owned()
        } else {
            format!("ERROR {error}")
        });
    }
    (!parts.is_empty()).then(|| cut(&format!("{}{}", row.below, parts.join("  ")), width))
}

/// Three digits and a unit.
pub fn duration(nanoseconds: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "only three digits are shown")]
    let nanoseconds = nanoseconds as f64;
    let (value, unit) = match nanoseconds {
        n if n < 999.5e3 => (n / 1e3, "µs"),
        n if n < 999.5e6 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let decimals = match value {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}")
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn padded(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let missing = width.saturating_sub(length(&text));
    text + &" ".repeat(missing)
}

struct Paint {
    colour: bool,
}

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }

    fn bar(&self, text: &str, span: &Span) -> String {
        let code = match span.kind {
            _ if span.error.is_some() => "31",
            SpanKind::Server => "34",
            SpanKind::Client => "36",
            SpanKind::Internal | SpanKind::Producer | SpanKind::Consumer => "33",
        };
        self.with(code, text)
    }
}

#[cfg(test)]
mod tests;
