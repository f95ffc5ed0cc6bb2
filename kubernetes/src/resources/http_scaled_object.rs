//! `HttpScaledObject` v1alpha1 of `http.keda.sh`.

/// Placeholder until the fields stand.
#[derive(Debug, Clone)]
pub struct HttpScaledObject;
