//! KEDA's external scaler: it receives the pending requests of every interceptor, and tells KEDA at once which
//! workloads must be active.
//!
//! # Layout
//!
//! In the order in which a report travels:
//!
//! - [`interceptors`]: the set of interceptors, which is published through a watch.
//!   - [`interceptors::subscription`]: one task per interceptor receives its reports; [`interceptors::queue`] polls
//!     interceptors that only have `GET /queue`.
//!   - [`interceptors::peers`]: the connection state of each interceptor.
//!   - [`interceptors::open_ports`]: the ports on which they accept the traffic of autowired Services.
//! - [`demand`]: the combined demand of all interceptors, and a signal for streams that wait for a rising edge.
//! - `objects`: the scaling settings of InterceptorRoutes and HTTPScaledObjects.
//! - `external_scaler`: KEDA's gRPC service. Its `subject` is what a call is about, `activity` and `specs` are its
//!   streams.
//!
//! What only one replica does:
//!
//! - [`leader`]: the election by a Lease. [`controllers`]: what the leader runs, [`controllers::autowire`] among them.
//!
//! Besides:
//!
//! - [`admission`]: the webhook that converts `kedify-http` triggers for KEDA, with its
//!   [certificates](admission::certificates).
//! - [`app`]: binds, starts and stops all parts. [`command`]: the command line. [`config`]: the settings. [`cluster`]:
//!   the API server.
//! - [`host_port`]: addresses of interceptors, and the one that KEDA is given.
//! - [`metrics`], `admin` (the port for metrics and probes), `events` (Kubernetes Events) and `root_cause` (of errors).

pub(crate) mod admin;
pub mod admission;
pub mod app;
pub mod cluster;
pub mod command;
pub mod config;
pub mod controllers;
pub mod demand;
pub(crate) mod events;
pub(crate) mod external_scaler;
pub mod host_port;
pub mod interceptors;
pub mod leader;
pub mod metrics;
pub(crate) mod objects;
pub(crate) mod root_cause;
