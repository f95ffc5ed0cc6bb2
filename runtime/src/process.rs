//! What the programs have in common when they start and end: help, settings, telemetry, exit codes.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use crate::env::{EnvError, Environment};
use crate::settings::{self, Settings, Table};
use crate::telemetry::{
    LogConfig, LogLevel, MetricPush, MetricSettings, SpanSettings, Telemetry, Tracing, flags_help, logs,
};
use crate::{EXIT_COMMAND_LINE, EXIT_USAGE};

/// A program, as its help and its telemetry name it.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The name of the executable.
    pub name: &'static str,
    /// The `service.name` of its telemetry, as upstream.
    pub service_name: &'static str,
    /// The first lines of its help: what it is for and how it is called.
    pub usage: &'static str,
    /// Whether it makes spans, and so reads the variables about them.
    pub makes_spans: bool,
}

/// What a process gives to its program. The default has no settings to show, and sends nothing.
#[derive(Debug, Default)]
pub struct Process {
    /// The settings in force.
    pub settings: Arc<Table>,
    /// The level of the logs.
    pub log_level: LogLevel,
    /// Spans, when they are on.
    pub tracing: Option<Tracing>,
    /// The push of metrics, when it is on.
    pub push: Option<MetricPush>,
}

/// A program with its settings read and its telemetry on.
#[derive(Debug)]
pub struct Started<T> {
    /// What the reader read.
    pub config: T,
    /// What the program is given.
    pub process: Process,
    /// Flushes what is buffered when it is dropped.
    pub telemetry: Telemetry,
}

struct TelemetrySettings {
    filter: Option<String>,
    spans: Option<SpanSettings>,
    push: Option<MetricSettings>,
}

impl Program {
    /// Reads the flags of the logs and the settings, starts the telemetry, and logs the settings.
    ///
    /// # Errors
    /// When a flag or a variable cannot be used, or a required one is missing.
    pub fn start<T>(
        &self,
        flags: impl IntoIterator<Item = String>,
        environment: &Environment,
        reader: impl FnOnce(&Settings) -> T,
    ) -> Result<Started<T>, EnvError> {
        let logs = LogConfig::from_args(flags).map_err(|error| EnvError::CommandLine(error.to_string()))?;
        let read = |settings: &Settings| (reader(settings), self.read_telemetry(settings));
        let ((config, settings), table) = settings::read(environment, read)?;
        let TelemetrySettings { filter, spans, push } = settings;
        let telemetry = Telemetry::start_with(self.service_name, &logs, filter, spans)?;
        let push = push.map(|settings| MetricPush::new(self.service_name, settings));
        let process = Process {
            log_level: telemetry.log_level(),
            tracing: telemetry.tracing(),
            push: push.transpose()?,
            settings: Arc::new(table),
        };
        process.settings.log_notices(environment);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), settings = %process.settings, "starting");
        Ok(Started {
            config,
            process,
            telemetry,
        })
    }

    /// The help or the version, when the arguments ask for it in one of the forms that programs in Go know.
    pub fn answer<T>(&self, arguments: &[String], reader: impl FnOnce(&Settings) -> T) -> Option<String> {
        let ask = |forms: &[&str]| arguments.iter().any(|argument| forms.contains(&argument.as_str()));
        if ask(&["-h", "-help", "--help", "help"]) {
            Some(self.help(reader))
        } else if ask(&["-V", "-version", "--version", "version"]) {
            Some(format!("{} {}\n", self.name, env!("CARGO_PKG_VERSION")))
        } else {
            None
        }
    }

    fn help<T>(&self, reader: impl FnOnce(&Settings) -> T) -> String {
        let variables = self.table(reader).help();
        let usage = self.usage;
        format!(
            "{usage}\nSettings are environment variables. Durations are written as in Go: 500ms, 30s, 1m30s.\n\
             {variables}\nFlags\n{}  {:<24} print the version\n  {:<24} this text\n",
            flags_help(),
            "--version",
            "--help"
        )
    }

    /// All variables of the program, those of its telemetry included.
    pub fn table<T>(&self, reader: impl FnOnce(&Settings) -> T) -> Table {
        settings::describe(|settings| (reader(settings), self.read_telemetry(settings)))
    }

    fn read_telemetry(&self, settings: &Settings) -> TelemetrySettings {
        TelemetrySettings {
            filter: logs::read_filter(&settings.section("Logs")),
            push: MetricSettings::read(settings),
            spans: match self.makes_spans {
                true => SpanSettings::read(settings),
                false => None,
            },
        }
    }

    /// Reports why the program ends, and returns its exit code.
    pub fn fail(&self, reason: &impl fmt::Display, code: u8) -> ExitCode {
        for line in format!("{reason:#}").lines() {
            print_error(&format!("{}: {line}", self.name));
        }
        ExitCode::from(code)
    }

    /// [`Self::fail`] for arguments or settings that cannot be used.
    pub fn refuse(&self, error: &EnvError) -> ExitCode {
        match error {
            EnvError::CommandLine(_) => self.fail(error, EXIT_COMMAND_LINE),
            EnvError::Variables(_) => self.fail(error, EXIT_USAGE),
        }
    }
}

/// Prints what was asked for. A reader that has closed the pipe has seen enough.
pub fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

/// Prints a line to the standard error, and unlike `eprintln!` does not panic when nobody reads it.
pub fn print_error(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::PORT;

    const PROGRAM: Program = Program {
        name: "program",
        service_name: "program",
        usage: "",
        makes_spans: true,
    };

    fn refused(variables: &[(&str, &str)]) -> Vec<String> {
        let environment = Environment::of(variables.iter().copied());
        let reader = |settings: &Settings| settings.variable("KEDA_HTTP_PROXY_PORT", &PORT, "A port").required();
        let error = PROGRAM.start([], &environment, reader).unwrap_err();
        error.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn all_settings_that_cannot_be_used_are_named_at_once_those_of_the_telemetry_too() {
        let bad = [
            ("KEDA_HTTP_PROXY_PORT", "x"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "nonsense"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "bar"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "foo"),
            ("OTEL_RESOURCE_ATTRIBUTES", "nonsense"),
        ];
        let on = [
            ("OTEL_EXPORTER_OTLP_METRICS_ENABLED", "true"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENABLED", "true"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ];
        let refused = refused(&[&bad[..], &on].concat());
        let mut names: Vec<_> = refused.iter().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, bad.map(|(name, _)| name), "{refused:?}");
    }

    #[test]
    fn a_required_setting_whose_name_is_misspelt_is_named_with_what_is_set_instead() {
        let misspelt = [("KEDA_HTTP_PROXY_PROT", "18080"), ("KEDA_HTTP_OF_ANOTHER", "x")];
        let refused = refused(&misspelt);
        assert!(refused[0].starts_with("KEDA_HTTP_PROXY_PORT is not set"), "{refused:?}");
        let hint = "KEDA_HTTP_PROXY_PROT is not a setting: did you mean KEDA_HTTP_PROXY_PORT?";
        assert_eq!(refused[1..], [hint], "{refused:?}");
    }
}
