//! KEDA's external scaler service: translation between its messages and what is known. Every call is a pure read.

pub mod activity;
pub mod specs;
pub mod subject;

use std::pin::Pin;

use futures_util::Stream;
use keda_http_core::demand::Reading;
use keda_http_proto::externalscaler::external_scaler_server::ExternalScaler;
use keda_http_proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricValue, ScaledObjectRef,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::demand::SharedDemand;
use crate::external_scaler::activity::ActivityStream;
use crate::external_scaler::specs::SpecStream;
use crate::external_scaler::subject::{Metric, Subject};
use crate::interceptors::peers::Peers;
use crate::metrics::Metrics;
use crate::objects::Objects;

/// The service; cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// What is pending.
    pub demand: SharedDemand,
    /// What upstream's objects say.
    pub objects: Objects,
    /// Who is reachable, for the error when nothing is known.
    pub peers: Peers,
    /// The instruments.
    pub metrics: Metrics,
    /// Ends the streams, with OK.
    pub shutdown: CancellationToken,
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ExternalScaler for Service {
    type StreamIsActiveStream = Messages<IsActiveResponse>;
    type StreamMetricSpecStream = Messages<GetMetricSpecResponse>;

    async fn is_active(&self, call: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        let subject = Subject::of(call.get_ref(), &self.objects)?;
        let active = self.demand.is_active(&subject.scope);
        let result = self.known(active, subject.scope.is_of_interceptors())?;
        Ok(Response::new(IsActiveResponse { result }))
    }

    async fn stream_is_active(
        &self,
        call: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let stream = ActivityStream::open(call.into_inner(), self)?;
        Ok(Response::new(Box::pin(stream.messages())))
    }

    async fn get_metric_spec(&self, call: Request<ScaledObjectRef>) -> Result<Response<GetMetricSpecResponse>, Status> {
        let subject = Subject::of(call.get_ref(), &self.objects)?;
        Ok(Response::new(specs::specs(&subject)))
    }

    async fn get_metrics(&self, call: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        let GetMetricsRequest {
            scaled_object_ref,
            metric_name,
        } = call.into_inner();
        let subject = Subject::of(&scaled_object_ref.unwrap_or_default(), &self.objects)?;
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
        let stream = SpecStream::open(call.into_inner(), self)?;
        Ok(Response::new(Box::pin(stream.messages())))
    }
}

impl Service {
    /// `metricValue` is for versions of KEDA that know only that: rounded up, so that some demand is never none.
    fn value(&self, metric: &Metric) -> Result<MetricValue, Status> {
        let value = self.demand.measure(&metric.measure);
        let value = self.known(value, metric.measure.is_of_interceptors())?;
        Ok(MetricValue {
            metric_name: metric.name.clone(),
            metric_value: whole(value),
            metric_value_float: if metric.whole { 0.0 } else { value },
        })
    }

    /// "No data" is an error, never 0: KEDA then leaves the replicas as they are.
    ///
    /// But where there is no interceptor, nothing is pending at interceptors. As "no data" KEDA would keep them at zero for ever:
    /// it lifts a workload to its minimum only while its triggers work.
    fn known<T: Default>(&self, reading: Reading<T>, of_interceptors: bool) -> Result<T, Status> {
        match reading {
            Reading::Known(value) => Ok(value),
            Reading::NoData if of_interceptors && self.peers.nobody_is_there() => Ok(T::default()),
            Reading::NoData => Err(Status::unavailable(self.peers.explain())),
        }
    }
}

/// Rounded up to a whole number.
#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates, which is right for a count beyond all counts"
)]
pub fn whole(value: f64) -> i64 {
    value.ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn some_demand_is_never_none() {
        assert_eq!((whole(0.0), whole(0.01), whole(1.0), whole(1.2)), (0, 1, 1, 2));
        assert_eq!(whole(f64::MAX), i64::MAX);
    }
}
