//! `GetMetricSpec` and `StreamMetricSpec`: the metrics of a subject, now and whenever they change.

use futures_util::{Stream, stream};
use keda_http_proto::externalscaler::{GetMetricSpecResponse, MetricSpec, ScaledObjectRef};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::external_scaler::subject::{Metric, Subject, SubjectError};
use crate::external_scaler::{Service, whole};
use crate::metrics::{OpenStream, StreamKind};
use crate::objects::Objects;

/// One open stream.
pub struct SpecStream {
    call: ScaledObjectRef,
    objects: Objects,
    changes: watch::Receiver<()>,
    /// What is to be told next.
    due: Option<GetMetricSpecResponse>,
    /// What was told last.
    told: GetMetricSpecResponse,
    shutdown: CancellationToken,
    _open: OpenStream,
}

/// The specs of a subject.
pub fn specs(subject: &Subject) -> GetMetricSpecResponse {
    GetMetricSpecResponse {
        metric_specs: subject.metrics.iter().map(spec).collect(),
    }
}

/// `targetSize` is for versions of KEDA that know only that: rounded up, so that it is never a target of 0.
fn spec(metric: &Metric) -> MetricSpec {
    MetricSpec {
        metric_name: metric.name.clone(),
        target_size: whole(metric.target),
        target_size_float: if metric.whole { 0.0 } else { metric.target },
    }
}

impl SpecStream {
    /// The current specs come first.
    ///
    /// # Errors
    /// When the call has no subject.
    pub fn open(call: ScaledObjectRef, service: &Service) -> Result<Self, SubjectError> {
        let changes = service.objects.changes();
        let current = specs(&Subject::of(&call, &service.objects)?);
        Ok(Self {
            call,
            objects: service.objects.clone(),
            changes,
            due: Some(current),
            told: GetMetricSpecResponse::default(),
            shutdown: service.shutdown.clone(),
            _open: service.metrics.stream_opened(StreamKind::StreamMetricSpec),
        })
    }

    /// The messages; they end with OK on shutdown.
    pub fn messages(self) -> impl Stream<Item = Result<GetMetricSpecResponse, Status>> {
        stream::unfold(self, async |mut this| Some((Ok(this.next_specs().await?), this)))
    }

    async fn next_specs(&mut self) -> Option<GetMetricSpecResponse> {
        loop {
            if let Some(due) = self.due.take() {
                self.told = due.clone();
                return Some(due);
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                Ok(()) = self.changes.changed() => self.look(),
            }
        }
    }

    /// While the object is gone the last specs stand: the HPA keeps what it has.
    fn look(&mut self) {
        let current = Subject::of(&self.call, &self.objects).map(|subject| specs(&subject));
        self.due = current.ok().filter(|current| *current != self.told);
    }
}
