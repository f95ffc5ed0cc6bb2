//! KEDA's external scaler: hears from every interceptor what is pending, and tells KEDA at once who must be awake.
//!
//! # Layout
//!
//! In the order in which a report travels:
//!
//! - [`interceptors`]: who they are, as a set that is published through a watch.
//! - [`interceptors::peers`]: how each of them is doing: streaming, polled, or not reachable and why.
//! - [`interceptors::open_ports`]: on which ports they take the traffic of autowired Services.
//! - [`interceptors::subscription`]: one task per interceptor, which keeps its reports coming; [`interceptors::queue`] reads peers that only have `GET /queue`.
//! - [`demand`]: the reports of all interceptors folded, and a signal to those who wait for a target's rising edge.
//! - [`objects`]: upstream's objects, which say what their targets are scaled by.
//! - [`external_scaler::subject`]: what a call of KEDA is about, worked out once from its metadata.
//! - [`external_scaler`]: KEDA's gRPC service: translation only. [`external_scaler::activity`] and [`external_scaler::specs`] are its two streams.
//!
//! - [`leader`]: which replica leads. [`controllers`]: what only the leader does.
//! - [`controllers::autowire`]: leads Services through the data path, and back.
//! - [`admission`]: the webhook that turns `kedify-http` into what KEDA can use; [`admission::certificates`] are its own.
//!
//! Around it: [`command`] (what the program was called for), [`config`] (settings), [`app`] (what is bound, started, and stopped in which order), [`metrics`] and [`admin`].

pub mod admin;
pub mod admission;
pub mod app;
pub mod command;
pub mod config;
pub mod controllers;
pub mod demand;
pub(crate) mod events;
pub mod external_scaler;
pub mod interceptors;
pub mod leader;
pub mod metrics;
pub mod objects;
pub(crate) mod root_cause;
