//! The resource types that are ours to describe; Services, EndpointSlices and Deployments are `k8s-openapi`'s.
//!
//! Durations stay texts here and numbers stay as wide as the API server allows: what they mean is decided in
//! [`crate::routes`], so that a value that cannot be used refuses one object instead of failing a whole list.

mod condition;
mod http_scaled_object;
mod interceptor_route;
mod scaled_object;

pub use condition::*;
pub use http_scaled_object::*;
pub use interceptor_route::*;
pub use scaled_object::*;

#[cfg(test)]
mod tests;
