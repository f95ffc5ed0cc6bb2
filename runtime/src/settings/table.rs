//! The variables of a program, in the order in which they were read.

use std::fmt::{self, Write};

use serde::{Serialize, Serializer};

use crate::env::Environment;

/// With what the names of variables of ours, and of nobody else, begin.
const PREFIX: &str = "KEDA_HTTP_";

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The heading it belongs below.
    pub section: &'static str,
    /// Its name.
    pub name: String,
    /// What it is for: a sentence without its full stop.
    pub help: String,
    /// What it may hold; completes "it must be …".
    pub allowed: String,
    /// The default, or words for what applies without a value.
    pub default: String,
    /// Whether it should be set at all.
    pub status: Status,
    /// The value in force; `(secret)` in place of one.
    pub value: Option<String>,
    /// Whether this is the default, which `default` may only describe.
    pub(super) is_default: bool,
}

/// Whether a variable should be set at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Yes.
    InUse,
    /// It works, but another name has taken its place.
    Deprecated {
        /// That name.
        use_instead: String,
    },
    /// It is accepted for the sake of those who set it, and changes nothing.
    WithoutEffect {
        /// The reason.
        why: &'static str,
    },
}

/// All variables of a program. As JSON it is an object of names and values in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table(Vec<Row>);

impl Table {
    /// The rows, in the order in which they were read.
    pub fn rows(&self) -> &[Row] {
        &self.0
    }

    /// A variable that several readers share has one row.
    pub(super) fn add(&mut self, row: Row) {
        match self.0.iter_mut().find(|known| known.name == row.name) {
            Some(known) => known.value = known.value.take().or(row.value),
            None => self.0.push(row),
        }
    }

    /// The part of a `--help` text about variables.
    pub fn help(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for row in &self.0 {
            if row.section != section {
                section = row.section;
                let _ = writeln!(text, "\n{section}");
            }
            row.write_help(&mut text);
        }
        text
    }

    /// The variable of this program that a name resembles: at most two letters differ.
    pub fn resembling(&self, name: &str) -> Option<&str> {
        let names = self.0.iter().map(|row| row.name.as_str());
        let distances = names.map(|known| (strsim::osa_distance(known, name), known));
        let (distance, known) = distances.min()?;
        (distance <= 2).then_some(known)
    }

    /// The variables that are set, begin as ours do and are none, each with the one that it resembles if there is one.
    fn unknown<'a>(&'a self, environment: &'a Environment) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let is_known = |name: &str| self.0.iter().any(|row| row.name == name);
        let ours = environment.names().filter(|name| name.starts_with(PREFIX));
        let unknown = ours.filter(move |name| !is_known(name));
        unknown.map(|name| (name, self.resembling(name)))
    }

    /// The variables that are set and perhaps misspelt, each with the one that it resembles.
    pub(super) fn misspelt<'a>(&'a self, environment: &'a Environment) -> impl Iterator<Item = (&'a str, &'a str)> {
        let unknown = self.unknown(environment);
        unknown.filter_map(|(name, resembled)| Some((name, resembled?)))
    }

    /// Says in the log which of the variables that are set should not be, and which are perhaps misspelt.
    pub(crate) fn log_notices(&self, environment: &Environment) {
        let mut others = Vec::new();
        for (name, resembled) in self.unknown(environment) {
            match resembled {
                Some(known) => tracing::warn!(name, "this variable is not a setting: did you mean {known}?"),
                None => others.push(name),
            }
        }
        if !others.is_empty() {
            tracing::info!(
                names = others.join(" "),
                "these variables are not settings of this program"
            );
        }
        for row in self.0.iter().filter(|row| row.value.is_some()) {
            match &row.status {
                Status::InUse => {}
                Status::Deprecated { use_instead } => {
                    tracing::warn!(name = row.name, use_instead, "this variable is deprecated");
                }
                Status::WithoutEffect { why } => tracing::info!(name = row.name, "has no effect: {why}"),
            }
        }
    }
}

/// Where the text of a row begins, and where it must end.
const INDENT: usize = 39;
const WIDTH: usize = 120;

impl Row {
    /// What it is for, what applies without it, and what it may be, as sentences.
    pub fn description(&self) -> String {
        match &self.status {
            Status::InUse if self.default == "required" => format!("{}. Required: {}.", self.help, self.allowed),
            Status::InUse => format!("{}. Default: {}. Allowed: {}.", self.help, self.default, self.allowed),
            Status::Deprecated { .. } => format!("{}.", self.help),
            Status::WithoutEffect { why } => format!("{}. No effect: {why}.", self.help),
        }
    }

    fn write_help(&self, text: &mut String) {
        let mut line = format!("  {:<width$}", self.name, width = INDENT - 3);
        if line.len() >= INDENT {
            let _ = writeln!(text, "{line}");
            line = " ".repeat(INDENT - 1);
        }
        for word in self.description().split_whitespace() {
            if line.len() + 1 + word.len() > WIDTH {
                let _ = writeln!(text, "{line}");
                line = " ".repeat(INDENT - 1);
            }
            line = line + " " + word;
        }
        let _ = writeln!(text, "{line}");
    }
}

/// The values in force that are not the defaults, as `NAME=value`, for one line of the log; `/config` has all.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_default = |row: &Row| row.is_default || row.value.as_ref() == Some(&row.default);
        let changed = self.0.iter().filter(|row| !is_default(row));
        let values = changed.filter_map(|row| Some((&row.name, row.value.as_ref()?)));
        for (index, (name, value)) in values.enumerate() {
            let space = if index == 0 { "" } else { " " };
            if value.contains(char::is_whitespace) {
                write!(f, "{space}{name}={value:?}")?;
            } else {
                write!(f, "{space}{name}={value}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|row| (&row.name, &row.value)))
    }
}
