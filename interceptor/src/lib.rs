//! The data path of the KEDA HTTP add-on: holds requests while a workload starts from zero, and forwards them the
//! moment a pod is ready.
//!
//! # Layout
//!
//! The request, in the order it meets them:
//!
//! - [`listeners`]: the ports of autowired Services, beside the one for everything.
//! - [`worker`]: a thread per CPU that accepts and speaks HTTP; [`inbound`]: what it may read; [`client`]: who is there.
//! - [`proxy`]: THE request, one function from top to bottom; [`record`]: what happens at its end.
//! - [`routing`]: the routes, made from the source's objects; [`pending`]: the counters; [`backends`]: who is ready, and
//!   who waits.
//! - [`upstream`]: a connection to an endpoint; [`exchange`]: one request over it; [`replay`]: a request that is sent again;
//!   [`body`]: bodies both ways.
//! - [`session`]: clients that stay at one endpoint; [`static_response`]: what is answered without one.
//! - [`error`]: what can go wrong, as HTTP and gRPC.
//!
//! Around it:
//!
//! - [`report`]: tells scalers what is pending; [`metrics`], [`spans`], [`access`]: tell people.
//! - [`objects`]: where objects come from; [`own_config_map`]: what the scaler writes for us; [`staleness`]: what is told
//!   while the source is away.
//! - [`admin`], [`config`], [`app`]: ports, settings, life and end; [`memory`]: what is given back.

pub mod access;
pub mod admin;
pub mod app;
pub mod backends;
pub mod body;
pub mod client;
pub mod config;
pub mod error;
pub mod exchange;
pub mod inbound;
pub mod listeners;
pub mod memory;
pub mod metrics;
pub mod objects;
pub mod own_config_map;
pub mod pending;
pub mod proxy;
pub mod record;
pub mod replay;
pub mod report;
pub mod routing;
pub mod session;
pub mod spans;
pub mod staleness;
pub mod static_response;
pub mod upstream;
pub mod worker;
