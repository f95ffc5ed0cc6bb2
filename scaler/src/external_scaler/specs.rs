//! `GetMetricSpec` and `StreamMetricSpec`: the metrics of a subject, now and whenever they change.

use futures_util::{Stream, stream};
use keda_http_proto::externalscaler::{GetMetricSpecResponse, MetricSpec, ScaledObjectRef};
use tokio::sync::watch;
use tonic::Status;

use super::subject::{CallSubject, Metric, SubjectError, round_up};
use crate::metrics::{Metrics, OpenStream};
use crate::objects::ScalingObjects;

pub(super) struct SpecStream {
    call: ScaledObjectRef,
    objects: ScalingObjects,
    changes: watch::Receiver<()>,
    /// The message that is due.
    due: Option<GetMetricSpecResponse>,
    /// The last message that was sent.
    sent: GetMetricSpecResponse,
    _open: OpenStream,
}

pub(super) fn specs(subject: &CallSubject) -> GetMetricSpecResponse {
    GetMetricSpecResponse {
        metric_specs: subject.metrics.iter().map(spec).collect(),
    }
}

/// `targetSize` is for versions of KEDA that know only that: rounded up, so that a target is never 0.
fn spec(metric: &Metric) -> MetricSpec {
    MetricSpec {
        metric_name: metric.name.clone(),
        target_size: round_up(metric.target),
        target_size_float: if metric.integers_only { 0.0 } else { metric.target },
    }
}

impl SpecStream {
    /// The current specs are the first message.
    pub(super) fn open(
        call: ScaledObjectRef,
        objects: ScalingObjects,
        metrics: &Metrics,
    ) -> Result<Self, SubjectError> {
        let changes = objects.changes();
        let current = specs(&CallSubject::resolve(&call, &objects)?);
        Ok(Self {
            call,
            objects,
            changes,
            due: Some(current),
            sent: GetMetricSpecResponse::default(),
            _open: metrics.stream_opened("StreamMetricSpec"),
        })
    }

    pub(super) fn messages(self) -> impl Stream<Item = Result<GetMetricSpecResponse, Status>> {
        stream::unfold(self, async |mut this| Some((Ok(this.next_specs().await?), this)))
    }

    /// `None` when the objects are no longer followed.
    async fn next_specs(&mut self) -> Option<GetMetricSpecResponse> {
        loop {
            if let Some(due) = self.due.take() {
                self.sent = due.clone();
                return Some(due);
            }
            self.changes.changed().await.ok()?;
            self.update();
        }
    }

    /// While the object is missing the last specs stay in force: the HPA keeps what it has.
    fn update(&mut self) {
        let current = CallSubject::resolve(&self.call, &self.objects).map(|subject| specs(&subject));
        self.due = current.ok().filter(|current| *current != self.sent);
    }
}
