//! Who asks for kinds that are not rewired (yet): they are told, because nothing else would show it.

use std::collections::BTreeMap;

use keda_http_core::trigger::{Autowire, AutowireKind, Trigger};
use keda_http_kubernetes::object::{Object, ObjectId};
use keda_http_kubernetes::resources::ScaledObject;
use keda_http_kubernetes::source::Change;

use super::notice::Notice;
use super::service::world::Owner;

/// Whether route objects of this kind are rewired. A kind that comes has a file of its own beside `service.rs`.
fn is_rewired(kind: AutowireKind) -> bool {
    match kind {
        AutowireKind::HttpRoute
        | AutowireKind::Ingress
        | AutowireKind::VirtualService
        | AutowireKind::Route
        | AutowireKind::Gloo => false,
    }
}

/// The fold. Without `trafficAutowire` nothing is told: it means the kinds of which there are objects, and there may be
/// none.
#[derive(Debug, Default)]
pub struct Kinds {
    asked: BTreeMap<ObjectId, Notice>,
}

impl Kinds {
    /// Takes a change in; `true` when it says something new.
    pub fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Apply(object) => self.set(object),
            Change::Delete(id) => self.asked.remove(id).is_some(),
            Change::Reset(kind, objects) => {
                self.asked.retain(|id, _| id.kind != *kind);
                objects.iter().fold(true, |news, object| self.set(object) || news)
            }
        }
    }

    /// What people are told.
    pub fn notices(&self) -> impl Iterator<Item = Notice> {
        self.asked.values().cloned()
    }

    fn set(&mut self, object: &Object) -> bool {
        let Object::ScaledObject(scaled) = object else {
            return false;
        };
        let names = names(scaled);
        if names.is_empty() {
            return self.asked.remove(&object.id()).is_some();
        }
        let id = object.id();
        let owner = Owner {
            id: id.clone(),
            uid: scaled.metadata.uid.clone(),
        };
        let message = format!(
            "trafficAutowire: {} is not rewired by this version, only service is: send its traffic to the interceptors' \
             proxy Service yourself, and set it to \"false\"",
            names.join(", ")
        );
        let notice = Notice::warning(&owner, "AutowireKindNotRewired", message);
        self.asked.insert(id, notice.clone()) != Some(notice)
    }
}

/// The kinds that its triggers ask for and that are not rewired.
fn names(scaled: &ScaledObject) -> Vec<&'static str> {
    let mut names = Vec::new();
    for trigger in &scaled.spec.triggers {
        if !matches!(trigger.type_.as_str(), "kedify-http" | "external-push") {
            continue;
        }
        let metadata = trigger
            .metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        if let Ok(Trigger::KedifyHttp(parsed)) = Trigger::from_metadata(metadata)
            && let Autowire::Kinds(kinds) = parsed.autowire
        {
            names.extend(
                kinds
                    .into_iter()
                    .filter(|kind| !is_rewired(*kind))
                    .map(AutowireKind::name),
            );
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use keda_http_kubernetes::object::Kind;
    use serde_json::json;

    use super::*;

    fn told(autowire: Option<&str>) -> Vec<String> {
        let mut metadata = json!({"hosts": "api", "service": "api", "port": "80", "scalingMetric": "concurrency",
            "fallbackService": "pods"});
        if let Some(autowire) = autowire {
            metadata["trafficAutowire"] = json!(autowire);
        }
        let document = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "api", "namespace": "shop"},
            "spec": {"scaleTargetRef": {"name": "api"}, "triggers": [{"type": "kedify-http", "metadata": metadata}]},
        });
        let object = Object::parse(&document).unwrap().unwrap();
        let mut kinds = Kinds::default();
        kinds.apply(&Change::Apply(object.clone()));
        assert!(!kinds.apply(&Change::Apply(object)), "no news twice");
        kinds.notices().map(|notice| notice.message).collect()
    }

    #[test]
    fn who_asks_for_a_kind_that_is_not_rewired_is_told() {
        assert!(told(Some("ingress,httproute"))[0].starts_with("trafficAutowire: httproute, ingress is not rewired"));
        for silent in [None, Some("false"), Some("service")] {
            assert!(told(silent).is_empty(), "{silent:?}");
        }
    }

    #[test]
    fn what_is_gone_is_told_no_more() {
        let mut kinds = Kinds::default();
        let id = ObjectId {
            kind: Kind::ScaledObject,
            namespace: "shop".into(),
            name: "api".into(),
        };
        assert!(!kinds.apply(&Change::Delete(id)));
    }
}
