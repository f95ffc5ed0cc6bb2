//! The settings of a program: one call reads an environment variable and says what it is for.
//!
//! A part of a program has a reader, a function of [`Settings`] that returns its settings. What the readers call is
//! the table of all variables, so `--help`, `/config`, the start-up log and the chart's documentation, which are made
//! from this [`Table`], name every variable that is read. Two rules keep the table complete:
//!
//! - A reader that finds no variable set reads all of its variables. What is only read when something else is set
//!   or switched on goes through [`Settings::only_if`].
//! - A value that cannot be used is noted and replaced by the default, so that the reader goes on; [`read`] then
//!   returns all that was noted.

use std::cell::RefCell;
use std::rc::Rc;

use crate::env::{EnvError, Environment};

mod kind;
mod table;

pub use kind::{BOOLEAN, DIRECTORY, DNS_LABEL, DNS_NAME, Kind, PORT, TEXT, WHOLE_NUMBER};
pub use table::{Row, Status, Table};

/// Reads the settings from the environment.
///
/// # Errors
/// All variables that cannot be used or are missing, each with what it must be.
pub fn read<T>(environment: &Environment, reader: impl FnOnce(&Settings) -> T) -> Result<(T, Table), EnvError> {
    let settings = Settings::new(environment.clone());
    let read = reader(&settings);
    let State { table, errors } = settings.state.take();
    match errors.is_empty() {
        true => Ok((read, table)),
        false => {
            let errors = errors.iter().map(ToString::to_string);
            let lines: Vec<String> = errors.chain(hints(&table, environment)).collect();
            Err(EnvError::Variables(lines.join("\n")))
        }
    }
}

/// A line for each variable that is set and perhaps misspelt: a missing one may be among them.
fn hints<'a>(table: &'a Table, environment: &'a Environment) -> impl Iterator<Item = String> + 'a {
    let misspelt = table.misspelt(environment);
    misspelt.map(|(name, known)| format!("{name} is not a setting: did you mean {known}?"))
}

/// The variables that a reader knows, with their defaults.
pub fn describe<T>(reader: impl FnOnce(&Settings) -> T) -> Table {
    let settings = Settings::new(Environment::of([]));
    reader(&settings);
    settings.state.take().table
}

/// What readers read from. Clones note what they read in the same table.
#[derive(Debug, Clone)]
pub struct Settings {
    environment: Environment,
    state: Rc<RefCell<State>>,
    section: &'static str,
    is_used: bool,
}

#[derive(Debug, Default)]
struct State {
    table: Table,
    errors: Vec<EnvError>,
}

impl Settings {
    fn new(environment: Environment) -> Self {
        Self {
            environment,
            state: Rc::default(),
            section: "",
            is_used: true,
        }
    }

    /// The same settings; what is read from them appears below this heading.
    #[must_use]
    pub fn section(&self, heading: &'static str) -> Self {
        Self {
            section: heading,
            ..self.clone()
        }
    }

    /// The same settings while `condition` holds; otherwise settings that are only described: none is set, and none
    /// is missing.
    #[must_use]
    pub fn only_if(&self, condition: bool) -> Self {
        let settings = self.clone();
        match condition {
            true => settings,
            false => Self {
                environment: Environment::of([]),
                is_used: false,
                ..settings
            },
        }
    }

    /// A variable, which one of the methods of [`Variable`] then reads. `help` is one sentence without its full stop.
    pub fn variable<'a, T>(
        &'a self,
        name: impl Into<String>,
        kind: &'a Kind<T>,
        help: impl Into<String>,
    ) -> Variable<'a, T> {
        let row = Row {
            section: self.section,
            name: name.into(),
            help: help.into(),
            allowed: kind.allowed.to_owned(),
            default: String::new(),
            status: Status::InUse,
            is_default: false,
            value: None,
        };
        Variable {
            settings: self,
            kind,
            row,
            is_secret: false,
            predecessor: None,
        }
    }

    /// Whether a variable is set, be its value usable or not.
    pub fn is_set(&self, name: &str) -> bool {
        self.environment.get(name).is_some()
    }

    /// Notes a fault that lies between variables, once: several readers may share a variable.
    pub fn refuse(&self, error: EnvError) {
        let errors = &mut self.state.borrow_mut().errors;
        if self.is_used && !errors.contains(&error) {
            errors.push(error);
        }
    }

    /// What can be used; what cannot is noted, so that the reader goes on without it.
    pub(crate) fn usable<T>(&self, read: Result<T, EnvError>) -> Option<T> {
        read.map_err(|error| self.refuse(error)).ok()
    }

    fn note(&self, row: Row) {
        self.state.borrow_mut().table.add(row);
    }
}

/// A variable that is about to be read.
#[must_use = "it is read by the last method of the chain"]
#[derive(Debug)]
pub struct Variable<'a, T> {
    settings: &'a Settings,
    kind: &'a Kind<T>,
    row: Row,
    is_secret: bool,
    predecessor: Option<T>,
}

impl<T> Variable<'_, T> {
    /// Neither tables nor errors show its value.
    pub fn secret(self) -> Self {
        Self {
            is_secret: true,
            ..self
        }
    }

    /// An older name, whose value wins when `counts` says that it is one.
    pub fn replaces(self, old_name: &str, counts: fn(&T) -> bool) -> Self {
        let status = Status::Deprecated {
            use_instead: self.row.name.clone(),
        };
        let help = format!("Deprecated; it wins over {} when it is set", self.row.name);
        let old = self.settings.variable(old_name, self.kind, help);
        let predecessor = old.with_status(status).optional("not set").filter(counts);
        Self { predecessor, ..self }
    }

    /// The value, or the default.
    pub fn default(self, default: T) -> T {
        let text = (self.kind.show)(&default);
        self.default_described(default, &text)
    }

    /// The value, or a default that is found out at the start and described by `text`.
    pub fn default_described(mut self, default: T, text: &str) -> T {
        text.clone_into(&mut self.row.default);
        let given = self.parsed();
        self.row.is_default = given.is_none();
        let value = given.unwrap_or(default);
        self.finish(Some(&value));
        value
    }

    /// The value; `absent` says what applies without one.
    pub fn optional(mut self, absent: &str) -> Option<T> {
        absent.clone_into(&mut self.row.default);
        let value = self.parsed();
        self.finish(value.as_ref());
        value
    }

    /// The value, without which the program does not start.
    pub fn required(mut self) -> T
    where
        T: Default,
    {
        "required".clone_into(&mut self.row.default);
        let is_missing = self.predecessor.is_none() && self.text().is_none();
        if is_missing {
            let error = EnvError::missing(&self.row.name, self.kind.allowed);
            self.settings.refuse(error);
        }
        let value = self.parsed();
        self.finish(value.as_ref());
        value.unwrap_or_default()
    }

    /// Reads a variable that other add-ons know and this program does not use: `why` says so in the log.
    pub fn without_effect(self, why: &'static str) {
        self.with_status(Status::WithoutEffect { why }).optional("not set");
    }

    fn with_status(mut self, status: Status) -> Self {
        self.row.status = status;
        self
    }

    fn text(&self) -> Option<String> {
        self.settings.environment.get(&self.row.name)
    }

    /// The value, if there is one that can be used.
    fn parsed(&mut self) -> Option<T> {
        let own = self.text().and_then(|text| {
            let parsed = (self.kind.parse)(&text);
            if parsed.is_none() {
                let shown = if self.is_secret { "(secret)" } else { text.as_str() };
                let error = EnvError::invalid(&self.row.name, shown, self.kind.allowed);
                self.settings.refuse(error);
            }
            parsed
        });
        self.predecessor.take().or(own)
    }

    fn finish(self, value: Option<&T>) {
        let show = |value| {
            if self.is_secret {
                "(secret)".to_owned()
            } else {
                (self.kind.show)(value)
            }
        };
        let value = value.map(show);
        self.settings.note(Row { value, ..self.row });
    }
}

#[cfg(test)]
mod tests;
