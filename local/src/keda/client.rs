//! KEDA's calls of an external scaler, for one trigger.

use std::collections::HashMap;

use keda_http_proto::externalscaler::external_scaler_client::ExternalScalerClient;
use keda_http_proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, IsActiveResponse, MetricSpec, ScaledObjectRef,
};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::{Plan, Trigger};

/// What a metric is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub name: String,
    pub target: f64,
}

/// The result of one read of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredValue {
    pub value: f64,
    pub active: bool,
}

/// The calls for one trigger. Cheap to clone. None of them has a deadline, as in KEDA.
#[derive(Debug, Clone)]
pub struct Client {
    scaler: ExternalScalerClient<Channel>,
    object: ScaledObjectRef,
}

impl Client {
    pub fn new(scaler: Channel, plan: &Plan, trigger: &Trigger) -> Self {
        let metadata: HashMap<String, String> = trigger.metadata.clone().into_iter().collect();
        Self {
            scaler: ExternalScalerClient::new(scaler),
            object: ScaledObjectRef {
                name: plan.key.name.clone(),
                namespace: plan.key.namespace.clone(),
                scaler_metadata: metadata,
            },
        }
    }

    /// GetMetricSpec. An empty answer is asked for again once, and is then an error.
    pub async fn specs(&self) -> Result<Vec<Spec>, Status> {
        for _ in 0..2 {
            let answer = self.scaler.clone().get_metric_spec(self.object.clone()).await?;
            let specs = specs(answer.into_inner());
            if !specs.is_empty() {
                return Ok(specs);
            }
        }
        Err(Status::internal("got empty metric spec"))
    }

    /// One read of a metric: GetMetrics and then IsActive.
    pub async fn value(&self, metric: &str) -> Result<MeasuredValue, Status> {
        let request = GetMetricsRequest {
            scaled_object_ref: Some(self.object.clone()),
            metric_name: metric.to_owned(),
        };
        let values = self.scaler.clone().get_metrics(request).await?;
        let values = values.into_inner().metric_values;
        // KEDA takes the value of the name it has asked for.
        let value = values
            .iter()
            .find(|value| value.metric_name == metric)
            .or(values.first());
        let value = value.ok_or_else(|| Status::internal(format!("no value for metric {metric}")))?;
        let value = newer(value.metric_value_float, value.metric_value);
        Ok(MeasuredValue {
            value,
            active: self.is_active().await?,
        })
    }

    async fn is_active(&self) -> Result<bool, Status> {
        let answer = self.scaler.clone().is_active(self.object.clone()).await?;
        Ok(answer.into_inner().result)
    }

    /// StreamIsActive.
    pub async fn activity(&self) -> Result<Streaming<IsActiveResponse>, Status> {
        let answer = self.scaler.clone().stream_is_active(self.object.clone()).await?;
        Ok(answer.into_inner())
    }

    /// StreamMetricSpec.
    pub async fn spec_changes(&self) -> Result<Streaming<GetMetricSpecResponse>, Status> {
        let answer = self.scaler.clone().stream_metric_spec(self.object.clone()).await?;
        Ok(answer.into_inner())
    }
}

pub fn specs(answer: GetMetricSpecResponse) -> Vec<Spec> {
    let spec = |spec: MetricSpec| Spec {
        target: newer(spec.target_size_float, spec.target_size),
        name: spec.metric_name,
    };
    answer.metric_specs.into_iter().map(spec).collect()
}

/// The floating-point field is used when it is greater than 0.
fn newer(float: f64, deprecated: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "metrics are far below 2^52")]
    let whole = deprecated as f64;
    if float > 0.0 { float } else { whole }
}
