//! KEDA's external scaler service: it translates between KEDA's messages and the combined demand. No call changes
//! state.

mod activity;
mod specs;
mod subject;

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use keda_http_core::demand::Reading;
use keda_http_proto::externalscaler::external_scaler_server::ExternalScaler;
use keda_http_proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricValue, ScaledObjectRef,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::demand::SharedDemand;
use crate::interceptors::peers::Peers;
use crate::metrics::Metrics;
use crate::objects::ScalingObjects;
use activity::ActivityStream;
use specs::SpecStream;
use subject::{CallSubject, Metric};

/// The service; cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(crate) demand: SharedDemand,
    pub(crate) objects: ScalingObjects,
    /// Which interceptors are reachable, for the error when there is no data.
    pub(crate) peers: Peers,
    pub(crate) metrics: Metrics,
    /// Ends the streams, with OK.
    pub(crate) shutdown: CancellationToken,
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ExternalScaler for Service {
    type StreamIsActiveStream = Messages<IsActiveResponse>;
    type StreamMetricSpecStream = Messages<GetMetricSpecResponse>;

    async fn is_active(&self, call: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        let subject = CallSubject::resolve(call.get_ref(), &self.objects)?;
        let active = self.demand.is_active(&subject.scope);
        let result = self.known(active, subject.scope.scales_interceptors())?;
        Ok(Response::new(IsActiveResponse { result }))
    }

    async fn stream_is_active(
        &self,
        call: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let Self {
            demand,
            objects,
            metrics,
            shutdown,
            ..
        } = self.clone();
        let stream = ActivityStream::open(call.into_inner(), demand, objects, metrics)?;
        let messages = stream.messages().take_until(shutdown.cancelled_owned());
        Ok(Response::new(Box::pin(messages)))
    }

    async fn get_metric_spec(&self, call: Request<ScaledObjectRef>) -> Result<Response<GetMetricSpecResponse>, Status> {
        let subject = CallSubject::resolve(call.get_ref(), &self.objects)?;
        Ok(Response::new(specs::specs(&subject)))
    }

    async fn get_metrics(&self, call: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        let GetMetricsRequest {
            scaled_object_ref,
            metric_name,
        } = call.into_inner();
        let subject = CallSubject::resolve(&scaled_object_ref.unwrap_or_default(), &self.objects)?;
        let asked = subject
            .metrics
            .iter()
            .filter(|metric| metric_name.is_empty() || metric.name == metric_name);
        let metric_values = asked.map(|metric| self.value(metric)).collect::<Result<_, _>>()?;
        Ok(Response::new(GetMetricsResponse { metric_values }))
    }

    async fn stream_metric_spec(
        &self,
        call: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        let stream = SpecStream::open(call.into_inner(), self.objects.clone(), &self.metrics)?;
        let messages = stream.messages().take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(messages)))
    }
}

impl Service {
    /// `metricValue` is for versions of KEDA that know only that: rounded up, so that some demand never becomes 0.
    fn value(&self, metric: &Metric) -> Result<MetricValue, Status> {
        let value = self.demand.measure(&metric.measure);
        let value = self.known(value, metric.measure.scales_interceptors())?;
        Ok(MetricValue {
            metric_name: metric.name.clone(),
            metric_value: subject::round_up(value),
            metric_value_float: if metric.integers_only { 0.0 } else { value },
        })
    }

    /// "No data" is an error, never 0: KEDA then leaves the replicas unchanged.
    ///
    /// The exception is the scaling of the interceptors themselves: without an interceptor, nothing is pending. If that
    /// were "no data", KEDA would keep them at zero for ever, because it raises a workload to its minimum only while
    /// its triggers work.
    fn known<T: Default>(&self, reading: Reading<T>, scales_interceptors: bool) -> Result<T, Status> {
        match reading {
            Reading::Known(value) => Ok(value),
            Reading::NoData if scales_interceptors && self.peers.has_none() => Ok(T::default()),
            Reading::NoData => Err(Status::unavailable(self.peers.explain_no_data())),
        }
    }
}
