//! A ConfigMap in the interceptor's own namespace that the scaler's leader writes.

use k8s_openapi::api::core::v1::ConfigMap;
use keda_http_kubernetes::object::{Kind, Object};
use keda_http_kubernetes::source::Change;

#[derive(Debug, Clone)]
pub struct OwnConfigMap {
    namespace: String,
    name: &'static str,
}

impl OwnConfigMap {
    pub fn new(namespace: String, name: &'static str) -> Self {
        Self { namespace, name }
    }

    /// The ConfigMap after a change: `Some(None)` when it was deleted, `None` when the change is about something else.
    pub fn after<'a>(&self, change: &'a Change) -> Option<Option<&'a ConfigMap>> {
        match change {
            Change::Apply(object) => self.is_it(object).map(Some),
            Change::Delete(id) => {
                let is_it = id.kind == Kind::ConfigMap && id.namespace == self.namespace && id.name == self.name;
                is_it.then_some(None)
            }
            Change::Reset(Kind::ConfigMap, objects) => Some(objects.iter().find_map(|object| self.is_it(object))),
            Change::Reset(..) => None,
        }
    }

    fn is_it<'a>(&self, object: &'a Object) -> Option<&'a ConfigMap> {
        let Object::ConfigMap(config_map) = object else {
            return None;
        };
        let id = object.id();
        (id.namespace == self.namespace && id.name == self.name).then_some(config_map)
    }
}
