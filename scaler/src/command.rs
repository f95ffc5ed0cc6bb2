//! The command line.

use keda_http_runtime::env::EnvError;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the scaler (default).
    Serve,
    /// Print the help text.
    Help,
    /// Print what autowire would write.
    DryRun,
    /// Point all autowired Services back to their pods.
    Restore,
}

const DRY_RUN: &str = "--dry-run";

impl Command {
    /// Parses the arguments. The remaining ones are flags for logging.
    ///
    /// # Errors
    /// When `autowire` is called without `--dry-run`: the controller itself runs in the scaler.
    pub fn read(arguments: impl IntoIterator<Item = String>) -> Result<(Self, Vec<String>), EnvError> {
        let mut arguments: Vec<String> = arguments.into_iter().collect();
        if arguments
            .iter()
            .any(|argument| matches!(argument.as_str(), "-h" | "--help" | "-help" | "help"))
        {
            return Ok((Self::Help, Vec::new()));
        }
        let command = match arguments.first().map(String::as_str) {
            Some("restore") => Self::Restore,
            Some("autowire") => Self::DryRun,
            _ => return Ok((Self::Serve, arguments)),
        };
        arguments.remove(0);
        if command == Self::DryRun {
            let given = arguments.len();
            arguments.retain(|argument| argument != DRY_RUN);
            if arguments.len() == given {
                return Err(EnvError::invalid("autowire", &arguments.join(" "), DRY_RUN));
            }
        }
        Ok((command, arguments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &str) -> Result<(Command, Vec<String>), String> {
        let arguments = arguments.split_whitespace().map(ToOwned::to_owned);
        Command::read(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn commands_come_first_and_all_take_the_flags_of_the_logs() {
        let flags = vec!["--zap-log-level=debug".to_owned()];
        assert_eq!(read(""), Ok((Command::Serve, vec![])));
        assert_eq!(read("--zap-log-level=debug"), Ok((Command::Serve, flags.clone())));
        assert_eq!(
            read("restore --zap-log-level=debug"),
            Ok((Command::Restore, flags.clone()))
        );
        assert_eq!(
            read("autowire --zap-log-level=debug --dry-run"),
            Ok((Command::DryRun, flags))
        );
        for help in ["-h", "restore --help", "autowire -help", "help"] {
            assert_eq!(read(help), Ok((Command::Help, vec![])));
        }
        let error = read("autowire").unwrap_err();
        assert!(error.contains("--dry-run"), "{error}");
    }
}
