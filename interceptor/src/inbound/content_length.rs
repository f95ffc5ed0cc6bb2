//! The value of `Content-Length` (RFC 9110 section 8.6): digits only, at most 2^63 - 1, since many apps read it into a
//! signed number.

const MAX: u64 = i64::MAX as u64;

/// A length with one more digit. `None` above the limit.
pub(super) fn with_digit(length: u64, digit: u8) -> Option<u64> {
    let length = length.checked_mul(10)?.checked_add(digit.into())?;
    (length <= MAX).then_some(length)
}

/// A length without white space around it.
pub(crate) fn parse(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0, |length, byte| {
        byte.is_ascii_digit().then(|| with_digit(length, byte - b'0'))?
    })
}

/// The length that all of these are.
pub(crate) fn agreed<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<u64> {
    let mut lengths = values.into_iter().map(parse);
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}
