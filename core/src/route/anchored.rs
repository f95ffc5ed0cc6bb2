//! Regular expressions that must match a whole text.

/// The expression that matches where `text` matches from beginning to end.
///
/// # Errors
/// When `text` is no regular expression.
pub(super) fn anchored(text: &str) -> Result<String, regex::Error> {
    // By itself first: in parentheses `a)|(?:b` would become valid, and match parts.
    regex::Regex::new(text)?;
    Ok(format!("^(?:{text})$"))
}
