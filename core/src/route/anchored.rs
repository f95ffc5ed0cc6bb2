//! Regular expressions that must match a whole text, with a limit on their cost.

use regex::{Error, Regex, RegexBuilder};

/// The largest compiled expression, in bytes. Every owner of a route writes expressions, and one process matches all
/// routes: an expression of megabytes can occupy a thread for seconds with one long path.
const SIZE: usize = 512 * 1024;

/// Whether letters match in either case.
#[derive(Debug, Clone, Copy)]
pub(super) enum Case {
    Matters,
    DoesNotMatter,
}

/// The expression that matches where `text` matches from beginning to end.
///
/// # Errors
/// When `text` is not a valid regular expression, or compiles to one that is too large.
pub(super) fn anchored(text: &str, case: Case) -> Result<Regex, Error> {
    // Without the anchors first: `a)|(?:b` would become valid within them, and match parts.
    compile(text, case)?;
    compile(&format!("^(?:{text})$"), case)
}

fn compile(text: &str, case: Case) -> Result<Regex, Error> {
    RegexBuilder::new(text)
        .case_insensitive(matches!(case, Case::DoesNotMatter))
        .size_limit(SIZE)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_compile_to_megabytes_are_refused_and_usual_ones_are_not() {
        for greedy in [".*a(?:a|b|c){20000}c", r"\w{100}", "(?:.{100}){100}"] {
            for case in [Case::Matters, Case::DoesNotMatter] {
                let error = anchored(greedy, case).map(|_| ()).map_err(|error| error.to_string());
                assert!(error.is_err_and(|error| error.contains("size limit")), "{greedy}");
            }
        }
        for usual in [
            r"/api/v[0-9]+/.*",
            r"/users/[^/]+/posts/[^/]+/(?:comments|likes)/\d+",
            r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}",
            r"[\w-]+\.[\w-]+\.[\w-]+",
            r".{0,200}",
        ] {
            for case in [Case::Matters, Case::DoesNotMatter] {
                assert!(anchored(usual, case).is_ok(), "{usual}");
            }
        }
    }
}
