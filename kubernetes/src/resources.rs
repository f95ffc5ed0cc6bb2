//! The resource types that are ours to describe; Services, EndpointSlices and Deployments are `k8s-openapi`'s.
//!
//! Durations are strings here and numbers as wide as the API server allows: [`crate::routes`] interprets them, so that an
//! invalid value refuses one object instead of failing a whole list.

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
