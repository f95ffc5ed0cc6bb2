//! The scaler under test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use keda_http_runtime::env::Environment;
use keda_http_runtime::process::Process;
use keda_http_runtime::settings;
use keda_http_scaler::app::App;
use keda_http_scaler::config::Config;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::keda::{Keda, within};

pub struct Scaler {
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    pub keda: Keda,
    pub shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Scaler {
    /// With free ports on loopback, and these interceptors and settings.
    pub async fn start(interceptors: &[SocketAddr], variables_of_test: &[(&str, &str)]) -> Self {
        let list: Vec<String> = interceptors.iter().map(SocketAddr::to_string).collect();
        let list = list.join(",");
        let mut variables = BTreeMap::from([
            ("KEDA_HTTP_SCALER_INTERCEPTORS", list.as_str()),
            ("KEDA_HTTP_BIND_ADDRESS", "127.0.0.1"),
            ("KEDA_HTTP_SCALER_PORT", "0"),
            ("OTEL_PROM_EXPORTER_PORT", "0"),
        ]);
        variables.extend(variables_of_test.iter().copied());
        let (config, table) = settings::read(&Environment::of(variables), Config::read).unwrap();
        let process = Process {
            settings: Arc::new(table),
            ..Process::default()
        };
        let bound = App::bind(config, process).await.unwrap();
        let shutdown = CancellationToken::new();
        Self {
            address: bound.addresses.keda,
            metrics: bound.addresses.metrics.unwrap(),
            keda: Keda::of(bound.addresses.keda),
            shutdown: shutdown.clone(),
            running: tokio::spawn(bound.run(shutdown)),
        }
    }

    /// The end of `run`, which something else has asked for.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        within(&mut self.running).await.unwrap()
    }

    pub async fn metrics(&self) -> String {
        let response = reqwest::get(format!("http://{}/metrics", self.metrics)).await.unwrap();
        response.text().await.unwrap()
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
