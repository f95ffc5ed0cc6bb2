//! The resource types that are ours to describe; Services, EndpointSlices and Deployments are `k8s-openapi`'s.

mod http_scaled_object;
mod interceptor_route;
mod scaled_object;

pub use http_scaled_object::*;
pub use interceptor_route::*;
pub use scaled_object::*;
