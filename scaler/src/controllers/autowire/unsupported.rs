//! ScaledObjects that ask for a kind of `trafficAutowire` that this version does not rewire: they get a warning,
//! because nothing else would show it.

use std::collections::BTreeMap;

use keda_http_core::trigger::{Autowire, AutowireKind, Trigger};
use keda_http_kubernetes::object::{Object, ObjectId};
use keda_http_kubernetes::resources::ScaledObject;
use keda_http_kubernetes::source::Change;

use crate::events::{Notice, ObjectRef};

/// A kind that is added has a file of its own beside `service.rs`, and is taken out here.
const UNSUPPORTED: [AutowireKind; 5] = [
    AutowireKind::HttpRoute,
    AutowireKind::Ingress,
    AutowireKind::VirtualService,
    AutowireKind::Route,
    AutowireKind::Gloo,
];

/// The index. A trigger without `trafficAutowire` means whichever kinds have objects, and there may be none, so it gets
/// no warning.
#[derive(Debug, Default)]
pub(crate) struct UnsupportedKinds {
    notices: BTreeMap<ObjectId, Notice>,
}

impl UnsupportedKinds {
    /// Returns whether the notices may have changed.
    pub(crate) fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Apply(object) => self.set(object),
            Change::Delete(id) => self.notices.remove(id).is_some(),
            Change::Reset(kind, objects) => {
                self.notices.retain(|id, _| id.kind != *kind);
                for object in objects {
                    self.set(object);
                }
                true
            }
        }
    }

    pub(crate) fn notices(&self) -> impl Iterator<Item = Notice> {
        self.notices.values().cloned()
    }

    fn set(&mut self, object: &Object) -> bool {
        let Object::ScaledObject(scaled) = object else {
            return false;
        };
        let id = object.id();
        let names = names(scaled);
        if names.is_empty() {
            return self.notices.remove(&id).is_some();
        }
        let about = ObjectRef::new(id.clone(), &scaled.metadata);
        let message = format!(
            "trafficAutowire: {} is not rewired by this version, only service is: send its traffic to the interceptors' \
             proxy Service yourself, and set it to \"false\"",
            names.join(", ")
        );
        let notice = Notice::warning(&about, "AutowireKindNotRewired", message);
        self.notices.insert(id, notice.clone()) != Some(notice)
    }
}

/// The unsupported kinds that its triggers ask for.
fn names(scaled: &ScaledObject) -> Vec<&'static str> {
    let mut names = Vec::new();
    for trigger in &scaled.spec.triggers {
        if !matches!(trigger.type_.as_str(), "kedify-http" | "external-push") {
            continue;
        }
        let metadata = trigger.metadata.iter();
        let metadata = metadata.map(|(key, value)| (key.as_str(), value.as_str()));
        if let Ok(Trigger::KedifyHttp(parsed)) = Trigger::from_metadata(metadata)
            && let Autowire::Kinds(kinds) = parsed.autowire
        {
            let unsupported = kinds.into_iter().filter(|kind| UNSUPPORTED.contains(kind));
            names.extend(unsupported.map(AutowireKind::name));
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

    fn messages(autowire: Option<&str>) -> Vec<String> {
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
        let mut unsupported = UnsupportedKinds::default();
        unsupported.apply(&Change::Apply(object.clone()));
        assert!(!unsupported.apply(&Change::Apply(object)), "nothing changed");
        unsupported.notices().map(|notice| notice.message).collect()
    }

    #[test]
    fn an_object_that_asks_for_an_unsupported_kind_gets_a_warning() {
        assert!(
            messages(Some("ingress,httproute"))[0].starts_with("trafficAutowire: httproute, ingress is not rewired")
        );
        for silent in [None, Some("false"), Some("service")] {
            assert!(messages(silent).is_empty(), "{silent:?}");
        }
    }

    #[test]
    fn deleting_an_object_without_a_warning_changes_nothing() {
        let mut unsupported = UnsupportedKinds::default();
        let id = ObjectId {
            kind: Kind::ScaledObject,
            namespace: "shop".into(),
            name: "api".into(),
        };
        assert!(!unsupported.apply(&Change::Delete(id)));
    }
}
