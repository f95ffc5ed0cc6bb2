//! The environment as a value, so that tests need no process environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

/// What was given from outside and cannot be used: the program does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// Variables that are missing or cannot be used, each on a line of its own (exit code 64).
    #[error("{0}")]
    Variables(String),
    /// An argument that cannot be understood (exit code 2).
    #[error("{0}")]
    CommandLine(String),
}

impl EnvError {
    /// A value that cannot be used; `allowed` completes "it must be …".
    pub fn invalid(name: &str, value: &str, allowed: &str) -> Self {
        Self::Variables(format!("{name}={value:?} cannot be used; it must be {allowed}"))
    }

    /// A variable that must be set; `allowed` completes "it must be …".
    pub fn missing(name: &str, allowed: &str) -> Self {
        Self::Variables(format!("{name} is not set; it must be {allowed}"))
    }
}

/// Variables and their values. An empty value counts as absent. Cheap to clone.
#[derive(Clone)]
pub struct Environment {
    variables: Arc<BTreeMap<String, String>>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Environment").finish_non_exhaustive()
    }
}

impl Environment {
    /// The environment of the process. Bytes that are not UTF-8 become replacement characters, so that a typed
    /// reader refuses the value instead of taking the variable for absent.
    pub fn process() -> Self {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    /// A fixed environment, for tests and for programs that start others.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        variables.into_iter().map(owned).collect()
    }

    /// The same environment with other values of some variables.
    #[must_use]
    pub fn with<'a>(&self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let own = Self::of(variables);
        let all = self.variables.iter().chain(own.variables.iter());
        all.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The names of the variables that are set, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let set = self.variables.iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, _)| name.as_str())
    }

    /// The text of a variable, `None` when absent or empty.
    pub fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// A variable read by `parse`; `allowed` completes "it must be …".
    ///
    /// # Errors
    /// When it is set and `parse` refuses it.
    pub fn parsed<T, E>(
        &self,
        name: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, EnvError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match parse(&value) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(_) => Err(EnvError::invalid(name, &value, allowed)),
        }
    }

    /// A port, 0 to 65535.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn port(&self, name: &str) -> Result<Option<u16>, EnvError> {
        self.parsed(name, "a port, 0 to 65535", str::parse)
    }

    /// A whole number, not negative.
    ///
    /// # Errors
    /// When it is anything else, or more than 64 bits can hold.
    pub fn number(&self, name: &str) -> Result<Option<u64>, EnvError> {
        self.parsed(name, "a whole number, 0 or more", str::parse)
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self {
            variables: Arc::new(variables.into_iter().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: &str) -> Environment {
        Environment::of([("NAME", value)])
    }

    #[test]
    fn an_empty_value_counts_as_absent() {
        assert_eq!(with("").get("NAME"), None);
        assert_eq!(with("").port("NAME"), Ok(None));
        assert_eq!(with("x").get("OTHER"), None);
        assert_eq!(with("x").get("NAME").as_deref(), Some("x"));
    }

    #[test]
    fn the_process_environment_is_readable() {
        assert_eq!(Environment::process().get("PATH"), std::env::var("PATH").ok());
        assert_eq!(Environment::process().get("NO_SUCH_VARIABLE_OF_OURS"), None);
    }

    #[test]
    fn ports_and_numbers_stay_in_range() {
        assert_eq!(with("0").port("NAME"), Ok(Some(0)));
        assert_eq!(with("65535").port("NAME"), Ok(Some(65535)));
        assert!(with("65536").port("NAME").is_err());
        assert!(with("-1").port("NAME").is_err());
        assert_eq!(with("18446744073709551615").number("NAME"), Ok(Some(u64::MAX)));
        assert!(with("18446744073709551616").number("NAME").is_err());
        assert!(with("1.5").number("NAME").is_err());
    }

    #[test]
    fn an_error_names_variable_value_and_what_is_allowed() {
        let error = with("70000").port("NAME").unwrap_err();
        assert_eq!(
            error.to_string(),
            "NAME=\"70000\" cannot be used; it must be a port, 0 to 65535"
        );
        let error = EnvError::missing("NAME", "a port");
        assert_eq!(error.to_string(), "NAME is not set; it must be a port");
    }
}
