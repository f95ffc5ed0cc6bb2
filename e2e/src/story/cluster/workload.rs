//! A Deployment and its pods.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use super::{ROLLOUT, then_put_back};
use crate::wait;

/// How often a value is read that must not change.
const READ_EVERY: Duration = Duration::from_millis(200);
/// How long the last of these reads may take.
const LAST_READ: Duration = Duration::from_secs(30);

/// A Deployment and its pods.
#[derive(Clone)]
pub struct Workload {
    client: Client,
    namespace: String,
    name: String,
}

impl Workload {
    /// A Deployment that is or will be there.
    pub fn new(client: &Client, namespace: &str, name: &str) -> Self {
        Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// `spec.replicas`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn replicas(&self) -> Result<i32> {
        let deployment = self.deployments().get(&self.name).await?;
        Ok(deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1))
    }

    /// Waits for `spec.replicas` to be what is wanted.
    ///
    /// # Errors
    /// When it is not in time; the message has what it is.
    pub async fn scaled(&self, limit: Duration, wanted: impl Fn(i32) -> bool) -> Result<i32> {
        let mut last = None;
        let scaled = wait::until("the Deployment is not scaled as expected", limit, async || {
            last = self.replicas().await.ok();
            last.filter(|replicas| wanted(*replicas))
        })
        .await;
        scaled.with_context(|| format!("{} has {last:?} replicas", self.name))
    }

    /// Fails as soon as `spec.replicas` is read as anything but `replicas` within `limit`.
    ///
    /// # Errors
    /// With what it is. Also when it could not be read most of the time, or not at the end: that is no proof.
    pub async fn stays(&self, limit: Duration, replicas: i32) -> Result<()> {
        let same = unchanged(limit, &replicas, async || self.replicas().await).await;
        same.with_context(|| format!("the replicas of {}", self.name))
    }

    /// Waits for zero replicas and no pod.
    ///
    /// # Errors
    /// When it does not come to that in time.
    pub async fn asleep(&self, limit: Duration) -> Result<()> {
        self.scaled(limit, |replicas| replicas == 0).await?;
        wait::until("its pods do not end", limit, async || {
            self.pods().await.ok().filter(Vec::is_empty)
        })
        .await?;
        Ok(())
    }

    /// Its pods, those that end too.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let deployment = self.deployments().get(&self.name).await?;
        let labels = deployment
            .spec
            .and_then(|spec| spec.selector.match_labels)
            .unwrap_or_default();
        let selector: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        ensure!(!selector.is_empty(), "{} selects its pods by no label", self.name);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(pods
            .list(&ListParams::default().labels(&selector.join(",")))
            .await?
            .items)
    }

    /// Sets `spec.replicas`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn scale(&self, replicas: i32) -> Result<()> {
        self.patch(&json!({"spec": {"replicas": replicas}})).await
    }

    /// What `kubectl rollout restart` does, without waiting.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn restart(&self) -> Result<()> {
        let now = format!("{:?}", std::time::SystemTime::now());
        let template = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}});
        self.patch(&json!({"spec": {"template": template}})).await
    }

    /// What `kubectl set env` does, without waiting; `None` removes a variable.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn set_env(&self, variables: &[(&str, Option<&str>)]) -> Result<()> {
        let container = self.container().await?;
        let set = |(name, value): &(&str, Option<&str>)| match value {
            Some(value) => json!({"name": name, "value": value}),
            None => json!({"name": name, "$patch": "delete"}),
        };
        let env: Vec<Value> = variables.iter().map(set).collect();
        self.set_containers(&json!([{"name": container.name, "env": env}]))
            .await
    }

    /// Awaits `meanwhile` while the pods have these variables; then they have again what they had before.
    ///
    /// # Errors
    /// Those of `meanwhile`, and when a rollout fails; of both the one of `meanwhile` first.
    pub async fn with_env<T>(
        &self,
        variables: &[(&str, Option<&str>)],
        meanwhile: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let before = self.container().await?.env.unwrap_or_default();
        let value = |name: &str| before.iter().find(|variable| variable.name == name)?.value.as_deref();
        let restored: Vec<_> = variables.iter().map(|(name, _)| (*name, value(name))).collect();
        let result = Box::pin(async {
            self.set_env(variables).await?;
            self.rolled_out().await?;
            meanwhile.await
        });
        let put_back = Box::pin(async {
            self.set_env(&restored).await?;
            self.rolled_out().await
        });
        then_put_back(result, put_back).await
    }

    /// The first container of its pods.
    async fn container(&self) -> Result<Container> {
        let deployment = self.deployments().get(&self.name).await?;
        let pod = deployment
            .spec
            .and_then(|spec| spec.template.spec)
            .context("a pod template")?;
        pod.containers.into_iter().next().context("a container")
    }

    /// Merges what is given into the containers of the pod template, by their names.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn set_containers(&self, containers: &Value) -> Result<()> {
        self.patch(&json!({"spec": {"template": {"spec": {"containers": containers}}}}))
            .await
    }

    async fn patch(&self, patch: &Value) -> Result<()> {
        self.deployments()
            .patch(&self.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .with_context(|| format!("Deployment {}", self.name))?;
        Ok(())
    }

    /// Waits until all its pods are new, available, and the only ones.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn rolled_out(&self) -> Result<()> {
        let done = wait::until("the rollout does not end", ROLLOUT, async || {
            let deployment = self.deployments().get(&self.name).await.ok()?;
            let ended = self
                .pods()
                .await
                .ok()?
                .iter()
                .all(|pod| pod.metadata.deletion_timestamp.is_none());
            (ended && is_rolled_out(&deployment)).then_some(())
        });
        done.await.with_context(|| format!("{}/{}", self.namespace, self.name))
    }

    /// Waits until each of these pods ends or is gone.
    ///
    /// # Errors
    /// When one of them stays, and when none is named.
    pub async fn replaced(&self, before: &[String]) -> Result<()> {
        ensure!(!before.is_empty(), "{} had no pod", self.name);
        let mut stay = Vec::new();
        let ended = wait::until("a pod is not replaced", ROLLOUT, async || {
            stay = self.pod_names().await.ok()?;
            stay.iter().all(|pod| !before.contains(pod)).then_some(())
        })
        .await;
        ended.with_context(|| format!("{before:?} were there, {stay:?} stay"))
    }

    /// Names of its pods that do not end.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn pod_names(&self) -> Result<Vec<String>> {
        let pods = self.pods().await?;
        let stay = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(stay.map(ResourceExt::name_any).collect())
    }
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && [status.replicas, status.updated_replicas, status.available_replicas]
                .iter()
                .all(|count| count.unwrap_or(0) == wanted)
    })
}

/// Fails as soon as a value is read that is not the expected one. Goes on until the limit has passed and one more read has
/// succeeded.
async fn unchanged<T: PartialEq + Debug>(
    limit: Duration,
    expected: &T,
    mut read: impl AsyncFnMut() -> Result<T>,
) -> Result<()> {
    let mut pace = tokio::time::interval(READ_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (end, mut succeeded, mut failed) = (Instant::now() + limit, 0, 0);
    let reading = async {
        loop {
            pace.tick().await;
            let began = Instant::now();
            let Ok(value) = read().await else {
                failed += 1;
                continue;
            };
            ensure!(value == *expected, "{value:?}, not {expected:?}");
            succeeded += 1;
            if began >= end {
                return Ok(());
            }
        }
    };
    let read = tokio::time::timeout(limit + LAST_READ, reading).await;
    read.context("it cannot be read at the end")??;
    ensure!(failed < succeeded, "{failed} of {} reads failed", failed + succeeded);
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    /// A reader whose result depends on how often it was called.
    async fn reads(mut give: impl FnMut(u32) -> Result<i32>) -> Result<()> {
        let mut number = 0;
        unchanged(LIMIT, &1, async || {
            number += 1;
            give(number)
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_stays_is_read_until_the_limit_has_passed() {
        let started = Instant::now();
        reads(|_| Ok(1)).await.unwrap();
        assert_eq!(started.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn another_value_ends_it_at_once() {
        let started = Instant::now();
        let error = reads(|number| Ok(i32::from(number < 3))).await.unwrap_err();
        assert_eq!(error.to_string(), "0, not 1");
        assert_eq!(started.elapsed(), READ_EVERY * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_that_fail_are_no_proof() {
        reads(|number| if number == 2 { bail!("away") } else { Ok(1) })
            .await
            .unwrap();
        let mostly = reads(|number| {
            if number > 1 && number < 11 {
                bail!("away")
            } else {
                Ok(1)
            }
        });
        assert_eq!(mostly.await.unwrap_err().to_string(), "9 of 11 reads failed");
        let at_the_end = reads(|number| if number > 9 { bail!("away") } else { Ok(1) });
        assert_eq!(
            at_the_end.await.unwrap_err().to_string(),
            "it cannot be read at the end"
        );
    }
}
