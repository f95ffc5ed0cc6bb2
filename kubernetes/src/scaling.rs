//! What the scaler must answer for upstream's objects: a fold of InterceptorRoutes and HTTPScaledObjects.

use keda_http_core::trigger::Scaling;

use crate::source::Change;

/// The fold.
#[derive(Debug, Default)]
pub struct ScalingIndex {}

impl ScalingIndex {
    /// Takes a change in; `true` when something the scaler answers has changed.
    pub fn apply(&mut self, change: &Change) -> bool {
        let _ = change;
        todo!()
    }

    /// What an InterceptorRoute is scaled by; `None` when there is no such object.
    pub fn interceptor_route(&self, namespace: &str, name: &str) -> Option<Scaling> {
        let _ = (namespace, name);
        todo!()
    }

    /// What an HTTPScaledObject is scaled by; `None` when there is no such object.
    pub fn http_scaled_object(&self, namespace: &str, name: &str) -> Option<Scaling> {
        let _ = (namespace, name);
        todo!()
    }
}
