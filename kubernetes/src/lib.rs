//! Kubernetes objects as data: their types, their sources, and their meaning for `core`.
//!
//! # Layout
//!
//! - [`resources`]: InterceptorRoute, HTTPScaledObject, and the part of ScaledObject that we read, as types.
//! - [`object`]: one object of any kind we read, and its identity.
//! - [`source`]: objects and their changes, from an API server or a directory of manifests.
//! - [`routes`]: objects to `core::route::Route`, and for each object that does not become one, why.
//! - [`endpoints`]: Services and EndpointSlices to ready endpoints per service port.
//! - [`response_bodies`]: ConfigMaps to bodies of responses of the interceptor itself.
//! - [`conversion`]: what admission does to a ScaledObject so that stock KEDA can use it.
//! - [`managed_scaled_object`]: the ScaledObject that the operator makes for an HTTPScaledObject.
//! - [`hosts`]: the record of which namespace owns a host that several claim.
//! - [`definitions`]: the CustomResourceDefinitions of our kinds, as they are installed from `kubernetes/crds/`.
//! - [`listeners`]: which port of the interceptors belongs to which autowired Service.
//! - [`wired`]: EndpointSlices that autowire writes.
//! - [`scaling`]: what objects are scaled by.
//! - [`view`]: routes, endpoints and hosts joined. All of these are an [`index::Index`].

mod checked_fields;
pub mod conversion;
pub mod definitions;
pub mod endpoints;
pub mod fields;
pub mod hosts;
pub mod index;
pub mod listeners;
pub mod managed_scaled_object;
pub mod object;
pub mod resources;
pub mod response_bodies;
pub mod routes;
pub mod scaling;
pub mod source;
mod type_errors;
mod unknown_fields;
pub mod view;
pub mod wired;
