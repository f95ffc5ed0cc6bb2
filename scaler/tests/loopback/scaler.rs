//! The scaler under test.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use keda_http_runtime::env::Environment;
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
    pub async fn start(interceptors: &[SocketAddr], settings: &[(&str, &str)]) -> Self {
        let list: Vec<String> = interceptors.iter().map(SocketAddr::to_string).collect();
        let list = list.join(",");
        let mut variables = BTreeMap::from([
            ("KEDA_HTTP_SCALER_INTERCEPTORS", list.as_str()),
            ("KEDA_HTTP_BIND_ADDRESS", "127.0.0.1"),
            ("KEDA_HTTP_SCALER_PORT", "0"),
            ("OTEL_PROM_EXPORTER_PORT", "0"),
        ]);
        variables.extend(settings.iter().copied());
        let config = Config::read(&Environment::of(variables)).unwrap();
        let bound = App::bind(config, None).await.unwrap();
        let shutdown = CancellationToken::new();
        Self {
            address: bound.address,
            metrics: bound.metrics_address.unwrap(),
            keda: Keda::of(bound.address),
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
