//! InterceptorRoutes.

use anyhow::Result;

use super::Space;

impl Space {
    /// An InterceptorRoute to the Service of the same name, for the host of that name; `more` is what else its `spec` has,
    /// each line indented by two spaces. It is ready when this returns.
    ///
    /// # Errors
    /// When it is refused or not ready in time.
    pub async fn route(&self, name: &str, more: &str) -> Result<()> {
        self.route_to(name, name, more).await?;
        self.route_ready(name).await
    }

    /// As [`Self::route`], to the Service `service`, without waiting until it is ready.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn route_to(&self, name: &str, service: &str, more: &str) -> Result<()> {
        let target = format!("{{service: {service}, port: 8080}}");
        let rules = format!("[{{hosts: [{}]}}]", self.host(name));
        self.route_by(name, &target, &rules, more).await
    }

    /// An InterceptorRoute with this `target` and these `rules`, without waiting until it is ready.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn route_by(&self, name: &str, target: &str, rules: &str, more: &str) -> Result<()> {
        let metric = match more.contains("scalingMetric") {
            true => "",
            false => "  scalingMetric: {concurrency: {targetValue: 100}}\n",
        };
        self.apply(&format!(
            "apiVersion: http.keda.sh/v1beta1
kind: InterceptorRoute
metadata: {{name: {name}}}
spec:
  target: {target}
  rules: {rules}
{metric}{more}"
        ))
        .await
    }

    /// Waits until an InterceptorRoute is ready.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn route_ready(&self, name: &str) -> Result<()> {
        self.ready("http.keda.sh/v1beta1", "InterceptorRoute", name).await
    }
}
