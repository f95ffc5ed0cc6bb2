//! What a variable may hold.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What a variable may hold: the words for it, and the way from its text to the value and back.
#[derive(Debug)]
pub struct Kind<T> {
    /// Completes "it must be …".
    pub allowed: &'static str,
    /// The value of a text; `None` refuses it.
    pub parse: fn(&str) -> Option<T>,
    /// The text of a value, which `parse` would read again.
    pub show: fn(&T) -> String,
}

impl<T: FromStr + ToString> Kind<T> {
    /// A kind whose type knows its own text.
    pub const fn of_type(allowed: &'static str) -> Self {
        Self {
            allowed,
            parse: |text| text.parse().ok(),
            show: T::to_string,
        }
    }
}

/// Any text.
pub const TEXT: Kind<String> = Kind::of_type("any text");
/// A port. Programs take 0 for any free one.
pub const PORT: Kind<u16> = Kind::of_type("a port, 1 to 65535 (0 for any free one)");
/// A number that is not negative.
pub const WHOLE_NUMBER: Kind<u64> = Kind::of_type("a whole number, 0 or more");
/// The booleans of Go's `strconv.ParseBool`.
pub const BOOLEAN: Kind<bool> = Kind {
    allowed: "true or false",
    parse: |text| match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    },
    show: bool::to_string,
};
/// A directory that exists.
pub const DIRECTORY: Kind<PathBuf> = Kind {
    allowed: "a directory of manifests that exists",
    parse: |text| Some(PathBuf::from(text)).filter(|path| path.is_dir()),
    show: |path| Path::display(path).to_string(),
};
/// One label of a DNS name (RFC 1123), such as the name of a namespace.
pub const DNS_LABEL: Kind<String> = Kind {
    allowed: "a single name of lower-case letters, digits and -, at most 63 characters",
    parse: |text| is_label(text).then(|| text.to_owned()),
    show: String::clone,
};
/// A DNS name of such labels.
pub const DNS_NAME: Kind<String> = Kind {
    allowed: "a DNS domain in lower case, such as cluster.local",
    parse: |text| text.split('.').all(is_label).then(|| text.to_owned()),
    show: String::clone,
};

fn is_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let hyphen_outside = text.starts_with('-') || text.ends_with('-');
    (1..=63).contains(&text.len()) && text.bytes().all(is_inner) && !hyphen_outside
}
