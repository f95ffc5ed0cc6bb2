//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::app::Options;
use crate::listening::WantedPorts;

/// From which similarity on, 0 to 1, a flag is suggested for one that does not exist: as in clap, with more for short ones.
const SIMILAR: f64 = 0.8;

/// What `--help` prints.
pub const HELP: &str = "\
keda-http-local: runs ordinary Kubernetes manifests on this machine, scaled from zero by HTTP requests

It starts the real interceptor and scaler, plays the kubelet and KEDA for the Deployments, Services and ScaledObjects
(or InterceptorRoutes) of a directory, and draws every cold start as a waterfall. No cluster is needed.

usage: keda-http-local [run|demo] [flags]

  run                         until Ctrl-C (default)
  demo                        send one cold and one warm request, wait until the app is at zero again, and check the
                              answers, the replicas and the trace

  --manifests DIR             the manifests; changes take effect at once (default: the built-in hello example)
  --proxy-port PORT           the interceptor, for requests (default: 8080)
  --admin-port PORT           the interceptor: /readyz, /queue, /routes (default: 8081)
  --metrics-port PORT         the interceptor: /metrics (default: 8082)
  --scaler-port PORT          the scaler's gRPC (default: 8083)
  --scaler-metrics-port PORT  the scaler: /readyz, /metrics (default: 8084)
  --otlp-port PORT            receives spans, OTLP over gRPC (default: 8085)
  --run-dir DIR               where interceptor and scaler read their manifests (default: a temporary directory)
  --verbose                   interceptor and scaler log at level info, not only warnings
  --version                   print the version
  --help                      this text

A default port that is in use is replaced by the next free one from 8086 on. Port 0 is any free port.

Interceptor, scaler and apps inherit the environment: KEDA_HTTP_READINESS_TIMEOUT=10s limits how long requests are
held, for example. NO_COLOR=1 prints without colour.

exit codes: 0 success, 1 failure, 2 the command line is not valid, 64 the manifests are not valid
";

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run until a signal to stop.
    Run(Options),
    /// Run the demo.
    Demo(Options),
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// A command line that is not valid. Exit code 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; --help lists what is allowed")]
pub struct UsageError(String);

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

/// Reads the arguments, without the program's name. `programs` is the directory of interceptor and scaler.
///
/// # Errors
/// Names the argument that is not valid.
pub fn parse(args: impl IntoIterator<Item = OsString>, programs: PathBuf) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut options = Options {
        programs,
        ..Options::default()
    };
    let mut command = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Long("verbose") => options.verbose = true,
            Long("manifests") => options.manifests = Some(directory(&mut parser, "manifests")?),
            Long("run-dir") => options.run_directory = Some(directory(&mut parser, "run-dir")?),
            Long(flag) => {
                let flag = flag.to_owned();
                match wanted_port(&mut options.ports, &flag) {
                    Some(wanted) => *wanted = Some(port(&mut parser, &flag)?),
                    None => return Err(unknown(&flag)),
                }
            }
            Value(value) if command.is_none() && (value == "run" || value == "demo") => command = Some(value),
            Short(_) | Value(_) => return Err(argument.unexpected().into()),
        }
    }
    Ok(match command {
        Some(command) if command == "demo" => Command::Demo(options),
        Some(_) | None => Command::Run(options),
    })
}

fn unknown(flag: &str) -> UsageError {
    let error = Long(flag).unexpected();
    let flags = HELP.split_whitespace().filter_map(|part| part.strip_prefix("--"));
    let similarity = |known: &&str| strsim::jaro_winkler(known, flag);
    let closest = flags.max_by(|one, other| similarity(one).total_cmp(&similarity(other)));
    match closest.filter(|known| similarity(known) > SIMILAR) {
        Some(known) => UsageError(format!("{error}: did you mean --{known}?")),
        None => error.into(),
    }
}

fn wanted_port<'a>(ports: &'a mut WantedPorts, flag: &str) -> Option<&'a mut Option<u16>> {
    match flag {
        "proxy-port" => Some(&mut ports.proxy),
        "admin-port" => Some(&mut ports.admin),
        "metrics-port" => Some(&mut ports.metrics),
        "scaler-port" => Some(&mut ports.scaler),
        "scaler-metrics-port" => Some(&mut ports.scaler_metrics),
        "otlp-port" => Some(&mut ports.otlp),
        _ => None,
    }
}

fn port(parser: &mut lexopt::Parser, flag: &str) -> Result<u16, UsageError> {
    let value = parser.value()?;
    let port = value.to_str().and_then(|value| value.parse().ok());
    port.ok_or_else(|| UsageError(format!("--{flag} {value:?}: must be a port, 0 to 65535")))
}

fn directory(parser: &mut lexopt::Parser, flag: &str) -> Result<PathBuf, UsageError> {
    let value = parser.value()?;
    if value.is_empty() {
        return Err(UsageError(format!("--{flag}: must be a directory")));
    }
    Ok(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Command, String> {
        parse(args.iter().map(OsString::from), "bin".into()).map_err(|error| error.to_string())
    }

    fn options() -> Options {
        Options {
            programs: "bin".into(),
            ..Options::default()
        }
    }

    #[test]
    fn no_arguments_run_the_example() {
        assert_eq!(read(&[]), Ok(Command::Run(options())));
        assert_eq!(read(&["run"]), Ok(Command::Run(options())));
    }

    #[test]
    fn flags_come_in_both_forms_and_any_order() {
        let expected = Options {
            manifests: Some("dir".into()),
            ports: WantedPorts {
                proxy: Some(8080),
                otlp: Some(0),
                ..WantedPorts::default()
            },
            verbose: true,
            ..options()
        };
        let forms = [
            "demo --manifests dir --proxy-port 8080 --otlp-port=0 --verbose",
            "--verbose --proxy-port=8080 --manifests=dir --otlp-port 0 demo",
        ];
        for form in forms {
            let args: Vec<&str> = form.split(' ').collect();
            assert_eq!(read(&args), Ok(Command::Demo(expected.clone())), "{form:?}");
        }
    }

    #[test]
    fn an_argument_that_is_not_valid_is_named() {
        let table: [(&[&str], &str); 7] = [
            (&["--port", "1"], "invalid option '--port'; --help lists"),
            (&["-x"], "invalid option '-x'"),
            (&["run", "demo"], "unexpected argument \"demo\""),
            (&["--manifests"], "missing argument for option '--manifests'"),
            (&["--manifests="], "--manifests: must be a directory"),
            (&["--verbose=1"], "unexpected argument for option '--verbose'"),
            (
                &["--proxy-port", "70000"],
                "--proxy-port \"70000\": must be a port, 0 to 65535",
            ),
        ];
        for (args, message) in table {
            let error = read(args).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn a_misspelt_flag_gets_the_one_that_it_resembles() {
        for (given, known) in [("--manifest", "--manifests"), ("--proxyport=1", "--proxy-port")] {
            let error = read(&[given]).unwrap_err();
            assert!(error.contains(&format!(": did you mean {known}?;")), "{error}");
        }
        assert!(!read(&["--colour"]).unwrap_err().contains("did you mean"));
    }

    #[test]
    fn the_version_is_a_command() {
        assert_eq!(read(&["--version"]), Ok(Command::Version));
        assert_eq!(read(&["-V"]), Ok(Command::Version));
    }

    #[test]
    fn the_help_names_every_port_with_its_default() {
        assert_eq!(read(&["--help"]), Ok(Command::Help));
        let flags = ["proxy", "admin", "metrics", "scaler", "scaler-metrics", "otlp"];
        for (flag, default) in flags.into_iter().zip(crate::listening::FIRST..) {
            let flag = format!("--{flag}-port");
            let line = HELP.lines().find(|line| line.contains(&format!("  {flag} "))).unwrap();
            assert!(line.ends_with(&format!("(default: {default})")), "{line}");
            assert!(read(&[&flag, "1"]).is_ok(), "{flag}");
        }
    }
}
