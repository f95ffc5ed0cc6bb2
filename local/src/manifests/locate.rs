//! Finds the file that an object is in, to name it in a message.

use std::path::{Path, PathBuf};

use keda_http_kubernetes::object::{Object, ObjectId};
use serde_json::Value;

/// The first file that holds the object.
pub(super) fn file_of(directory: &Path, id: &ObjectId) -> Option<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    let is_hidden = |path: &Path| {
        path.file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    paths.into_iter().filter(|path| !is_hidden(path)).find_map(|path| {
        if path.is_dir() {
            return file_of(&path, id);
        }
        holds(&path, id).then_some(path)
    })
}

fn holds(path: &Path, id: &ObjectId) -> bool {
    let is_manifest = path
        .extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
    let Some(text) = is_manifest.then(|| std::fs::read_to_string(path).ok()).flatten() else {
        return false;
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap_or_default();
    documents.iter().any(|document| is_or_lists(document, id))
}

fn is_or_lists(document: &Value, id: &ObjectId) -> bool {
    if let Some(items) = document.get("items").and_then(Value::as_array) {
        return items.iter().any(|item| is_or_lists(item, id));
    }
    matches!(Object::parse(document), Ok(Some(object)) if object.id() == *id)
}
