//! Names of metrics as upstream escapes them.

use std::fmt::Write;

/// Writes every character outside `[-.0-9A-Za-z]` as `_` and the upper-case hexadecimal of its UTF-8 bytes, at least
/// four digits, as upstream does: `shop/api` becomes `shop_002Fapi`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, '-' | '.') {
            escaped.push(character);
        } else {
            push_hexadecimal(&mut escaped, character);
        }
    }
    escaped
}

fn push_hexadecimal(escaped: &mut String, character: char) {
    let value = character
        .encode_utf8(&mut [0; 4])
        .bytes()
        .fold(0u32, |value, byte| value << 8 | u32::from(byte));
    // Writing to a String cannot fail.
    let _ = write!(escaped, "_{value:04X}");
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn characters_that_are_not_allowed_in_metric_names_become_hexadecimal() {
        for (text, escaped) in [
            ("plain-Name.0", "plain-Name.0"),
            ("http-shop/api", "http-shop_002Fapi"),
            ("a_b", "a_005Fb"),
            ("a:b", "a_003Ab"),
            ("a\u{1}", "a_0001"),
            ("é", "_C3A9"),
            ("€", "_E282AC"),
            ("😀", "_F09F9880"),
            ("", ""),
        ] {
            assert_eq!(escape(text), escaped, "{text:?}");
        }
    }

    #[test]
    fn different_texts_never_become_the_same_name_when_joined_by_an_underscore() {
        assert_ne!(
            format!("{}_{}", escape("a"), escape("b_c")),
            format!("{}_{}", escape("a_b"), escape("c"))
        );
    }
}
