//! Go's duration notation (`time.ParseDuration`), which upstream's environment, objects and trigger metadata use.

use std::time::Duration;

/// A text that is not a Go duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a valid duration; allowed: a number with a unit, such as 500ms, 1.5s, 1m30s or 2h (units ns, us, ms, s, m, h)"
)]
pub struct InvalidDuration(pub String);

/// Units and their nanoseconds; a unit that starts like another comes first.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a Go duration that is not negative: `0`, `500ms`, `1.5s`, `1m30s`. Precise to the nanosecond; as in Go, more
/// than about 292 years do not fit.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    parse_parts(unsigned)
        .map(Duration::from_nanos)
        .ok_or_else(|| InvalidDuration(text.to_owned()))
}

fn parse_parts(mut rest: &str) -> Option<u64> {
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let (unit, nanos) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        total = total.checked_add(scale(number, *nanos)?)?;
        rest = &after[unit.len()..];
    }
    (i64::try_from(total).is_ok()).then_some(total)
}

/// `number` times `nanos`; what is below a nanosecond is cut off.
fn scale(number: &str, nanos: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    whole.checked_mul(nanos)?.checked_add(scale_fraction(fraction, nanos)?)
}

fn scale_fraction(fraction: &str, nanos: u64) -> Option<u64> {
    // Further digits are below a nanosecond in every unit.
    let digits = &fraction[..fraction.len().min(18)];
    if digits.is_empty() {
        return Some(0);
    }
    let numerator: u128 = digits.parse().ok()?;
    let denominator = 10_u128.pow(u32::try_from(digits.len()).ok()?);
    u64::try_from(numerator * u128::from(nanos) / denominator).ok()
}

/// Writes a duration as Go does (`1m30s`, `500ms`), for messages and `/config`.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => format_long(nanos),
    }
}

fn format_long(nanos: u128) -> String {
    const MINUTE: u128 = 60_000_000_000;
    let (minutes, rest) = (nanos / MINUTE, nanos % MINUTE);
    let seconds = decimal(rest, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `nanos` in units of `unit`, with as many decimals as it needs.
fn decimal(nanos: u128, unit: u128) -> String {
    let (whole, fraction) = (nanos / unit, nanos % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let places = unit.ilog10() as usize;
    let digits = format!("{fraction:0places$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gos_notation_is_read() {
        let table = [
            ("0", 0),
            ("0s", 0),
            ("+5s", 5_000_000_000),
            ("500ms", 500_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1h1m1s", 3_661_000_000_000),
            ("1.1m", 66_000_000_000),
            ("7us", 7_000),
            ("7µs", 7_000),
            ("1ns", 1),
            ("0.0000000001s", 0),
        ];
        for (text, nanos) in table {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn invalid_durations_are_refused_and_named() {
        for text in [
            "",
            "5",
            "s",
            "1x",
            "-1s",
            "1.2.3s",
            ".s",
            "1 s",
            "10000000000h",
            "1sm",
            "é",
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(
                message.contains(&format!("{text:?}")) && message.contains("allowed"),
                "{message}"
            );
        }
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let table = [
            (0, "0s"),
            (5, "5ns"),
            (1_500, "1.5µs"),
            (500_000_000, "500ms"),
            (90_000_000_000, "1m30s"),
            (1_200_000_000_000, "20m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (1_050_000_000, "1.05s"),
        ];
        for (nanos, text) in table {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(nanos in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
