//! A client as KEDA is one, and the ScaledObjects it hands over.

use std::fmt::Debug;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use keda_http_proto::externalscaler::external_scaler_client::ExternalScalerClient;
use keda_http_proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, IsActiveResponse, MetricSpec, MetricValue, ScaledObjectRef,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// No test waits longer than this for what must happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Keda {
    client: ExternalScalerClient<Channel>,
}

impl Keda {
    pub fn of(address: SocketAddr) -> Self {
        Self {
            client: ExternalScalerClient::new(channel(address)),
        }
    }

    pub async fn is_active(&self, object: &ScaledObjectRef) -> Result<bool, Status> {
        Ok(self.client.clone().is_active(object.clone()).await?.into_inner().result)
    }

    pub async fn specs(&self, object: &ScaledObjectRef) -> Result<Vec<MetricSpec>, Status> {
        Ok(self
            .client
            .clone()
            .get_metric_spec(object.clone())
            .await?
            .into_inner()
            .metric_specs)
    }

    pub async fn metrics(&self, object: &ScaledObjectRef, name: &str) -> Result<Vec<MetricValue>, Status> {
        let request = GetMetricsRequest {
            scaled_object_ref: Some(object.clone()),
            metric_name: name.to_owned(),
        };
        Ok(self
            .client
            .clone()
            .get_metrics(request)
            .await?
            .into_inner()
            .metric_values)
    }

    pub async fn stream(&self, object: &ScaledObjectRef) -> Result<Streaming<IsActiveResponse>, Status> {
        Ok(self.client.clone().stream_is_active(object.clone()).await?.into_inner())
    }

    pub async fn spec_stream(&self, object: &ScaledObjectRef) -> Result<Streaming<GetMetricSpecResponse>, Status> {
        Ok(self
            .client
            .clone()
            .stream_metric_spec(object.clone())
            .await?
            .into_inner())
    }
}

pub fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

/// The next message, or the end, of a stream that is still fine.
pub async fn next<T>(stream: &mut Streaming<T>) -> Option<T> {
    within(stream.message()).await.expect("the stream ends with OK")
}

/// What must happen, happens.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("within the deadline")
}

/// Asks until the answer is as wanted.
pub async fn until<T: Debug, F: Future<Output = T>>(ask: impl Fn() -> F, wanted: impl Fn(&T) -> bool) -> T {
    let asking = async {
        loop {
            let answer = ask().await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(asking).await
}

/// Waits until the answer is as wanted.
pub async fn wait_until<T: Debug, F: Future<Output = T>>(ask: impl Fn() -> F, wanted: impl Fn(&T) -> bool) {
    drop(until(ask, wanted).await);
}

/// The ScaledObject `shop/<name>` with this metadata.
pub fn object<'a>(name: &str, metadata: impl IntoIterator<Item = (&'a str, &'a str)>) -> ScaledObjectRef {
    let metadata = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    ScaledObjectRef {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        scaler_metadata: metadata.collect(),
    }
}

/// A `kedify-http` trigger of `shop/api`, with more or other metadata.
pub fn kedify<'a>(metric: &'a str, more: impl IntoIterator<Item = (&'a str, &'a str)>) -> ScaledObjectRef {
    let base = [
        ("hosts", "api.example"),
        ("service", "api"),
        ("port", "80"),
        ("scalingMetric", metric),
    ];
    object("api", base.into_iter().chain(more))
}
