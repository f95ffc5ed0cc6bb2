//! The command line.

use std::path::PathBuf;

use crate::app::Options;

/// What `--help` prints.
pub const HELP: &str = "\
keda-http-local: runs ordinary Kubernetes manifests on this machine, scaled from zero by HTTP requests

It starts the real interceptor and scaler, plays kubelet and KEDA for the Deployments, Services and ScaledObjects
(or InterceptorRoutes) of a directory, and draws every cold start as a waterfall. No cluster is needed.

usage: keda-http-local [run|demo] [flags]

  run                         until Ctrl-C (default)
  demo                        send one cold and one warm request, wait until the app is at zero again, and tell by the
                              exit code whether all went well

  --manifests DIR             the manifests; changes are seen as they happen (default: the built-in hello example)
  --proxy-port PORT           the interceptor, for requests (default of all ports: a free one)
  --admin-port PORT           the interceptor: /readyz, /queue, /routes
  --metrics-port PORT         the interceptor: /metrics
  --scaler-port PORT          the scaler's gRPC
  --scaler-metrics-port PORT  the scaler: /readyz, /metrics
  --otlp-port PORT            receives spans (OTLP over gRPC)
  --run-dir DIR               where interceptor and scaler read their manifests (default: a temporary directory)
  --verbose                   interceptor and scaler log all that happens, not only warnings
  --help                      this text

The environment is passed on: KEDA_HTTP_READINESS_TIMEOUT=10s limits how long requests are held, for example.
NO_COLOR=1 prints without colour.

exit codes: 0 well, 1 failed, 64 the command line or the manifests cannot be used
";

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run until told to stop.
    Run(Options),
    /// The demo.
    Demo(Options),
    /// Print [`HELP`].
    Help,
}

/// A command line that cannot be used. Exit code 64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

const FLAGS: [&str; 10] = [
    "--manifests",
    "--proxy-port",
    "--admin-port",
    "--metrics-port",
    "--scaler-port",
    "--scaler-metrics-port",
    "--otlp-port",
    "--run-dir",
    "--verbose",
    "--help",
];

/// Reads the arguments, without the program's name. `--flag value` and `--flag=value` are the same.
///
/// # Errors
/// Names the argument that cannot be used, and what is allowed.
pub fn parse(args: impl IntoIterator<Item = String>, programs: PathBuf) -> Result<Command, UsageError> {
    let mut args = args.into_iter();
    let mut options = Options {
        programs,
        ..Options::default()
    };
    let mut demo = None;
    while let Some(arg) = args.next() {
        let (flag, inline) = match arg.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (arg, None),
        };
        match flag.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--verbose" => options.verbose = true,
            "run" | "demo" if demo.is_none() => demo = Some(flag == "demo"),
            _ if FLAGS.contains(&flag.as_str()) => {
                let value = inline.or_else(|| args.next()).filter(|value| !value.is_empty());
                set(
                    &mut options,
                    &flag,
                    value.ok_or_else(|| UsageError(format!("{flag} needs a value")))?,
                )?;
            }
            _ => {
                return Err(UsageError(format!(
                    "unknown argument {flag:?}; known: run, demo, {}",
                    FLAGS.join(", ")
                )));
            }
        }
    }
    Ok(if demo == Some(true) {
        Command::Demo(options)
    } else {
        Command::Run(options)
    })
}

fn set(options: &mut Options, flag: &str, value: String) -> Result<(), UsageError> {
    let port = |value: &str| {
        let port = value.parse().ok().filter(|port| *port > 0);
        port.map(Some)
            .ok_or_else(|| UsageError(format!("{flag} {value:?}: must be a port, 1 to 65535")))
    };
    let ports = &mut options.ports;
    match flag {
        "--manifests" => options.manifests = Some(PathBuf::from(value)),
        "--run-dir" => options.run_directory = Some(PathBuf::from(value)),
        "--proxy-port" => ports.proxy = port(&value)?,
        "--admin-port" => ports.admin = port(&value)?,
        "--metrics-port" => ports.metrics = port(&value)?,
        "--scaler-port" => ports.scaler = port(&value)?,
        "--scaler-metrics-port" => ports.scaler_metrics = port(&value)?,
        _ => ports.otlp = port(&value)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::GivenPorts;

    fn read(args: &[&str]) -> Result<Command, String> {
        parse(args.iter().map(|arg| (*arg).to_owned()), "bin".into()).map_err(|error| error.to_string())
    }

    fn options() -> Options {
        Options {
            programs: "bin".into(),
            ..Options::default()
        }
    }

    #[test]
    fn nothing_at_all_runs_the_example() {
        assert_eq!(read(&[]), Ok(Command::Run(options())));
        assert_eq!(read(&["run"]), Ok(Command::Run(options())));
    }

    #[test]
    fn flags_come_in_both_forms_and_any_order() {
        let expected = Options {
            manifests: Some("dir".into()),
            ports: GivenPorts {
                proxy: Some(8080),
                otlp: Some(4317),
                ..GivenPorts::default()
            },
            verbose: true,
            ..options()
        };
        let forms: [&[&str]; 2] = [
            &[
                "demo",
                "--manifests",
                "dir",
                "--proxy-port",
                "8080",
                "--otlp-port=4317",
                "--verbose",
            ],
            &[
                "--verbose",
                "--proxy-port=8080",
                "--manifests=dir",
                "--otlp-port",
                "4317",
                "demo",
            ],
        ];
        for form in forms {
            assert_eq!(read(form), Ok(Command::Demo(expected.clone())), "{form:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_with_what_is_allowed() {
        let table: [(&[&str], &str); 6] = [
            (
                &["--port", "1"],
                "unknown argument \"--port\"; known: run, demo, --manifests, --proxy-port",
            ),
            (&["run", "demo"], "unknown argument \"demo\""),
            (&["--manifests"], "--manifests needs a value"),
            (&["--manifests="], "--manifests needs a value"),
            (
                &["--proxy-port", "70000"],
                "--proxy-port \"70000\": must be a port, 1 to 65535",
            ),
            (&["--scaler-port=0"], "--scaler-port \"0\": must be a port, 1 to 65535"),
        ];
        for (args, message) in table {
            let error = read(args).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn the_help_names_every_flag_and_each_of_them_is_read() {
        assert_eq!(read(&["--help"]), Ok(Command::Help));
        for flag in FLAGS {
            assert!(HELP.contains(&format!("  {flag} ")), "{flag}");
            assert!(read(&[flag, "1"]).is_ok() || flag == "--verbose", "{flag}");
        }
    }
}
