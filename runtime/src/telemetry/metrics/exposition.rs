//! Reads the OpenMetrics text that `prometheus-client` writes, and nothing more lenient.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// A line that this parser does not know, which would be a defect of this program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid line of OpenMetrics text")]
pub(super) struct Unreadable(pub(super) String);

/// The series of one name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Family<'a> {
    /// With its unit at the end.
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    /// `counter`, `gauge`, `histogram` or others.
    pub(super) kind: &'a str,
    pub(super) unit: &'a str,
    pub(super) samples: Vec<Sample<'a>>,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sample<'a> {
    /// What follows the family's name: `_total`, `_sum`, `_count`, `_bucket` or nothing.
    pub(super) suffix: &'a str,
    pub(super) labels: Vec<(&'a str, String)>,
    pub(super) value: &'a str,
}

/// The text of all instruments.
pub(super) fn expose(registry: &Registry) -> Result<String, Unreadable> {
    let mut text = String::new();
    encode(&mut text, registry).map_err(|_| Unreadable(text.lines().last().unwrap_or_default().to_owned()))?;
    Ok(text)
}

pub(super) fn families(text: &str) -> Result<Vec<Family<'_>>, Unreadable> {
    let mut families = Vec::new();
    for line in text.split_terminator('\n') {
        take(&mut families, line).ok_or_else(|| Unreadable(line.to_owned()))?;
    }
    Ok(families)
}

/// Each family begins with its `HELP`.
fn take<'a>(families: &mut Vec<Family<'a>>, line: &'a str) -> Option<()> {
    if let Some(text) = line.strip_prefix("# HELP ") {
        let (name, help) = text.split_once(' ')?;
        families.push(Family {
            name,
            help,
            ..Family::default()
        });
    } else if line != "# EOF" {
        let family = families.last_mut()?;
        match line.strip_prefix("# ") {
            Some(description) => describe(family, description)?,
            None => family.samples.push(sample(line, family.name)?),
        }
    }
    Some(())
}

fn describe<'a>(family: &mut Family<'a>, text: &'a str) -> Option<()> {
    let (what, text) = text.split_once(' ')?;
    let described = text.strip_prefix(family.name)?.strip_prefix(' ')?;
    match what {
        "TYPE" => family.kind = described,
        "UNIT" => family.unit = described,
        _ => return None,
    }
    Some(())
}

fn sample<'a>(line: &'a str, family: &str) -> Option<Sample<'a>> {
    let rest = line.strip_prefix(family)?;
    let (suffix, rest) = rest.split_at(rest.find(['{', ' '])?);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.strip_prefix(' ')?;
    Some(Sample { suffix, labels, value })
}

type Labels<'a> = Vec<(&'a str, String)>;

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let pair = if labels.is_empty() {
            rest
        } else {
            rest.strip_prefix(',')?
        };
        let (name, quoted) = pair.split_once("=\"")?;
        let (value, after) = unquoted(quoted)?;
        labels.push((name, value));
        rest = after;
    }
}

/// The value up to its closing quotation mark, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(match characters.next()? {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                _ => return None,
            }),
            character => value.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_read_with_their_samples() {
        let text = "# HELP waits_seconds How long they waited.\n# TYPE waits_seconds histogram\n# UNIT waits_seconds seconds\n\
                    waits_seconds_bucket{le=\"0.5\",route=\"a\\\"b\\\\c\\nd,}=é\"} 3\n# HELP age Age.\n# TYPE age gauge\nage -0.25\n# EOF\n";
        let waits = Family {
            name: "waits_seconds",
            help: "How long they waited.",
            kind: "histogram",
            unit: "seconds",
            samples: vec![Sample {
                suffix: "_bucket",
                labels: vec![("le", "0.5".to_owned()), ("route", "a\"b\\c\nd,}=é".to_owned())],
                value: "3",
            }],
        };
        let age = Family {
            name: "age",
            help: "Age.",
            kind: "gauge",
            unit: "",
            samples: vec![Sample {
                suffix: "",
                labels: Vec::new(),
                value: "-0.25",
            }],
        };
        assert_eq!(families(text), Ok(vec![waits, age]));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for line in [
            "age",
            "other 1",
            "age{a=\"1\"",
            "age{a=\"1} 2",
            "age{a=1} 2",
            "age{a=\"1\"b=\"2\"} 3",
            "age{,a=\"1\"}2",
            "age{a=\"\\t\"} 2",
            "# TYPE other gauge",
            "# STATE age on",
            "# HELP age",
            "",
        ] {
            let text = format!("# HELP age Age.\n{line}\n# EOF\n");
            assert_eq!(families(&text), Err(Unreadable(line.to_owned())), "{line}");
        }
        assert_eq!(families("age 1\n"), Err(Unreadable("age 1".to_owned())));
    }
}
