//! Asks a replica whether it is ready.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::process::{Launch, Process, describe};
use crate::workload::TargetPort;
use crate::workload::environment::PodPorts;
use crate::workload::probe::{Action, Answers, Probe};

/// How long a replica may take to start before it is reported that it is not ready.
const PATIENCE: Duration = Duration::from_secs(5);

/// A change of what the probe knows.
pub(super) enum Probed {
    Ready,
    NoLongerReady(String),
    /// Not ready since the start, and why; reported once for each reason.
    StillNotReady(String),
}

/// Why a probe failed.
struct Failure {
    reason: String,
    /// Whether waiting can help.
    is_permanent: bool,
    /// Whether the app has responded.
    has_response: bool,
}

impl Failure {
    fn new(reason: String) -> Self {
        Self {
            reason,
            is_permanent: false,
            has_response: false,
        }
    }
}

impl Failure {
    fn field(&self, probe: &Probe) -> String {
        if self.has_response {
            probe.path_field()
        } else {
            probe.field.clone()
        }
    }
}

/// Probes for as long as it is polled, and announces what has changed.
pub(super) async fn follow(probe: &Probe, ports: &PodPorts, launch: &Launch, announce: impl Fn(Probed)) -> Infallible {
    let mut answers = Answers::default();
    let mut reported = None;
    let started = Instant::now();
    sleep(probe.initial_delay).await;
    let mut period = interval(probe.period);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let failure = ask_in_time(probe, ports, launch).await.err();
        match (answers.record(failure.is_none(), probe), failure) {
            (Some(true), _) => {
                reported = None;
                announce(Probed::Ready);
            }
            (Some(false), failure) => {
                let reason = failure.map(|failure| failure.reason).unwrap_or_default();
                reported = Some(reason.clone());
                announce(Probed::NoLongerReady(reason));
            }
            (None, Some(failure))
                if !answers.is_ready()
                    && (failure.is_permanent || started.elapsed() >= PATIENCE)
                    && reported.as_ref() != Some(&failure.reason) =>
            {
                reported = Some(failure.reason.clone());
                let field = failure.field(probe);
                announce(Probed::StillNotReady(format!("{} ({field})", failure.reason)));
            }
            (None, _) => {}
        }
    }
}

async fn ask_in_time(probe: &Probe, ports: &PodPorts, launch: &Launch) -> Result<(), Failure> {
    match timeout(probe.timeout, ask(&probe.action, ports, launch)).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::new(format!(
            "the probe got no answer within {} s",
            probe.timeout.as_secs()
        ))),
    }
}

async fn ask(action: &Action, ports: &PodPorts, launch: &Launch) -> Result<(), Failure> {
    match action {
        Action::HttpGet { path, port, headers } => http_get(find(ports, port)?, ports, path, headers).await,
        Action::TcpSocket(port) => connect(find(ports, port)?, ports).await,
        Action::Exec(command) => exec(command, launch).await,
    }
}

fn find(ports: &PodPorts, port: &TargetPort) -> Result<u16, Failure> {
    ports.find(port).ok_or_else(|| Failure {
        reason: format!("the container declares no port {port}"),
        is_permanent: true,
        has_response: false,
    })
}

async fn http_get(port: u16, ports: &PodPorts, path: &str, headers: &[(String, String)]) -> Result<(), Failure> {
    // One client for all, without kept connections: a probe must see whether a new connection is accepted.
    static CLIENT: LazyLock<Option<reqwest::Client>> = LazyLock::new(|| {
        let builder = reqwest::Client::builder().user_agent("kube-probe/1.35").no_proxy();
        builder
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .build()
            .ok()
    });
    let client = CLIENT
        .as_ref()
        .ok_or_else(|| Failure::new("there is no HTTP client".to_owned()))?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let url = format!("http://127.0.0.1:{port}{slash}{path}");
    let mut request = client.get(&url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    match request.send().await {
        Ok(response) if (200..400).contains(&response.status().as_u16()) => Ok(()),
        Ok(response) => Err(Failure {
            has_response: true,
            ..Failure::new(format!("GET {url} returned {}", response.status().as_u16()))
        }),
        Err(error) => {
            let refusal = root_cause(&error).downcast_ref().filter(|_| error.is_connect());
            Err(Failure::new(match refusal {
                Some(refusal) => explain_refusal(port, ports, refusal).await,
                None => format!("GET {url} failed: {}", root_cause(&error)),
            }))
        }
    }
}

fn root_cause<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// A connection that opens is good.
async fn connect(port: u16, ports: &PodPorts) -> Result<(), Failure> {
    let Err(error) = TcpStream::connect(("127.0.0.1", port)).await else {
        return Ok(());
    };
    Err(Failure::new(explain_refusal(port, ports, &error).await))
}

/// Says what the app must do.
async fn explain_refusal(port: u16, ports: &PodPorts, error: &std::io::Error) -> String {
    let variable = ports.variable(port);
    let refused = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "refused the connection".to_owned(),
        _ => format!("cannot be reached ({error})"),
    };
    let hint = if TcpStream::connect(("::1", port)).await.is_ok() {
        "the app listens on [::1] only; it must listen on 127.0.0.1 or on all addresses".to_owned()
    } else {
        format!("the app must listen on 127.0.0.1 (or 0.0.0.0) and on the port in {variable}")
    };
    format!("127.0.0.1:{port} {refused} ({variable}): {hint}")
}

/// Why requests will not reach a replica that counts as ready, some time after its start.
pub(super) async fn check_main_port(ports: &PodPorts) -> Result<(), String> {
    sleep(PATIENCE).await;
    connect(ports.main, ports).await.map_err(|failure| failure.reason)
}

/// In the replica's own environment. When it is dropped because its time is over, the process is killed.
async fn exec(command: &[String], launch: &Launch) -> Result<(), Failure> {
    let (program, args) = command
        .split_first()
        .ok_or_else(|| Failure::new("the command is empty".to_owned()))?;
    let launch = Launch {
        program: program.clone(),
        args: args.to_vec(),
        ..launch.clone()
    };
    let failed = |reason: String| Failure::new(format!("the command {} {reason}", command.join(" ")));
    let mut process = Process::start(&launch, None).map_err(|error| failed(format!("cannot be started: {error}")))?;
    match process.wait().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("ended with {}", describe(status)))),
        Err(error) => Err(failed(format!("failed: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv6Addr, TcpListener};

    use super::*;

    fn ports(main: u16) -> PodPorts {
        PodPorts {
            by_number: BTreeMap::from([(8080, main)]),
            by_name: BTreeMap::from([("http".to_owned(), main)]),
            main,
        }
    }

    async fn reason(action: Action, ports: &PodPorts) -> String {
        let answer = ask(&action, ports, &Launch::default()).await;
        answer.err().map(|failure| failure.reason).unwrap_or_default()
    }

    fn get(path: &str) -> Action {
        Action::HttpGet {
            path: path.to_owned(),
            port: TargetPort::Number(8080),
            headers: Vec::new(),
        }
    }

    #[tokio::test]
    async fn fault_c4_an_app_on_another_port_or_address_is_recognised() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for action in [get("/"), Action::TcpSocket(TargetPort::Name("http".to_owned()))] {
            assert_eq!(
                reason(action, &ports(closed)).await,
                format!(
                    "127.0.0.1:{closed} refused the connection (PORT): the app must listen on 127.0.0.1 (or \
                     0.0.0.0) and on the port in PORT"
                )
            );
        }
        let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
            return; // a machine without IPv6
        };
        let port = listener.local_addr().unwrap().port();
        let reason = reason(get("/"), &ports(port)).await;
        assert!(reason.contains("the app listens on [::1] only"), "{reason}");
    }

    #[tokio::test]
    async fn an_app_that_only_accepts_connections_after_the_refusal_has_not_passed() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (action, ports, launch) = (get("/"), ports(closed), Launch::default());
        let mut probe = std::pin::pin!(ask(&action, &ports, &launch));
        let mut listener = None; // from the middle of the probe on
        let answer = std::future::poll_fn(|context| {
            let answer = probe.as_mut().poll(context);
            if answer.is_pending() && listener.is_none() {
                listener = Some(TcpListener::bind(("127.0.0.1", closed)).unwrap());
            }
            answer
        });
        let failure = answer.await.expect_err("no HTTP response has come");
        assert!(
            listener.is_some() && failure.reason.contains("refused"),
            "{}",
            failure.reason
        );
    }

    #[tokio::test]
    async fn fault_c4_a_wrong_path_and_an_unknown_port_are_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = axum::Router::new().route("/right", axum::routing::get(async || "OK"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        assert_eq!(reason(get("/right"), &ports(port)).await, "");
        assert_eq!(
            reason(get("/wrong"), &ports(port)).await,
            format!("GET http://127.0.0.1:{port}/wrong returned 404")
        );
        let probe = serde_saphyr::from_str("httpGet: {path: /wrong, port: 8080}").unwrap();
        let probe = Probe::read(&probe, "c").unwrap();
        let failure = ask(&probe.action, &ports(port), &Launch::default()).await.unwrap_err();
        assert_eq!(failure.field(&probe), "c.readinessProbe.httpGet.path");
        let unknown = Action::TcpSocket(TargetPort::Name("web".to_owned()));
        assert_eq!(
            reason(unknown, &ports(port)).await,
            "the container declares no port named \"web\""
        );
    }
}
