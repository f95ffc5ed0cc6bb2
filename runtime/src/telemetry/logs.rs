//! Logs: `tracing` events to stderr, set up by upstream's zap flags and `RUST_LOG`.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::env::EnvError;
use crate::settings::{BOOLEAN, Kind, Settings};

/// A flag with its two dashes, and one line of help.
type Flag = (&'static str, &'static str);

const FLAGS: [Flag; 5] = [
    (
        "--zap-log-level",
        "debug, info (default), error, panic, or 1 (debug), 2 and more (trace); RUST_LOG wins over it",
    ),
    ("--zap-encoder", "console (default) or json"),
    (
        "--zap-time-encoding",
        "rfc3339 (default), rfc3339nano, iso8601, epoch (seconds), millis or nano",
    ),
    (
        "--zap-devel",
        "true or false (default): development mode, level debug and encoder console unless set otherwise",
    ),
    (
        "--zap-stacktrace-level",
        "info, error or panic: accepted for compatibility; logs have no stack traces",
    ),
];

/// All flags as the lines of a `--help` text.
pub(crate) fn flags_help() -> String {
    let line = |(flag, help): &(&str, &str)| format!("  {:<24} {help}\n", format!("{flag}=…"));
    FLAGS.iter().map(line).collect()
}

/// What a program logs: level, format and time, by upstream's zap flags and `RUST_LOG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    filter: String,
    json: bool,
    time: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Text,
    Seconds,
    Milliseconds,
    Nanoseconds,
}

impl Default for LogConfig {
    /// Level info, text, RFC 3339.
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            json: false,
            time: Time::Text,
        }
    }
}

impl LogConfig {
    /// From the command line without the program's name (`--zap-log-level`, `--zap-encoder`, `--zap-time-encoding`,
    /// `--zap-devel`, `--zap-stacktrace-level`, with one dash or two, `=value` or the next argument). `--help` is
    /// the programs' own. `RUST_LOG` is read when the logs start.
    ///
    /// # Errors
    /// An unknown flag, or a value that cannot be used; the message names what is allowed.
    pub fn from_args(args: impl IntoIterator<Item = String>) -> Result<Self, EnvError> {
        let mut args = args.into_iter().peekable();
        let mut given = Given::default();
        while let Some(argument) = args.next() {
            let ((flag, help), inline) = split(&argument)?;
            let is_switch = flag == "--zap-devel"; // Like Go's: never followed by a value of its own.
            let value = match inline {
                Some(value) => value,
                None if is_switch => "true".to_owned(),
                None => args.next().ok_or_else(|| EnvError::missing(flag, help))?,
            };
            given.set(flag, &value)?;
        }
        Ok(given.config())
    }
}

/// The flags as they were given; the mode fills in what was not.
#[derive(Default)]
struct Given {
    development: bool,
    filter: Option<String>,
    json: Option<bool>,
    time: Option<Time>,
}

impl Given {
    fn set(&mut self, flag: &str, value: &str) -> Result<(), EnvError> {
        let refused = |allowed: &str| EnvError::invalid(flag, value, allowed);
        match flag {
            "--zap-log-level" => {
                let level = filter_of(value);
                self.filter =
                    Some(level.ok_or_else(|| refused("debug, info, error, panic or a whole number above 0"))?);
            }
            "--zap-encoder" => match value {
                "json" => self.json = Some(true),
                "console" => self.json = Some(false),
                _ => return Err(refused("json or console")),
            },
            "--zap-time-encoding" => {
                let allowed = "epoch, millis, nano, iso8601, rfc3339 or rfc3339nano";
                self.time = Some(time_of(value).ok_or_else(|| refused(allowed))?);
            }
            "--zap-stacktrace-level" if ["info", "error", "panic"].contains(&value) => {}
            "--zap-stacktrace-level" => return Err(refused("info, error or panic")),
            _ => {
                self.development = (BOOLEAN.parse)(value).ok_or_else(|| refused(BOOLEAN.allowed))?;
            }
        }
        Ok(())
    }

    fn config(self) -> LogConfig {
        let level = if self.development { "debug" } else { "info" };
        LogConfig {
            filter: self.filter.or_else(|| filter_of(level)).unwrap_or_default(),
            json: self.json.unwrap_or(false),
            time: self.time.unwrap_or(Time::Text),
        }
    }
}

/// A known flag, and its value if it is in the same argument.
fn split(argument: &str) -> Result<(Flag, Option<String>), EnvError> {
    let (name, value) = match argument.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (argument, None),
    };
    let bare = name
        .strip_prefix("--")
        .or_else(|| name.strip_prefix('-'))
        .unwrap_or_default();
    let known = FLAGS.iter().find(|(flag, _)| flag.strip_prefix("--") == Some(bare));
    let unknown = || {
        let what = if argument.starts_with('-') { "flag" } else { "argument" };
        EnvError::CommandLine(format!("unknown {what} {argument:?}; --help lists what is allowed"))
    };
    known.map(|flag| (*flag, value)).ok_or_else(unknown)
}

/// The filter of a zap level. Debugging is about our own code, not about what every library says of every byte.
fn filter_of(level: &str) -> Option<String> {
    let filter = match level {
        "debug" | "1" => "info,keda_http=debug",
        "info" => "info",
        "error" => "error",
        "panic" => "off",
        number if number.parse::<u64>().is_ok_and(|number| number > 1) => "info,keda_http=trace",
        _ => return None,
    };
    Some(filter.to_owned())
}

fn time_of(encoding: &str) -> Option<Time> {
    match encoding {
        "rfc3339" | "rfc3339nano" | "iso8601" => Some(Time::Text),
        "epoch" => Some(Time::Seconds),
        "millis" => Some(Time::Milliseconds),
        "nano" | "nanos" => Some(Time::Nanoseconds),
        _ => None,
    }
}

impl FormatTime for Time {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match self {
            Self::Text => tracing_subscriber::fmt::time::SystemTime.format_time(writer),
            Self::Seconds => write!(writer, "{}.{:06}", now.as_secs(), now.subsec_micros()),
            Self::Milliseconds => write!(writer, "{}", now.as_millis()),
            Self::Nanoseconds => write!(writer, "{}", now.as_nanos()),
        }
    }
}

/// A text that is not a valid log filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log level {value:?} cannot be used ({reason}); it must be {LEVELS}")]
pub struct LogLevelError {
    value: String,
    reason: String,
}

const LEVELS: &str = "trace, debug, info, warn, error or off, or a list of these and of target=level, \
                      such as info,keda_http_interceptor=debug";

/// The level of the logs; cheap to clone, changeable at run time. The default one belongs to no logs: it is only
/// remembered.
#[derive(Clone, Default)]
pub struct LogLevel {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    filter: Mutex<String>,
    handle: Option<reload::Handle<EnvFilter, Registry>>,
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("LogLevel").field(&self.get()).finish()
    }
}

impl LogLevel {
    /// The filter in force.
    pub fn get(&self) -> String {
        self.shared.filter.lock().clone()
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// When the text is not a valid filter; the current one stays in force.
    pub fn set(&self, filter: &str) -> Result<(), LogLevelError> {
        let parsed = parse(filter)?;
        let mut text = self.shared.filter.lock();
        if let Some(handle) = &self.shared.handle {
            // It fails when the process logs through somebody else's subscriber; the filter is then not ours.
            let _ = handle.reload(parsed);
        }
        filter.clone_into(&mut text);
        Ok(())
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LogLevelError> {
    let refused = |reason: String| LogLevelError {
        value: filter.to_owned(),
        reason,
    };
    // A single word that is not a level would be taken for a target: a typing error would silence everything.
    let is_level = |part: &str| part.contains(['=', '[']) || (!part.is_empty() && part.parse::<LevelFilter>().is_ok());
    if let Some(part) = filter.split(',').map(str::trim).find(|part| !is_level(part)) {
        return Err(refused(format!("{part:?} is not a level")));
    }
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| refused(error.to_string()))
}

/// The filter of `RUST_LOG`, which wins over the flags.
pub(crate) fn read_filter(settings: &Settings) -> Option<String> {
    settings
        .variable("RUST_LOG", &FILTER, "What is logged; it wins over --zap-log-level")
        .optional("that of the flags")
}

const FILTER: Kind<String> = Kind {
    allowed: LEVELS,
    parse: |text| parse(text).ok().map(|_| text.to_owned()),
    show: String::clone,
};

/// The level of the logs of this process, which the first call installs.
pub(super) fn install(config: &LogConfig, filter: Option<String>) -> Result<LogLevel, EnvError> {
    static INSTALLED: OnceLock<LogLevel> = OnceLock::new();
    let filter = filter.unwrap_or_else(|| config.filter.clone());
    let parsed = parse(&filter).map_err(|_| EnvError::invalid("RUST_LOG", &filter, LEVELS))?;
    let level = INSTALLED.get_or_init(|| {
        let (reloadable, handle) = reload::Layer::new(parsed);
        let subscriber = tracing_subscriber::registry().with(reloadable).with(lines(config));
        // It fails when somebody else has installed a subscriber; then logs go there.
        let _ = subscriber.try_init();
        let shared = Shared {
            filter: Mutex::new(filter),
            handle: Some(handle),
        };
        LogLevel {
            shared: Arc::new(shared),
        }
    });
    Ok(level.clone())
}

fn lines<S>(config: &LogConfig) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_timer(config.time)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.json {
        true => lines.json().flatten_event(true).boxed(),
        false => lines.boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<LogConfig, EnvError> {
        LogConfig::from_args(args.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn without_flags_info_as_text() {
        assert_eq!(read(&[]), Ok(LogConfig::default()));
    }

    #[test]
    fn flags_take_one_dash_or_two_and_inline_or_following_values() {
        let expected = LogConfig {
            filter: "error".to_owned(),
            json: true,
            time: Time::Milliseconds,
        };
        let forms = [
            vec![
                "--zap-log-level=error",
                "--zap-encoder=json",
                "--zap-time-encoding=millis",
            ],
            vec![
                "-zap-log-level",
                "error",
                "-zap-encoder=json",
                "--zap-time-encoding",
                "millis",
            ],
        ];
        for form in forms {
            assert_eq!(read(&form), Ok(expected.clone()), "{form:?}");
        }
    }

    #[test]
    fn levels_are_those_of_zap() {
        let table = [
            ("debug", "info,keda_http=debug"),
            ("1", "info,keda_http=debug"),
            ("5", "info,keda_http=trace"),
            ("info", "info"),
            ("error", "error"),
            ("panic", "off"),
        ];
        for (level, filter) in table {
            assert_eq!(read(&["--zap-log-level", level]).unwrap().filter, filter);
        }
    }

    #[test]
    fn development_mode_is_a_switch_and_gives_way_to_explicit_flags() {
        assert_eq!(read(&["--zap-devel"]).unwrap().filter, "info,keda_http=debug");
        assert_eq!(read(&["--zap-devel=false"]).unwrap().filter, "info");
        assert_eq!(read(&["--zap-devel", "--zap-log-level=info"]).unwrap().filter, "info");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_is_allowed() {
        let table: [(&[&str], &str); 9] = [
            (
                &["--zap-log-level=loud"],
                "--zap-log-level=\"loud\" cannot be used; it must be debug, info",
            ),
            (&["--zap-log-level=0"], "a whole number above 0"),
            (&["--zap-log-level"], "--zap-log-level is not set; it must be debug"),
            (&["--zap-encoder=xml"], "json or console"),
            (&["--zap-time-encoding=sundial"], "epoch, millis"),
            (&["--zap-devel=maybe"], "true or false"),
            (&["--zap-stacktrace-level=none"], "info, error or panic"),
            (
                &["--verbose"],
                "unknown flag \"--verbose\"; --help lists what is allowed",
            ),
            (&["serve"], "unknown argument \"serve\"; --help"),
        ];
        for (args, message) in table {
            let error = read(args).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn the_help_names_every_flag() {
        let help = flags_help();
        assert_eq!(help.lines().count(), FLAGS.len());
        assert!(FLAGS.iter().all(|(flag, _)| help.contains(flag)));
    }

    #[test]
    fn a_filter_that_is_none_changes_nothing() {
        let level = LogLevel::default();
        level.set("info,keda_http_interceptor=debug").unwrap();
        for bad in ["loud", "", "a=b=c", "info,nonsense", "x=loud"] {
            let error = level.set(bad).expect_err(bad).to_string();
            assert!(error.contains("target=level"), "{error}");
        }
        assert_eq!(level.get(), "info,keda_http_interceptor=debug");
    }

    #[test]
    fn times_are_in_the_unit_asked_for() {
        let digits = |time: Time| {
            let mut text = String::new();
            time.format_time(&mut Writer::new(&mut text)).unwrap();
            text
        };
        assert!(digits(Time::Text).ends_with('Z'));
        assert_eq!(digits(Time::Seconds).find('.'), Some(10));
        assert_eq!(digits(Time::Milliseconds).len(), 13);
        assert_eq!(digits(Time::Nanoseconds).len(), 19);
    }
}
