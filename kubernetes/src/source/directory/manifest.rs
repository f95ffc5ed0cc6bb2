//! The text of a manifest file to its documents, and a document to its objects.
//!
//! Documents are split first and read later, so that those that have not changed are not read again.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use serde_saphyr::Error as YamlError;
use serde_saphyr::budget::BudgetBreach;

use super::unique_keys::{self, duplicate_key};
use crate::object::Manifest;

const MAX_DEPTH: i64 = 64; // serde_saphyr's default, for JSON too
const TOO_DEEP: &str = "it is nested too deeply; allowed: 64 levels";

/// One document of a file. The items of a JSON `List` count as documents of their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'a> {
    /// Its number in the file, from 1.
    pub(super) number: usize,
    /// The line it begins at, from 1.
    line: usize,
    text: &'a str,
    syntax: Syntax,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Json,
    Yaml,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) document: usize,
    /// What is wrong, with the line where it is known.
    pub(super) reason: String,
}

/// The documents of a file. What looks like JSON and is not is read as YAML, unless the file's name says JSON.
pub(super) fn documents(text: &str, named_json: bool) -> Result<Vec<Document<'_>>, Malformed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if named_json || text.trim_start().starts_with(['{', '[']) {
        match json_documents(text) {
            Err(malformed) if named_json => return Err(malformed),
            Err(_) => {}
            Ok(documents) => return Ok(documents),
        }
    }
    Ok(yaml_documents(text))
}

impl Document<'_> {
    /// Equal for documents of the same text; for others only by a collision of 64 bits.
    pub(super) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        hasher.finish()
    }

    /// The objects in it: one, or those of a `List`, or none when its kind is ignored.
    pub(super) fn objects(&self) -> Result<Vec<Manifest>, Malformed> {
        let objects = match self.syntax {
            Syntax::Json => json_objects(self.text, self.line),
            Syntax::Yaml => yaml_objects(self.text, self.line),
        };
        objects.map_err(|reason| Malformed {
            document: self.number,
            reason: format!("(from line {}) {reason}", self.line),
        })
    }
}

/// Single values, arrays of values, and `List`s, in their order.
fn json_documents(text: &str) -> Result<Vec<Document<'_>>, Malformed> {
    let mut found = JsonDocuments {
        text,
        lines: Lines {
            text,
            offset: 0,
            line: 1,
        },
        documents: Vec::new(),
    };
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        match value {
            Ok(value) if is_too_deep(value.get()) => return Err(found.too_deep(value.get())),
            Ok(value) => found.add(value.get()),
            Err(error) => {
                return Err(Malformed {
                    document: found.documents.len() + 1,
                    reason: error.to_string(),
                });
            }
        }
    }
    Ok(found.documents)
}

struct JsonDocuments<'a> {
    text: &'a str,
    lines: Lines<'a>,
    documents: Vec<Document<'a>>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

impl<'a> JsonDocuments<'a> {
    fn add(&mut self, value: &'a str) {
        let items = if value.starts_with('[') {
            serde_json::from_str(value).ok()
        } else {
            list_items(value)
        };
        match items {
            Some::<Vec<&'a RawValue>>(items) => items.into_iter().for_each(|item| self.add(item.get())),
            None if value == "null" => {}
            None => {
                let line = self.line_of(value);
                self.documents.push(Document {
                    number: self.documents.len() + 1,
                    line,
                    text: value,
                    syntax: Syntax::Json,
                });
            }
        }
    }

    fn too_deep(&mut self, value: &str) -> Malformed {
        Malformed {
            document: self.documents.len() + 1,
            reason: format!("(from line {}) {TOO_DEEP}", self.line_of(value)),
        }
    }

    fn line_of(&mut self, value: &str) -> usize {
        self.lines
            .number_at(value.as_ptr() as usize - self.text.as_ptr() as usize)
    }
}

/// Of valid JSON, in one pass: what is deeper must not be descended into.
fn is_too_deep(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

fn list_items(value: &str) -> Option<Vec<&RawValue>> {
    let envelope: Envelope<'_> = serde_json::from_str(value).ok()?;
    (envelope.kind == "List").then_some(envelope.items)
}

/// Counts lines up to ever later offsets.
struct Lines<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
}

impl Lines<'_> {
    fn number_at(&mut self, offset: usize) -> usize {
        let between = self.text.as_bytes().get(self.offset..offset).unwrap_or_default();
        self.line += between.iter().filter(|byte| **byte == b'\n').count();
        self.offset = offset.max(self.offset);
        self.line
    }
}

/// YAML's document markers are at the beginning of a line in any context, so no parser is needed to find them.
fn yaml_documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let mut open = Open { start: 0, line: 1 };
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line, "---") || is_marker(line, "...") {
            open.close(text, offset, &mut documents);
            open = Open {
                start: offset + 3,
                line: index + 1,
            };
        }
        offset += line.len();
    }
    open.close(text, text.len(), &mut documents);
    documents
}

struct Open {
    start: usize,
    line: usize,
}

impl Open {
    fn close<'a>(&self, text: &'a str, end: usize, documents: &mut Vec<Document<'a>>) {
        let text = text.get(self.start..end).unwrap_or_default();
        if text.lines().any(is_content) {
            documents.push(Document {
                number: documents.len() + 1,
                line: self.line,
                text,
                syntax: Syntax::Yaml,
            });
        }
    }
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Neither empty nor a comment nor a directive, which stands before the marker of its document.
fn is_content(line: &str) -> bool {
    let text = line.trim();
    !text.is_empty() && !text.starts_with('#') && !line.starts_with('%')
}

fn json_objects(text: &str, first_line: usize) -> Result<Vec<Manifest>, String> {
    unique_keys::check(text)
        .map_err(|(reason, line)| format!("{reason} (line {} of the file)", line + first_line - 1))?;
    let manifest = Manifest::parse_json(text).map_err(|error| error.to_string())?;
    Ok(manifest.into_iter().collect())
}

fn yaml_objects(text: &str, first_line: usize) -> Result<Vec<Manifest>, String> {
    let value = yaml_value(text, first_line)?;
    let items = match &value {
        Value::Object(map) if map.get("kind").is_some_and(|kind| kind == "List") => {
            map.get("items").and_then(Value::as_array)
        }
        Value::Array(items) => Some(items),
        Value::Null => return Ok(Vec::new()),
        _ => None,
    };
    let single = std::slice::from_ref(&value);
    let parsed = items
        .map_or(single, Vec::as_slice)
        .iter()
        .filter_map(|item| Manifest::parse(item).transpose());
    parsed.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

const ALIASES: &str = "its aliases repeat more than 10000 values or 1 MiB of text; write them out, or use fewer";

/// What a document itself contains may be as long as its text; what its aliases repeat is limited, since a few lines can
/// repeat billions of values.
fn yaml_value(text: &str, first_line: usize) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: usize::MAX,
            max_events: usize::MAX,
            max_total_scalar_bytes: text.len() + (1 << 20),
            max_recorded_anchor_events: text.len() + 10_000,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 10_000 },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let cause = match error.without_snippet() {
            YamlError::AliasError { error, .. } => error,
            error => error,
        };
        let reason = match cause {
            YamlError::DuplicateMappingKey { key: Some(key), .. } => duplicate_key(key),
            YamlError::Budget {
                breach: BudgetBreach::Depth { .. },
                ..
            } => TOO_DEEP.to_owned(),
            YamlError::AliasReplayLimitExceeded { .. } | YamlError::Budget { .. } => ALIASES.to_owned(),
            error => error.to_string(),
        };
        match error.location() {
            // The first line of the text is the marker's, which is `first_line` itself.
            Some(location) => format!(
                "{reason} (line {} of the file)",
                location.line() + first_line as u64 - 1
            ),
            None => reason,
        }
    })
}

#[cfg(test)]
mod tests;
