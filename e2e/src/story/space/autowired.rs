//! ScaledObjects whose Service leads to the interceptors.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::{PATIENCE, Space};
use crate::story::cluster::INTERCEPTOR;
use crate::wait;

impl Space {
    /// The demo app's Service here that leads nowhere by itself, for `trafficAutowire: service`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn selectorless(&self, name: &str) -> Result<()> {
        self.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{name: http, port: 8080}}]}}\n"
        ))
        .await
    }

    /// A ScaledObject with one `kedify-http` trigger with `trafficAutowire: service` for the app: its pods are behind
    /// `NAME`, callers use the Service `NAME-front`, whose URL this gives.
    ///
    /// # Errors
    /// When it is refused or not ready in time.
    pub async fn autowired(&self, name: &str, max: u32) -> Result<String> {
        self.autowired_from(name, 0, max, &[]).await
    }

    /// As [`Self::autowired`], with a minimum of replicas, and `more` keys of the trigger's metadata or others for those it has.
    ///
    /// # Errors
    /// When it is refused or not ready in time.
    pub async fn autowired_from(&self, name: &str, min: u32, max: u32, more: &[(&str, &str)]) -> Result<String> {
        self.selectorless(&format!("{name}-front")).await?;
        let mut settings = BTreeMap::from([
            ("scalingMetric", "requestRate"),
            ("targetValue", "1000"),
            ("granularity", "1s"),
            ("window", "2s"),
        ]);
        settings.extend(more.iter().copied());
        let mut metadata = String::new();
        for (key, value) in settings {
            writeln!(metadata, "        {key}: '{value}'")?;
        }
        let host = self.host(name);
        let trigger = format!(
            "    - type: kedify-http
      metadata:
        hosts: {host}
        service: {name}-front
        fallbackService: {name}
        port: '8080'
        trafficAutowire: service
{metadata}"
        );
        self.triggered(name, min..=max, &trigger).await?;
        let front = format!("{name}-front");
        self.wired(&front).await?;
        self.url(&front, 8080).await
    }

    /// Waits until a Service leads to the interceptors. Connections that were opened before stay where they are.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wired(&self, service: &str) -> Result<()> {
        wait::until("the Service does not lead to the interceptors", PATIENCE, async || {
            let pods = self.cluster.system(INTERCEPTOR).pods().await.ok()?;
            let interceptors: Vec<_> = pods.into_iter().filter_map(|pod| pod.status?.pod_ip).collect();
            let endpoints = self.endpoints(service).await.ok()?;
            let all = endpoints.iter().all(|endpoint| interceptors.contains(endpoint));
            (all && !endpoints.is_empty()).then_some(())
        })
        .await
        .with_context(|| service.to_owned())
    }
}
