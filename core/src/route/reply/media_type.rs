//! The media type of a body that comes without one: by the extension of its name, else by how it begins.
//!
//! The add-on's users have Go's answers; these are the ones that matter for pages and what pages need.

/// By extension. Texts are UTF-8.
const BY_EXTENSION: [(&str, &str); 25] = [
    ("avif", "image/avif"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xml", "text/xml; charset=utf-8"),
    ("yaml", "application/yaml"),
];

/// How pages begin.
const PAGES: [&[u8]; 7] = [
    b"<!doctype html",
    b"<html",
    b"<head",
    b"<body",
    b"<title",
    b"<!--",
    b"<h1",
];

/// The type by a name's extension, or by the content where that says nothing.
pub fn of_file(name: &str, content: &[u8]) -> &'static str {
    let by_extension = name.rsplit_once('.').and_then(|(_, extension)| {
        let known = BY_EXTENSION
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(extension));
        known.map(|(_, media_type)| *media_type)
    });
    by_extension.unwrap_or_else(|| of_content(content))
}

/// The type by how the content begins: a page, a text, or bytes.
pub fn of_content(content: &[u8]) -> &'static str {
    let start = content.trim_ascii_start();
    let begins = |page: &&[u8]| {
        start
            .get(..page.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(page))
    };
    if PAGES.iter().any(begins) {
        return "text/html; charset=utf-8";
    }
    match std::str::from_utf8(content) {
        Ok(text) if !text.contains('\0') => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_decides_before_the_content() {
        for (name, content, expected) in [
            ("index.html", "x", "text/html; charset=utf-8"),
            ("a.b.CSS", "x", "text/css; charset=utf-8"),
            ("data.json", "<html>", "application/json"),
            ("page", "\n <!DOCTYPE HTML><p>", "text/html; charset=utf-8"),
            ("page.unknown", "<HTML>", "text/html; charset=utf-8"),
            ("page", "waking up", "text/plain; charset=utf-8"),
            ("page", "", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(of_file(name, content.as_bytes()), expected, "{name} {content}");
        }
        assert_eq!(of_content(&[0xff, 0xd8]), "application/octet-stream");
        assert_eq!(of_content(b"a\0b"), "application/octet-stream");
    }
}
