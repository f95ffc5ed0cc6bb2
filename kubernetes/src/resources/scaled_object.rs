//! The part of KEDA's `ScaledObject` v1alpha1 that we read.

/// Placeholder until the fields stand.
#[derive(Debug, Clone)]
pub struct ScaledObject;
