//! `values.yaml`, read by its lines: what each comment says about the value below it.

use crate::{chart, read};

/// A value that `values.yaml` documents.
pub struct Documented {
    /// Its path, such as `interceptor.replicas.min`.
    pub path: String,
    /// What the comment above it says.
    pub text: String,
}

/// The documented values, in the order of the file.
pub fn documented() -> Vec<Documented> {
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment = None;
    let mut found = Vec::new();
    for line in read(&chart().join("values.yaml")).lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(text) = line.trim_start().strip_prefix("# -- ") {
            comment = Some(text.to_owned());
        } else if let Some((key, _)) = key(line) {
            path.retain(|(depth, _)| *depth < indent);
            path.push((indent, key.to_owned()));
            if let Some(text) = comment.take() {
                let names: Vec<_> = path.iter().map(|(_, name)| name.as_str()).collect();
                found.push(Documented {
                    path: names.join("."),
                    text,
                });
            }
        }
    }
    found
}

fn key(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    (!line.starts_with(['#', '-'])).then(|| line.split_once(':')).flatten()
}
