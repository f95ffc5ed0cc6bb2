//! Readiness probes: what is asked, and what the answers mean.

use std::time::Duration;

use k8s_openapi::api::core::v1::{HTTPGetAction, Probe as Declared};

use keda_http_kubernetes::fields::FieldError;

use super::TargetPort;

#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    pub action: Action,
    /// Where in the Deployment its port or command is, for messages.
    pub field: String,
    /// `initialDelaySeconds`, default 0.
    pub initial_delay: Duration,
    /// `periodSeconds`, default 10.
    pub period: Duration,
    /// `timeoutSeconds`, default 1.
    pub timeout: Duration,
    /// `successThreshold`, default 1.
    pub successes: u32,
    /// `failureThreshold`, default 3.
    pub failures: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `httpGet`: statuses 200 to 399 are good.
    HttpGet {
        /// Path and query.
        path: String,
        /// The container's port.
        port: TargetPort,
        headers: Vec<(String, String)>,
    },
    /// `tcpSocket`: a connection that opens is good.
    TcpSocket(TargetPort),
    /// `exec`: exit code 0 is good.
    Exec(Vec<String>),
}

impl Probe {
    /// Reads the readiness probe of the container at `at`.
    ///
    /// # Errors
    /// When it asks for something that is not supported here.
    pub fn read(declared: &Declared, at: &str) -> Result<Self, FieldError> {
        let seconds =
            |given: Option<i32>, default: u32| given.and_then(|given| u32::try_from(given).ok()).unwrap_or(default);
        let at_least_one = |given, default| seconds(given, default).max(1);
        let duration = |seconds: u32| Duration::from_secs(seconds.into());
        let action = Action::read(declared)
            .map_err(|(field, reason)| FieldError::new(format_args!("{at}.readinessProbe{field}"), reason))?;
        Ok(Self {
            field: format!("{at}.readinessProbe.{}", action.field()),
            action,
            initial_delay: duration(seconds(declared.initial_delay_seconds, 0)),
            period: duration(at_least_one(declared.period_seconds, 10)),
            timeout: duration(at_least_one(declared.timeout_seconds, 1)),
            successes: at_least_one(declared.success_threshold, 1),
            failures: at_least_one(declared.failure_threshold, 3),
        })
    }
}

impl Probe {
    /// The field to blame when the app has responded: its port is right then.
    pub fn path_field(&self) -> String {
        self.field.replace("httpGet.port", "httpGet.path")
    }
}

impl Action {
    fn read(declared: &Declared) -> Result<Self, (&'static str, String)> {
        if let Some(get) = &declared.http_get {
            return http_get(get);
        }
        if let Some(socket) = &declared.tcp_socket {
            let port = TargetPort::read(&socket.port).ok_or((".tcpSocket.port", no_port()))?;
            return Ok(Self::TcpSocket(port));
        }
        let command = declared
            .exec
            .as_ref()
            .and_then(|exec| exec.command.clone())
            .filter(|command| !command.is_empty());
        command
            .map(Self::Exec)
            .ok_or(("", "allowed here: httpGet, tcpSocket, exec with a command".to_owned()))
    }

    fn field(&self) -> &'static str {
        match self {
            Self::HttpGet { .. } => "httpGet.port",
            Self::TcpSocket(_) => "tcpSocket.port",
            Self::Exec(_) => "exec.command",
        }
    }

    /// The port it asks, if it asks one.
    pub fn port(&self) -> Option<&TargetPort> {
        match self {
            Self::HttpGet { port, .. } | Self::TcpSocket(port) => Some(port),
            Self::Exec(_) => None,
        }
    }
}

fn http_get(get: &HTTPGetAction) -> Result<Action, (&'static str, String)> {
    if get.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") {
        return Err((".httpGet.scheme", "allowed here: HTTP".to_owned()));
    }
    let headers = get.http_headers.iter().flatten();
    Ok(Action::HttpGet {
        path: get
            .path
            .clone()
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| "/".to_owned()),
        port: TargetPort::read(&get.port).ok_or((".httpGet.port", no_port()))?,
        headers: headers
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
    })
}

fn no_port() -> String {
    "is not a valid port: 1 to 65535, or a name".to_owned()
}

/// Whether a pod is ready by the answers to its probe so far.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    ready: bool,
    successes: u32,
    failures: u32,
}

impl Answers {
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Records an answer; `Some` when it has made the pod ready or unready.
    pub fn record(&mut self, good: bool, probe: &Probe) -> Option<bool> {
        if good {
            self.successes += 1;
            self.failures = 0;
        } else {
            self.failures += 1;
            self.successes = 0;
        }
        let ready = match self.ready {
            false => self.successes >= probe.successes,
            true => self.failures < probe.failures,
        };
        (std::mem::replace(&mut self.ready, ready) != ready).then_some(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Probe, FieldError> {
        Probe::read(&serde_saphyr::from_str(yaml).unwrap(), "c")
    }

    #[test]
    fn defaults_are_those_of_kubernetes() {
        let probe = read("httpGet: {port: http}").unwrap();
        let seconds = |duration: Duration| duration.as_secs();
        assert_eq!(
            (
                seconds(probe.initial_delay),
                seconds(probe.period),
                seconds(probe.timeout)
            ),
            (0, 10, 1)
        );
        assert_eq!((probe.successes, probe.failures), (1, 3));
        let action = Action::HttpGet {
            path: "/".to_owned(),
            port: TargetPort::Name("http".to_owned()),
            headers: Vec::new(),
        };
        assert_eq!(probe.action, action);
    }

    #[test]
    fn a_probe_that_is_not_supported_is_refused_by_field() {
        let table = [
            (
                "httpGet: {port: 8080, scheme: HTTPS}",
                "c.readinessProbe.httpGet.scheme: allowed here: HTTP",
            ),
            (
                "httpGet: {port: 0}",
                "c.readinessProbe.httpGet.port: is not a valid port: 1 to 65535, or a name",
            ),
            (
                "grpc: {port: 1}",
                "c.readinessProbe: allowed here: httpGet, tcpSocket, exec with a command",
            ),
            (
                "exec: {command: []}",
                "c.readinessProbe: allowed here: httpGet, tcpSocket, exec with a command",
            ),
        ];
        for (yaml, message) in table {
            assert_eq!(read(yaml).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_pod_is_ready_after_enough_successes_in_a_row_and_unready_after_enough_failures() {
        let probe = read("{tcpSocket: {port: 1}, successThreshold: 2, failureThreshold: 3}").unwrap();
        let mut answers = Answers::default();
        let changes: Vec<_> = [
            true, false, true, true, true, false, false, true, false, false, false, false,
        ]
        .map(|good| answers.record(good, &probe))
        .to_vec();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(
            changes,
            [None, None, None, yes, None, None, None, None, None, None, no, None]
        );
    }
}
