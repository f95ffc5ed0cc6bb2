//! The command line.

use keda_http_runtime::env::EnvError;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the scaler (default).
    Serve,
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
    pub fn read(mut arguments: Vec<String>) -> Result<(Self, Vec<String>), EnvError> {
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
                return Err(EnvError::CommandLine(format!(
                    "autowire needs {DRY_RUN}; --help lists what is allowed"
                )));
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
        Command::read(arguments.collect()).map_err(|error| error.to_string())
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
        let error = read("autowire").unwrap_err();
        assert!(error.contains("--dry-run"), "{error}");
    }
}
