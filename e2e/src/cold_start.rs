//! Wakes a workload again and again, and measures where the time goes.
//!
//! Everything is seen as a client and as KEDA would see it: the request is sent to the Service, activation is read from the
//! scaler's own stream, and the rest from watches of the API server.

mod chart;
pub mod goals;
mod observer;
mod report;
mod stage;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_http_kubernetes::resources::ScaledObject;
use kube::Client;
use kube::api::Api;
use tokio::time::Instant;

use crate::story::cluster::{SCALER, Workload, cluster_ip, endpoints};
use crate::wait;
pub use chart::chart;
use observer::Observer;
pub use report::report;
pub use stage::Stage;
pub use table::table;

/// How long a workload may take to go to zero, and to wake.
const LIMIT: Duration = Duration::from_secs(180);

/// A point on the way from the request to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The scaler reports to KEDA that the workload is active.
    Signal,
    /// The Deployment's `spec.replicas` is 1.
    Scaled,
    /// The pod has a node.
    Scheduled,
    /// Its container runs, as the kubelet reports to the API server.
    Running,
    /// An EndpointSlice has it as ready.
    Ready,
    /// The request is at the pod.
    Received,
    /// The first byte of the answer is at the client.
    Answered,
}

/// When each point was reached, from the moment the request was sent.
#[derive(Debug, Clone)]
pub struct Wake {
    /// By point.
    pub points: BTreeMap<Point, Duration>,
    /// The status of the answer.
    pub status: u16,
}

impl Wake {
    /// When a point was reached.
    pub fn at(&self, point: Point) -> Option<Duration> {
        self.points.get(&point).copied()
    }

    /// How long a stage took. Watches may deliver the end of a stage before its beginning.
    pub fn took(&self, stage: Stage) -> Option<Duration> {
        let start = stage.start().map_or(Some(Duration::ZERO), |point| self.at(point))?;
        Some(self.at(stage.end())?.saturating_sub(start))
    }

    /// The part that is the interceptor's and the scaler's own: until KEDA gets the signal, and from the ready endpoint to the pod.
    pub fn own_share(&self) -> Option<Duration> {
        Some(self.took(Stage::Signal)? + self.took(Stage::Dial)?)
    }

    /// From the request to its answer.
    pub fn whole(&self) -> Option<Duration> {
        self.at(Stage::FirstByte.end())
    }

    /// Fails unless it counts: the answer is 200, and our own share was seen.
    ///
    /// # Errors
    /// With what was seen.
    pub fn counted(self) -> Result<Self> {
        ensure!(self.status == 200, "200 expected, not {}", self.status);
        ensure!(
            self.own_share().is_some(),
            "our own share was not seen, only {:?}",
            self.points
        );
        Ok(self)
    }
}

/// What is woken: a ScaledObject with one `kedify-http` trigger with `trafficAutowire: service`.
pub struct Subject {
    client: Client,
    namespace: String,
    workload: Workload,
    service: String,
    url: String,
    host: String,
    observer: Observer,
}

impl Subject {
    /// Reads the ScaledObject, and begins to watch.
    ///
    /// # Errors
    /// When it or what it names is not there.
    pub async fn open(client: Client, namespace: &str, scaled_object: &str, keda: &str) -> Result<Self> {
        let objects: Api<ScaledObject> = Api::namespaced(client.clone(), namespace);
        let object = objects.get(scaled_object).await.context("ScaledObject")?;
        let trigger = object.spec.triggers.first().context("a trigger")?;
        let setting = |key: &str| trigger.metadata.get(key).with_context(|| format!("metadata {key}"));
        let service = setting("service")?.clone();
        let address = cluster_ip(&client, namespace, &service).await?;
        let scaler = cluster_ip(&client, keda, SCALER).await?;
        let fallback_service = setting("fallbackService")?.clone();
        let deployment = object.spec.scale_target_ref.name.clone();
        Ok(Self {
            observer: Observer::start(&client, namespace, &deployment, &fallback_service, &scaler, &object).await?,
            url: format!("http://{address}:{}/", setting("port")?),
            host: setting("hosts")?
                .split(',')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned(),
            namespace: namespace.to_owned(),
            workload: Workload::new(&client, namespace, &deployment),
            client,
            service,
        })
    }

    /// Waits for zero and sends one request.
    ///
    /// # Errors
    /// When it does not go to zero, the request gets no answer, or the wake does not count.
    pub async fn wake(&mut self) -> Result<Wake> {
        self.asleep().await?;
        self.observer.forget();
        let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).build()?;
        let sent = Instant::now();
        let clock = std::time::SystemTime::now();
        let response = http.get(&self.url).header("host", &self.host).send().await?;
        let answered = sent.elapsed();
        let received = response
            .headers()
            .get("x-received-micros")
            .and_then(|text| text.to_str().ok()?.parse().ok())
            .map(|micros| std::time::UNIX_EPOCH + Duration::from_micros(micros));
        let mut points = self.observer.since(sent, Point::Ready, LIMIT).await?;
        if let Some(received) = received.and_then(|time| time.duration_since(clock).ok()) {
            points.insert(Point::Received, received);
        }
        points.insert(Point::Answered, answered);
        let status = response.status().as_u16();
        Wake { points, status }.counted()
    }

    /// Waits until there is no replica, no pod and no ready endpoint, and the Service points to the interceptors.
    async fn asleep(&self) -> Result<()> {
        self.workload.asleep(LIMIT).await?;
        wait::until("the Service does not lead to the data path", LIMIT, async || {
            let addresses = endpoints(&self.client, &self.namespace, &self.service).await.ok()?;
            // While there is no pod, any endpoint of the Service is an interceptor.
            (!self.observer.is_ready() && !addresses.is_empty()).then_some(())
        })
        .await
        .with_context(|| format!("{}/{}", self.namespace, self.service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wake(status: u16, points: &[(Point, u64)]) -> Wake {
        let at = |(point, millisecond): &(Point, u64)| (*point, Duration::from_millis(*millisecond));
        Wake {
            points: points.iter().map(at).collect(),
            status,
        }
    }

    #[test]
    fn a_wake_counts_when_it_is_answered_200_and_our_own_share_was_seen() {
        let points = [(Point::Signal, 2), (Point::Ready, 900), (Point::Received, 903)];
        assert_eq!(
            wake(200, &points).counted().unwrap().own_share(),
            Some(Duration::from_millis(5))
        );
        let refused = wake(504, &points).counted().unwrap_err();
        assert_eq!(refused.to_string(), "200 expected, not 504");
        let unseen = wake(200, &points[1..]).counted().unwrap_err();
        assert_eq!(
            unseen.to_string(),
            "our own share was not seen, only {Ready: 900ms, Received: 903ms}"
        );
    }
}
