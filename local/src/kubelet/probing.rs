//! Asks a replica whether it is ready.

use std::convert::Infallible;
use std::sync::LazyLock;

use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::process::{Launch, Process};
use crate::workload::PortRef;
use crate::workload::environment::PodPorts;
use crate::workload::probe::{Action, Answers, Probe};

/// Probes for as long as it is polled, and announces each change.
pub(super) async fn follow(probe: &Probe, ports: &PodPorts, launch: &Launch, announce: impl Fn(bool)) -> Infallible {
    let mut answers = Answers::default();
    sleep(probe.initial_delay).await;
    let mut period = interval(probe.period);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let good = timeout(probe.timeout, ask(&probe.action, ports, launch))
            .await
            .unwrap_or(false);
        if let Some(ready) = answers.take(good, probe) {
            announce(ready);
        }
    }
}

async fn ask(action: &Action, ports: &PodPorts, launch: &Launch) -> bool {
    match action {
        Action::HttpGet { path, port, headers } => match ports.find(port) {
            Some(port) => http_get(port, path, headers).await,
            None => false,
        },
        Action::TcpSocket(port) => connects(ports, port).await,
        Action::Exec(command) => exec(command, launch).await,
    }
}

async fn http_get(port: u16, path: &str, headers: &[(String, String)]) -> bool {
    // One client for all, without kept connections: a probe must see whether a new connection is taken.
    static CLIENT: LazyLock<Option<reqwest::Client>> = LazyLock::new(|| {
        let builder = reqwest::Client::builder().user_agent("kube-probe/1.35").no_proxy();
        builder
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .build()
            .ok()
    });
    let Some(client) = CLIENT.as_ref() else { return false };
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut request = client.get(format!("http://127.0.0.1:{port}{slash}{path}"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
        .send()
        .await
        .is_ok_and(|response| (200..400).contains(&response.status().as_u16()))
}

async fn connects(ports: &PodPorts, port: &PortRef) -> bool {
    match ports.find(port) {
        Some(port) => TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
        None => false,
    }
}

/// In the replica's own environment; dropped when its time is over, it is killed.
async fn exec(command: &[String], launch: &Launch) -> bool {
    let Some((program, args)) = command.split_first() else {
        return false;
    };
    let launch = Launch {
        program: program.clone(),
        args: args.to_vec(),
        ..launch.clone()
    };
    match Process::start(&launch, None) {
        Ok(mut process) => process.ended().await.is_ok_and(|status| status.success()),
        Err(_) => false,
    }
}
