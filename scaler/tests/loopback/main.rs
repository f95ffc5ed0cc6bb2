//! The whole scaler on loopback: real interceptor doubles on one side, a KEDA-like client on the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api_server;
mod autowire_events;
mod cluster;
mod controllers;
mod discovery;
mod go_baseline;
mod health;
mod interceptor;
mod interceptors_lost;
mod keda;
mod keda_contract;
mod leader;
mod objects;
mod process;
mod queue_peer;
mod scaler;
