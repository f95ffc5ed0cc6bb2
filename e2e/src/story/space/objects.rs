//! Objects of any kind, and what their status says.

use anyhow::{Context, Result};
use kube::api::{Api, DynamicObject};
use kube::core::GroupVersionKind;
use kube::discovery;
use serde_json::Value;

use super::{PATIENCE, Space};
use crate::wait;

impl Space {
    /// Where objects of a kind are read. What is looked at again and again is read there: the kind is looked up once.
    ///
    /// # Errors
    /// When there is no such kind.
    pub async fn objects(&self, api_version: &str, kind: &str) -> Result<Api<DynamicObject>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        let (resource, _) = discovery::pinned_kind(&self.client, &kind).await?;
        Ok(Api::default_namespaced_with(self.client.clone(), &resource))
    }

    /// Waits until a condition of an object has a status.
    ///
    /// # Errors
    /// When it has not in time; the message has its conditions.
    pub async fn condition(
        &self,
        api_version: &str,
        kind: &str,
        name: &str,
        condition: &str,
        status: &str,
    ) -> Result<()> {
        let objects = self.objects(api_version, kind).await?;
        let mut last = Vec::new();
        let seen = wait::until("a condition is not as expected", PATIENCE, async || {
            let object = objects.get(name).await.ok()?;
            last = conditions(&object).cloned().collect();
            let is_as_expected = |one: &Value| one["type"] == condition && one["status"] == status;
            last.iter().any(is_as_expected).then_some(())
        });
        seen.await
            .with_context(|| format!("{condition} of {kind} {name}: {last:?}"))
    }

    /// Waits for the condition `Ready` of the object as it is written now.
    ///
    /// # Errors
    /// When it is not ready in time; the message has its conditions.
    pub async fn ready(&self, api_version: &str, kind: &str, name: &str) -> Result<()> {
        let objects = self.objects(api_version, kind).await?;
        let mut last = Vec::new();
        let ready = wait::until("it is not ready", PATIENCE, async || {
            let object = objects.get(name).await.ok()?;
            last = conditions(&object).cloned().collect();
            is_ready(&object).then_some(())
        });
        ready.await.with_context(|| format!("{kind} {name}: {last:?}"))
    }
}

fn is_ready(object: &DynamicObject) -> bool {
    let generation = object.metadata.generation;
    conditions(object).any(|condition| {
        let observed = condition["observedGeneration"].as_i64();
        condition["type"] == "Ready" && condition["status"] == "True" && (observed.is_none() || observed == generation)
    })
}

fn conditions(object: &DynamicObject) -> impl Iterator<Item = &Value> {
    object.data["status"]["conditions"].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_ready_is_the_object_as_it_is_written_now() {
        let object = |ready: Value| -> DynamicObject {
            let mut condition = json!({"type": "Ready", "status": "True"});
            condition
                .as_object_mut()
                .unwrap()
                .extend(ready.as_object().unwrap().clone());
            let object = json!({"metadata": {"generation": 2}, "status": {"conditions": [condition]}});
            serde_json::from_value(object).unwrap()
        };
        assert!(is_ready(&object(json!({}))), "kinds that do not say which they mean");
        assert!(is_ready(&object(json!({"observedGeneration": 2}))));
        assert!(!is_ready(&object(json!({"observedGeneration": 1}))));
        assert!(!is_ready(&object(json!({"status": "False"}))));
    }
}
