//! Pure decisions: what is routed, what is counted, and what the counts mean.
//!
//! Nothing here knows of sockets, runtimes, Kubernetes or gRPC, so every decision can be tested in microseconds.
//!
//! # Layout
//!
//! - [`target`]: the key by which all programs name what is counted and scaled.
//! - [`trigger`]: trigger metadata of KEDA, parsed once into [`trigger::Trigger`].
//! - [`route`]: routes, the table that finds the route of a request, and responses of the interceptor itself.
//! - [`claims`]: which namespace has a host, where several claim it.
//! - [`session`]: clients that stay at one endpoint, by a cookie.
//! - [`window`]: arrivals over time and the rate read from them.
//! - [`demand`]: what all interceptors report, folded into activity, concurrency and rate.
//! - [`queue`]: the JSON of `GET /queue`.
//! - [`duration`]: Go's duration notation, which all settings and objects use.

pub mod claims;
pub mod demand;
pub mod duration;
pub mod queue;
pub mod route;
pub mod session;
pub mod target;
pub mod trigger;
pub mod window;
